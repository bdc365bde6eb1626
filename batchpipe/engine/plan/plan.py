"""What a plan is asked for, and what it comes to: rows by reason, chunks of requests, an estimate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path

from batchpipe.decide.caching import count_primes
from batchpipe.decide.chunking import Chunk
from batchpipe.decide.deadline import BatchTime
from batchpipe.engine.cost.estimate import Estimate
from batchpipe.engine.local.plan_part import LocalPlan
from batchpipe.engine.media.figures import MediaPlan
from batchpipe.engine.plan.pilot_sample import HeldBack, PilotSample
from batchpipe.engine.plan.too_long import TooLong
from batchpipe.engine.source.snapshot import Snapshot

# The reasons for which a row is due. Then those of them for which it is asked afresh, from the first rung on. Then all
# that a plan may say of a row.
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
    """Says what a call asks of the plan.

    `since` holds the plan to rows that were decided after that commit: it is for a later round of a run. `unanswered`
    leaves out rows that another prompt version has answered, and the keys in it. `sample` is what a pilot lets go.
    """

    limit: int | None = None
    where: str | None = None
    no_new: bool = False
    since: int | None = None
    sample: PilotSample | None = None
    unanswered: Sequence[str] | None = None

    @property
    def limited_by(self) -> str | None:
        """Return the option that leaves rows out of the plan; None where none does."""
        given = {"--where": self.where is not None, "--limit": self.limit is not None, "--no-new": self.no_new}
        return next((option for option, is_given in given.items() if is_given), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hurry:
    """Says which models are asked in realtime so that the answers are there `by` a time (naive UTC).

    `times` are how long their batches take. `batch_usd` is what the plan is expected to cost in batches, US dollars.
    """

    by: datetime
    times: Mapping[str, BatchTime]
    batch_usd: Decimal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Describes what is due and why: the rows by reason, and the chunks that a run would send.

    `known` keys were decided before; of them `vanished` left the input, and `appeared` ones are new. `removed` are
    vanished rows that have an answer. `followers` take the answer of a request in flight. `deferred_until` is when the
    next row that pauses after a transient error is due, naive UTC. `held` is what a pilot keeps back. `rendered` is the
    file of the rendered requests, `seq` the commit of the plan.
    `too_long` are requests that a model of the ladder does not take. The rows are in `work.plan` and `work.leading`.
    """

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
    too_long: Sequence[TooLong] = ()
    asked: int = 0  # of the requests, those of rungs in realtime
    asked_chunks: int = 0
    hurry: Hurry | None = None
    media: MediaPlan | None = None  # the files of the requests, where the prompt has some
    local: LocalPlan | None = None  # what the local rung answers, where the ladder has one
    hints: str | None = None  # the version of the local model that the templates asked
    waits: str = ""  # which due requests are not sent, since another pipeline has asked the same

    @property
    def input(self) -> int:
        """Return the number of rows that the plan looked at."""
        return sum(self.rows_by_reason.values())

    @property
    def due(self) -> int:
        """Return the number of rows that are due, those included that a limit or a pilot keeps back."""
        return sum(self.rows_by_reason[reason] for reason in DUE_REASONS)

    @property
    def batches(self) -> int:
        """Return how many batches are sent, with those that prime a cache and those that a tight budget makes."""
        if self.asked == self.requests:
            return 0
        return len(self.chunks) - self.asked_chunks + count_primes(self.estimate.caching) + self.estimate.more_batches
