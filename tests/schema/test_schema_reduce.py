"""Tests of the schema that is sent for structured outputs, and of what cannot be sent."""

from __future__ import annotations

import copy
import json
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchpipe.schema.reduce import schema_problems, sent_schema


def closed(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


@pytest.mark.parametrize(
    ("full", "sent"),
    [
        ({"type": "number", "minimum": 0, "maximum": 1, "multipleOf": 0.1}, {"type": "number"}),
        ({"type": "integer", "exclusiveMinimum": 0, "exclusiveMaximum": 9}, {"type": "integer"}),
        ({"type": "string", "minLength": 1, "maxLength": 9}, {"type": "string"}),
        ({"type": "string", "format": "date-time"}, {"type": "string", "format": "date-time"}),
        ({"type": "string", "format": "regex"}, {"type": "string"}),
        (
            {"type": "string", "pattern": "^[a-z]{2}(?:x|y)$"},
            {"type": "string", "pattern": "^[a-z]{2}(?:x|y)$"},
        ),
        ({"type": "string", "pattern": "^(?=a)"}, {"type": "string"}),
        ({"type": "string", "pattern": r"(a)\1"}, {"type": "string"}),
        ({"type": "string", "pattern": r"\bx\b"}, {"type": "string"}),
        (
            {"type": "array", "items": {"type": "string", "maxLength": 3}, "minItems": 1, "maxItems": 4},
            {"type": "array", "items": {"type": "string"}, "minItems": 1},
        ),
        ({"type": "array", "minItems": 2, "uniqueItems": True}, {"type": "array"}),
        (
            {"enum": ["a", 1, None], "description": "The queue", "title": "T", "default": "a"},
            {"enum": ["a", 1, None], "description": "The queue", "title": "T", "default": "a"},
        ),
        ({"const": "v", "examples": ["v"], "$comment": "x", "deprecated": True}, {"const": "v"}),
        (
            {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}]},
            {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        ),
        (
            {"type": "object", "properties": {"a": {"type": "string", "minLength": 2}}, "minProperties": 1},
            {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": False},
        ),
        (
            {"$ref": "#/$defs/a", "$defs": {"a": {"type": "string", "maxLength": 1}}},
            {"$ref": "#/$defs/a", "$defs": {"a": {"type": "string"}}},
        ),
        (
            {
                "type": "object",
                "properties": {"minimum": {"type": "string"}, "maxLength": {"type": "number"}},
            },
            {
                "type": "object",
                "properties": {"minimum": {"type": "string"}, "maxLength": {"type": "number"}},
                "additionalProperties": False,
            },
        ),
    ],
)
def test_what_is_sent(full: dict[str, Any], sent: dict[str, Any]) -> None:
    before = copy.deepcopy(full)
    assert sent_schema(full) == sent
    assert full == before
    assert sent_schema(sent) == sent


def test_order_is_kept() -> None:
    full = closed(b={"description": "x", "type": "string"}, a={"type": "string", "maxLength": 1})
    assert json.dumps(sent_schema(full)) == json.dumps(
        closed(b={"description": "x", "type": "string"}, a={"type": "string"})
    )


@given(st.integers(-100, 100), st.integers(-100, 100), st.integers(0, 50))
def test_a_changed_bound_is_not_seen_by_the_model(low: int, high: int, length: int) -> None:
    def schema(number: int, text: int) -> dict[str, Any]:
        return closed(
            a={"type": "number", "minimum": number, "maximum": number + 5},
            b={"type": "string", "minLength": text},
        )

    assert sent_schema(schema(low, length)) == sent_schema(schema(high, length + 1))


ITEM = {"type": "string"}


@pytest.mark.parametrize(
    ("full", "path", "what"),
    [
        (
            closed(a={"oneOf": [ITEM]}),
            "$.properties.a.oneOf",
            "`oneOf` is not accepted by structured outputs",
        ),
        (closed(a={"not": ITEM}), "$.properties.a.not", "`not` is not accepted by structured outputs"),
        (
            closed(a={"if": ITEM, "then": ITEM}),
            "$.properties.a.if",
            "`if` is not accepted by structured outputs",
        ),
        (
            closed(a={"type": "array", "items": {"prefixItems": [ITEM]}}),
            "$.properties.a.items.prefixItems",
            "`prefixItems` is not accepted by structured outputs",
        ),
        (
            closed(a={"type": "object"}),
            "$.properties.a",
            "an object whose properties are not all named is not accepted",
        ),
        (
            closed(a={"type": "object", "properties": {"x": ITEM}, "additionalProperties": True}),
            "$.properties.a",
            "an object whose properties are not all named is not accepted",
        ),
        (
            closed(a={"enum": [["x"]]}),
            "$.properties.a",
            "an enum may hold only strings, numbers, booleans and null",
        ),
        (closed(a={"$ref": "other.json"}), "$.properties.a.$ref", "`$ref` to 'other.json' refers to another file"),
        (
            closed(a={"$ref": "#/$defs/no"}),
            "$.properties.a.$ref",
            "`$ref` to '#/$defs/no' refers to a definition that is not there",
        ),
        (
            closed(a={"allOf": [{"$ref": "#/$defs/x"}]}) | {"$defs": {"x": ITEM}},
            "$.properties.a.allOf",
            "`allOf` with `$ref` is not accepted",
        ),
        (closed(a={"$ref": "#"}), "$.properties.a.$ref", "the schema is recursive"),
        (
            closed(a={"$ref": "#/$defs/x"})
            | {"$defs": {"x": closed(b={"$ref": "#/$defs/y"}), "y": closed(c={"$ref": "#/$defs/x"})}},
            "#/$defs/y.properties.c.$ref",
            "the schema is recursive",
        ),
        (
            {"type": "object", "properties": {f"p{number}": ITEM for number in range(25)}},
            "$",
            "25 optional fields; structured outputs take at most 24",
        ),
        (
            closed(**{f"p{number}": {"type": ["string", "null"]} for number in range(17)}),
            "$",
            "17 fields with several types; structured outputs take at most 16",
        ),
    ],
)
def test_what_cannot_be_sent(full: dict[str, Any], path: str, what: str) -> None:
    [(found_path, found, hint)] = schema_problems(full)
    assert (found_path, found) == (path, what)
    assert hint.endswith(".")


@pytest.mark.parametrize(
    "full",
    [
        closed(a=ITEM, b={"anyOf": [ITEM, {"type": "null"}]}),
        closed(a={"$ref": "#/$defs/x"}, b={"$ref": "#/$defs/x"}) | {"$defs": {"x": ITEM}},
        {"type": "object", "properties": {"a": ITEM}},
        closed(**{f"p{number}": {"type": ["string", "null"]} for number in range(16)}),
    ],
)
def test_what_can_be_sent(full: dict[str, Any]) -> None:
    assert schema_problems(full) == []
    jsonschema_rs.meta.validate(sent_schema(full))


@given(st.dictionaries(st.sampled_from(["a", "b"]), st.sampled_from(["x", "yy", 3, 0.5, None, []]), min_size=1))
def test_what_is_valid_in_full_is_valid_as_sent(document: dict[str, Any]) -> None:
    full = {
        "type": "object",
        "properties": {
            "a": {"type": "string", "maxLength": 1},
            "b": {"anyOf": [{"type": "number", "minimum": 1}, {"type": "null"}]},
        },
        "additionalProperties": False,
    }
    assert not jsonschema_rs.is_valid(full, document) or jsonschema_rs.is_valid(sent_schema(full), document)
