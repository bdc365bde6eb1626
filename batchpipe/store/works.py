"""The working databases of one call. One that was closed is emptied and handed out again."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import duckdb

from batchpipe.sql.quoting import Sql
from batchpipe.store.database import Work
from batchpipe.store.memory import Memory
from batchpipe.store.migration import roll_back


@dataclass(slots=True)
class Works:
    """Hands out working databases, because starting a DuckDB takes about ten times as long as emptying one."""

    _idle: list[tuple[Path | None, Work]] = field(default_factory=list, init=False)

    def open(self, folder: Path | None) -> Work:
        """Return a working database that spills to `folder`. `close` it, and its tables are gone."""
        for number, (its_folder, idle) in enumerate(self._idle):
            if its_folder == folder:
                del self._idle[number]
                before = idle.memory
                memory = Memory(
                    connection=idle.connection,
                    limit_bytes=before.limit_bytes,
                    seen_seq=before.seen_seq,
                    request_bytes=before.request_bytes,
                )
                work = Work(connection=idle.connection, empty_ledger=idle.empty_ledger, memory=memory)
                work.known_open = idle.known_open
                break
        else:
            work = Work.open(folder=folder)
        work.keep = lambda closed: self._keep(folder, closed)
        return work

    def _keep(self, folder: Path | None, work: Work) -> bool:
        """Keep a closed database; return False for one that cannot be emptied."""
        with suppress(duckdb.Error):
            roll_back(work.connection)
            work.connection.execute(Sql("DETACH work; SET threads = 1"))
            self._idle.append((folder, work))
            return True
        return False

    def close(self) -> None:
        """Close the databases that nobody uses now."""
        while self._idle:
            _, work = self._idle.pop()
            work.keep = None
            work.close()
