"""Tests of the columns of the output table, and of the SQL that reads documents into them, on a real DuckDB."""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any
from uuid import UUID

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchpipe.pipeline.model import Output
from batchpipe.schema.build import full_schema
from batchpipe.schema.columns import Column, output_columns, uncast_sql, value_sql
from batchpipe.sql.types import parse_type

moment = datetime.datetime.fromisoformat


def column_of(field: dict[str, Any], name: str = "x") -> Column:
    output = Output.model_validate({"fields": {name: field}})
    [column] = output_columns(full_schema(output), output)
    return column


def columns_of_schema(properties: dict[str, Any]) -> dict[str, str]:
    columns = output_columns({"type": "object", "properties": properties}, Output())
    return {column.name: column.type for column in columns}


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        connection.execute("SET timezone = 'America/New_York'")
        yield connection


def read(connection: duckdb.DuckDBPyConnection, column: Column, document: str) -> tuple[Any, bool, bool]:
    """Return (value, uncast, whether the value has the column's type) of `document`."""
    value = value_sql(column, "d.document")
    same = f"typeof({value}) = typeof(NULL::{column.type})"
    sql = f"SELECT {value}, {uncast_sql(column, 'd.document')}, {same} FROM (SELECT ?::JSON AS document) d"
    row = connection.execute(sql, [document]).fetchone()
    assert row is not None
    return row


STRUCT = {"type": "object", "fields": {"a b": {"type": "integer"}, "c": {"type": "string", "format": "date"}}}
MOMENT = {"type": "string", "format": "date-time"}


@pytest.mark.parametrize(
    ("field", "type", "value", "expected"),
    [
        ({"type": "string"}, "VARCHAR", "a'b\"c\u0000", "a'b\"c\u0000"),
        ({"type": ["string", "null"]}, "VARCHAR", "x", "x"),
        ({"enum": ["a", "b"]}, "VARCHAR", "a", "a"),
        ({"enum": [1, 2]}, "BIGINT", 1, 1),
        ({"enum": [1, 2.5]}, "DOUBLE", 1, 1.0),
        ({"type": "number"}, "DOUBLE", 0.1, 0.1),
        ({"type": "integer"}, "BIGINT", 9_007_199_254_740_993, 9_007_199_254_740_993),
        ({"type": "integer"}, "BIGINT", 5.0, 5),
        ({"type": "boolean"}, "BOOLEAN", False, False),
        ({"type": "string", "format": "date"}, "DATE", "2026-02-28", datetime.date(2026, 2, 28)),
        ({"type": "string", "format": "uuid"}, "UUID", "00000000-0000-0000-0000-00000000000a", UUID(int=10)),
        (MOMENT, "TIMESTAMP", "2026-01-01T10:00:00Z", moment("2026-01-01 10:00:00")),
        (MOMENT, "TIMESTAMP", "2026-01-01t10:00:00.25z", moment("2026-01-01 10:00:00.250000")),
        (MOMENT, "TIMESTAMP", "2026-01-01T01:30:00+05:30", moment("2025-12-31 20:00:00")),
        (MOMENT, "TIMESTAMP", "2026-01-01 10:00:00-0300", moment("2026-01-01 13:00:00")),
        (MOMENT, "TIMESTAMP", "2026-01-01T10:00:00", moment("2026-01-01 10:00:00")),
        (
            {"type": "number", "column": "decimal(12, 2)"},
            "DECIMAL(12,2)",
            1234567890.12,
            Decimal("1234567890.12"),
        ),
        ({"type": "string", "column": "INTEGER"}, "INTEGER", "12", 12),
        ({"type": "integer", "column": "HUGEINT"}, "HUGEINT", 2**100, 2**100),
        ({"type": "array", "items": {"type": "string"}}, "VARCHAR[]", ["a", None], ["a", None]),
        ({"type": "array", "items": {"type": "string"}}, "VARCHAR[]", [], []),
        (
            {"type": "array", "items": {"type": "array", "items": MOMENT}},
            "TIMESTAMP[][]",
            [["2026-01-01T10:00:00+01:00"]],
            [[moment("2026-01-01 09:00:00")]],
        ),
        (
            {"type": "array", "items": {"type": "number", "column": "DECIMAL(9,2)"}},
            "DECIMAL(9,2)[]",
            [1.1],
            None,
        ),
        (
            STRUCT,
            'STRUCT("a b" BIGINT, "c" DATE)',
            {"a b": 1, "c": "2026-01-01", "extra": 1},
            {"a b": 1, "c": datetime.date(2026, 1, 1)},
        ),
        (
            {"type": "array", "items": STRUCT, "column": "STRUCT(amount DECIMAL(12,2), days DATE[])[]"},
            'STRUCT("amount" DECIMAL(12,2), "days" DATE[])[]',
            [{"amount": 1.25, "days": ["2026-01-01"]}],
            [{"amount": Decimal("1.25"), "days": [datetime.date(2026, 1, 1)]}],
        ),
        ({"type": ["string", "integer"]}, "JSON", "5", '"5"'),
        (STRUCT | {"column": "JSON"}, "JSON", {"z": 1}, '{"z":1}'),
    ],
)
def test_types_and_values(
    connection: duckdb.DuckDBPyConnection, field: dict[str, Any], type: str, value: Any, expected: Any
) -> None:
    column = column_of(field)
    found, uncast, same_type = read(connection, column, json.dumps({"x": value}))
    assert (column.type, uncast, same_type) == (type, False, True)
    if expected is not None:
        assert found == expected


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ({"type": "number"}, "high", None),
        ({"type": "integer"}, 5.5, None),
        ({"type": "integer"}, "0x10", None),
        ({"type": "integer"}, 2**63, None),
        ({"type": "boolean"}, "perhaps", None),
        ({"type": "string", "format": "date"}, "2026-02-30", None),
        ({"type": "string", "format": "uuid"}, "x", None),
        (MOMENT, "2026-01-01T23:59:60Z", None),
        (MOMENT, "2026-01-01T10:00:00 Europe/Berlin", None),
        (MOMENT, "infinity", None),
        (MOMENT, {"a": 1}, None),
        ({"type": "number", "column": "DECIMAL(4,2)"}, 123.4, None),
        ({"type": "array", "items": {"type": "integer"}}, {"a": 1}, None),
        ({"type": "array", "items": {"type": "integer"}}, [1, "x"], [1, None]),
        ({"type": "array", "items": STRUCT}, [{"a b": 1}, 5], [{"a b": 1, "c": None}, None]),
        (STRUCT, [1], None),
        (STRUCT, {"a b": "x", "c": "2026-01-01"}, {"a b": None, "c": datetime.date(2026, 1, 1)}),
    ],
)
def test_values_that_do_not_cast(
    connection: duckdb.DuckDBPyConnection, field: dict[str, Any], value: Any, expected: Any
) -> None:
    found, uncast, _ = read(connection, column_of(field), json.dumps({"x": value}))
    assert uncast is True
    assert found == expected


