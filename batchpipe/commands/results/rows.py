"""Read the rows of an output table: by filters, page by page, and by key."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from batchpipe.common.errors import UsageError
from batchpipe.decide.fingerprint import RECIPES, newest_recipe
from batchpipe.engine.source.snapshot import canonical_text, key_sql
from batchpipe.pipeline.model import ADDED_COLUMNS, PipelineFile
from batchpipe.schema import exact_json
from batchpipe.sql.canonical import NANOSECONDS_WITH_ZONE, TIME_WITH_ZONE, WITH_ZONE, canonical_sql
from batchpipe.sql.conditions import INPUT_PREFIX, OUTPUT_PREFIX, bind_condition, parse_condition
from batchpipe.sql.quoting import (
    Sql,
    folded,
    folded_sql,
    joined,
    number_sql,
    quote_identifier,
    quote_literal,
    quote_table,
    sql,
    table_parts,
)
from batchpipe.sql.type_tree import TypeTree, type_tree
from batchpipe.store.database import Session, Work, streamed_rows
from batchpipe.store.queries import query

TAKEN = Sql("work.taken")
# Types of lists, structs and maps, as DuckDB names them.
ITEM_NUMBER = "_index"
NESTED = re.compile(r"\[\d*\]$|^(STRUCT|MAP|UNION)\(")
# Types of which Python knows the years 1 to 9999, those of which it knows too little, and those that it changes where
# they stand inside others.
_MOMENTS = frozenset(("DATE", "TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", WITH_ZONE))
_TEXTS = frozenset(("INTERVAL", "TIMESTAMP_NS", "TIME_NS", TIME_WITH_ZONE, NANOSECONDS_WITH_ZONE))
_CHANGED_INSIDE = _MOMENTS | _TEXTS | {"TIME", "FLOAT", "JSON"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """Which rows: those for which a condition is true, current ones, ones to review, `limit` rows after `offset`.

    `stale` takes rows that are not current; `rung` and `version` those of that rung and prompt version. `items` names a
    list field of `[output.rows]`, whose table is read in place of the output table. `place` is the name of `where` in
    an error.
    """

    where: str | None = None
    current: bool = False
    review: bool = False
    limit: int | None = None
    offset: int = 0
    stale: bool = False
    rung: int | None = None
    version: str | None = None
    items: str | None = None
    place: str = "--where"


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputTable:
    """A pipeline's output table, or the table of a list field: `columns` are names and DuckDB types in order."""

    name: str
    columns: Sequence[tuple[str, str]]
    key: Sequence[str]

    @property
    def names(self) -> list[str]:
        """Return the names of the columns, in order."""
        return [name for name, _ in self.columns]

    @property
    def order(self) -> Sequence[str]:
        """Return the columns that order the rows: the key, and of items their number in the list."""
        return [*self.key, *([ITEM_NUMBER] if ITEM_NUMBER in self.names else [])]

    @property
    def quoted(self) -> Sql:
        """Return the table's two-part name, quoted."""
        return quote_table(".".join(table_parts(self.name)))


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenRows:
    """The rows that were copied out of the database into `work.taken`: `rows` of the `matching` ones."""

    output: OutputTable
    rows: int
    matching: int


def find_output(session: Session, file: PipelineFile, items: str | None = None) -> OutputTable | None:
    """Return the output table of `file` as it is in the database; None where there is none, or it is not ours.

    `items` names a list field of `[output.rows]`: then it is the table of its items.
    """
    name = file.pipeline.table if items is None else file.pipeline.output.rows[items]
    schema, table_name = table_parts(name)
    statement = query("columns_of_table", schema=folded_sql(Sql("schema_name")), table=folded_sql(Sql("table_name")))
    rows = session.rows(statement, {"schema": folded(schema), "table": folded(table_name)})
    columns = [(column, kind) for column, kind in rows]
    names = {folded(column) for column, _ in columns}
    if not names.issuperset(map(folded, (*dict(ADDED_COLUMNS), *file.pipeline.input.key))):
        return None
    return OutputTable(name=name, columns=columns, key=file.pipeline.input.key)


def take_rows(session: Session, file: PipelineFile, filters: Filters) -> TakenRows:
    """Copy the rows that `filters` select, ordered by key, so that the database can be closed.

    Reads the output table. Writes `work.taken`. Raises UsageError where there is no table yet, and PipelineError for a
    condition that cannot be used.
    """
    output = find_output(session, file, filters.items)
    if output is None:
        hint = f"To make it: batchpipe run {file.pipeline.name}"
        name = file.pipeline.table if filters.items is None else file.pipeline.output.rows[filters.items]
        raise UsageError("there are no results yet", where=f"the table {name}", hint=hint)
    session.work.memory.make_room_for_rows(file.pipeline.names)
    source, condition = output.quoted, _condition(session, output, filters)
    if filters.where is not None:
        source = sql("(SELECT *, {prefixed} FROM {table})", prefixed=_prefixed(output), table=output.quoted)
    matching = session.one(query("count_rows", table=source, condition=condition))[0]
    statement = query(
        "take_rows",
        columns=joined(", ", (quote_identifier(name) for name in output.names)),
        table=source,
        condition=condition,
        order=joined(", ", (quote_identifier(name) for name in output.order)),
        limit=_limit(filters),
    )
    session.execute(statement)
    return TakenRows(
        output=output, matching=matching, rows=session.one(sql("SELECT count(*) FROM {taken}", taken=TAKEN))[0]
    )


