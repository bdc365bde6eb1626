"""The columns of the output table, made from the full schema, and the SQL that reads an answer into them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from batchpipe.pipeline.model import Output
from batchpipe.schema.build import child_path, column_overrides, value_types
from batchpipe.schema.exact_json import LONG_NUMBER
from batchpipe.sql.quoting import Sql, json_pointer, quote_identifier, quote_literal, sql, trusted
from batchpipe.sql.types import (
    INTEGERS,
    TIMESTAMPS,
    Json,
    Many,
    Scalar,
    Shape,
    Struct,
    parse_type,
)

STRING_FORMATS = {"date": "DATE", "date-time": "TIMESTAMP", "uuid": "UUID"}
SCALARS = {"number": "DOUBLE", "integer": "BIGINT", "boolean": "BOOLEAN"}

_DAY = r"\d{4,6}-\d\d-\d\d"
_CLOCK = r"\d\d:\d\d(:\d\d(\.\d+)?)?"
_NAIVE = rf"\s*{_DAY}([ T]{_CLOCK})?\s*"
_TEXT_OR_NUMBER = r'("(?:[^"\\]|\\.)*")|(-?[0-9][0-9.eE+-]*)'
_FRACTION = "[.][0-9]*[1-9][0-9]*$"
_WITH_OFFSET = rf"\s*{_DAY}[ T]{_CLOCK}\s*(Z|[+-]\d\d(:?\d\d)?)\s*"


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """The column of a field. `shape` is its type, `type` DuckDB's name of it, `comment` the field's description.

    A column is `exact` if its type was named: its numbers are then read from the text that the answer has for them.
    """

    name: str
    type: str
    comment: str | None
    optional: bool
    shape: Shape
    exact: bool = False


def output_columns(full: Mapping[str, Any], output: Output) -> tuple[Column, ...]:
    """Return the columns of the fields, in the schema's order.

    `full` is the result of `full_schema`; the types of `column = "TYPE"` and the descriptions come from `output`.
    Raises ValueError for a type that a column cannot have.
    """
    overrides = column_overrides(output)
    required = full.get("required", ())
    columns = []
    for name, node in full.get("properties", {}).items():
        shape = _shape(node, name, overrides)
        written = output.fields.get(name)
        comment = written.description if written is not None else _description(node)
        named = any(path == name or path.startswith((f"{name}.", f"{name}[")) for path in overrides)
        columns.append(
            Column(
                name=name,
                type=shape.sql,
                comment=comment,
                optional=name not in required,
                shape=shape,
                exact=named and not _holds_json(shape),
            )
        )
    return tuple(columns)


def value_sql(column: Column, document_sql: str) -> Sql:
    """Return the SQL of the typed value of `column` in the document `document_sql` (JSON, or VARCHAR that holds JSON).

    The value is NULL if it is absent, null, or cannot be cast; in a LIST or STRUCT only that part of it is NULL.
    """
    return trusted(_value(column.shape, _Place(_readable(column, document_sql), (column.name,))))


def uncast_sql(column: Column, document_sql: str) -> Sql:
    """Return the SQL of whether the document has a value for `column`, not null, that cannot be cast; never NULL."""
    found = _uncast(column.shape, _Place(_readable(column, document_sql), (column.name,)))
    return sql("coalesce({found}, false)", found=trusted(found)) if found else Sql("false")


def takes_null(node: Any) -> bool:
    """Return whether a value of the schema `node` may be null, as far as the node itself shows."""
    if not isinstance(node, Mapping):
        return True
    if "type" in node:
        return "null" in ([node["type"]] if isinstance(node["type"], str) else node["type"])
    if "enum" in node or "const" in node:
        return None in node.get("enum", [node.get("const")])
    return True


def has_exact_numbers(shape: Shape) -> bool:
    """Return whether the type has a number of more digits than a double holds, after or before the point."""
    match shape:
        case Scalar():
            return shape.type.startswith("DECIMAL")
        case Many():
            return has_exact_numbers(shape.item)
        case Struct():
            return any(has_exact_numbers(each) for _, each in shape.fields)
    return False


def _holds_json(shape: Shape) -> bool:
    match shape:
        case Many():
            return _holds_json(shape.item)
        case Struct():
            return any(_holds_json(each) for _, each in shape.fields)
    return isinstance(shape, Json)


def _readable(column: Column, document: str) -> str:
    """Return the SQL of `document` in which numbers are texts, for an exact column: DuckDB reads a number as a double.

    The character U+0001, which no JSON holds, marks where a number begins and ends; a text gets two of them.
    """
    if not column.exact:
        return document
    text = f"CAST({document} AS VARCHAR)"
    marked = f"regexp_replace({text}, {quote_literal(_TEXT_OR_NUMBER)}, '\\1' || chr(1) || '\\2' || chr(1), 'g')"
    quoted = f"replace(replace({marked}, chr(1) || chr(1), ''), chr(1), '\"')"
    return f"(CASE WHEN regexp_matches({text}, {quote_literal(LONG_NUMBER)}) THEN {quoted} ELSE {text} END)"


def _description(node: Any) -> str | None:
    return node.get("description") if isinstance(node, Mapping) else None


def _shape(node: Any, path: str, overrides: Mapping[str, str]) -> Shape:
    if path in overrides:
        return parse_type(overrides[path])
    if not isinstance(node, Mapping):
        return Json()
    if any(keyword in node for keyword in ("$ref", "oneOf", "allOf", "not", "if")):
        return Json()
    if "anyOf" in node:
        return _any_of(node["anyOf"], path, overrides)
    types = _types(node)
    match types:
        case ["string"]:
            return Scalar(STRING_FORMATS.get(node.get("format", ""), "VARCHAR"))
        case ["number" | "integer" | "boolean"]:
            return Scalar(SCALARS[types[0]])
        case ["array"]:
            return Json() if "prefixItems" in node else Many(_shape(node.get("items"), f"{path}[]", overrides))
        case ["object"]:
            return _struct(node, path, overrides)
        case _:
            return Json()


def _any_of(branches: Any, path: str, overrides: Mapping[str, str]) -> Shape:
    """Return the type JSON for a union, unless it is one type or null."""
    real = [branch for branch in branches if branch != {"type": "null"}]
    return _shape(real[0], path, overrides) if len(real) == 1 and len(branches) == 2 else Json()


def _types(node: Mapping[str, Any]) -> list[str]:
    """Return the types of a node without null: those it names, else those of its allowed values."""
    declared = node.get("type")
    if declared is None:
        values = [node["const"]] if "const" in node else node.get("enum", [])
        declared = list(value_types(values))
    names = [declared] if isinstance(declared, str) else list(declared)
    return [name for name in names if name != "null"]


def _struct(node: Mapping[str, Any], path: str, overrides: Mapping[str, str]) -> Shape:
    properties = node.get("properties") or {}
    names = {name.lower() for name in properties}
    open_object = node.get("additionalProperties", False) is not False or "patternProperties" in node
    if not properties or open_object or len(names) < len(properties) or "" in names:
        return Json()
    return Struct(tuple((name, _shape(child, child_path(path, name), overrides)) for name, child in properties.items()))


@dataclass(frozen=True, slots=True)
class _Place:
    """A value in a JSON document: the document's SQL and the keys that lead to the value."""

    document: str
    keys: tuple[str, ...] = ()
    depth: int = 0

    @property
    def _path(self) -> str:
        """Return the path as a JSON pointer; the document itself is `$`."""
        return quote_literal(json_pointer(*self.keys) or "$")

    @property
    def text(self) -> str:
        return f"json_extract_string({self.document}, {self._path})"

    @property
    def json(self) -> str:
        return f"json_extract({self.document}, {self._path})"

    @property
    def kind(self) -> str:
        return f"json_type({self.document}, {self._path})"

    @property
    def items(self) -> str:
        return f"TRY_CAST({self.json} AS JSON[])"

    @property
    def item(self) -> _Place:
        return _Place(f"item{self.depth}", (), self.depth + 1)

    def child(self, key: str) -> _Place:
        return _Place(self.document, (*self.keys, key), self.depth)