@pytest.mark.parametrize("document", ['{"x":null}', "{}", "[]", "null", "5", '"x"', '{"y":1}'])
@pytest.mark.parametrize(
    "field", [{"type": "string"}, {"type": "integer"}, MOMENT, STRUCT, {"type": "array", "items": STRUCT}]
)
def test_what_is_absent_or_null(connection: duckdb.DuckDBPyConnection, field: dict[str, Any], document: str) -> None:
    assert read(connection, column_of(field), document)[:2] == (None, False)
    assert read(connection, column_of({"type": ["string", "integer"]}), document)[:2] == (None, False)


@pytest.mark.parametrize(
    "name", ["a.b", "a/b", "a~b", 'a"b', "a'b", "größe", "*", "$", "0", "a b", "select", "#", "[0]"]
)
def test_any_field_name(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    nested = {"type": "object", "fields": {name: {"type": "array", "items": {"type": "integer"}}}}
    assert read(connection, column_of({"type": "integer"}, name), json.dumps({name: 7}))[:2] == (7, False)
    document = json.dumps({name: {name: [7]}})
    assert read(connection, column_of(nested, name), document)[:2] == ({name: [7]}, False)


def test_columns_of_a_schema_file() -> None:
    assert columns_of_schema(
        {
            "reference": {"$ref": "#/$defs/x"},
            "nullable": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
            "union": {"anyOf": [{"type": "integer"}, {"type": "string"}]},
            "open": {"type": "object"},
            "open_too": {
                "type": "object",
                "properties": {"a": {}},
                "additionalProperties": {"type": "string"},
            },
            "closed": {"type": "object", "properties": {"a": {"type": "string"}}},
            "clash": {"type": "object", "properties": {"a": {}, "A": {}}},
            "any": {},
            "yes": True,
            "list": {"type": "array"},
            "tuple": {"type": "array", "prefixItems": [{}]},
            "constant": {"const": True},
            "nothing": {"type": "null"},
        }
    ) == {
        "reference": "JSON",
        "nullable": "BIGINT",
        "union": "JSON",
        "open": "JSON",
        "open_too": "JSON",
        "closed": 'STRUCT("a" VARCHAR)',
        "clash": "JSON",
        "any": "JSON",
        "yes": "JSON",
        "list": "JSON[]",
        "tuple": "JSON",
        "constant": "BOOLEAN",
        "nothing": "JSON",
    }


def test_comments_are_the_descriptions_as_written() -> None:
    column = column_of({"type": "string", "description": "Queue", "enum": {"a": "first"}, "optional": True})
    assert (column.comment, column.optional) == ("Queue", True)
    [described] = output_columns({"properties": {"x": {"description": "From a file"}}}, Output())
    assert described.comment == "From a file"


def test_an_override_deep_inside() -> None:
    inner = {"type": "object", "fields": {"amount": {"type": "number", "column": "DECIMAL(12,2)"}}}
    column = column_of({"type": "array", "items": inner})
    assert column.type == 'STRUCT("amount" DECIMAL(12,2))[]'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("int", "INTEGER"),
        (" Decimal ( 10 ) ", "DECIMAL(10,0)"),
        ("numeric", "DECIMAL(18,3)"),
        ("text[][]", "VARCHAR[][]"),
        ('STRUCT("a ""b" int, c STRUCT(d JSON)[])', 'STRUCT("a ""b" INTEGER, "c" STRUCT("d" JSON)[])'),
        ("timestamptz", "TIMESTAMPTZ"),
    ],
)
def test_column_types(connection: duckdb.DuckDBPyConnection, text: str, expected: str) -> None:
    sql = parse_type(text).sql
    assert sql == expected
    connection.execute(f"SELECT NULL::{sql}")


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "'a type' is missing"),
        ("DECIMAL(39,2)", "at most 38 digits"),
        ("DECIMAL(4,5)", "no more of them after the point"),
        ("DECIMAL(a)", "'a' is not a number of digits"),
        ("DECIMAL(4", "is missing"),
        ("INTEGER; DROP TABLE x", "';' is not part of a type"),
        ("INTEGER) --", "'-' is not part of a type"),
        ("INTEGER x", "'x' after the type is not understood"),
        ("INTEGER[3]", "fixed length"),
        ("STRUCT(a INT, A INT)", "there twice"),
        ("STRUCT()", "a field name is missing"),
        ("STRUCT(a)", "is not a type that a column can have"),
        ("money", "'money' is not a type that a column can have"),
        ("MAP(VARCHAR, INT)", "'MAP' is not a type that a column can have"),
    ],
)
def test_what_is_no_column_type(text: str, what: str) -> None:
    with pytest.raises(ValueError, match=re.escape(what)):
        parse_type(text)


