"""Check the keys of an input: none is missing, and none is that of two rows. Read the values of stored keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import duckdb

from batchpipe.common.errors import InputError
from batchpipe.decide.fingerprint import newest_recipe
from batchpipe.engine.source.snapshot import InputColumn, Snapshot, canonical_text
from batchpipe.pipeline.model import PipelineFile
from batchpipe.sql.canonical import NANOSECONDS_WITH_ZONE, TIMESTAMPS, WITH_ZONE
from batchpipe.sql.connection import plain_name
from batchpipe.sql.quoting import Sql, number_sql, sql
from batchpipe.sql.recorded import once, recorded_value, value_of_json
from batchpipe.sql.type_tree import type_tree

# In these types, two different values never have the same text.
INTEGER_TYPES = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT")
ORDERED_TYPES = frozenset((*INTEGER_TYPES, "VARCHAR", "UUID", "DATE"))
_TIMESTAMPS = frozenset((*TIMESTAMPS, WITH_ZONE, NANOSECONDS_WITH_ZONE))
# So few keys are hashed in less time than the statement takes that asks whether they ascend.
FEW_ROWS = 10_000


def key_text_sql(number: int, key: Sql) -> Sql:
    """Return SQL for the canonical text of one column out of a stored `key`."""
    return sql("json_extract_string({key}, '$[{number}]')", key=key, number=number_sql(number))


def key_value_sql(number: int, column: InputColumn, key: Sql) -> Sql:
    """Return SQL for the value of one key column out of a stored `key`; NULL where its text is none of its type.

    Lists, structs and maps are JSON there, or what DuckDB writes for them, as the first recipe had them.
    """
    given, tree = key_text_sql(number, key), type_tree(column.type)
    text = given
    if tree.some(lambda each: each.name in _TIMESTAMPS):  # DuckDB reads a year before Christ only as it writes it
        text = sql(r"regexp_replace({text}, '(\d-\d\d)T\(BC\)T', '\1 (BC) ', 'g')", text=given)
    plain = recorded_value(text, column.type)
    if not tree.children:
        return plain
    value = Sql("of_json")
    chosen = sql(
        "CASE WHEN {written} = {given} THEN {value} ELSE coalesce({plain}, {value}) END",
        written=canonical_text(column.held(value), column.type, newest_recipe().number),
        given=given,
        plain=plain,
        value=value,
    )
    return once(value, value_of_json(sql("TRY_CAST({text} AS JSON)", text=text), column.type), chosen)


def check_keys(file: PipelineFile, connection: duckdb.DuckDBPyConnection, snapshot: Snapshot) -> int:
    """Return how many rows the snapshot has.

    Raises InputError where a key is null or two rows have the same key.
    """
    names = snapshot.key_columns
    columns = {each.name: each for each in snapshot.columns}
    null = " OR ".join(f"{columns[name].stored} IS NULL" for name in names)
    total, nulls = _one(connection, f"SELECT count(*), count(*) FILTER ({null}) FROM {snapshot.file}")
    distinct = total
    if not nulls and (total < FEW_ROWS or not _ascends(connection, snapshot, [columns[name] for name in names])):
        # Where all short hashes differ, all keys differ. Only where some are the same is the longer hash needed.
        (distinct,) = _one(connection, f"SELECT count(DISTINCT hash(key)) FROM {snapshot.relation}")
        if distinct < total:
            (distinct,) = _one(connection, f"SELECT count(DISTINCT md5(key)) FROM {snapshot.relation}")
    place, shown = file.where("[input] key"), ", ".join(names)
    if nulls:
        have = "has" if nulls == 1 else "have"
        what = f"{nulls:,} of {total:,} rows {have} no {shown}"
        hint = f"A key must not be null: add WHERE {plain_name(names[0])} IS NOT NULL, or choose another key."
        raise InputError(what, where=place, hint=hint)
    if distinct < total:
        offenders = connection.execute(
            f"SELECT key, count(*) FROM {snapshot.relation} GROUP BY key HAVING count(*) > 1 "
            "ORDER BY count(*) DESC, key LIMIT 5"
        ).fetchall()
        listed = ", ".join(f"{key} ({times} times)" for key, times in offenders)
        repeats = total - distinct
        repeating = "1 row repeats" if repeats == 1 else f"{repeats:,} rows repeat"
        what = f"{shown} is not unique: {repeating} a key, such as {listed}"
        hint = "Choose columns that differ in every row, or let the query give one row per key (GROUP BY, QUALIFY)."
        raise InputError(what, where=place, hint=hint)
    return int(total)


def _ascends(connection: duckdb.DuckDBPyConnection, snapshot: Snapshot, key: Sequence[InputColumn]) -> bool:
    """Return whether each row's plain key is greater than the key before it: then all keys are different."""
    if len(key) != 1 or key[0].type not in ORDERED_TYPES:
        return False
    ordered = f"SELECT {key[0].stored} AS this, lag({key[0].stored}) OVER () AS last FROM {snapshot.file}"
    return bool(
        _one(connection, f"SELECT coalesce(bool_and(this > last), true) FROM ({ordered}) WHERE last IS NOT NULL")[0]
    )


def _one(connection: duckdb.DuckDBPyConnection, statement: str) -> tuple[Any, ...]:
    return connection.execute(statement).fetchall()[0]
