"""What collecting, submitting and reconciling have in common: one pipeline's part of a run, as one value."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from batchpipe.common.call_pool import Pool, side_by_side
from batchpipe.engine.access.providers import PipelineProviders
from batchpipe.engine.ledger.events import add_event
from batchpipe.engine.ledger.raw_folder import RawFolder
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.engine.source.request_files import RequestFiles
from batchpipe.engine.source.snapshot import Snapshot
from batchpipe.store.database import Database, Session, Work


@dataclass(frozen=True, slots=True, kw_only=True)
class RunParts:
    """Holds what every step that touches batches needs.

    `providers` makes each provider at its first use, so that a run that finds nothing due loads no SDK. `run_id` stamps
    the events that the step records. `files` reads the files of requests, where they have
    some. `pool` makes calls side by side. `monotonic` returns seconds that never
    go back.
    """

    resolved: Resolved
    database: Database
    work: Work
    raw_folder: RawFolder
    providers: PipelineProviders
    run_id: str
    files: RequestFiles | None = None
    pool: Pool = side_by_side
    monotonic: Callable[[], float] = time.monotonic

    def leave_out_changed(self, snapshot: Snapshot) -> bool:
        """Leave the rows out whose files have changed since the plan; return whether there are any.

        Writes `work.left_out`.
        """
        if self.files is None or not self.files.changed:
            return False
        self.files.leave_out_changed(self.work.connection, snapshot)
        return True

    def reading(self) -> AbstractContextManager[Session]:
        """Return a session that reads the database; it is open for a moment."""
        return self.database.reading(self.work)

    def writing(self) -> AbstractContextManager[Session]:
        """Return a session that writes to the database in one transaction; its commit bears the run's id."""
        return self.database.writing(self.work, self.run_id)

    def add_event(self, session: Session, kind: str, data: Mapping[str, Any], *, chunk_id: str | None) -> None:
        """Record what happened to a chunk of this pipeline.

        Writes `ledger.events`.
        """
        add_event(session, self.resolved.name, kind, data, run_id=self.run_id, chunk_id=chunk_id)