FIELDS: list[dict[str, Any]] = [
    {"type": "string"},
    {"type": "number"},
    {"type": "integer"},
    {"type": "boolean"},
    {"type": "string", "format": "date"},
    MOMENT,
    {"type": "string", "format": "uuid"},
    {"type": "number", "column": "DECIMAL(12,2)"},
    {"type": ["string", "integer"]},
    {"type": "array", "items": MOMENT},
    STRUCT,
    {"type": "array", "items": {"type": "object", "fields": {"x": {"type": "array", "items": STRUCT}}}},
]
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
    | st.sampled_from(["2026-01-01", "2026-01-01T10:00:00+02:00", "1e3", "nan", "infinity", "epoch", "true"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["x", "a b", "c"]), inner, max_size=3),
    max_leaves=6,
)
SCALAR_COUNT = 9


@settings(max_examples=60, deadline=None)
@given(st.lists(VALUES, min_size=1, max_size=5))
def test_no_json_is_an_error_and_every_lost_value_is_told(
    connection: duckdb.DuckDBPyConnection, values: list[Any]
) -> None:
    for number, field in enumerate(FIELDS):
        column = column_of(field)
        sql = f"SELECT {value_sql(column, 'd')}, {uncast_sql(column, 'd')} FROM (SELECT unnest(?::JSON[]) AS d)"
        rows = connection.execute(sql, [[json.dumps({"x": value}) for value in values]]).fetchall()
        for value, (read_value, uncast) in zip(values, rows, strict=True):
            if number < SCALAR_COUNT:
                assert (read_value is None) == (value is None or uncast)
            elif read_value is None:
                assert value is None or uncast


