"""The SQL that reads lines of results: parts of each line by a JSON structure, and counts that can be counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from batchpipe.providers.shared.mending import DAMAGED

_READ_TYPED = (
    "SELECT filename, NULL::VARCHAR AS line, NULL::VARCHAR AS damaged, {names} "
    "FROM read_ndjson($paths, columns = {{{columns}}}, "
    "filename = true, ignore_errors = true, maximum_object_size = $maximum_object_size)"
)
_READ_TEXT = (
    "SELECT filename, line, parsed.{damaged} AS damaged, {names} FROM ("
    "SELECT filename, json AS line, json_transform(json, {structure}) AS parsed FROM read_ndjson_objects("
    "$paths, filename = true, ignore_errors = true, maximum_object_size = $maximum_object_size))"
)
# No request can have a count with more digits than this.
_COUNT_DIGITS = 8
_MOST_USD = 1_000_000


def sql_text(value: str) -> str:
    """Return `value` as an SQL string."""
    return "'" + value.replace("'", "''") + "'"


def _type(structure: Any) -> str:
    """Return the SQL type of a JSON structure."""
    if isinstance(structure, str):
        return structure
    if isinstance(structure, list):
        return f"{_type(structure[0])}[]"
    fields = ", ".join(f'"{name}" {_type(each)}' for name, each in structure.items())
    return f"STRUCT({fields})"


def source(structure: Mapping[str, Any], *, text: bool) -> str:
    """Return a SELECT over `$paths` of the members of each line that `structure` names.

    Beside them it has filename, line (NULL without `text`), and damaged (the text of a line that is no JSON, else
    NULL). A structure is DuckDB's: an object of members, a list with the structure of its elements, or a type. A count
    is read as JSON: a text, or a number that no count can be, is told from a count then.
    """
    if text:
        whole = sql_text(orjson.dumps({**structure, DAMAGED: "VARCHAR"}).decode())
        names = ", ".join(f'parsed."{name}" AS "{name}"' for name in structure)
        return _READ_TEXT.format(structure=whole, damaged=DAMAGED, names=names)
    columns = ", ".join(f'"{name}": {sql_text(_type(each))}' for name, each in structure.items())
    return _READ_TYPED.format(columns=columns, names=", ".join(f'"{name}"' for name in structure))


def usd(*places: str) -> str:
    """Return the SQL of the first of `places` that holds US dollars, as DECIMAL; NULL for what can be no cost."""
    amounts = ", ".join(f"TRY_CAST({place} AS DECIMAL(38, 15))" for place in places)
    return f"CASE WHEN coalesce({amounts}) BETWEEN 0 AND {_MOST_USD} THEN coalesce({amounts}) END"


def count_sql(place: str, *, optional: bool) -> str:
    """Return the SQL of the count at `place` as BIGINT: NULL for what is no count, and for one that is missing though
    it may not.
    """
    found = (
        f"CASE WHEN length({place}) <= {_COUNT_DIGITS} AND NOT contains({place}, '.') "
        f"THEN CAST(TRY_CAST(CAST({place} AS VARCHAR) AS UINTEGER) AS BIGINT) END"
    )
    return f"CASE WHEN {place} IS NULL OR {place} = 'null' THEN 0 ELSE {found} END" if optional else found