def python_rows(work: Work, output: OutputTable) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of `work.taken` as Python values. A time with a zone is naive UTC."""
    values = joined(", ", (python_value(*each) for each in output.columns))
    yield from streamed_rows(
        work.connection.cursor().execute(sql("SELECT {values} FROM {taken}", values=values, taken=TAKEN))
    )


def taken_keys(work: Work, output: OutputTable) -> list[str]:
    """Return the keys of the rows of `work.taken`, in the same order, as JSON lists of texts.

    Reads `work.taken`.
    """
    types = dict(output.columns)
    recipe = newest_recipe().number
    key = key_sql(canonical_text(quote_identifier(name), types[name], recipe) for name in output.key)
    rows = work.connection.execute(sql("SELECT {key} FROM {taken}", key=key, taken=TAKEN)).fetchall()
    return [found for (found,) in rows]


def row_of(session: Session, output: OutputTable, key: str) -> dict[str, Any] | None:
    """Return the row of `key` (a JSON list of texts) by column; None where the table has no such row.

    Reads the output table.
    """
    types = dict(output.columns)
    keys = (
        key_sql(canonical_text(quote_identifier(name), types[name], recipe) for name in output.key)
        for recipe in RECIPES
    )
    values = joined(", ", (python_value(*each) for each in output.columns))
    rows = session.rows(
        query("row_of_output", values=values, table=output.quoted, keys=joined(", ", keys)), {"key": key}
    )
    if not rows:
        return None
    return {name: json_value(value, kind) for (name, kind), value in zip(output.columns, rows[0], strict=True)}


def rows_object(pipeline: str, work: Work, taken: TakenRows) -> dict[str, Any]:
    """Return the object of `results --json`.

    Reads `work.taken`.
    """
    columns = taken.output.columns
    listed = [
        {name: json_value(value, kind) for (name, kind), value in zip(columns, row, strict=True)}
        for row in python_rows(work, taken.output)
    ]
    return {"pipeline": pipeline, "table": taken.output.name, "matching": taken.matching, "rows": listed}


def _limit(filters: Filters) -> Sql:
    if filters.limit is None:
        return Sql("")
    return sql("LIMIT {limit} OFFSET {offset}", limit=number_sql(filters.limit), offset=number_sql(filters.offset))


def _condition(session: Session, output: OutputTable, filters: Filters) -> Sql:
    """Return the filters as one SQL condition over the table and the columns of `_prefixed`."""
    parts = [Sql("_current")] if filters.current else []
    parts += [Sql("_review")] if filters.review else []
    parts += [Sql("NOT _current")] if filters.stale else []
    parts += [sql("_rung = {rung}", rung=number_sql(filters.rung))] if filters.rung is not None else []
    if filters.version is not None:
        parts.append(sql("_prompt_version = {version}", version=quote_literal(filters.version)))
    if filters.where is not None:
        types = dict(output.columns)
        parsed = parse_condition(session.connection, filters.where, fields=types, columns=types, where=filters.place)
        bind_condition(session.connection, parsed, field_types=types, column_types=types, where=filters.place)
        parts.append(parsed.truth)
    return joined(" AND ", parts) if parts else Sql("true")


def _prefixed(output: OutputTable) -> Sql:
    """Return SQL for the columns under the names that a condition reads."""
    return joined(
        ", ",
        (
            sql("{name} AS {prefixed}", name=quote_identifier(name), prefixed=quote_identifier(prefix + name))
            for prefix in (OUTPUT_PREFIX, INPUT_PREFIX)
            for name in output.names
        ),
    )


def python_value(name: str, kind: str) -> Sql:
    """Return SQL for a column as Python takes it. A time with a zone is naive UTC.

    What Python would change is text: intervals, nanoseconds, years that Python does not know, and nested values that
    hold such parts are their canonical text.
    """
    column, tree = quote_identifier(name), type_tree(kind)
    if tree.children:
        return canonical_sql(column, kind, False) if _is_json_text(tree) else column
    if tree.name == "FLOAT":
        return sql("CAST(CAST({column} AS VARCHAR) AS DOUBLE)", column=column)
    if tree.name in _MOMENTS:
        return sql(
            "CASE WHEN {column} >= DATE '0001-01-01' AND {column} < DATE '10000-01-01' "
            "THEN union_value(moment := CAST({column} AS {known}))::UNION(moment {known}, written VARCHAR) "
            "ELSE union_value(written := {text})::UNION(moment {known}, written VARCHAR) END",
            column=column,
            known=Sql("DATE") if tree.name == "DATE" else Sql("TIMESTAMP"),
            text=canonical_sql(column, kind, False),
        )
    return canonical_sql(column, kind, False) if tree.name in _TEXTS else column


def json_value(value: Any, kind: str) -> Any:
    """Return a value of a column of type `kind` for JSON."""
    return (
        exact_json.loads(value) if value is not None and (kind == "JSON" or _is_json_text(type_tree(kind))) else value
    )


def _is_json_text(tree: TypeTree) -> bool:
    """Return whether Python would change a part of such a nested value: then its JSON is read."""
    return bool(tree.children) and tree.some(lambda each: each.name in _CHANGED_INSIDE)
