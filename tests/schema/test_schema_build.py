"""Tests of the full schema, and of the `fields` that templates see."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Any

import jsonschema_rs
import pytest

from batchpipe.common.errors import InternalError, PipelineError
from batchpipe.pipeline.model import Output
from batchpipe.schema.build import column_overrides, enum_queries, full_schema, template_fields


def output_of(**fields: dict[str, Any]) -> Output:
    return Output.model_validate({"fields": fields})


def schema_of(**field: Any) -> dict[str, Any]:
    """Return the schema of one field."""
    schema: dict[str, Any] = full_schema(output_of(x=field))["properties"]["x"]
    return schema


def test_objects_are_closed_and_fields_required_at_every_depth() -> None:
    inner = {"type": "object", "fields": {"a": {"type": "string"}, "b": {"type": "string", "optional": True}}}
    output = output_of(one=inner, many={"type": "array", "items": inner, "optional": True})
    closed = {
        "type": "object",
        "properties": {"a": {"type": "string"}, "b": {"type": "string"}},
        "required": ["a"],
        "additionalProperties": False,
    }
    assert full_schema(output) == {
        "type": "object",
        "properties": {"one": closed, "many": {"type": "array", "items": closed}},
        "required": ["one"],
        "additionalProperties": False,
    }


def test_keywords_keep_their_json_schema_names() -> None:
    field = {
        "type": "string",
        "description": "A code",
        "format": "email",
        "pattern": "^a",
        "minLength": 1,
        "maxLength": 9,
    }
    assert schema_of(**field) == field
    number = {
        "type": "number",
        "minimum": 0,
        "maximum": 1.5,
        "exclusiveMinimum": -1,
        "exclusiveMaximum": 2,
        "multipleOf": 0.5,
    }
    assert schema_of(**number) == number
    array = {"type": "array", "items": {"type": "integer"}, "minItems": 1, "maxItems": 2, "uniqueItems": True}
    assert schema_of(**array) == array
    assert schema_of(type="number", column="DECIMAL(12,2)") == {"type": "number"}


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ({"enum": ["a", "b"]}, {"type": "string", "enum": ["a", "b"]}),
        ({"enum": [1, 2]}, {"type": "integer", "enum": [1, 2]}),
        ({"enum": [1, 2.5]}, {"type": "number", "enum": [1, 2.5]}),
        ({"enum": [True, "x"]}, {"type": ["boolean", "string"], "enum": [True, "x"]}),
        ({"const": "v1"}, {"type": "string", "const": "v1"}),
        ({"type": ["string", "null"], "enum": ["a"]}, {"type": ["string", "null"], "enum": ["a", None]}),
        (
            {"description": "The queue", "enum": {"billing": "money", "other": ""}},
            {
                "type": "string",
                "description": "The queue\nValues:\n- billing: money\n- other",
                "enum": ["billing", "other"],
            },
        ),
        (
            {"enum": {"a": "first"}},
            {"type": "string", "description": "Values:\n- a: first", "enum": ["a"]},
        ),
        ({"enum": {"a": "", "b": ""}}, {"type": "string", "enum": ["a", "b"]}),
    ],
)
def test_enums(field: dict[str, Any], expected: dict[str, Any]) -> None:
    assert schema_of(**field) == expected


def test_an_enum_from_a_query() -> None:
    query = {"type": "string", "enum": {"query": "SELECT v"}}
    output = output_of(
        label=query,
        place={"type": "object", "fields": {"city": query}},
        tags={"type": "array", "items": {"type": "object", "fields": {"kind": query}}},
    )
    assert enum_queries(output) == {"label": "SELECT v", "place.city": "SELECT v", "tags[].kind": "SELECT v"}
    values: dict[str, Any] = {
        "label": [("a", "first"), ("b", None), ("a", "again")],
        "place.city": [("x",)],
        "tags[].kind": [(1,)],
    }
    properties = full_schema(output, values)["properties"]
    assert properties["label"] == {
        "type": "string",
        "description": "Values:\n- a: first\n- b",
        "enum": ["a", "b"],
    }
    assert properties["place"]["properties"]["city"]["enum"] == ["x"]
    assert properties["tags"]["items"]["properties"]["kind"]["enum"] == ["1"]
    assert full_schema(output)["properties"]["label"] == {"type": "string"}
    assert template_fields(output, values)["label"]["enum"] == ["a", "b"]


def test_values_of_a_query_take_the_type_of_the_field() -> None:
    def values(type: str | None, *rows: Any) -> Any:
        field = {"enum": {"query": "SELECT v"}} | ({"type": type} if type else {})
        schema = full_schema(output_of(x=field), {"x": [(row,) for row in rows]})
        return schema["properties"]["x"]["enum"]

    day = datetime.date(2026, 1, 1)
    assert values("string", 1, day, "a") == ["1", "2026-01-01", "a"]
    assert values("number", Decimal("1.5"), Decimal(2), 3) == [1.5, 2, 3]
    assert values(None, 1, 2) == [1, 2]
    with pytest.raises(PipelineError, match="the enum's query returns 'a', which is not of type integer"):
        values("integer", 1, "a")


@pytest.mark.parametrize(
    ("rows", "what"),
    [([], "the enum's query returns no row"), ([(None,)], "the enum's query returns a NULL value")],
)
def test_an_enum_query_without_values(rows: list[Any], what: str) -> None:
    output = output_of(label={"enum": {"query": "SELECT v"}})
    with pytest.raises(PipelineError) as raised:
        full_schema(output, {"label": rows})
    assert (raised.value.what, raised.value.where) == (what, "[output.fields.label] enum")
    with pytest.raises(InternalError, match="BUG"):
        full_schema(output, {})


def test_a_schema_file_is_taken_as_it_is() -> None:
    content = {
        "type": "object",
        "properties": {
            "a": {"type": "array", "items": {"enum": ["x", None]}, "description": "As"},
            "b": {"type": "object", "properties": {"c": {"const": 1}}},
        },
        "required": ["a"],
    }
    assert full_schema(Output(schema_file="x.json"), None, content) == content
    facts = template_fields(Output(schema_file="x.json"), None, content)
    assert facts["a"]["items"]["enum"] == ["x"]
    assert (facts["a"]["optional"], facts["b"]["optional"], facts["a"]["description"]) == (False, True, "As")
    assert facts["b"]["fields"]["c"]["const"] == 1


def test_facts_for_templates() -> None:
    output = output_of(
        label={"type": ["string", "null"], "enum": {"a": "first"}, "description": "The queue"},
        place={"type": "object", "fields": {"city": {"type": "string", "maxLength": 5, "optional": True}}},
        tags={"type": "array", "items": {"type": "integer"}},
    )
    facts = template_fields(output)
    assert facts["label"] == {
        "name": "label",
        "type": ["string", "null"],
        "description": "The queue",
        "optional": False,
        "enum": ["a"],
        "meanings": {"a": "first"},
    }
    assert facts["place"]["fields"]["city"]["maxLength"] == 5
    assert facts["place"]["fields"]["city"]["optional"] is True
    assert facts["tags"]["items"]["type"] == "integer"


def test_column_overrides_by_path() -> None:
    output = output_of(
        a={"type": "number", "column": "DECIMAL(9,2)"},
        b={
            "type": "array",
            "items": {"type": "object", "fields": {"c": {"type": "string", "column": "DATE"}}},
        },
    )
    assert column_overrides(output) == {"a": "DECIMAL(9,2)", "b[].c": "DATE"}


def test_every_schema_is_valid_json_schema() -> None:
    output = output_of(
        label={"enum": {"a": "first"}},
        when={"type": "string", "format": "date-time"},
        tags={"type": "array", "items": {"type": "object", "fields": {"x": {"const": True}}}},
    )
    jsonschema_rs.meta.validate(full_schema(output))
