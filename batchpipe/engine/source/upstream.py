"""Show the SQL of a pipeline the output tables of others: under its name a table stands for its current rows.

The database is attached under a hidden name; views with the names that SQL writes stand before it. `all_rows('a')`
gives all rows of the table `a`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import duckdb

from batchpipe.chain.chain import Upstream
from batchpipe.engine.source.snapshot import typed_rows
from batchpipe.pipeline.model import ADDED_COLUMNS, PipelineFile
from batchpipe.pipeline.sending import CONFIDENCE_COLUMN
from batchpipe.schema.build import full_schema
from batchpipe.schema.child_rows import INDEX, item_columns, item_rows_sql
from batchpipe.schema.columns import Column, output_columns
from batchpipe.sql.quoting import (
    Sql,
    folded,
    folded_sql,
    joined,
    quote_identifier,
    quote_literal,
    sql,
    table_parts,
    type_sql,
)
from batchpipe.sql.types import Many
from batchpipe.store.output_marks import OutputMark, read_mark
from batchpipe.store.queries import query

HIDDEN = "store of {alias}"
ALL = "all rows"
_WORD = re.compile(r"\w+")
# What finds tables that no SQL names. `"query":` is a key of the pipeline file.
_HIDING = re.compile(r"""\bquery(?:_table)?\b(?!":)|\bduckdb_\w|\binformation_schema\b|\bshow\s+(?:all\s+)?tables\b""")


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamTable:
    """An output table of another pipeline: `name` or `schema.name`.

    `columns` gives its columns with their types, as its file declares them; it is asked where the database has no such
    table, or an older one. `rows` is a Parquet file that stands in for the table, as a plan expects it.
    `items` makes the rows of the table of a list field out of those of the output table.
    """

    pipeline: str
    table: str
    columns: Callable[[], Sequence[tuple[str, str]]]
    rows: Path | None = None
    items: Callable[[Sql], Sql] | None = None


