"""The type of a connection whose statements are `Sql`: mypy finds a plain string that is put into one of them.

Every connection and every cursor of DuckDB fits this type, so that it costs nothing at run time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from batchpipe.sql.quoting import Sql


class Connection(Protocol):
    """Run statements in DuckDB and fetch their rows."""

    @property
    def description(self) -> Sequence[tuple[Any, ...]]:
        """Return a tuple for each column of the last statement, with the column's name first."""

    def execute(self, query: Sql, parameters: object = None, /) -> Connection:
        """Run a statement; its rows are fetched from what is returned."""

    def fetchone(self) -> tuple[Any, ...] | None:
        """Return the next row, None after the last one."""

    def fetchall(self) -> list[tuple[Any, ...]]:
        """Return the rows that are left."""
