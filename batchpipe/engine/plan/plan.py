"""What a plan is asked for, and what it comes to: rows by reason, chunks of requests, an estimate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from batchpipe.decide.caching import count_primes
from batchpipe.decide.chunking import Chunk
from batchpipe.engine.cost.estimate import Estimate
from batchpipe.engine.plan.pilot_sample import HeldBack, PilotSample
from batchpipe.engine.source.snapshot import Snapshot

# Why a row is sent; then those of them under which it is sent anew, not going on; then all that may be said of a row.
DUE_REASONS = (
    "redo",
    "new",
    "input_changed",
    "schema_changed",
    "prompt_changed",
    "check_failed",
    "escalated",
    "retry",
)
FRESH_REASONS = tuple(reason for reason in DUE_REASONS if reason not in ("escalated", "retry"))
REASONS = ("pending", *DUE_REASONS, "carried_over", "kept", "failed", "unchanged")


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanOptions:
    """What a call asks of the plan.

    `since` restricts it to rows decided after that commit: a later round of a run. With `unanswered` rows that
    another prompt version has answered are left out, and these keys.
    """

    limit: int | None = None
    where: str | None = None
    no_new: bool = False
    since: int | None = None
    sample: PilotSample | None = None
    unanswered: Sequence[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Rows by reason, and the chunks that a run would send. The rows are in `work.plan` and `work.leading`."""

    rows_by_reason: Mapping[str, int]
    removed: int
    known: int
    vanished: int
    appeared: int
    requests: int
    followers: int
    deferred_until: datetime | None  # when the next row that pauses after a transient error is due
    chunks: Sequence[Chunk]
    estimate: Estimate
    held: HeldBack | None  # what a pilot keeps back
    rendered: Path
    snapshot: Snapshot
    seq: int

    @property
    def input(self) -> int:
        return sum(self.rows_by_reason.values())

    @property
    def due(self) -> int:
        return sum(self.rows_by_reason[reason] for reason in DUE_REASONS)

    @property
    def batches(self) -> int:
        """How many are sent, with those of one request that prime a cache."""
        return len(self.chunks) + count_primes(self.estimate.caching)

    @property
    def keys_changed(self) -> bool:
        """More than half of the known keys vanished and as many new ones appeared."""
        return self.vanished * 2 > self.known and self.appeared >= self.vanished
