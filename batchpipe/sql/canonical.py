"""Build SQL for the canonical text of a value, by its type.

A whole number has one text in every numeric type. Lists, structs and maps are JSON; dates and times are ISO 8601.
"""

from __future__ import annotations

from batchpipe.sql.quoting import Sql, joined, json_pointer, quote_literal, sql
from batchpipe.sql.recorded import value_of_text
from batchpipe.sql.type_tree import TypeTree, type_tree
from batchpipe.sql.types import INTEGERS as _BOUNDS

INTEGERS = frozenset((*_BOUNDS, "BIGNUM"))
TIMESTAMPS = frozenset(("TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS"))
WITH_ZONE = "TIMESTAMP WITH TIME ZONE"
NANOSECONDS_WITH_ZONE = "TIMESTAMPTZ_NS"
TIME_WITH_ZONE = "TIME WITH TIME ZONE"
# Their text cannot be read back as what they were.
_NOT_READABLE = frozenset(("UNION", "VARIANT", "TUPLE"))
# Whole numbers up to these bounds are written with all their digits.
_BIGINT, _DECIMAL = "9.2e18", "1e38"


def canonical_sql(value: str, kind: str, as_text: bool) -> Sql:
    """Return SQL for the canonical text of `value`, which has the DuckDB type `kind`.

    With `as_text`, `value` is the text that DuckDB writes for it.
    """
    tree, given = type_tree(kind), Sql(value)
    if tree.children and survives(tree):
        return _nested(value_of_text(given, kind) if as_text else given, tree, 0)
    if tree.children and not as_text:
        return sql("CAST(to_json({value}) AS VARCHAR)", value=given)
    text = sql("CAST({value} AS VARCHAR)", value=given)
    return _of_text(text, tree) if as_text else _single(given, text, tree)


def json_field_sql(document: Sql, name: str, *, as_text: bool = False) -> Sql:
    """Return SQL for the canonical JSON text of a field of a JSON document: 1, 1.0 and 1e0 are the text 1.

    A null is the text null, and a field that is not there is SQL NULL. With `as_text` a string is without its quotes,
    and a null is SQL NULL.
    """
    pointer = quote_literal(json_pointer(name))
    place = {"document": document, "pointer": pointer}
    value = sql("json_extract({document}, {pointer})", **place)
    text = sql("json_extract_string({document}, {pointer})", **place) if as_text else _varchar(value)
    number = sql("TRY_CAST({value} AS DOUBLE)", value=value)
    return sql(
        "CASE WHEN json_type({document}, {pointer}) = 'DOUBLE' THEN {number} ELSE {text} END",
        number=_single(number, _varchar(number), type_tree("DOUBLE")),
        text=text,
        **place,
    )


def _varchar(value: Sql) -> Sql:
    return sql("CAST({value} AS VARCHAR)", value=value)


def survives(tree: TypeTree) -> bool:
    """Return whether DuckDB reads the text of such a value back as the same value."""
    return not tree.some(lambda each: each.word in _NOT_READABLE or (each.name == "STRUCT" and not each.children[0][0]))


def reads_back_as_key(tree: TypeTree) -> bool:
    """Return whether the canonical text of such a value is surely read back as the same value.

    In JSON the keys of a map are texts, and a list or a struct in such a text is not surely read back.
    """
    return survives(tree) and not tree.some(lambda each: each.name == "MAP" and bool(each.children[0][1].children))


