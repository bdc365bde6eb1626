"""Find the table of a database file that a new pipeline reads: a file of DuckDB, or one of SQLite."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from shlex import quote

import duckdb

from batchpipe.common.errors import UsageError
from batchpipe.common.likeness import nearest
from batchpipe.sql.quoting import quote_identifier, quote_literal, shown_table

ALIAS = "source"
SUFFIXES = (".duckdb", ".ddb", ".sqlite", ".sqlite3", ".db")


def attach_statement(path: str, kind: str) -> str:
    """Return the statement that attaches the database file `path` of a kind (duckdb, sqlite) as `source`."""
    typed = "" if kind == "duckdb" else "TYPE sqlite, "
    return f"ATTACH {quote_literal(path)} AS {ALIAS} ({typed}READ_ONLY)"


def database_kind(path: Path) -> str:
    """Return whether the file is one of sqlite or of duckdb, by how it begins."""
    with path.open("rb") as file:
        return "sqlite" if file.read(15) == b"SQLite format 3" else "duckdb"


def attach_source(session: duckdb.DuckDBPyConnection, path: Path, kind: str) -> None:
    """Attach the file to `session`. Raises UsageError, with the way out, where DuckDB cannot read it here."""
    try:
        session.execute(attach_statement(path.as_posix(), kind))
    except duckdb.Error as error:
        if kind == "sqlite" and "extension" in str(error).lower():
            what = "to read a file of SQLite DuckDB needs its extension sqlite, which is not here"
            hint = (
                "Install it once where there is a network: "
                "python -c \"import duckdb; duckdb.execute('INSTALL sqlite')\"; "
                f"or write the table to a file: sqlite3 -header -csv {path.name} 'SELECT * FROM your_table' > rows.csv"
            )
            raise UsageError(what, where=str(path), hint=hint) from error
        raise


def table_of(session: duckdb.DuckDBPyConnection, path: Path, wanted: str | None) -> tuple[str, str]:
    """Return schema and name of the table to read: the one that is `wanted`, else the only one there is.

    Raises UsageError that lists the tables where none is meant clearly.
    """
    found = session.execute(
        "SELECT schema_name, table_name FROM duckdb_tables() WHERE database_name = $1 AND schema_name <> 'ledger' "
        "UNION ALL SELECT schema_name, view_name FROM duckdb_views() WHERE database_name = $1 AND NOT internal "
        "AND schema_name <> 'ledger' ORDER BY ALL",
        [ALIAS],
    ).fetchall()
    tables = [(str(schema), str(name)) for schema, name in found]
    if wanted is not None:
        named = [each for each in tables if wanted.lower() in (each[1].lower(), ".".join(each).lower())]
    else:
        named = tables
    if len(named) == 1:
        return named[0]
    if not tables:
        raise UsageError("the database has no table", where=str(path), hint="Name another file.")
    listed = ", ".join(shown_table(*each) for each in tables)
    near = nearest(wanted, [shown_table(*each) for each in tables]) if wanted is not None and not named else None
    what = f"the database has several tables: {listed}"
    if wanted is not None:
        what = f"several tables are called {wanted}: {listed}" if named else f"there is no table {wanted}, but {listed}"
    first = shown_table(*(named or tables)[0])
    hint = f"Did you mean --table {quote(near)}?" if near else f"Name one of them: --table {quote(first)}"
    raise UsageError(what, where=str(path), hint=hint)


def relation(parts: Sequence[str]) -> str:
    """Return SQL for a table of that database, schema and name, in quotes only where they are needed."""
    return ".".join(each if each.isidentifier() and each.islower() else quote_identifier(each) for each in parts)
