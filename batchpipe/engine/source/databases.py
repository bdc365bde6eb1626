"""The databases that an input query may read, and the names by which SQL calls them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from batchpipe.chain.chain import KnownTable
from batchpipe.store.opening import attach, opening
from batchpipe.store.output_marks import read_mark

_NAME = r'(?:"(?:[^"]|"")*"|[^\s".(]+)'
# How DuckDB writes the statement of a view: its name, perhaps the names of its columns, and its SELECT.
_VIEW = re.compile(rf"CREATE VIEW {_NAME}(?:\.{_NAME})*\s*(?:\({_NAME}(?:,\s*{_NAME})*\)\s*)?AS (.*?);?\s*", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceDatabases:
    """The databases that the input may read. The first is searched first; those that do not exist are left out."""

    paths: tuple[Path, ...]
    wait_seconds: float


def aliases_of(paths: Sequence[Path]) -> list[str]:
    """Return the names by which SQL calls the databases at `paths`: the file's, and one of its own for a second."""
    return [path.stem if number == 0 else f"{path.stem}_project" for number, path in enumerate(paths)]


def known_tables(paths: Sequence[Path], wait_seconds: float) -> list[KnownTable]:
    """Return the views that somebody made in the databases at `paths`, those that exist, without the ledger's own, and
    the output tables.

    Raises LockedError for a database that stays held. No session of these databases may be open in this thread.
    """
    found = []
    for path in filter(Path.exists, paths):
        with opening(path), duckdb.connect(":memory:") as connection:
            attach(connection, path, "looked_at", read_only=True, wait_seconds=wait_seconds)
            views = connection.execute(
                "SELECT schema_name, view_name, sql FROM duckdb_views() "
                "WHERE database_name = 'looked_at' AND NOT internal AND schema_name <> 'ledger'"
            ).fetchall()
            tables = connection.execute(
                "SELECT schema_name, table_name, comment FROM duckdb_tables() "
                "WHERE database_name = 'looked_at' AND comment IS NOT NULL"
            ).fetchall()
        for schema, name, statement in views:
            select = _VIEW.fullmatch(statement)
            # A statement of another form hides its tables, which `check` says.
            found.append(KnownTable(name=f"{schema}.{name}", select=select[1] if select is not None else statement))
        marks = ((f"{schema}.{name}", read_mark(comment)) for schema, name, comment in tables)
        found += [KnownTable(name=name, pipeline=mark.pipeline) for name, mark in marks if mark is not None]
    return found
