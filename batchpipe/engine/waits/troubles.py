"""Keep count of what stands in the way of open chunks, so that a wait ends over several calls as well as in one."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from batchpipe.decide.waits import LOOKS
from batchpipe.engine.ledger.events import OpenBatch, add_event
from batchpipe.sql.quoting import quote_list
from batchpipe.store.database import Database, Session, Work
from batchpipe.store.queries import query

TroubleKind = Literal[
    "not_found",  # the provider does not find the batch
    "gone",  # it says that it no longer has the results
    "unreadable",  # the results cannot be had, or are no results
    "foreign",  # the results of the chunk's batch have only custom ids that are not its own
    "unanswered",  # the provider does not answer when it is asked about the batch
    "not_listed",  # a whole list has no batch that may be the chunk's
    "list",  # the list cannot be read whole
    "account",  # the list is that of another account
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """Says what stands in the way of a chunk: since when without a break (naive UTC), and at how many looks."""

    kind: str
    message: str
    looks: int
    since: datetime


def read_troubles(session: Session, names: Sequence[str]) -> dict[str, list[Trouble]]:
    """Return the troubles of each chunk of the pipelines called `names` that were not over when last looked at.

    Reads `ledger.events`.
    """
    found: dict[str, list[Trouble]] = {}
    for chunk_id, kind, message, looks, since in session.rows(query("chunk_troubles", pipelines=quote_list(names))):
        found.setdefault(chunk_id, []).append(Trouble(kind=kind, message=message or "", looks=looks, since=since))
    return found


@dataclass(slots=True, kw_only=True)
class TroubleBook:
    """Records the troubles of one pipeline's chunks. Of one trouble only the first looks are recorded."""

    database: Database
    work: Work
    pipeline: str
    names: Sequence[str]
    run_id: str
    _known: dict[tuple[str, str], Trouble] | None = field(default=None, init=False)

    def reading(self) -> AbstractContextManager[Session]:
        """Return a session that reads the database; it is open for a moment."""
        return self.database.reading(self.work)

    def writing(self) -> AbstractContextManager[Session]:
        """Return a session that writes to the database in one transaction; its commit bears the run's id."""
        return self.database.writing(self.work, self.run_id)

    def read(self, session: Session) -> None:
        """Read the troubles that were recorded, where they were not read yet.

        Reads `ledger.events`.
        """
        if self._known is None:
            found = read_troubles(session, self.names)
            self._known = {(chunk_id, each.kind): each for chunk_id, troubles in found.items() for each in troubles}

    def meet(self, batch: OpenBatch, kind: TroubleKind, message: str) -> Trouble:
        """Count one more look at which the chunk of `batch` was in this trouble, and return the trouble.

        Writes `ledger.events`.
        """
        known = self._all()
        before = known.get((batch.chunk_id, kind))
        looks = before.looks if before else 0
        if looks < LOOKS:
            self._record(batch, "chunk_trouble", kind, message)
        since = before.since if before else self.database.clock()
        trouble = Trouble(kind=kind, message=message, looks=looks + 1, since=since)
        known[batch.chunk_id, kind] = trouble
        return trouble

    def met(self, batch: OpenBatch, kind: TroubleKind) -> Trouble | None:
        """Return the trouble of this kind that the chunk of `batch` is in, where it is in one.

        Reads `ledger.events`.
        """
        return self._all().get((batch.chunk_id, kind))

    def relieve(self, batch: OpenBatch, *kinds: TroubleKind) -> None:
        """Record that the chunk of `batch` is out of these troubles, where it was in one.

        Writes `ledger.events`.
        """
        known = self._all()
        for kind in kinds:
            if known.pop((batch.chunk_id, kind), None) is not None:
                self._record(batch, "chunk_relieved", kind, "")

    def _all(self) -> dict[tuple[str, str], Trouble]:
        """Return the troubles by chunk and kind, which are read once.

        Reads `ledger.events`.
        """
        if self._known is None:
            with self.reading() as session:
                self.read(session)
        assert self._known is not None
        return self._known

    def _record(self, batch: OpenBatch, event: str, kind: str, message: str) -> None:
        data = {"trouble": kind, "message": message}
        with self.writing() as session:
            add_event(session, self.pipeline, event, data, run_id=self.run_id, chunk_id=batch.chunk_id)
