"""Write the rows that a plan expects in an output table whose answers are not there yet, so that what follows from them
can be planned too.

A row that is not due is there as it is. A row that is due keeps its label (a value of an enum, a boolean), or gets one
of the allowed values, each as often as the others; texts and numbers become others than they were.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb

from batchpipe.engine.output.ownership import output_place, table_columns
from batchpipe.engine.plan.plan import DUE_REASONS, Plan
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.engine.source.snapshot import Snapshot, save_typed
from batchpipe.pipeline.model import PipelineFile
from batchpipe.schema.columns import Column
from batchpipe.sql.quoting import (
    Sql,
    folded,
    joined,
    number_sql,
    quote_identifier,
    quote_list,
    quote_literal,
    quote_table,
    sql,
    type_sql,
)
from batchpipe.sql.types import INTEGERS, Json, Many, Shape, Struct
from batchpipe.store.database import Session
from batchpipe.store.queries import query

TEXT_BYTES = 160  # of an expected text, where no answer says how long texts are
DRAWN = Sql("(hash(s.key, 'expected') % 1000003)::BIGINT")


def nothing_changes(session: Session, resolved: Resolved, plan: Plan) -> bool:
    """Return whether a run leaves the current rows of the output table as they are, as far as the plan shows.

    Reads the output table.
    """
    same = not plan.removed and plan.rows_by_reason["unchanged"] == plan.input and not resolved.include_columns
    if session.blank or not same:
        return False
    table = quote_table(resolved.table)
    try:
        (rows,) = session.one(sql("SELECT count(*) FROM {table} WHERE _current", table=table))
    except duckdb.Error:  # the table is not there, or somebody has changed it
        return False
    return bool(rows == plan.input)


def write_expected_rows(session: Session, resolved: Resolved, snapshot: Snapshot, path: Path) -> None:
    """Write the output table as it is expected to be once all that is due is answered, to the Parquet file `path`.

    Reads `work.compared`, `work.plan`, the output table, `snapshot`.
    """
    place = output_place(session, resolved)
    there = {folded(name) for name, _ in place.columns}
    keys = [each.name for each in resolved.key_columns]
    known = bool(there) and all(folded(name) in there for name in keys)
    inputs = {each.name: each for each in (*resolved.key_columns, *resolved.include_columns)}
    fields = {each.name: each for each in resolved.columns}
    nodes = resolved.full_schema.get("properties", {})
    columns = []
    for name, kind in table_columns(resolved):
        old = sql("NULL::{kind}", kind=type_sql(kind))
        if known and folded(name) in there:
            old = sql("TRY_CAST(t.{name} AS {kind})", name=quote_identifier(name), kind=type_sql(kind))
        if name in inputs:
            value = sql("s.{value}", value=inputs[name].stored) if not inputs[name].as_text else _typed(inputs[name])
        elif name in fields:
            value = _field(fields[name], nodes.get(name, {}), old)
        else:
            value = Sql("true") if name == "_current" else old
        columns.append(
            sql("({value})::{kind} AS {name}", value=value, kind=type_sql(kind), name=quote_identifier(name))
        )
    same = joined(
        " AND ",
        (
            sql("t.{name} IS NOT DISTINCT FROM {value}", name=quote_identifier(name), value=_typed(inputs[name]))
            for name in keys
        ),
    )
    statement = query(
        "expected_rows",
        columns=joined(", ", columns),
        snapshot=snapshot.relation,
        table=sql("LEFT JOIN {table} t ON {same}", table=place.quoted, same=same) if known else Sql(""),
        due=quote_list((*DUE_REASONS, "pending")),
    )
    save_typed(session.connection, statement, table_columns(resolved), path)


def _typed(column: Any) -> Sql:
    """Return SQL for the value of an input column, over the snapshot `s`."""
    value = sql("s.{stored}", stored=column.stored)
    return sql("CAST({value} AS {kind})", value=value, kind=type_sql(column.type))


def _field(column: Column, node: Mapping[str, Any], old: Sql) -> Sql:
    """Return SQL for the value of a field: the old one, or an expected one where the row is due."""
    expected = _expected(column.shape, node, old)
    return sql("CASE WHEN s.is_due THEN {expected} ELSE {old} END", expected=expected, old=old)


def _expected(shape: Shape, node: Mapping[str, Any], old: Sql) -> Sql:
    """Return SQL for an expected value of a type, of which JSON Schema says `node`; `old` is the present value."""
    allowed = [each for each in node.get("enum", ()) if each is not None]
    allowed = [node["const"]] if "const" in node else allowed
    if allowed:
        listed = quote_list(each if isinstance(each, str) else str(each).lower() for each in allowed)
        chosen = sql("[{listed}][1 + {drawn} % {n}]", listed=listed, drawn=DRAWN, n=number_sql(len(allowed)))
        return sql("coalesce({old}, TRY_CAST({chosen} AS {kind}))", old=old, chosen=chosen, kind=type_sql(shape.sql))
    if isinstance(shape, Many):
        item = _expected(shape.item, node.get("items") or {}, sql("({old})[1]", old=old))
        return sql("[{item}]", item=item)
    if isinstance(shape, Struct):
        below = node.get("properties") or {}
        fields = (
            sql(
                "{name} := {value}",
                name=quote_identifier(name),
                value=_expected(each, below.get(name, {}), sql("({old}).{name}", old=old, name=quote_identifier(name))),
            )
            for name, each in shape.fields
        )
        return sql("struct_pack({fields})", fields=joined(", ", fields))
    if isinstance(shape, Json):
        return sql("json_object('expected', {drawn})", drawn=DRAWN)
    return _scalar(shape.sql, node, old)


def _scalar(kind: str, node: Mapping[str, Any], old: Sql) -> Sql:
    """Return SQL for an expected single value."""
    if kind == "BOOLEAN":
        return sql("coalesce({old}, {drawn} % 2 = 0)", old=old, drawn=DRAWN)
    if kind == "VARCHAR":
        filler = quote_literal("This text stands for an answer that is not there yet. ")
        length = sql("coalesce(length({old}), {bytes})", old=old, bytes=number_sql(TEXT_BYTES))
        return sql(
            "md5({drawn}::VARCHAR || 'text') || repeat({filler}, ({length} // 54)::BIGINT)",
            drawn=DRAWN,
            filler=filler,
            length=length,
        )
    if kind == "UUID":
        return sql("md5({drawn}::VARCHAR || 'id')::UUID", drawn=DRAWN)
    if kind in INTEGERS or kind in ("DOUBLE", "FLOAT") or kind.startswith("DECIMAL"):
        low = node.get("minimum")
        least = number_sql(int(low)) if isinstance(low, int | float) else Sql("0")
        return sql(
            "TRY_CAST(coalesce({old} + 1, {least} + {drawn} % 100) AS {kind})",
            old=old,
            least=least,
            drawn=DRAWN,
            kind=type_sql(kind),
        )
    date = sql("DATE '2000-01-01' + ({drawn} % 9000)::INTEGER", drawn=DRAWN)
    return sql("TRY_CAST(({date})::VARCHAR AS {kind})", date=date, kind=type_sql(kind))


def with_usable_keys(file: PipelineFile) -> PipelineFile:
    """Return `file` whose query leaves out the rows without a key, and all but one of those with the same key."""
    keys = [quote_identifier(each) for each in file.pipeline.input.key]
    there = " AND ".join(f"{each} IS NOT NULL" for each in keys)
    rows = f"SELECT * FROM ({file.query.strip().rstrip(';')}\n) WHERE {there}"
    return file.model_copy(update={"query": f"{rows} QUALIFY row_number() OVER (PARTITION BY {', '.join(keys)}) = 1"})
