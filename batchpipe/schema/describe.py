"""Validation errors as short sentences for the model that gave the answer, with the path and the allowed values."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

MAX_ERRORS = 5
MAX_LENGTH = 1_000  # characters of all errors of one answer together
MAX_VALUE = 80
MAX_CHOICES = 600

Path = Sequence[str | int]

TYPE_NAMES = {
    "string": "a string",
    "number": "a number",
    "integer": "a whole number",
    "boolean": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
}

_LIMITS: Mapping[str, Callable[[Any], str]] = {
    "Minimum": lambda kind: f"is less than {kind.limit}",
    "Maximum": lambda kind: f"is more than {kind.limit}",
    "ExclusiveMinimum": lambda kind: f"is not more than {kind.limit}",
    "ExclusiveMaximum": lambda kind: f"is not less than {kind.limit}",
    "MultipleOf": lambda kind: f"is not a multiple of {kind.multiple_of:g}",
    "MinLength": lambda kind: f"has fewer than {kind.limit} characters",
    "MaxLength": lambda kind: f"has more than {kind.limit} characters",
    "MinItems": lambda kind: f"has fewer than {kind.limit} items",
    "MaxItems": lambda kind: f"has more than {kind.limit} items",
    "UniqueItems": lambda kind: "has an item twice",
    "Pattern": lambda kind: f"does not match the pattern {kind.pattern}",
    "Format": lambda kind: f"is not a {kind.format}",
}


def kind_name(error: Any) -> str:
    """Return the kind of a jsonschema_rs error: Enum, Type, Required, ..."""
    return type(error.kind).__name__


def brief(value: Any, limit: int = MAX_VALUE) -> str:
    """Return `value` as JSON, cut to `limit` characters."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def path_text(path: Path) -> str:
    """Return a path as `tags[0].name`; an empty path is "the answer"."""
    shown = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return shown.lstrip(".") or "the answer"


def describe_errors(errors: Iterable[Any]) -> str:
    """Return at most MAX_ERRORS errors, one a line, in the order of their paths."""
    found = [line for error in errors for line in _lines(error)]
    # A value outside an enum often has the wrong type too; the line with the allowed values is enough.
    named = {path for path, rank, _ in found if rank == 0}
    ordered = sorted({(path, text) for path, rank, text in found if rank == 0 or path not in named})
    shown = [text for _, text in ordered[:MAX_ERRORS]]
    if len(ordered) > MAX_ERRORS:
        shown.append(f"and {len(ordered) - MAX_ERRORS} more")
    text = "\n".join(shown)
    return text if len(text) <= MAX_LENGTH else text[: MAX_LENGTH - 1] + "…"


def branches(error: Any) -> list[list[Any]]:
    """Return the errors within each alternative of an anyOf or oneOf; an empty list for any other error."""
    return error.kind.context if kind_name(error) in ("AnyOf", "OneOfNotValid") else []


def _lines(error: Any) -> Iterator[tuple[str, int, str]]:
    """Yield (path, rank, line) of an error; the rank is 0 for a line that names the allowed values, else 1."""
    name, path = kind_name(error), list(error.instance_path)
    if name == "Required":
        where = path_text([*path, error.kind.property])
        yield where, 1, f"{where}: is missing"
        return
    if name == "AdditionalProperties":
        for extra in error.kind.unexpected:
            where = path_text([*path, extra])
            yield where, 1, f"{where}: is not a field of the schema; leave it out"
        return
    likely = _likely_branch(error)
    if likely:
        for inner in likely:
            yield from _lines(inner)
        return
    where = path_text(path)
    rank = 0 if name in ("Enum", "Constant") else 1
    yield where, rank, f"{where}: {_said(name, error)}"


def _said(name: str, error: Any) -> str:
    value, kind = brief(error.instance), error.kind
    if name == "Enum":
        choices = ", ".join(brief(choice) for choice in kind.options)
        shown = choices if len(choices) <= MAX_CHOICES else choices[: MAX_CHOICES - 1] + "…"
        return f"{value} is not one of {shown}"
    if name == "Constant":
        return f"{value} is not {brief(kind.expected_value)}"
    if name == "Type":
        return f"{value} is not {' or '.join(TYPE_NAMES.get(each, each) for each in kind.types)}"
    if name in _LIMITS:
        return f"{value} {_LIMITS[name](kind)}"
    if name in ("AnyOf", "OneOfNotValid"):
        return f"{value} fits none of the alternatives"
    message: str = error.message
    return message if len(message) <= 2 * MAX_VALUE else message[: 2 * MAX_VALUE - 1] + "…"


def _likely_branch(error: Any) -> list[Any]:
    """Return the errors of the alternative whose type fits, if it is the only one; they say more than "fits none"."""
    fitting = [
        branch
        for branch in branches(error)
        if not any(
            kind_name(inner) == "Type" and list(inner.instance_path) == list(error.instance_path) for inner in branch
        )
    ]
    return fitting[0] if len(fitting) == 1 else []


def is_closed(schema: Mapping[str, Any]) -> bool:
    """Return whether the schema of a field lists all its values: an enum, a const or a boolean."""
    return "enum" in schema or "const" in schema or schema.get("type") == "boolean"
