"""The columns of the output table, made from the full schema, and the SQL that reads an answer into them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from batchpipe.pipeline.model import Output
from batchpipe.schema.build import child_path, column_overrides, value_types
from batchpipe.schema.casts import scalar_sql
from batchpipe.schema.exact_json import LONG_NUMBER
from batchpipe.sql.quoting import Sql, json_pointer, quote_identifier, quote_literal, sql, trusted
from batchpipe.sql.types import (
    Json,
    Many,
    Scalar,
    Shape,
    Struct,
    parse_type,
)

STRING_FORMATS = {"date": "DATE", "date-time": "TIMESTAMP", "uuid": "UUID"}
SCALARS = {"number": "DOUBLE", "integer": "BIGINT", "boolean": "BOOLEAN"}

_NUMBER = "-?[0-9][0-9.eE+-]*"
_TEXT_OR_NUMBER = rf'("(?:[^"\\]|\\.)*")|({_NUMBER})'
# What `_readable` makes of a number: a text that begins with U+0001. Whole, and as JSON writes it.
_MARKED = rf"^\x01({_NUMBER})$"
_MARKED_JSON = rf'"\\u0001({_NUMBER})"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """The column of a field. `shape` is its type, `type` DuckDB's name of it, `comment` the field's description.

    A column is `exact` if its type was named or holds JSON: its numbers are then read from the text that the answer has
    for them. `older` is the name that the field had before: it is read where a document lacks the present one.
    """

    name: str
    type: str
    comment: str | None
    optional: bool
    shape: Shape
    exact: bool = False
    older: str | None = None


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
                exact=named or "JSON" in leaf_types(shape),
                older=written.renamed_from if written is not None else None,
            )
        )
    return tuple(columns)


def value_sql(column: Column, document_sql: str) -> Sql:
    """Return the SQL of the typed value of `column` in the document `document_sql` (JSON, or VARCHAR that holds JSON).

    The value is NULL if it is absent, null, or cannot be cast; in a LIST or STRUCT only that part of it is NULL.
    """
    return trusted(_by_name(column, document_sql, _value))


def uncast_sql(column: Column, document_sql: str) -> Sql:
    """Return the SQL of whether the document has a value for `column`, not null, that cannot be cast; never NULL."""
    found = _by_name(column, document_sql, _uncast)
    return sql("coalesce({found}, false)", found=trusted(found)) if found else Sql("false")


def _by_name(column: Column, document: str, read: Callable[[Shape, _Place], str]) -> str:
    """Return the SQL that `read` gives for the column's place in `document`, under the name that the field has there.

    "" where `read` gives that.
    """
    readable = _readable(document) if column.exact else document
    now, before = (
        read(column.shape, _Place(readable, (name,), column.exact)) if name is not None else ""
        for name in (column.name, column.older)
    )
    if not before:
        return now
    has_now, has_before = (
        f"json_exists({document}, {quote_literal(json_pointer(name))})" for name in (column.name, column.older or "")
    )
    return f"CASE WHEN {has_before} AND NOT {has_now} THEN {before} ELSE {now} END"


def takes_null(node: Any) -> bool:
    """Return whether a value of the schema `node` may be null, as far as the node itself shows."""
    if not isinstance(node, Mapping):
        return True
    if "type" in node:
        return "null" in ([node["type"]] if isinstance(node["type"], str) else node["type"])
    if "enum" in node or "const" in node:
        return None in node.get("enum", [node.get("const")])
    return True


def leaf_types(shape: Shape) -> Iterator[str]:
    """Yield the types of the single values of a type: its own, or those within its lists and structs."""
    match shape:
        case Many():
            yield from leaf_types(shape.item)
        case Struct():
            for _, each in shape.fields:
                yield from leaf_types(each)
        case _:
            yield shape.sql


def has_exact_numbers(shape: Shape) -> bool:
    """Return whether the type has a number of more digits than a double holds, after or before the point."""
    return any(each.startswith("DECIMAL") for each in leaf_types(shape))


def _readable(document: str) -> str:
    """Return the SQL of `document` in which numbers are marked texts: DuckDB reads a number as a double.

    The raw characters U+0001 and U+0002, which no JSON holds, stand before and after a number; a text gets both of them
    at its end.
    """
    text = f"CAST({document} AS VARCHAR)"
    found = f"regexp_replace({text}, {quote_literal(_TEXT_OR_NUMBER)}, '\\1' || chr(1) || '\\2' || chr(2), 'g')"
    numbers = f"replace({found}, chr(1) || chr(2), '')"
    marked = f"replace(replace({numbers}, chr(1), '\"\\u0001'), chr(2), '\"')"
    return f"(CASE WHEN regexp_matches({text}, {quote_literal(LONG_NUMBER)}) THEN {marked} ELSE {text} END)"


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
    """A value in a JSON document: the document's SQL and the keys that lead to the value.

    In an `exact` document numbers may be marked texts.
    """

    document: str
    keys: tuple[str, ...] = ()
    exact: bool = False
    depth: int = 0

    @property
    def _path(self) -> str:
        """Return the path as a JSON pointer; the document itself is `$`."""
        return quote_literal(json_pointer(*self.keys) or "$")

    @property
    def text(self) -> str:
        """Return the SQL of the value as text; a number may be marked."""
        return f"json_extract_string({self.document}, {self._path})"

    @property
    def json(self) -> str:
        found = f"json_extract({self.document}, {self._path})"
        return f"TRY_CAST({_unmarked(f'CAST({found} AS VARCHAR)')} AS JSON)" if self.exact else found

    @property
    def kind(self) -> str:
        return f"json_type({self.document}, {self._path})"

    @property
    def items(self) -> str:
        return f"TRY_CAST(json_extract({self.document}, {self._path}) AS JSON[])"

    @property
    def item(self) -> _Place:
        return _Place(f"item{self.depth}", (), self.exact, self.depth + 1)

    def child(self, key: str) -> _Place:
        return _Place(self.document, (*self.keys, key), self.exact, self.depth)


def _unmarked(text: str) -> str:
    """Return the SQL of JSON `text` in which marked texts are numbers again."""
    return f"regexp_replace({text}, {quote_literal(_MARKED_JSON)}, '\\1', 'g')"


def _scalar(name: str, place: _Place) -> str:
    if not place.exact:
        return scalar_sql(name, place.text)
    if name not in ("VARCHAR", "BLOB"):
        return scalar_sql(name, f"ltrim({place.text}, chr(1))")
    whole = f"regexp_replace({place.text}, {quote_literal(_MARKED)}, '\\1')"
    text = f"CASE WHEN {place.kind} IN ('OBJECT', 'ARRAY') THEN {_unmarked(place.text)} ELSE {whole} END"
    return scalar_sql(name, text)


def _value(shape: Shape, place: _Place) -> str:
    match shape:
        case Json():
            return f"nullif({place.json}, 'null')"
        case Scalar():
            return _scalar(shape.type, place)
        case Many():
            item = place.item
            return f"list_transform({place.items}, lambda {item.document}: {_value(shape.item, item)})"
        case Struct():
            parts = (f"{quote_identifier(name)} := {_value(each, place.child(name))}" for name, each in shape.fields)
            return f"CASE WHEN {place.kind} = 'OBJECT' THEN struct_pack({', '.join(parts)}) END"


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
