"""Hand out the DuckDB sessions in which one call reads inputs. A session that ran only single SELECTs is used again."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import duckdb

from batchpipe.sql.interrupting import stop_at_interrupt
from batchpipe.sql.quoting import quote_literal
from batchpipe.store.memory import limit_memory

# The memory for reading the input. Where it is too little, the input is read again without this limit.
MEMORY_BYTES = 370_000_000


@dataclass(slots=True)
class SourceSessions:
    """Hands out sessions, because starting DuckDB takes as long as reading a small input."""

    _idle: dict[tuple[Path, Path | None], duckdb.DuckDBPyConnection] = field(default_factory=dict, init=False)

    def open(self, root: Path, spill: Path | None) -> duckdb.DuckDBPyConnection:
        """Return a session whose relative paths start at `root`, whose times are UTC, and that spills to `spill`."""
        connection = self._idle.pop((root, spill), None)
        if connection is None:
            connection = duckdb.connect(":memory:")
            stop_at_interrupt(connection)
            connection.execute("SET TimeZone = 'UTC'")
            if "," not in str(root):  # DuckDB splits this setting at commas; the command line is in the root anyway
                connection.execute(f"SET file_search_path = {quote_literal(str(root))}")
            connection.execute("SET enable_external_file_cache = false")  # it is read once
            if spill is not None:
                connection.execute(f"SET temp_directory = {quote_literal(str(spill))}")
            limit_memory(connection, MEMORY_BYTES)
        return connection

    def keep(self, root: Path, spill: Path | None, connection: duckdb.DuckDBPyConnection) -> None:
        """Keep a session that has nothing attached and nothing made, for the next one."""
        before = self._idle.pop((root, spill), None)
        if before is not None:
            before.close()
        self._idle[root, spill] = connection

    def close(self) -> None:
        """Close the sessions that nobody uses now."""
        while self._idle:
            self._idle.popitem()[1].close()