def _single(value: Sql, text: Sql, tree: TypeTree) -> Sql:
    """Return SQL for the canonical text of a single value; `text` is SQL for the text that DuckDB writes for it."""
    if tree.name in ("DOUBLE", "FLOAT"):
        return sql(
            "CASE WHEN {value} = trunc({value}) AND abs({value}) < {bigint} "
            "THEN CAST(TRY_CAST({value} AS BIGINT) AS VARCHAR) "
            "WHEN {value} = trunc({value}) AND abs({value}) < {decimal} "
            "THEN CAST(TRY_CAST({value} AS DECIMAL(38,0)) AS VARCHAR) ELSE {text} END",
            value=value,
            text=text,
            bigint=Sql(_BIGINT),
            decimal=Sql(_DECIMAL),
        )
    if tree.word == "DECIMAL" and not tree.name.endswith(",0)"):
        return sql("rtrim(rtrim({text}, '0'), '.')", text=text)
    if tree.name == WITH_ZONE:
        return sql(
            "CASE WHEN isfinite({value}) THEN replace(CAST(make_timestamp(epoch_us({value})) AS VARCHAR), ' ', 'T') "
            "|| '+00:00' ELSE {text} END",
            value=value,
            text=text,
        )
    return _of_text(text, tree)


def _of_text(text: Sql, tree: TypeTree) -> Sql:
    """Return SQL for the canonical text of a single value out of the text that DuckDB writes for it."""
    if tree.name in TIMESTAMPS:
        return sql("replace({text}, ' ', 'T')", text=text)
    if tree.name == NANOSECONDS_WITH_ZONE:
        text = sql("replace({text}, ' ', 'T')", text=text)
    if tree.name in (TIME_WITH_ZONE, NANOSECONDS_WITH_ZONE):
        return sql(r"regexp_replace({text}, '([+-]\d\d)$', '\1:00')", text=text)
    return text


def _nested(value: Sql, tree: TypeTree, depth: int) -> Sql:
    """Return SQL for a list, a struct or a map as JSON; SQL NULL where the value is NULL."""
    if tree.name in ("LIST", "ARRAY"):
        name = Sql(f"v{depth}")
        item = _json(name, tree.item, depth + 1)
        items = sql("list_transform({value}, lambda {name}: {item})", value=value, name=name, item=item)
        return sql("('[' || array_to_string({items}, ', ') || ']')", items=items)
    if tree.name == "MAP":
        name = Sql(f"v{depth}")
        (_, key_type), (_, value_type) = tree.children
        key = sql("struct_extract({name}, 'key')", name=name)
        text = canonical_sql(key, key_type.sql, False) if not key_type.children else _nested(key, key_type, depth + 1)
        entry = sql(
            "to_json({key}) || ': ' || {value}",
            key=Sql(text),
            value=_json(sql("struct_extract({name}, 'value')", name=name), value_type, depth + 1),
        )
        items = sql("list_transform(map_entries({value}), lambda {name}: {entry})", value=value, name=name, entry=entry)
        return sql("('{{' || array_to_string({items}, ', ') || '}}')", items=items)
    fields = [
        sql(
            "{label} || {value}",
            label=sql("to_json({name}) || ': '", name=quote_literal(name)),
            value=_json(sql("struct_extract({value}, {name})", value=value, name=quote_literal(name)), each, depth + 1),
        )
        for name, each in tree.children
    ]
    inside = joined(" || ', ' || ", fields)
    return sql("CASE WHEN {value} IS NULL THEN NULL ELSE '{{' || {inside} || '}}' END", value=value, inside=inside)


def _json(value: Sql, tree: TypeTree, depth: int) -> Sql:
    """Return SQL for a value inside a list, a struct or a map as JSON; NULL is `null`."""
    return sql("coalesce({text}, 'null')", text=_present_json(value, tree, depth))


def _present_json(value: Sql, tree: TypeTree, depth: int) -> Sql:
    if tree.children:
        return _nested(value, tree, depth)
    text = _single(value, sql("CAST({value} AS VARCHAR)", value=value), tree)
    if tree.name in INTEGERS or tree.name in ("BOOLEAN", "JSON") or tree.word == "DECIMAL":
        return text
    quoted = sql("CAST(to_json({text}) AS VARCHAR)", text=text)
    if tree.name in ("DOUBLE", "FLOAT"):  # JSON has no infinity, and none of the numbers that are none
        return sql("CASE WHEN isfinite({value}) THEN {text} ELSE {quoted} END", value=value, text=text, quoted=quoted)
    return quoted
