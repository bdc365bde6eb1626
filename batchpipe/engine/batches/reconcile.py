"""Submits whose outcome is not known: nothing is sent again before the provider's list has been searched.

A batch carries no label, so its size and the time of its creation tell whose it may be, and its custom ids decide.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from batchpipe.engine.batches.run_parts import RunParts
from batchpipe.engine.batches.submit import SUBMIT_TIMEOUT_SECONDS
from batchpipe.engine.ledger.events import OpenBatch, open_batches
from batchpipe.providers import BatchState
from batchpipe.store.queries import query

SKEW = timedelta(minutes=5)
OUTCOMES = ("chunk_submitted", "chunk_unknown", "chunk_not_sent", "chunk_refused")
ORPHAN_STATES = ("prepared", "held")


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult:
    """What a search came to. `gone`: chunks whose only candidates have lost their results; a person decides."""

    changed: bool = False
    gone: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciler:
    """Searches for the batches of orphans: chunks whose intent is recorded and whose outcome is not."""

    parts: RunParts
    reconcile_wait: float

    def mark_orphans(self) -> int:
        """At the start of a run: an intent without an outcome belongs to a killed process. How many are held."""
        with self.parts.reading() as session:
            found = open_batches(session, self.parts.resolved.names)
        killed = [each for each in found if each.state == "prepared"]
        if killed:
            with self.parts.writing() as session:
                for each in killed:
                    kind, data = self._left_by(each)
                    self.parts.add_event(session, kind, data, chunk_id=each.chunk_id)
        return sum(each.state in ORPHAN_STATES for each in found)

    def _left_by(self, orphan: OpenBatch) -> tuple[str, Mapping[str, Any]]:
        """What a killed process had learned of its submit, from the raw folder; mostly nothing."""
        kept = self.parts.raw_folder.facts(orphan.chunk_id)
        known = [each for each in kept.notes if each.kind in OUTCOMES] if kept else []
        if known:
            return known[-1].kind, known[-1].data
        return "chunk_unknown", {"message": "the process ended before an answer was recorded"}

    def search(self) -> SearchResult:
        """Look for the orphans' batches in the list, and record what was found.

        Raises what the provider's `recent` raises.
        """
        now = self.parts.database.clock()
        with self.parts.reading() as session:
            found = open_batches(session, self.parts.resolved.names)
            decided = {batch_id for (batch_id,) in session.rows(query("decided_batch_ids"))}
            presumed = session.rows(query("presumed_batches"))
        orphans = [each for each in found if each.state == "held"]
        if not orphans:
            return SearchResult()
        since = min(each.prepared_at for each in orphans) - SKEW
        listed = [each for each in self.parts.provider().recent(since) if each.batch_id not in decided]
        taken = {each.batch_id for each in found if each.state == "presumed"}
        open_sizes = {size for batch_id, size in presumed if batch_id not in decided}
        findings = self._findings(orphans, listed, taken, open_sizes, now)
        if findings:
            with self.parts.writing() as session:
                for orphan, kind, data in findings:
                    self.parts.add_event(session, kind, data, chunk_id=orphan.chunk_id)
            for orphan, kind, data in findings:
                self.parts.raw_folder.note(orphan.chunk_id, kind, data, now)
        return SearchResult(changed=bool(findings), gone=_gone(orphans, listed))

    def _findings(
        self,
        orphans: Sequence[OpenBatch],
        listed: Sequence[BatchState],
        taken: set[str | None],
        open_sizes: Collection[int],
        now: datetime,
    ) -> list[tuple[OpenBatch, str, dict[str, Any]]]:
        """Each orphan presumes a batch of its own; while any that may be its own is undecided, it stays held.

        Custom ids decide when a presumed batch has ended, so that which orphan presumes which does not matter.
        `taken` are batches that others of these chunks presume, `open_sizes` the sizes of all that anybody does.
        """
        findings: list[tuple[OpenBatch, str, dict[str, Any]]] = []
        for orphan in orphans:
            assert orphan.unknown_at is not None
            candidates = _candidates(orphan, listed)
            free = [each for each in candidates if each.batch_id not in taken and not each.archived]
            if free:
                chosen = min(free, key=lambda each: _likeness(each, orphan))
                taken.add(chosen.batch_id)
                findings.append((orphan, "chunk_presumed", presumed_batch_data(chosen)))
                continue
            waited = now - orphan.unknown_at >= timedelta(seconds=self.reconcile_wait)
            if waited and not candidates and orphan.requests not in open_sizes:
                findings.append((orphan, "chunk_not_found", {"listed": len(listed)}))
        return findings


def presumed_batch_data(state: BatchState) -> dict[str, Any]:
    """What is recorded of a batch that is taken to be ours until its custom ids decide."""
    return {"batch_id": state.batch_id, "created_at": state.created_at, "expires_at": state.expires_at}


def _candidates(orphan: OpenBatch, listed: Sequence[BatchState]) -> list[BatchState]:
    return [each for each in listed if each.total == orphan.requests and _in_window(each, orphan)]


def _likeness(state: BatchState, orphan: OpenBatch) -> tuple[bool, timedelta]:
    """Ended ones first, for they can be looked into; then the nearest to the intent."""
    return not state.ended, abs(state.created_at - orphan.prepared_at)


def _gone(orphans: Sequence[OpenBatch], listed: Sequence[BatchState]) -> dict[str, str]:
    """Chunk and batch where every candidate is archived: nobody can tell any more whose it was."""
    found = {each.chunk_id: _candidates(each, listed) for each in orphans}
    return {
        chunk_id: states[0].batch_id
        for chunk_id, states in found.items()
        if states and all(each.archived for each in states)
    }


def _in_window(state: BatchState, orphan: OpenBatch) -> bool:
    """Created between the intent less 5 minutes and the end of the try plus its time-out plus 5 minutes."""
    assert orphan.unknown_at is not None
    latest = orphan.unknown_at + timedelta(seconds=SUBMIT_TIMEOUT_SECONDS) + SKEW
    return orphan.prepared_at - SKEW <= state.created_at <= latest
