"""What a ladder with given thresholds makes of rows whose answers on every rung are known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from batchpipe.evaluation.statistics import Proportion, proportion


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one rung made of one row, all its attempts together.

    `valid` is False where the rung refused or failed. `confidence` is None where the answer names none: it then
    satisfies no threshold.
    """

    valid: bool
    correct: bool
    confidence: float | None
    cost_usd: Decimal


# One gold row: its answer on each rung of the pipeline, the first rung first; None where `when` passes the row by.
Row = Sequence[Answer | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ladder:
    """The rungs that are used, numbered from 1 in the pipeline's order, each with its threshold.

    `accepts` has one threshold per rung used: `confidence >= threshold` is accepted, None accepts every valid answer.
    That of the last rung decides only what is marked for review.
    """

    rungs: tuple[int, ...]
    accepts: tuple[float | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Climb:
    """One row's way: the rung whose answer stands (None where the row failed), and all that was paid."""

    rung: int | None
    correct: bool
    review: bool
    cost_usd: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class LadderResult:
    """A ladder, or a single model, on n rows. A failed row is a wrong one.

    `answered` counts the rows whose answer stands by rung, in the ladder's order.
    """

    ladder: Ladder
    accuracy: Proportion
    cost_usd: Decimal
    usd_per_1000: Decimal
    usd_per_1000_correct: Decimal | None
    answered: tuple[int, ...]
    failed: int
    review: int


def climb(row: Row, ladder: Ladder) -> Climb:
    """One row's way up the ladder.

    An answer that is invalid or below its rung's threshold goes up; on the last rung it is kept, and where the rungs
    above fail the newest valid answer is kept, both for review.
    """
    kept: Answer | None = None
    standing: int | None = None
    accepted, paid = False, Decimal(0)
    for rung, threshold in zip(ladder.rungs, ladder.accepts, strict=True):
        answer = row[rung - 1]
        if answer is None:
            continue
        paid += answer.cost_usd
        if answer.valid:
            kept, standing, accepted = answer, rung, _accepts(threshold, answer.confidence)
            if accepted:
                break
    correct = kept is not None and kept.correct
    return Climb(rung=standing, correct=correct, review=kept is not None and not accepted, cost_usd=paid)


def _accepts(threshold: float | None, confidence: float | None) -> bool:
    return threshold is None or (confidence is not None and confidence >= threshold)


def measure(rows: Sequence[Row], ladder: Ladder) -> LadderResult:
    """The ladder on all rows; ValueError for no rows."""
    climbs = [climb(row, ladder) for row in rows]
    right = proportion(sum(each.correct for each in climbs), len(climbs))
    cost = sum((each.cost_usd for each in climbs), Decimal(0))
    standing = Counter(each.rung for each in climbs)
    return LadderResult(
        ladder=ladder,
        accuracy=right,
        cost_usd=cost,
        usd_per_1000=cost * 1000 / right.n,
        usd_per_1000_correct=cost * 1000 / right.hits if right.hits else None,
        answered=tuple(standing[rung] for rung in ladder.rungs),
        failed=standing[None],
        review=sum(each.review for each in climbs),
    )


def single(rung: int) -> Ladder:
    """The ladder that has this rung alone and accepts all."""
    return Ladder(rungs=(rung,), accepts=(None,))
