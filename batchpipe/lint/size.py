"""Rules about sizes: long text that every request repeats, and a `max_tokens` that does not fit the schema.

A token of a prompt is taken to have 3.5 bytes, as in estimates before there are results. A token of an answer is taken
to have 2.5 characters (numbers, keys, punctuation) or 4, whichever makes a finding less likely.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from batchpipe.decide.tokens import BYTES_PER_TOKEN, CACHED_BYTES_PER_TOKEN
from batchpipe.lint.subject import Finding, Subject
from batchpipe.template.texts import HOLE

MANY_CHARACTERS_PER_TOKEN, FEW_CHARACTERS_PER_TOKEN = 4, 2.5
LARGE_TOKENS = 2_000
HUGE_TIMES, HUGE_TOKENS = 10, 2_000
ROWS = 1_000
DEEPEST = 20
# The most characters of a value of these formats and types.
_FORMATS = {"date": 10, "date-time": 35, "time": 20, "uuid": 36}
_NUMBER, _INTEGER, _BOOLEAN = 24, 20, 5


def repeated_text(subject: Subject) -> Iterator[Finding]:
    """Find a long text that is the same in every request and is not cached."""
    front = (subject.system or "") + subject.head
    cached = subject.cache != "off" and len(front.encode()) // CACHED_BYTES_PER_TOKEN >= subject.cached_from
    for prompt in subject.prompts:
        text = subject.text(prompt)
        size = len(text.replace(HOLE, "").encode()) + sum(
            _rows_size(subject, name) for name in _tables(subject, prompt)
        )
        ahead = len((subject.system or "" if prompt.kind == "system" else subject.head).encode())
        tokens = round((size - ahead if cached else size) / BYTES_PER_TOKEN)
        if tokens < LARGE_TOKENS:
            continue
        what = f"every request repeats about {tokens:,} tokens of the {_SHOWN[prompt.kind]}"
        what += f": {_usd(subject.input_usd, tokens)} per {ROWS:,} rows" if subject.input_usd is not None else ""
        hint = _caching(subject, prompt.kind, tokens, in_front=not cached and 2 * ahead >= size)
        yield Finding(what=what, where=subject.at(prompt, 0), hint=hint)


_SHOWN = {"system": "system prompt", "user": "user message"}


def _tables(subject: Subject, prompt: Any) -> list[str]:
    """Return the queries whose rows the prompt shows, unless the rows are part of the rendered text already."""
    if prompt.kind == "system" and subject.system is not None:
        return []
    return [name for name in subject.queries if any(each.split(".")[0] == name for each in prompt.names)]


def _rows_size(subject: Subject, name: str) -> int:
    return sum(len(str(value).encode()) for row in subject.queries[name] for value in row.values())


def _caching(subject: Subject, kind: str, tokens: int, *, in_front: bool) -> str:
    if in_front and subject.cache == "off":
        read = subject.cache_read_usd
        less = f": a request that finds it costs {_usd(read, tokens)} per {ROWS:,} rows" if read is not None else ""
        return f'Write cache = "auto" under [prompt]{less}; or shorten it.'
    if in_front:
        least = f"{subject.rungs[0].model} caches from {subject.cached_from:,} tokens up" if subject.rungs else ""
        return f"{least}: shorten it, or put more of what every request says before the first value of a row."
    if kind == "system":
        return "Move what differs from row to row into the user message, so that the system prompt can be cached."
    return (
        "Move it before the first value of a row, or into the system prompt, so that it can be cached; or shorten it."
    )


def _usd(per_token: Decimal | None, tokens: int) -> str:
    value = (per_token or Decimal(0)) * tokens * ROWS
    return f"${value:,.2f}" if value >= Decimal("0.01") else f"${value:.4f}"


def misfit_max_tokens(subject: Subject) -> Iterator[Finding]:
    """Find a `max_tokens` below the smallest answer, or far above the largest one."""
    smallest, largest = answer_characters(subject.schema, subject.output_format)
    least = math.ceil(smallest / MANY_CHARACTERS_PER_TOKEN)
    most = None if largest is None else math.ceil(largest / FEW_CHARACTERS_PER_TOKEN)
    for rung in subject.rungs:
        where = subject.place(f"[[models]] {rung.number} max_tokens", "[[models]]")
        if rung.max_tokens < least:
            what = f"max_tokens = {rung.max_tokens:,} is too little: the smallest answer needs about {least:,}"
            yield Finding(
                what=what, where=where, hint=f"Write max_tokens = {_round(2 * (most or 2 * least)):,} or more."
            )
        elif most and not rung.thinks and rung.max_tokens > max(HUGE_TIMES * most, HUGE_TOKENS):
            what = f"max_tokens = {rung.max_tokens:,} is far more than the largest answer needs, about {most:,}"
            yield Finding(
                what=what,
                where=where,
                hint=f"Write max_tokens = {_round(2 * most):,}: `at most`, budgets and limits count all of max_tokens.",
            )


def _round(tokens: int) -> int:
    step = 50 if tokens < 1_000 else 500
    return math.ceil(tokens / step) * step


def answer_characters(schema: Mapping[str, Any], output_format: str) -> tuple[int, int | None]:
    """Return the characters of the smallest and of the largest valid answer; None if the schema does not limit it.

    For an enum the smallest answer has the longest value, since an answer must be able to hold every label.
    """
    if output_format == "text":
        field: Mapping[str, Any] = next(iter(schema.get("properties", {}).values()), {})
        return int(field.get("minLength", 0)), field.get("maxLength")
    return _Sizes(schema).of(schema, 0)


class _Sizes:
    def __init__(self, schema: Mapping[str, Any]) -> None:
        self.schema = schema

    def of(self, node: Any, depth: int) -> tuple[int, int | None]:
        if not isinstance(node, Mapping) or depth > DEEPEST:
            return 1, None
        if "$ref" in node:
            return self.of(self._target(str(node["$ref"])), depth + 1)
        if "const" in node or "enum" in node:
            longest = max((_written(each) for each in node.get("enum", [node.get("const")])), default=4)
            return longest, longest
        for union in ("anyOf", "oneOf"):
            if union in node:
                return _either([self.of(each, depth + 1) for each in node[union]])
        types = node.get("type", ())
        names = [types] if isinstance(types, str) else list(types)
        return _either([self._typed(node, name, depth) for name in names]) if names else (1, None)

    def _typed(self, node: Mapping[str, Any], name: str, depth: int) -> tuple[int, int | None]:
        match name:
            case "string":
                known = _FORMATS.get(node.get("format", ""))
                most = node.get("maxLength", known)
                return 2 + int(node.get("minLength", 0)), None if most is None else 2 + int(most)
            case "number":
                return 1, _NUMBER
            case "integer":
                bounds = [abs(node[each]) for each in ("minimum", "maximum") if each in node]
                return 1, len(str(int(max(bounds)))) + 1 if len(bounds) == 2 else _INTEGER
            case "boolean":
                return 4, _BOOLEAN
            case "null":
                return 4, 4
            case "array":
                return self._array(node, depth)
            case _:
                return self._object(node, depth)

    def _array(self, node: Mapping[str, Any], depth: int) -> tuple[int, int | None]:
        least, most = self.of(node.get("items", {}), depth + 1)
        fewest, many = int(node.get("minItems", 0)), node.get("maxItems")
        bounded = None if most is None or many is None else 2 + int(many) * (most + 1)
        return 2 + fewest * (least + 1), bounded

    def _object(self, node: Mapping[str, Any], depth: int) -> tuple[int, int | None]:
        required = node.get("required", ())
        least, most = 2, None if node.get("additionalProperties", True) is not False else 2
        for name, child in node.get("properties", {}).items():
            small, large = self.of(child, depth + 1)
            around = _written(name) + 2
            least += around + small if name in required else 0
            most = None if most is None or large is None else most + around + large
        return least, most

    def _target(self, reference: str) -> Any:
        here: Any = self.schema
        for name in reference.removeprefix("#").strip("/").split("/"):
            here = here.get(name) if isinstance(here, Mapping) and name else here
        return here


def _either(sizes: list[tuple[int, int | None]]) -> tuple[int, int | None]:
    bounds = [most for _, most in sizes]
    known = [most for most in bounds if most is not None]
    return min((least for least, _ in sizes), default=1), max(known) if known and len(known) == len(bounds) else None


def _written(value: Any) -> int:
    return len(json.dumps(value, ensure_ascii=False, default=str))
