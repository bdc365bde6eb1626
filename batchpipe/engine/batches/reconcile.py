"""Search for the batches of submits whose outcome is not known. Nothing is sent again before that.

A batch carries no label of ours. Its size and the time at which it was made tell whose it may be; the custom ids of its
results decide.
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
    """Holds what a search found. `changed` says that something was recorded.

    `gone` maps chunks to batches that may be theirs and have lost their results: a person has to decide.
    """

    changed: bool = False
    gone: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciler:
    """Searches for the batches of orphans: chunks that were to be sent, and whose submit has no recorded outcome.

    `reconcile_wait` (seconds) is how long a batch may be missing in the list before its chunk counts as lost.
    """

    parts: RunParts
    reconcile_wait: float

    def mark_orphans(self) -> int:
        """Record that the outcome of chunks is unknown that a killed process was sending; return how many are held.

        It is called once at the start of a run, which holds the pipeline's lock.
        Reads `ledger.batches`. Writes `ledger.events`.
        """
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
        """Return the event that a killed process left in the raw folder about its submit, as kind and data.

        Mostly it left none: then the event says that the outcome is not known.
        """
        kept = self.parts.raw_folder.saved_chunk(orphan.chunk_id)
        known = [each for each in kept.notes if each.kind in OUTCOMES] if kept else []
        if known:
            return known[-1].kind, known[-1].data
        return "chunk_unknown", {"message": "the process ended before an answer was recorded"}

    def search(self) -> SearchResult:
        """Look for the orphans' batches in the provider's list, and record what was found.

        Reads `ledger.batches`, `ledger.events`. Writes `ledger.events`, the raw folder. Raises what the provider's
        `recent` raises.
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
        """Return the events to record: (orphan, kind, data) for each orphan that something was found out about.

        Each orphan presumes a batch of its own. An orphan stays held while any batch that may be its own is undecided.
        The custom ids decide when a presumed batch has ended, so that it does not matter which orphan presumes which
        batch.
        `taken` are batches that other chunks of the pipeline presume; `open_sizes` are the sizes of all presumed
        batches.
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
    """Return the data of the event that a batch is taken to be ours until its custom ids decide."""
    return {"batch_id": state.batch_id, "created_at": state.created_at, "expires_at": state.expires_at}


def _candidates(orphan: OpenBatch, listed: Sequence[BatchState]) -> list[BatchState]:
    """Return the batches of the list that may be the orphan's, by size and time."""
    return [each for each in listed if each.total == orphan.requests and _in_window(each, orphan)]


def _likeness(state: BatchState, orphan: OpenBatch) -> tuple[bool, timedelta]:
    """Return a sorting key: ended batches first, since they can be looked into; then those nearest to the intent."""
    return not state.ended, abs(state.created_at - orphan.prepared_at)


def _gone(orphans: Sequence[OpenBatch], listed: Sequence[BatchState]) -> dict[str, str]:
    """Return chunk and batch where every candidate is archived: nobody can tell any more whose it was."""
    found = {each.chunk_id: _candidates(each, listed) for each in orphans}
    return {
        chunk_id: states[0].batch_id
        for chunk_id, states in found.items()
        if states and all(each.archived for each in states)
    }


def _in_window(state: BatchState, orphan: OpenBatch) -> bool:
    """Return whether the batch was made while the orphan's submit may have been under way.

    That is from 5 minutes before the intent to 5 minutes after the end of the submit and its time-out.
    """
    assert orphan.unknown_at is not None
    latest = orphan.unknown_at + timedelta(seconds=SUBMIT_TIMEOUT_SECONDS) + SKEW
    return orphan.prepared_at - SKEW <= state.created_at <= latest