@dataclass(slots=True, kw_only=True)
class UpstreamViews:
    """The views of a session over upstream tables.

    `aliases` are the names by which SQL may call the project's databases, the one that is searched first before the
    other; `attached` are the hidden names of those that there are. `all_rows` says whether some SQL may call
    `all_rows()`. `text` is all SQL of the file in lower case, None where tables may be named elsewhere: of a table that
    none names no view is made. `own` is the pipeline's own output table, of which its SQL reads all rows.

    A view of the database that reads output tables is made anew here, over their current rows.
    """

    connection: duckdb.DuckDBPyConnection
    tables: Sequence[UpstreamTable]
    aliases: list[str] = field(default_factory=list)
    all_rows: bool = True
    text: str | None = None
    own: str = ""
    attached: list[str] = field(default_factory=list)
    declared: bool = False
    _there: dict[str, dict[str, tuple[str, str]]] = field(default_factory=dict, init=False)
    _made: list[str] = field(default_factory=list, init=False)

    def hidden(self, alias: str) -> str:
        """Return the name under which the database that SQL calls `alias` is attached."""
        return HIDDEN.format(alias=alias)

    def show(self) -> None:
        """Make the views over what is attached: of output tables the current rows, of other tables all.

        An output table whose pipeline has no file any more is known by its mark.
        """
        run = self.connection.execute
        without_file: dict[str, UpstreamTable] = {}
        shown = {folded(f"{schema}.{name}") for schema, name in map(_two_parts, self.tables)}
        over_outputs: list[tuple[str, str, str]] = []
        for alias in self.aliases:
            run(f"ATTACH ':memory:' AS {quote_identifier(alias)}")
            hidden, there = self.hidden(alias), []
            if hidden in self.attached:
                there = self._tables_of(hidden)
            self._there[alias] = {folded(f"{schema}.{name}"): (schema, name) for schema, name, _, _ in there}
            outputs = [name for schema, name, comment, _ in there if self._is_output(schema, name, comment, shown)]
            for schema, name, comment, body in there:
                known = folded(f"{schema}.{name}")
                if known in shown or not self._may_name(name):
                    continue
                mark = self._mark_of_other(known, comment)
                if mark is not None:
                    table = UpstreamTable(pipeline=mark.pipeline, table=f"{schema}.{name}", columns=list)
                    without_file.setdefault(known, table)
                elif body is not None and _reads(name, there, outputs):
                    over_outputs.append((alias, schema, body))
                else:
                    rows = _dotted(hidden, schema, name)
                    self._view(_dotted(alias, schema, name), schema, alias, sql("SELECT * FROM {rows}", rows=rows))
        if self.all_rows:
            run(f"CREATE SCHEMA IF NOT EXISTS memory.{quote_identifier(ALL)}")
        for each in (*self.tables, *without_file.values()):
            self._show_table(each)
        self._make_anew(over_outputs)
        if not self.all_rows:
            return
        written = sql("translate({name}, '\"', '')", name=folded_sql(Sql("written")))
        place = sql("{schema} || {written} || '\"'", schema=quote_literal(f'memory."{ALL}"."'), written=written)
        run(f"CREATE OR REPLACE MACRO memory.main.all_rows(written) AS TABLE SELECT * FROM query_table({place})")

    def hide_rows(self, aliases: Sequence[str]) -> bool:
        """Return whether SQL may name a table in the databases `aliases` whose rows are not all current."""
        return any(
            self._mark_of_other(folded(f"{schema}.{name}"), comment) is not None and self._may_name(name)
            for alias in aliases
            for schema, name, comment, _ in self._tables_of(alias)
        )

    def _tables_of(self, database: str) -> list[tuple[str, str, str | None, str | None]]:
        """Return the tables and views of a database: schema, name, comment, and the statement that made a view.

        What a view reads that the file names counts as named from now on.
        """
        found = self.connection.execute(query("tables_of_database"), {"database": database}).fetchall()
        views = {name: folded(body) for _, name, _, body in found if body is not None}
        named: set[str] = set()
        while self.text is not None and (
            more := {each for each in views if each not in named and self._may_name(each)}
        ):
            named |= more
            self.text = "\n".join([self.text, *(views[each] for each in sorted(more))])
        return found

    def _may_name(self, table: str) -> bool:
        return self.text is None or _WORD.fullmatch(table) is None or folded(table) in self.text

    def _is_output(self, schema: str, name: str, comment: str | None, shown: Collection[str]) -> bool:
        known = folded(f"{schema}.{name}")
        return known in shown or self._mark_of_other(known, comment) is not None

    def _make_anew(self, views: Sequence[tuple[str, str, str]]) -> None:
        """Make views, each given by its database, its schema and its statement, over the tables that are shown.

        Each is made after those that it reads. One that cannot be made here is not shown.
        """
        left = list(views)
        while left:
            failed = []
            for alias, schema, body in left:
                of = sql("{alias}.{schema}", alias=quote_identifier(alias), schema=quote_identifier(schema))
                try:
                    self.connection.execute(f"USE {quote_identifier(alias)}; CREATE SCHEMA IF NOT EXISTS {of}; {body}")
                except duckdb.Error:
                    failed.append((alias, schema, body))
            self.connection.execute("USE memory")
            if len(failed) == len(left):
                return
            left = failed

    def _mark_of_other(self, table: str, comment: str | None) -> OutputMark | None:
        """Return the mark of an output table that is another pipeline's; None for any other table."""
        return None if table == self.own else read_mark(comment)

    def release(self) -> None:
        """Drop the views, so that the databases can be let go of."""
        run = self.connection.execute
        for view in self._made:
            run(f"DROP VIEW IF EXISTS {view}")
        self._made.clear()
        if self.all_rows:
            run("DROP MACRO TABLE IF EXISTS memory.main.all_rows")
            run(f"DROP SCHEMA IF EXISTS memory.{quote_identifier(ALL)} CASCADE")
        for alias in self.aliases:
            run(f"DETACH DATABASE IF EXISTS {quote_identifier(alias)}")

    def declare(self) -> bool:
        """Give the views all columns that the upstream files declare; return whether that is anything new."""
        if self.declared:
            return False
        self.declared = True
        for each in self.tables:
            self._show_table(each)
        return True

    def _show_table(self, table: UpstreamTable) -> None:
        """Make the views of one upstream table, under each name that SQL may write, and the one of all its rows."""
        schema, name = _two_parts(table)
        places = [alias for alias in self.aliases if folded(f"{schema}.{name}") in self._there[alias]]
        rows = self._rows(table, places[0] if places else None)
        current = sql("SELECT * FROM ({rows}) WHERE _current", rows=rows)
        everywhere = Sql("main") if schema == "main" else quote_identifier(schema)
        self._view(
            sql("memory.{schema}.{name}", schema=everywhere, name=quote_identifier(name)), schema, "memory", current
        )
        for alias in self.aliases:
            self._view(_dotted(alias, schema, name), schema, alias, current)
        if not self.all_rows:
            return
        before = ["", *(f"{alias}." for alias in self.aliases)]
        for written in (each + way for each in before for way in _ways(schema, name)):
            self._view(_dotted("memory", ALL, folded(written)), ALL, "memory", rows)

    def _rows(self, table: UpstreamTable, alias: str | None) -> Sql:
        """Return SQL for all rows of an upstream table: what is expected, what is there, or nothing in its columns."""
        schema, name = _two_parts(table)
        if table.rows is not None:
            expected = typed_rows(self.connection, table.rows)
            return sql("SELECT * FROM {rows}", rows=expected) if table.items is None else table.items(expected)
        there = _dotted(self.hidden(alias), schema, name) if alias is not None else None
        if there is not None and not self.declared:
            return sql("SELECT * FROM {there}", there=there)
        known = set()
        if there is not None:
            described = self.connection.execute(f"DESCRIBE SELECT * FROM {there}").fetchall()
            known = {folded(row[0]) for row in described}
        missing = [
            sql("NULL::{kind} AS {name}", kind=type_sql(kind), name=quote_identifier(column))
            for column, kind in table.columns()
            if folded(column) not in known
        ]
        if there is None:
            return sql("SELECT {columns} WHERE false", columns=joined(", ", missing))
        return sql("SELECT {columns} FROM {there}", columns=joined(", ", [Sql("*"), *missing]), there=there)

    def _view(self, view: Sql, schema: str, catalog: str, rows: Sql) -> None:
        if schema not in ("main", ALL):  # these are there
            of = sql("{catalog}.{schema}", catalog=quote_identifier(catalog), schema=quote_identifier(schema))
            self.connection.execute(f"CREATE SCHEMA IF NOT EXISTS {of}")
        self.connection.execute(f"CREATE OR REPLACE VIEW {view} AS {rows}")
        if catalog == "memory":
            self._made.append(view)