def _value(shape: Shape, place: _Place) -> str:
    match shape:
        case Json():
            return f"nullif({place.json}, 'null')"
        case Scalar():
            return _scalar(shape.type, place.text)
        case Many():
            item = place.item
            return f"list_transform({place.items}, lambda {item.document}: {_value(shape.item, item)})"
        case Struct():
            parts = (f"{quote_identifier(name)} := {_value(each, place.child(name))}" for name, each in shape.fields)
            return f"CASE WHEN {place.kind} = 'OBJECT' THEN struct_pack({', '.join(parts)}) END"


def _scalar(name: str, text: str) -> str:
    if name == "VARCHAR":
        return text
    if name in TIMESTAMPS:
        moment = _utc(text)
        return moment if name == "TIMESTAMP" else f"TRY_CAST({moment} AS {name})"
    if name in INTEGERS:
        # The comparison refuses '5.7', which a cast rounds to 6, and '0x10', which a cast takes for 16. Of a
        # fraction with more digits than a double holds it would see too few.
        number = f"TRY_CAST({text} AS DOUBLE)"
        fraction = f"(contains({text}, '.') AND regexp_matches({text}, {quote_literal(_FRACTION)}))"
        return f"CASE WHEN {number} = trunc({number}) AND NOT {fraction} THEN TRY_CAST({text} AS {name}) END"
    if name == "FLOAT":  # a cast makes infinity of what is too large
        return f"CASE WHEN isfinite(TRY_CAST({text} AS FLOAT)) THEN TRY_CAST({text} AS FLOAT) END"
    return f"TRY_CAST({text} AS {name})"


def _utc(text: str) -> str:
    """Return the SQL of a moment in UTC. A mere cast to TIMESTAMP drops the offset; one to TIMESTAMPTZ uses the
    session's time zone.
    """
    upper = f"upper({text})"
    with_offset = f"make_timestamp(epoch_us(TRY_CAST({upper} AS TIMESTAMPTZ)))"
    return (
        f"CASE WHEN regexp_full_match({upper}, {quote_literal(_WITH_OFFSET)}) THEN {with_offset} "
        f"WHEN regexp_full_match({upper}, {quote_literal(_NAIVE)}) THEN TRY_CAST({upper} AS TIMESTAMP) END"
    )


def _uncast(shape: Shape, place: _Place) -> str:
    """Return the SQL of whether something at `place` cannot be cast, which may be NULL; "" if everything can."""
    match shape:
        case Json() | Scalar(type="VARCHAR"):
            return ""
        case Scalar():
            return f"({place.text} IS NOT NULL AND {_value(shape, place)} IS NULL)"
        case Many():
            item = place.item
            inner = _uncast(shape.item, item)
            other = f"coalesce({place.kind} NOT IN ('ARRAY', 'NULL'), false)"
            if not inner:
                return other
            offenders = f"list_filter({place.items}, lambda {item.document}: {inner})"
            return f"({other} OR coalesce(len({offenders}) > 0, false))"
        case Struct():
            other = f"coalesce({place.kind} NOT IN ('OBJECT', 'NULL'), false)"
            parts = [_uncast(each, place.child(name)) for name, each in shape.fields]
            return f"({' OR '.join([other, *(part for part in parts if part)])})"
