"""The accuracy and cost of a ladder with given thresholds, on rows whose answers on every rung are known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from batchpipe.evaluation.statistics import Proportion, proportion


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalAnswer:
    """The answer of one rung to one row, after all attempts.

    `valid` is False if the model refused or no attempt gave a valid answer. `confidence` is None if the answer has
    none; such an answer satisfies no threshold. `cost_usd` is the cost of all attempts. `has` says of each promised
    value whether the answer gives it.
    """

    valid: bool
    correct: bool
    confidence: float | None
    cost_usd: Decimal
    has: tuple[bool, ...] = ()


# One gold row: its answer on each rung of the pipeline, in order; None for a rung whose `when` excludes the row.
Row = Sequence[FinalAnswer | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ThresholdLadder:
    """The rungs that are used, numbered from 1 in the pipeline's order, each with its threshold.

    `accepts` has one threshold for each rung used: an answer with `confidence >= threshold` is accepted; None accepts
    every valid answer. The threshold of the last rung decides only which answers are marked for review. `for_values`,
    where it is given, has the thresholds for answers with a promised value; `accepts` then has those for the others.
    """

    rungs: tuple[int, ...]
    accepts: tuple[float | None, ...]
    for_values: tuple[float | None, ...] | None = None

    def thresholds(self, answer: FinalAnswer) -> tuple[float | None, ...]:
        """Return the thresholds that an answer is held against on each rung."""
        return self.for_values if self.for_values is not None and any(answer.has) else self.accepts


@dataclass(frozen=True, slots=True, kw_only=True)
class Climb:
    """What a ladder does with one row: the rung whose answer is kept (None if the row failed), and the whole cost."""

    rung: int | None
    correct: bool
    review: bool
    cost_usd: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class LadderResult:
    """The accuracy and cost of a ladder on some rows. A failed row counts as wrong.

    `answered` has for each rung of the ladder the number of rows that keep its answer.
    """

    ladder: ThresholdLadder
    accuracy: Proportion
    cost_usd: Decimal
    usd_per_1000: Decimal
    usd_per_1000_correct: Decimal | None
    answered: tuple[int, ...]
    failed: int
    review: int


def climb(row: Row, ladder: ThresholdLadder) -> Climb:
    """Return what `ladder` does with a row.

    A row whose answer is invalid or below the threshold goes up to the next rung. If no rung accepts an answer, the
    newest valid one is kept and marked for review.
    """
    kept: FinalAnswer | None = None
    standing: int | None = None
    accepted, paid = False, Decimal(0)
    for place, rung in enumerate(ladder.rungs):
        answer = row[rung - 1]
        if answer is None:
            continue
        paid += answer.cost_usd
        if answer.valid:
            kept, standing = answer, rung
            accepted = _accepts(ladder.thresholds(answer)[place], answer.confidence)
            if accepted:
                break
    correct = kept is not None and kept.correct
    return Climb(rung=standing, correct=correct, review=kept is not None and not accepted, cost_usd=paid)


def _accepts(threshold: float | None, confidence: float | None) -> bool:
    return threshold is None or (confidence is not None and confidence >= threshold)


def measure(rows: Sequence[Row], ladder: ThresholdLadder) -> LadderResult:
    """Return the accuracy and cost of `ladder` on all rows. Raises ValueError for no rows."""
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


def single(rung: int) -> ThresholdLadder:
    """Return the ladder of this rung alone, which accepts every valid answer."""
    return ThresholdLadder(rungs=(rung,), accepts=(None,))
