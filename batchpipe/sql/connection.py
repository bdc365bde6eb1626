"""The type of a connection whose statements are `Sql`: mypy finds a plain string that is put into one of them.

Every connection and every cursor of DuckDB fits this type, so that it costs nothing at run time.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import Any, Protocol

import duckdb

from batchpipe.sql.quoting import Sql, quote_identifier

BARE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Connection(Protocol):
    """Run statements in DuckDB and fetch their rows."""

    @property
    def description(self) -> Sequence[tuple[Any, ...]]:
        """Return a tuple for each column of the last statement, with the column's name first."""

    def execute(self, query: Sql, parameters: object = None, /) -> Connection:
        """Run a statement; its rows are fetched from what is returned."""

    def __enter__(self) -> Connection:
        """Return the connection itself."""

    def __exit__(self, kind: object, error: object, trace: object, /) -> None:
        """Close the connection."""

    def cursor(self) -> Connection:
        """Return another connection to the same databases, whose rows are fetched beside those of this one."""

    def interrupt(self) -> None:
        """Stop the statement that runs now, with duckdb.InterruptException. Any thread may call this."""

    def register(self, view_name: str, python_object: object) -> object:
        """Show a table of Arrow as a view."""

    def unregister(self, view_name: str) -> object:
        """Forget the view of a table of Arrow."""

    def close(self) -> None:
        """Close the connection."""

    def fetchmany(self, size: int = 1) -> list[tuple[Any, ...]]:
        """Return the next rows, `size` at most."""

    def sql(self, query: Sql, /) -> duckdb.DuckDBPyRelation:
        """Return the rows of a statement as a relation of DuckDB."""

    def fetchone(self) -> tuple[Any, ...] | None:
        """Return the next row, None after the last one."""

    def fetchall(self) -> list[tuple[Any, ...]]:
        """Return the rows that are left."""


def plain_name(name: str) -> str:
    """Return a column's name as a person writes it: in quotes only if DuckDB needs them."""
    return name if BARE_NAME.fullmatch(name) and name.lower() not in reserved_words() else quote_identifier(name)


@cache
def reserved_words() -> frozenset[str]:
    """Return the words of DuckDB that need quotes as names, in lower case."""
    with duckdb.connect(":memory:") as connection:
        reserved = "SELECT keyword_name FROM duckdb_keywords() WHERE keyword_category <> 'unreserved'"
        return frozenset(str(row[0]).lower() for row in connection.execute(reserved).fetchall())
