"""Submits whose outcome is not known: nothing is sent again before the provider's list has been searched.

A batch carries no label, so its size and the time of its creation tell whose it may be, and its custom ids decide.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from batchpipe.engine.facts import OpenBatch, add_event, open_batches
from batchpipe.engine.resolve import Resolved
from batchpipe.engine.submit import SUBMIT_TIMEOUT_SECONDS
from batchpipe.providers import BatchState, Provider
from batchpipe.store.database import Database, Work
from batchpipe.store.queries import query

SKEW = timedelta(minutes=5)
ORPHAN_STATES = ("prepared", "held")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciler:
    """Searches for the batches of orphans: chunks whose intent is recorded and whose outcome is not."""

    resolved: Resolved
    database: Database
    work: Work
    provider: Callable[[], Provider]
    run_id: str
    reconcile_wait: float

    def mark_orphans(self) -> int:
        """At the start of a run: an intent without an outcome belongs to a killed process. How many are held."""
        with self.database.reading(self.work) as session:
            found = open_batches(session, self.resolved.names)
        killed = [each for each in found if each.state == "prepared"]
        if killed:
            with self.database.writing(self.work, self.run_id) as session:
                for each in killed:
                    facts = {"message": "the process ended before an answer was recorded"}
                    add_event(
                        session,
                        self.resolved.name,
                        "chunk_unknown",
                        facts,
                        run_id=self.run_id,
                        chunk_id=each.chunk_id,
                    )
        return sum(each.state in ORPHAN_STATES for each in found)

    def search(self) -> bool:
        """Look for the orphans' batches in the list, and record what was found; True where anything changed.

        Raises what the provider's `recent` raises.
        """
        with self.database.reading(self.work) as session:
            found = open_batches(session, self.resolved.names)
            known = {batch_id for (batch_id,) in session.rows(query("known_batch_ids"))}
        orphans = [each for each in found if each.state == "held"]
        if not orphans:
            return False
        since = min(each.prepared_at for each in orphans) - SKEW
        listed = [each for each in self.provider().recent(since) if each.batch_id not in known]
        facts = self._findings(orphans, listed, self.database.clock())
        if facts:
            with self.database.writing(self.work, self.run_id) as session:
                for orphan, kind, data in facts:
                    add_event(
                        session, self.resolved.name, kind, data, run_id=self.run_id, chunk_id=orphan.chunk_id
                    )
        return bool(facts)

    def _findings(
        self, orphans: Sequence[OpenBatch], listed: Sequence[BatchState], now: datetime
    ) -> list[tuple[OpenBatch, str, dict[str, Any]]]:
        """For each size: one candidate for one orphan is presumed ours, an ended one is looked into, none is waited out."""
        facts: list[tuple[OpenBatch, str, dict[str, Any]]] = []
        for size in sorted({each.requests for each in orphans}):
            alike = [each for each in orphans if each.requests == size]
            candidates = [
                each for each in listed if each.total == size and any(_in_window(each, orphan) for orphan in alike)
            ]
            if not candidates:
                for orphan in alike:
                    assert orphan.unknown_at is not None
                    if now - orphan.unknown_at >= timedelta(seconds=self.reconcile_wait):
                        facts.append((orphan, "chunk_not_found", {"listed": len(listed)}))
                continue
            ended = [each for each in candidates if each.ended]
            chosen = ended[0] if ended else candidates[0] if len(candidates) == len(alike) == 1 else None
            if chosen is not None:
                orphan = next(each for each in alike if _in_window(chosen, each))
                facts.append((orphan, "chunk_presumed", presumed_facts(chosen)))
        return facts


def presumed_facts(state: BatchState) -> dict[str, Any]:
    """What is recorded of a batch that is taken to be ours until its custom ids decide."""
    return {"batch_id": state.batch_id, "created_at": state.created_at, "expires_at": state.expires_at}


def _in_window(state: BatchState, orphan: OpenBatch) -> bool:
    """Created between the intent less 5 minutes and the end of the try plus its time-out plus 5 minutes."""
    assert orphan.unknown_at is not None
    latest = orphan.unknown_at + timedelta(seconds=SUBMIT_TIMEOUT_SECONDS) + SKEW
    return orphan.prepared_at - SKEW <= state.created_at <= latest
