"""What the linter looks at, as plain values, and what it finds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from batchpipe.template.texts import Part

MOST_VALUES = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One finding of a rule: what is so, with the figures, where, and the edit that mends it."""

    what: str
    where: str
    hint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """The values of an enum of strings. `path` is the field's: `label`, `items[].kind`."""

    path: str
    values: tuple[str, ...]
    description: str

    @property
    def toml(self) -> str:
        """The field as a table of the pipeline file: `supplier.fields.kind`, `tags.items`."""
        return ".fields.".join(self.path.split(".")).replace("[]", ".items")

    @property
    def loop(self) -> str:
        """What a template writes to name every value."""
        member = self.toml.replace(".items", '["items"]')
        return f'{{{{ fields.{member}.enum | join(", ") }}}}'


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """A rung's room for an answer; `thinks` where thinking or effort takes a part of it that no schema knows."""

    number: int
    model: str
    max_tokens: int
    thinks: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A pipeline as the rules see it.

    `system` is the rendered system prompt where it is the same for every row, else None; `queries` the rows of
    those `[prompt.queries]` that the templates use, `variables` such vars. Prices are the first rung's at the
    batch tier, US dollars a token. `place` gives the place of the first of some TOML paths that the file has,
    `line` that of a line of a template. `known` are findings that only the outside can tell, by code.
    `head` is what every user message begins with, `cached_from` how many tokens the first rung's model must find alike.
    """

    parts: Sequence[Part]
    system: str | None
    output_format: str
    schema: Mapping[str, Any]
    rooms: Sequence[Room]
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
        """Every enum of two or more strings in the schema; beyond MOST_VALUES it is a register, not labels."""
        return tuple(_labels(self.schema, ""))

    def text(self, part: Part) -> str:
        """The part as far as it is the same for every row: rendered where that is known."""
        return self.system if part.kind == "system" and self.system is not None else part.text

    def field_place(self, labels: Labels) -> str:
        """Where the field is defined."""
        table = f"[output.fields.{labels.toml}"
        return self.place(f"{table}.enum]", f"{table}] enum", f"{table}]", "[output] schema_file")

    def at(self, part: Part, offset: int) -> str:
        """Where the character at `offset` of a part's text stands."""
        return self.line(*part.at(offset))


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


def listed(values: Sequence[str], most: int = 5) -> str:
    """`a, b and c`; beyond `most` of them `a, b, c and 7 more`."""
    shown = [f"`{each}`" for each in values]
    if len(shown) > most:
        return f"{', '.join(shown[:most])} and {len(shown) - most:,} more"
    return " and ".join(filter(None, [", ".join(shown[:-1]), shown[-1]]))