def views_of(
    file: PipelineFile, connection: duckdb.DuckDBPyConnection, tables: Sequence[UpstreamTable]
) -> UpstreamViews:
    """Return the views over upstream tables, and over those other tables that some SQL of the file may name."""
    own = folded(".".join(table_parts(file.pipeline.output.table or file.pipeline.name)))
    if file.pipeline.input.setup:
        return UpstreamViews(connection=connection, tables=tables, own=own)
    text = folded(f"{file.query} {file.pipeline.model_dump_json()}")
    named = None if _HIDING.search(text) else text
    return UpstreamViews(connection=connection, tables=tables, all_rows="all_rows" in text, text=named, own=own)


def _reads(view: str, there: Sequence[tuple[str, str, str | None, str | None]], outputs: Sequence[str]) -> bool:
    """Return whether a view may read one of the tables `outputs`, itself or through other views of its database."""
    bodies = {folded(name): folded(body) for _, name, _, body in there if body is not None}
    seen, left = set[str](), [folded(view)]
    while left:
        body = bodies[left.pop()]
        if any(folded(each) in body for each in outputs):
            return True
        more = [each for each in bodies if each in body and each not in seen]
        seen.update(more)
        left += more
    return False


def _two_parts(table: UpstreamTable) -> tuple[str, str]:
    return table_parts(table.table)


def _ways(schema: str, name: str) -> list[str]:
    """Return the ways to write a table's name within its database."""
    return [f"{schema}.{name}", *([name] if schema == "main" else [])]


def _dotted(*parts: str) -> Sql:
    return joined(".", (quote_identifier(each) for each in parts))


def upstream_tables(
    upstream: Upstream,
    columns: Callable[[Upstream, bool], Sequence[tuple[str, str]]],
    expected: Mapping[str, Path],
    *,
    offline: bool,
) -> Iterator[UpstreamTable]:
    """Yield what SQL sees of an upstream pipeline: its output table, and the tables of its list fields.

    `columns` gives the columns of the output table as the file declares them, `expected` the files that stand in for
    output tables.
    """
    rows = expected.get(upstream.name)
    yield UpstreamTable(
        pipeline=upstream.name, table=upstream.table, columns=lambda: columns(upstream, offline), rows=rows
    )
    file = upstream.file
    if file is None or not file.pipeline.output.rows:
        return
    fields = {each.name: each for each in output_columns(_schema(file), file.pipeline.output)}
    keys, added = file.pipeline.input.key, [name for name, _ in ADDED_COLUMNS]

    def declared(column: Column) -> list[tuple[str, str]]:
        """Return the columns of the table of a list field."""
        known = dict(columns(upstream, offline))
        own = [(name, known[name]) for name in keys]
        return [*own, (INDEX, "BIGINT"), *item_columns(column), *ADDED_COLUMNS]

    for field_name, table in file.pipeline.output.rows.items():
        column = fields.get(field_name)
        if column is not None and isinstance(column.shape, Many):
            yield UpstreamTable(
                pipeline=upstream.name,
                table=table,
                columns=partial(declared, column),
                rows=rows,
                items=partial(item_rows_sql, column=column, keys=keys, added=added),
            )


def _schema(file: PipelineFile) -> Mapping[str, Any]:
    return full_schema(file.pipeline.output, None, file.schema_content)


def declared_columns(file: PipelineFile, types: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return the columns of a pipeline's output table with their types, as its file declares them.

    `types` are those of its input's columns, as far as they are known; others are texts.
    """
    output = file.pipeline.output
    fields = output_columns(_schema(file), output)
    return [
        *((name, types.get(name, "VARCHAR")) for name in file.pipeline.input.key),
        *((each.name, each.type) for each in fields),
        *((name, types.get(name, "VARCHAR")) for name in output.include),
        *ADDED_COLUMNS,
        *(((CONFIDENCE_COLUMN, "DOUBLE"),) if file.pipeline.local is not None else ()),
    ]
