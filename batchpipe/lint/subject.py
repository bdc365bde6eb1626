"""The input of the linter, as plain values, and the finding that a rule makes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from batchpipe.template.texts import PromptText

MOST_VALUES = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a rule found: what is wrong, with numbers, the place, and the edit that fixes it."""

    what: str
    where: str
    hint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """The values of an enum of strings. `path` is the path of its field: `label`, `items[].kind`."""

    path: str
    values: tuple[str, ...]
    description: str

    @property
    def toml(self) -> str:
        """Return the field's table in the pipeline file: `supplier.fields.kind`, `tags.items`."""
        return ".fields.".join(self.path.split(".")).replace("[]", ".items")

    @property
    def loop(self) -> str:
        """Return the expression that writes every value in a template."""
        member = self.toml.replace(".items", '["items"]')
        return f'{{{{ fields.{member}.enum | join(", ") }}}}'


@dataclass(frozen=True, slots=True, kw_only=True)
class LintedRung:
    """A rung with its `max_tokens`. `thinks`: thinking takes a part of them, which the schema cannot tell."""

    number: int
    model: str
    max_tokens: int
    thinks: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A pipeline as the rules see it.

    `system`: the rendered system prompt, if it is the same for every row, else None. `head`: the text that every user
    message begins with. `queries`, `variables`: the rows of `[prompt.queries]`, and the vars, that the templates use.
    `input_usd`, `cache_read_usd`: batch prices of the first rung in US dollars a token. `cached_from`: the fewest
    tokens of a prefix that its model caches. `place` returns the place of the first of some TOML paths that the file
    has, `line` the place of a template's line. `known`: findings by code that only code outside the linter can make.
    """

    prompts: Sequence[PromptText]
    system: str | None
    output_format: str
    schema: Mapping[str, Any]
    rungs: Sequence[LintedRung]
    queries: Mapping[str, Sequence[Mapping[str, Any]]]
    variables: Mapping[str, Any]
    cache: str
    place: Callable[..., str]
    line: Callable[[str, int], str]
    input_usd: Decimal | None = None
    cache_read_usd: Decimal | None = None
    head: str = ""
    cached_from: int = 0
    known: Mapping[str, Sequence[Finding]] = field(default_factory=dict)

    @property
    def labels(self) -> tuple[Labels, ...]:
        """Return every enum in the schema with two strings or more; one with more than MOST_VALUES holds no labels."""
        return tuple(_labels(self.schema, ""))

    def text(self, prompt: PromptText) -> str:
        """Return the text of the prompt that is the same for every row; rendered, if all of it is."""
        return self.system if prompt.kind == "system" and self.system is not None else prompt.text

    def field_place(self, labels: Labels) -> str:
        """Return the place where the field is defined."""
        table = f"[output.fields.{labels.toml}"
        return self.place(f"{table}.enum]", f"{table}] enum", f"{table}]", "[output] schema_file")

    def at(self, prompt: PromptText, offset: int) -> str:
        """Return the place of the character at `offset` of a prompt's text."""
        return self.line(*prompt.at(offset))


def _labels(node: Any, path: str) -> Iterator[Labels]:
    if not isinstance(node, Mapping):
        return
    values = node.get("enum")
    if path and isinstance(values, list | tuple):
        texts = tuple(each for each in values if isinstance(each, str))
        if 2 <= len(texts) <= MOST_VALUES:
            yield Labels(path=path, values=texts, description=str(node.get("description") or ""))
    properties = node.get("properties")
    for name, child in properties.items() if isinstance(properties, Mapping) else ():
        yield from _labels(child, f"{path}.{name}" if path else str(name))
    if "items" in node:
        yield from _labels(node["items"], f"{path}[]")


def listed_in_words(values: Sequence[str], most: int = 5) -> str:
    """Return the values as `a, b and c`; if there are more than `most`, as `a, b, c and 7 more`."""
    shown = [f"`{each}`" for each in values]
    if len(shown) > most:
        return f"{', '.join(shown[:most])} and {len(shown) - most:,} more"
    return " and ".join(filter(None, [", ".join(shown[:-1]), shown[-1]]))