@pytest.mark.parametrize(
    ("type", "number", "expected"),
    [
        ("DECIMAL(20,2)", "123456789012345678.91", "123456789012345678.91"),
        ("DECIMAL(20,2)", "19.999", "20.00"),
        ("DECIMAL(20,2)", "19.995", "20.00"),
        ("DECIMAL(20,2)", "-0.005", "-0.01"),
        ("DECIMAL(20,2)", "19.99499999999999999999", "19.99"),
        ("DECIMAL(20,2)", "1e2", "100.00"),
        ("DECIMAL(20,2)", "9999999999999999999.99", None),
        ("DECIMAL(38,0)", "12345678901234567890123456789012345678", "12345678901234567890123456789012345678"),
        ("DECIMAL(38,20)", "0.12345678901234567890", "0.12345678901234567890"),
        ("BIGINT", "9007199254740993", "9007199254740993"),
        ("BIGINT", "9007199254740993.1", None),
        ("BIGINT", "9223372036854775808", None),
        ("BIGINT", "1.5e1", "15"),
        ("BIGINT", "5.7", None),
        ("HUGEINT", "170141183460469231731687303715884105727", "170141183460469231731687303715884105727"),
        ("DOUBLE", "0.1234567890123456789", "0.12345678901234568"),
        ("FLOAT", "1e39", None),
        ("VARCHAR", "123456789012345678.91", "123456789012345678.91"),
    ],
)  # fmt: skip
def test_a_number_is_read_from_its_text(
    connection: duckdb.DuckDBPyConnection, type: str, number: str, expected: str | None
) -> None:
    items = {"type": "object", "fields": {"n": {"type": "number", "column": type}, "of 1": {"type": "string"}}}
    for field, document in (
        ({"type": "number", "column": type}, f'{{"before":"1234567890123456.5 \\" 7","x":{number}}}'),
        ({"type": "array", "items": items}, f'{{"x":[{{"n":{number},"of 1":"a \\\\ 12345678901234567"}}]}}'),
    ):
        column = column_of(field)
        value = value_sql(column, "d.document")
        read_value = value if column.type == type else f"({value})[1].n"
        beside = "NULL" if column.type == type else f'({value})[1]."of 1"'
        row = connection.execute(
            f"SELECT ({read_value})::VARCHAR, {uncast_sql(column, 'd.document')}, {beside} "
            "FROM (SELECT ?::JSON AS document) d",
            [document],
        ).fetchone()
        assert row is not None
        assert row[:2] == (expected, expected is None)
        assert row[2] == (None if column.type == type else "a \\ 12345678901234567")


@pytest.mark.parametrize(
    ("type", "text", "expected"),
    [
        ("TIMESTAMP_NS", "2024-01-01T10:00:00.123456789Z", "2024-01-01 10:00:00.123456789"),
        ("TIMESTAMP_NS", "2024-01-01T10:00:00.123456789+02:00", "2024-01-01 08:00:00.123456789"),
        ("TIMESTAMP_NS", "2024-01-01 10:00:00.123456789", "2024-01-01 10:00:00.123456789"),
        ("TIMESTAMP_NS", "2024-01-01 10:00:00.1234567891", None),
        ("TIMESTAMP_NS", "2300-01-01T10:00:00Z", None),
        ("TIMESTAMP", "2024-01-01 10:00:00.123456000Z", "2024-01-01 10:00:00.123456"),
        ("TIMESTAMP", "2024-01-01 10:00:00.1234567Z", None),
        ("TIMESTAMP", "2024-01-05", "2024-01-05 00:00:00"),
        ("TIMESTAMP_MS", "2024-01-01T10:00:00.999000+00:00", "2024-01-01 10:00:00.999"),
        ("TIMESTAMP_MS", "2024-01-01 10:00:00.9999", None),
        ("TIMESTAMP_S", "2024-01-01T10:00:00.000Z", "2024-01-01 10:00:00"),
        ("TIMESTAMP_S", "2024-01-01T10:00:00.6Z", None),
        ("TIMESTAMPTZ", "2024-01-01T10:00:00.5+02:00", "2024-01-01 03:00:00.5-05"),
        ("TIMESTAMPTZ", "2024-01-01 10:00:00 Europe/Berlin", "2024-01-01 04:00:00-05"),
        ("TIMESTAMPTZ", "2024-01-01 10:00:00.1234567Z", None),
        ("DATE", "2024-01-05", "2024-01-05"),
        ("DATE", "2024/1/5", "2024-01-05"),
        ("DATE", "2024-01-05T00:00:00Z", "2024-01-05"),
        ("DATE", "2024-01-05 00:00:00.000+00:00", "2024-01-05"),
        ("DATE", "2024-01-05 00:00", "2024-01-05"),
        ("DATE", "2024-01-05T23:00:00-05:00", None),
        ("DATE", "2024-01-05T00:00:00-05:00", None),
        ("DATE", "2024-01-05 10:00:00", None),
        ("TIME", "10:00:00.250000000", "10:00:00.25"),
        ("TIME", "9:05", "09:05:00"),
        ("TIME", "10:00:00Z", "10:00:00"),
        ("TIME", "10:00:00+02:00", None),
        ("TIME", "10:00:00.1234567", None),
        ("TIME", "2024-01-01 10:00:00", None),
        ("INTERVAL", "1 day 00:00:00.5", "1 day 00:00:00.5"),
        ("INTERVAL", "0.1234567 seconds", None),
        ("DOUBLE", "1e308", "1e+308"),
        ("DOUBLE", "-1e309", None),
        ("DOUBLE", "infinity", "inf"),
        ("FLOAT", "1e39", None),
        ("DECIMAL(20,2)", "123456789012345678.91", "123456789012345678.91"),
        ("BIGINT", "123456789012345678", "123456789012345678"),
        ("BIGINT", "1.2345678901234567891e17", None),
        ("BIGINT", "90071992547409935e-1", None),
        ("BIGINT", "15e3", "15000"),
        ("BLOB", "\u0001", "\\x01"),
    ],
)  # fmt: skip
def test_a_text_is_read_whole_or_not_at_all(
    connection: duckdb.DuckDBPyConnection, type: str, text: str, expected: str | None
) -> None:
    struct = f"STRUCT(at {type}, of JSON)[]"
    for kind, value, path in (
        (type, text, ""),
        (f"{type}[]", [text], "[1]"),
        (struct, [{"at": text, "of": 0.12345678901234567}], "[1].at"),
    ):
        column = column_of({"column": kind})
        read_value, uncast = value_sql(column, "d"), uncast_sql(column, "d")
        statement = f"SELECT ({read_value}){path}::VARCHAR, {uncast} FROM (SELECT ?::JSON AS d)"
        assert connection.execute(statement, [json.dumps({"x": value})]).fetchone() == (expected, expected is None)


