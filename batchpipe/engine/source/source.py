"""Read the input once per call, in a DuckDB session of its own, into a Parquet snapshot beside the database."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import duckdb

from batchpipe.common import modes
from batchpipe.common.errors import BatchpipeError, PipelineError, Problem
from batchpipe.common.likeness import nearest
from batchpipe.engine.source.contents import content_columns
from batchpipe.engine.source.databases import SourceDatabases, aliases_of
from batchpipe.engine.source.declared import column_problems, declared_types, hold_to, refuse_doubled, undeclared
from batchpipe.engine.source.files import MediaLook
from batchpipe.engine.source.keys import check_keys
from batchpipe.engine.source.sessions import SourceSessions
from batchpipe.engine.source.snapshot import SNAPSHOT_FORMAT, InputColumn, Snapshot, input_column
from batchpipe.engine.source.statements import limits_without_order, offer_macros, one_select, run_steps, steps_of
from batchpipe.engine.source.upstream import UpstreamTable, views_of
from batchpipe.pipeline.model import ADDED_COLUMNS, PipelineFile
from batchpipe.sql.connection import Connection
from batchpipe.sql.messages import duckdb_message, query_hint
from batchpipe.sql.quoting import quote_identifier, quote_literal, quote_table
from batchpipe.store.disk import disk_is_full, storage_error
from batchpipe.store.opening import attach, opening


class Inputs(Protocol):
    """The questions that resolving a pipeline asks about its input."""

    @property
    def connection(self) -> Connection: ...

    def columns(self) -> tuple[InputColumn, ...]: ...

    def column_problems(self, columns: Sequence[InputColumn]) -> list[Problem]: ...

    def table(self, query: str, toml_path: str) -> list[dict[str, Any]]: ...


class Source:
    """An open session over the input. `open_source` makes it."""

    def __init__(
        self,
        file: PipelineFile,
        connection: duckdb.DuckDBPyConnection,
        databases: SourceDatabases,
        params: Mapping[str, Any],
        *,
        upstream: Sequence[UpstreamTable] = (),
        only_upstream: bool = False,
        offline: bool = False,
    ) -> None:
        self.file = file
        self.look: Callable[[Path], MediaLook] | None = None
        self.connection = connection
        self.unread: list[Problem] = []
        self._offline, self._only_upstream = offline, only_upstream
        self._upstream = views_of(file, connection, upstream) if upstream else None
        self._databases = databases
        self._attached = False
        self._changed = False
        self._aliases: list[str] = []
        self._shown: list[str] = []
        self._held: list[threading.RLock] = []
        self.query = _input_query(file)
        self.params = self._chosen_params(params)

    def columns(self) -> tuple[InputColumn, ...]:
        """Return the columns of the input query without reading rows; only the declared ones where some are declared.

        Raises PipelineError for a query that fails, or that does not give what is declared.
        """
        declared = declared_types(self.file, self.connection)
        described = not self._offline or (not declared and self._only_upstream)
        if not described and not declared:
            raise undeclared(self.file)
        given = declared
        if described:
            rows = self._run(f"DESCRIBE SELECT * FROM ({self.query}\n)", self.params, self._query_place())
            given = {row[0]: row[1] for row in rows}
            refuse_doubled(self.file, self.connection, (self.query, self.params), given)
            hold_to(self.file, declared, given)
        return tuple(input_column(name, kind) for name, kind in given.items() if name in (declared or given))

    def column_problems(self, columns: Sequence[InputColumn]) -> list[Problem]:
        """Return a problem for each column that the file names and the input does not have."""
        return column_problems(self.file, {each.name: each.type for each in columns})

    def table(self, query: str, toml_path: str, *, limit: int = 10_000) -> list[dict[str, Any]]:
        """Return all rows of a small query of the file as dicts.

        Offline, a query of `[prompt.queries]` that fails gives no rows, and its problem is added to `unread`.
        Raises PipelineError for a query that fails or gives more than `limit` rows.
        """
        try:
            return self._table(query, toml_path, limit)
        except PipelineError as error:
            if not self._offline:
                raise
            hint = "Offline, the query runs without `setup` and databases: let it read a file of the project."
            problems = [Problem(what=each.what, where=each.where, hint=hint) for each in error.problems]
            if not toml_path.startswith("[prompt.queries]"):
                raise PipelineError.from_problems(problems) from error
            self.unread += problems
            return []

    def _table(self, query: str, toml_path: str, limit: int) -> list[dict[str, Any]]:
        statement = one_select(query, self.file.where(toml_path))
        self._run(f"SELECT * FROM ({statement}\n) LIMIT {limit + 1}", None, self.file.where(toml_path), fetch=False)
        names = [each[0] for each in self.connection.description or ()]
        rows = self.connection.fetchall()
        if len(rows) > limit:
            what = f"the query gives more than {limit:,} rows, but it is for small tables"
            raise PipelineError(what, where=self.file.where(toml_path), hint="Add a LIMIT or a WHERE.")
        return [dict(zip(names, row, strict=True)) for row in rows]

    def snapshot(self, path: Path, columns: tuple[InputColumn, ...]) -> Snapshot:
        """Write the input to `path` and check its keys.

        Raises InputError where a key is null or two rows have the same key.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        by_name = {each.name: each for each in columns}
        stored = ", ".join(each.stored_as(quote_identifier(each.name)) for each in by_name.values())
        look = self.look(path) if self.look is not None and content_columns(columns) else None
        select = f"SELECT row_number() OVER () - 1 AS position, {stored} FROM ({self.query}\n)"
        copy = f"COPY ({select}) TO {quote_literal(str(path))} ({SNAPSHOT_FORMAT})"
        self._run(copy, self.params, self._query_place())
        modes.settle(path)
        snapshot = Snapshot(path=path, columns=columns, key_columns=self.file.pipeline.input.key, rows=0)
        if look is not None:
            self._changed = True
            with self.without_databases() if self._attached else nullcontext():
                look.fill(self.connection, snapshot, content_columns(columns))
        return replace(snapshot, rows=check_keys(self.file, self.connection, snapshot))

    def write(self, select: str, path: Path) -> None:
        """Write the rows of `select`, which may read the input query, to a Parquet file in small groups."""
        copy = f"COPY ({select}) TO {quote_literal(str(path))} (FORMAT parquet, ROW_GROUP_SIZE 64)"
        self._run(copy, self.params, self._query_place(), fetch=False)

    def non_deterministic(self) -> str | None:
        """Return why two readings of the query may differ, as far as its syntax shows; None where nothing was found."""
        tree = self._run(f"SELECT json_serialize_sql({quote_literal(self.query)})", None, self._query_place())[0][0]
        called = set(re.findall(r'"function_name":\s*"([a-z_]+)"', tree))
        volatile = sorted(called & {"random", "now", "uuid", "gen_random_uuid", "uuidv4", "uuidv7", "current_date"})
        if volatile:
            return f"it calls {', '.join(volatile)}()"
        return "it has a LIMIT without an ORDER BY" if limits_without_order(json.loads(tree)) else None

    def attach_databases(self) -> None:
        """Attach the project's databases read-only and search their tables. `close` and `release_databases` let them
        go.
        """
        if self._attached:
            return
        self._attached = True
        self._shown = aliases_of(self._databases.paths)
        for alias, path in zip(tuple(self._shown), self._databases.paths, strict=True):
            if self._offline or not path.exists():
                self._shown = [each for each in self._shown if each != alias or self._upstream is not None]
                continue
            lock = opening(path)
            lock.acquire()
            self._held.append(lock)
            attached = self._upstream.hidden(alias) if self._upstream is not None else alias
            attach(self.connection, path, attached, read_only=True, wait_seconds=self._databases.wait_seconds)
            self._aliases.append(attached)
        if self._upstream is not None:
            self._upstream.aliases, self._upstream.attached = self._shown, self._aliases
            self._upstream.show()
        elif (views := views_of(self.file, self.connection, ())).hide_rows(self._aliases):
            # The output tables of pipelines without a file: views over them leave out what is not current.
            self.release_databases()
            self._upstream = views
            self.attach_databases()
            return
        searched = ["memory.main", *(f"{quote_identifier(each)}.main" for each in self._shown)]
        self.connection.execute(f"SET search_path = {quote_literal(','.join(searched))}")

    def release_databases(self) -> None:
        """Detach the project's databases and drop the stand-in, so that the output table can be written."""
        self.connection.execute("SET search_path = 'memory.main'")
        if self._upstream is not None:
            self._upstream.release()
        for alias in self._aliases:
            self.connection.execute(f"DETACH {quote_identifier(alias)}")
        self._aliases.clear()
        self._attached = False
        if self._changed:
            self.connection.execute("DROP SCHEMA IF EXISTS stand_in CASCADE")
        while self._held:
            self._held.pop().release()

    @contextmanager
    def without_databases(self) -> Iterator[None]:
        """Let go of the project's databases for the block, in which they may be written. What is searched stays."""
        (searched,) = self._one("SELECT current_setting('search_path')")
        self.release_databases()
        yield
        self.attach_databases()
        self.connection.execute(f"SET search_path = {quote_literal(searched)}")

    def is_as_new(self) -> bool:
        """Return whether nothing stays in the session once its databases are released."""
        return not (self.file.pipeline.input.setup or self._changed)

    def close(self) -> None:
        """Close the session and let go of the project's databases."""
        self.connection.close()
        while self._held:
            self._held.pop().release()

    def _stand_in(self) -> None:
        """Make an empty view in place of the output table, so that the input may read the table before a run has made
        it.
        """
        self._changed = True
        pipeline = self.file.pipeline
        schema, _, name = (pipeline.output.table or pipeline.name).rpartition(".")
        columns = dict.fromkeys(
            [*pipeline.input.key, *pipeline.output.fields, *pipeline.output.include, *dict(ADDED_COLUMNS)]
        )
        nothing = ", ".join(f"NULL AS {quote_identifier(column)}" for column in columns)
        self.connection.execute(f"CREATE SCHEMA IF NOT EXISTS {quote_identifier(schema or 'stand_in')}")
        view = quote_table(f"{schema or 'stand_in'}.{name}")
        self.connection.execute(f"CREATE OR REPLACE VIEW memory.{view} AS SELECT {nothing} WHERE false")
        path = [
            "memory.main",
            "memory.stand_in",
            *(f"{quote_identifier(each)}.main" for each in self._shown),
        ]
        self.connection.execute("CREATE SCHEMA IF NOT EXISTS stand_in")
        self.connection.execute(f"SET search_path = {quote_literal(','.join(path))}")

    def _run(self, statement: str, params: Any, place: str, *, fetch: bool = True) -> list[tuple[Any, ...]]:
        """Run a statement of the user. Where a table is not found, attach the project's databases and try again."""
        if self._upstream is not None:
            self.attach_databases()
        offer_macros(self.connection, statement)
        for mend in (self.attach_databases, self._declare_upstream, self._stand_in):
            try:
                return self._fetched(statement, params, fetch)
            except duckdb.CatalogException:
                mend()
            except duckdb.BinderException as error:
                if not self._declare_upstream():
                    raise self._failed(error, place) from error
            except duckdb.Error as error:
                raise self._failed(error, place) from error
        try:
            return self._fetched(statement, params, fetch)
        except duckdb.Error as error:
            raise self._failed(error, place) from error

    def _declare_upstream(self) -> bool:
        """Give the upstream tables all columns that their files declare; return whether that is anything new."""
        return self._upstream is not None and self._upstream.declare()

    def _fetched(self, statement: str, params: Any, fetch: bool) -> list[tuple[Any, ...]]:
        """Run a statement; where the memory is too small, run it again without the limit of this module."""
        try:
            cursor = self.connection.execute(statement, params)
        except duckdb.OutOfMemoryException:
            self._changed = True
            # The user's files may have long texts in large row groups: DuckDB's own limit is then usually enough.
            self.connection.execute("RESET memory_limit")
            cursor = self.connection.execute(statement, params)
        return cursor.fetchall() if fetch else []

    def _failed(self, error: duckdb.Error, place: str) -> BatchpipeError:
        """Return the error for a query that failed, or for a full disk. Raises KeyboardInterrupt for one that an
        interrupt has stopped.
        """
        if isinstance(error, duckdb.InterruptException):
            raise KeyboardInterrupt from error
        if disk_is_full(error):
            return storage_error(error, self.file.root)
        return PipelineError(f"the query failed: {duckdb_message(error)}", where=place, hint=query_hint(error))

    def _query_place(self) -> str:
        given = self.file.pipeline.input
        return self.file.where("[input] query") if given.query else str(given.query_file)

    def _chosen_params(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values of the parameters that the query uses: those of the file, replaced by those of the call.

        Raises PipelineError for an unknown parameter, and for one without a value.
        """
        known = dict(self.file.pipeline.input.params)
        for name in params:
            if name not in known:
                near = nearest(name, known)
                hint = f"Did you mean {near!r}?" if near else "Declare it under [input] params."
                raise PipelineError(
                    f"there is no parameter {name!r}", where=self.file.where("[input] params"), hint=hint
                )
        known.update(params)
        named = {str(each) for each in duckdb.extract_statements(self.query)[0].named_parameters}
        for name in sorted(named - set(known)):
            what = f"the query uses ${name}, which has no value"
            hint = f'Add it to params: {name} = "...", or give --param {name}=...'
            raise PipelineError(what, where=self.file.where("[input] params"), hint=hint)
        return {name: value for name, value in known.items() if name in named}

    def _one(self, statement: str) -> tuple[Any, ...]:
        return self.connection.execute(statement).fetchall()[0]


@contextmanager
def open_source(
    file: PipelineFile,
    databases: SourceDatabases,
    environment: Mapping[str, str],
    params: Mapping[str, Any],
    *,
    spill: Path | None = None,
    upstream: Sequence[UpstreamTable] = (),
    only_upstream: bool = False,
    offline: bool = False,
    look: Callable[[Path], MediaLook] | None = None,
    sessions: SourceSessions | None = None,
) -> Iterator[Source]:
    """Open a session over the input: `setup` has run, relative paths start at the project root, times are UTC.

    `upstream` are the tables of other pipelines that the file's SQL reads; `only_upstream` says that the input query
    reads nothing else, so that its columns are known without a source too.
    `look` makes what looks at the files that the input names; it gets the path of the snapshot.
    With `offline` no source is opened: `setup` does not run, and the declared columns stand for the query's columns.
    `sessions` keeps the session for the next input, where the block only reads columns and rows.
    """
    connection = (sessions or SourceSessions()).open(file.root, spill)
    try:
        source = Source(
            file, connection, databases, params, upstream=upstream, only_upstream=only_upstream, offline=offline
        )
        source.look = look
    except BaseException:
        connection.close()
        raise
    try:
        if not offline:
            offer_macros(connection, *file.pipeline.input.setup)
            steps = steps_of(file, file.pipeline.input.setup, "[input] setup", environment)
            run_steps(connection, steps, file.root, without_outputs=True)
        yield source
        if sessions is not None and source.is_as_new():
            source.release_databases()
            sessions.keep(file.root, spill, connection)
            return
    except BaseException:
        source.close()
        raise
    source.close()


def _input_query(file: PipelineFile) -> str:
    given = file.pipeline.input
    return one_select(file.query, given.query_file or file.where("[input] query"))
