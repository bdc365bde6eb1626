"""Conversion between the text that a person types for a field and the field's JSON value, in both directions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from batchpipe.schema import exact_json


class Absent:
    """The value of a field that is left out."""


ABSENT = Absent()


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldForm:
    """A field that a person fills in.

    `types`: the JSON Schema types of its value; empty if every type is taken. `allowed`: the only values that are taken
    (None: any value of `types`).
    """

    name: str
    types: tuple[str, ...]
    allowed: tuple[Any, ...] | None
    optional: bool

    @property
    def is_text(self) -> bool:
        """Return whether the typed text is the value itself."""
        return self.allowed is None and set(self.types) - {"null"} == {"string"}

    def value(self, text: str) -> Any:
        """Return the value that the typed `text` stands for.

        Text that stands for no value of the field is returned as text; the validator then refuses it. Empty text leaves
        an optional field out, else stands for null if the field allows null, else for "".
        """
        if not text:
            return ABSENT if self.optional else None if "null" in self.types else text
        if self.allowed is not None:
            return self._allowed_value(text)
        if self.is_text:
            return text
        return self._parsed(text)

    def text(self, value: Any) -> str:
        """Return the text to type for `value`."""
        if value is ABSENT or value is None:
            return ""
        plain = isinstance(value, str) and (self.is_text or (value and self.value(value) == value))
        return str(value) if plain else exact_json.dumps(value)

    def _allowed_value(self, text: str) -> Any:
        allowed = self.allowed or ()
        shown = [(each if isinstance(each, str) else json.dumps(each), each) for each in allowed]
        exact = [each for name, each in shown if name == text]
        folded = [each for name, each in shown if name.casefold() == text.strip().casefold()]
        return exact[0] if exact else folded[0] if len(folded) == 1 else text

    def _parsed(self, text: str) -> Any:
        word = text.strip()
        for spelling in (word, word.lower()):
            try:
                value = exact_json.loads(spelling, parse_constant=_no_number)
            except (ValueError, RecursionError):
                continue
            if not self.types or _kind(value) & set(self.types):
                return value
        return text


def field_forms(full_schema: Mapping[str, Any]) -> list[FieldForm]:
    """Return a form for each field of an answer, in the schema's order."""
    required = full_schema.get("required", ())
    return [
        FieldForm(name=name, types=_types(node), allowed=_allowed(node), optional=name not in required)
        for name, node in full_schema.get("properties", {}).items()
    ]


def _types(node: Any) -> tuple[str, ...]:
    declared = node.get("type", ()) if isinstance(node, Mapping) else ()
    return (declared,) if isinstance(declared, str) else tuple(declared)


def _allowed(node: Any) -> tuple[Any, ...] | None:
    if not isinstance(node, Mapping):
        return None
    if "const" in node:
        return (node["const"],)
    values: Sequence[Any] | None = node.get("enum")
    if values is not None:
        return tuple(each for each in values if each is not None)
    return (True, False) if _types(node) == ("boolean",) else None


def _kind(value: Any) -> set[str]:
    """Return the JSON Schema types that `value` belongs to."""
    match value:
        case None:
            return {"null"}
        case bool():
            return {"boolean"}
        case int():
            return {"integer", "number"}
        case float():
            return {"number", "integer"} if value.is_integer() else {"number"}
        case Decimal():
            return {"number", "integer"} if value == value.to_integral_value() else {"number"}
        case str():
            return {"string"}
        case list():
            return {"array"}
    return {"object"}


def _no_number(word: str) -> Any:
    raise ValueError(word)
