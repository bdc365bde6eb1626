"""The ledger of a project that has no database file yet: it is empty, and the same statements run over it."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from batchpipe.sql.connection import Connection
from batchpipe.sql.quoting import quote_identifier, quote_literal, sql
from batchpipe.store.migration import apply_migrations, empty_image


@dataclass(slots=True, kw_only=True)
class EmptyLedger:
    """An empty ledger under the name `catalog`. Nobody waits for its file: it stays attached between sessions."""

    connection: Connection
    catalog: str
    _attached: bool = field(default=False, init=False)
    _stack: ExitStack = field(default_factory=ExitStack, init=False)

    def use(self, now: datetime) -> None:
        """Attach the ledger, if that is not done yet, and look names up in it from now on.

        Without room for its file it is made in memory.
        """
        if self._attached:
            return
        names = {"catalog": quote_identifier(self.catalog)}
        try:
            folder = self._stack.enter_context(TemporaryDirectory(prefix="batchpipe-"))
            path = Path(folder, "empty.duckdb")
            path.write_bytes(empty_image())
        except OSError:
            self.connection.execute(sql("ATTACH ':memory:' AS {catalog}; USE {catalog}", **names))
            apply_migrations(self.connection, now)
        else:
            place = quote_literal(str(path))
            self.connection.execute(sql("ATTACH {place} AS {catalog} (READ_ONLY); USE {catalog}", place=place, **names))
        self._attached = True

    def detach(self) -> None:
        """Let go of the ledger, if it is attached."""
        if self._attached:
            self.connection.execute(sql("USE memory; DETACH {catalog}", catalog=quote_identifier(self.catalog)))
            self._attached = False
            self.close()

    def close(self) -> None:
        """Remove the file of the ledger, which is used no more."""
        self._stack.close()