def test_numbers_keep_their_digits_beside_json_and_within_it(connection: duckdb.DuckDBPyConnection) -> None:
    amount = {"type": "number", "column": "DECIMAL(20,2)"}
    loose = {"type": ["string", "number"]}
    item = {"type": "object", "fields": {"amount": amount, "loose": loose, "many": {"type": "array"}}}
    long = "123456789012345678.91"
    document = f'{{"x":[{{"amount":{long},"loose":"{long}","many":[{long},{{"a \\"b":[{long},"1"]}},null,true]}},'
    document += f'{{"amount":5,"loose":{long}}}]}}'
    text = "list_transform(v, lambda i: [i.amount::VARCHAR, i.loose::VARCHAR, i.many::VARCHAR])"
    column = column_of({"type": "array", "items": item})
    statement = f"SELECT {text} FROM (SELECT {value_sql(column, 'd')} AS v FROM (SELECT ?::JSON AS d))"
    [found] = connection.execute(statement, [document]).fetchone() or ()
    assert found[0][:2] == [long, f'"{long}"']
    assert found[0][2] == f'[{long}, {{"a \\"b":[{long},"1"]}}, NULL, true]'
    assert found[1] == ["5.00", long, None]
    alone = column_of(loose | {"column": "JSON"})
    for value in (long, f'"{long}"', f'{{"a":[{long}]}}'):
        assert read(connection, alone, f'{{"x":{value}}}')[:2] == (value, False)
    named = column_of({"type": "object", "fields": {"a": {"type": "number"}}, "column": "VARCHAR"})
    assert read(connection, named, f'{{"x":{{"a":{long}}}}}')[0] == f'{{"a":{long}}}'


def test_a_field_is_read_under_its_older_name_where_the_newer_one_is_absent(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    column = column_of({"type": "number", "column": "DECIMAL(30,10)", "renamed_from": "o/ld"})
    long = "98765432109876543210.98"
    for document, expected, uncast in (
        (f'{{"o/ld":{long},"y":1}}', Decimal(long), False),
        (f'{{"o/ld":1,"x":{long}}}', Decimal(long), False),
        ('{"o/ld":1,"x":null}', None, False),
        ('{"o/ld":null}', None, False),
        ('{"o/ld":"much"}', None, True),
        ('{"o/ld":"much","x":1}', Decimal(1), False),
        ("{}", None, False),
        ("[]", None, False),
    ):
        assert read(connection, column, document)[:2] == (expected, uncast)
    inner = {"type": "object", "fields": {"a": {"type": ["string", "null"]}}, "renamed_from": "old"}
    assert read(connection, column_of(inner), '{"old":{"a":null}}')[:2] == ({"a": None}, False)
    assert read(connection, column_of(inner | {"column": "JSON"}), '{"old":{"a":null}}')[0] == '{"a":null}'
