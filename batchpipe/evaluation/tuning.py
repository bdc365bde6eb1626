"""Choice of the cheapest thresholds that reach a target accuracy, with a promise about rows that were not used for it.

The gold rows are split at random into a tuning half and a held-out half. The tuning half is split again. Its first
third proposes a few ladders, each with a larger margin above the target than the one before. The rest of it tests each
proposal, and the cheapest proposal that passes is taken. To propose and to test on different rows, and to share the
risk among the proposals (Bonferroni), is the method Learn then Test (Angelopoulos, Bates, Candès, Jordan and Lei,
arXiv:2110.01052, 2021). That method, and BARGAIN in DocETL's cascades (Zeighami, Shankar and Parameswaran, "Cut Costs,
Not Accuracy", SIGMOD 2026), bound the true accuracy. The promise made here is about the accuracy that will be counted
on the held-out half, so that a ladder is tested against the limit in `promise`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import md5
from math import inf, sqrt

from batchpipe.common.errors import UsageError
from batchpipe.evaluation.claims import ClaimResult
from batchpipe.evaluation.ladder_cost import LadderResult, Row, ThresholdLadder, measure, single
from batchpipe.evaluation.promise import allowed_wrong, wrong_limit
from batchpipe.evaluation.search import AnswerArrays, best_of, count_right, frontier, try_all_ladders

FEWEST_ROWS = 20
POINTS = 24

# The greatest chance, over random splits, that a promise is given and does not hold.
RISK = 0.05
PROPOSING_SHARE = 1 / 3

# The margin of each proposal above the target, in standard deviations of the difference between two halves, and its
# part of the risk. The last proposal is the most accurate ladder: if it misses the target, every ladder does.
MARGINS = {2.0: 1, 3.0: 1, 4.0: 1, 5.0: 1, inf: 3}


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePoint:
    """One ladder of the curve, the cheapest of its accuracy on the rows that chose it, and its result there and on the
    rows that measure it.
    """

    tuned_on: LadderResult
    measured: LadderResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """The result of tuning.

    `held_out`: whether the promise is about the half of the gold rows that did not choose the ladder, and so about the
    rest of this table; else it is about rows to come. `risk`: the greatest chance that a promise is given and does not
    hold. `reached`: whether the target is promised; if not, `ladder` is the most accurate or most careful one.
    `tuned_on` and `measured`: the result of `ladder` on the rows that chose it, and on the rows that the figures are
    about (the held-out half, or all gold rows). `promised`: the accuracy that is promised, below the target if it is
    not reached. `labels`: about how many gold rows would be enough for the target, if that is known. `guarantee`: the
    promise in words. `curve`: ladders from the cheapest to the most accurate. `singles`: each rung alone, on the
    measured rows. `cheapest_single`: the one of them that reaches the target there with the lowest cost per right row.
    `claims`: what is promised, one by one. `target` and `promised` are None where only values are promised.
    """

    target: float | None
    risk: float
    held_out: bool
    reached: bool
    ladder: ThresholdLadder
    tuned_on: LadderResult
    measured: LadderResult
    promised: float | None
    labels: int | None
    guarantee: str
    curve: tuple[CurvePoint, ...]
    singles: tuple[LadderResult, ...]
    cheapest_single: LadderResult | None
    claims: tuple[ClaimResult, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TestedLadder:
    """A proposed ladder, the most rows of the held-out half that it can get wrong, and its cost on the tuning half."""

    ladder: ThresholdLadder
    limit: int
    cost: float


def check_gold(n: int, target: float | None, risk: float) -> None:
    """Raise UsageError for fewer than 20 gold rows, or for a target or a risk that is out of range."""
    check_size(n)
    check_range(target, risk)


def check_size(n: int, rows: str = "gold rows") -> None:
    """Raise UsageError for fewer than 20 rows; `rows` is what they are called."""
    if n < FEWEST_ROWS:
        there = f"there is {n}" if n == 1 else f"there are {n}"
        what = f"tuning needs at least {FEWEST_ROWS} {rows}, and {there}: {FEWEST_ROWS - n} more are needed"
        hint = f"Add {rows}: with a few hundred a promise is possible, with 1,000 a good one."
        raise UsageError(what, where="--tune", hint=hint)


def check_range(target: float | None, risk: float) -> None:
    """Raise UsageError for a target or a risk that is out of range."""
    if target is not None and not 0 < target <= 1:
        what = f"the target must be above 0 and at most 1, and it is {target}"
        raise UsageError(what, where="--target", hint="Write the share of rows that must be right: --target 0.9")
    if not 0 < risk < 1:
        what = f"the risk must be above 0 and below 1, and it is {risk}"
        raise UsageError(what, where="--risk", hint="Write the share of promises that may be broken: --risk 0.05")


def tune_by_half(
    rows: Sequence[Row], keys: Sequence[str], *, target: float, risk: float = RISK, seed: int = 0, points: int = POINTS
) -> Tuning:
    """Return the cheapest ladder that can be promised to reach `target` on the held-out half.

    The rows' `keys` and `seed` decide the halves; the curve has at most `points` points. Raises UsageError for fewer
    than 20 rows, or for a target or a risk that is out of range.
    """
    check_gold(len(rows), target, risk)
    tuning, other = halves(keys, seed)
    chosen_by, held_out = [rows[place] for place in tuning], [rows[place] for place in other]
    tested = _test(chosen_by, len(held_out), target, risk)
    passing = [each for each in tested if each.limit <= allowed_wrong(len(held_out), target)]
    best = min(passing, key=lambda each: each.cost) if passing else tested[-1]
    promised = 1 - best.limit / len(held_out)
    singles = tuple(measure(held_out, single(rung)) for rung in range(1, len(rows[0]) + 1))
    return Tuning(
        target=target,
        risk=risk,
        held_out=True,
        reached=bool(passing),
        ladder=best.ladder,
        tuned_on=measure(chosen_by, best.ladder),
        measured=measure(held_out, best.ladder),
        promised=promised,
        guarantee=_guarantee(len(chosen_by), len(held_out), len(tested), target, risk, None if passing else promised),
        labels=None,
        curve=curve_on(chosen_by, held_out, points),
        singles=singles,
        cheapest_single=cheapest_single(singles, target),
    )


def halves(keys: Sequence[str], seed: int) -> tuple[list[int], list[int]]:
    """Return the places of the tuning half and of the held-out half, by a hash of seed and key."""
    order = sorted(range(len(keys)), key=lambda place: (_hash(seed, keys[place]), place))
    return order[: len(order) // 2], order[len(order) // 2 :]


def _hash(seed: int, key: str) -> str:
    return md5(f"{seed}\x1f{key}".encode(), usedforsecurity=False).hexdigest()


def _proposing(tuning: int) -> int:
    """Return how many rows of the tuning half are used to propose; the others are used to test."""
    return int(tuning * PROPOSING_SHARE)


def _test(rows: Sequence[Row], other: int, target: float, risk: float) -> list[TestedLadder]:
    """Return the proposed ladders with the results of their test, the most accurate one last.

    A proposal, with its thresholds, depends on the proposing rows alone. The testing rows and the held-out half are
    therefore a random split of one pool, as `promise` needs it.
    """
    answers, first = AnswerArrays(rows), _proposing(len(rows))
    proposing, testing = answers.subset(range(first)), answers.subset(range(first, len(rows)))
    tried = try_all_ladders(proposing)
    spread = sqrt(target * (1 - target) * (1 / testing.n + 1 / other))
    proposals: dict[ThresholdLadder, int] = {}
    for margin, parts in MARGINS.items():
        found = best_of(tried, (target + margin * spread) * first if margin < inf else inf)
        proposals[found] = max(parts, proposals.pop(found, 0))
    tested = []
    for ladder, parts in proposals.items():
        hits, _ = count_right(testing, ladder)
        _, cost = count_right(answers, ladder)
        part = risk * parts / sum(proposals.values())
        tested.append(
            TestedLadder(ladder=ladder, limit=wrong_limit(testing.n, testing.n - hits, other, part), cost=cost)
        )
    return tested


def curve_on(tuning: Sequence[Row], other: Sequence[Row], points: int) -> tuple[CurvePoint, ...]:
    """Return at most `points` of the ladders that are, on the rows `tuning`, more accurate than every cheaper one."""
    if not points:
        return ()
    ladders = frontier(try_all_ladders(AnswerArrays(tuning)))
    steps = min(len(ladders), points)
    places = sorted({round(step * (len(ladders) - 1) / max(steps - 1, 1)) for step in range(steps)})
    return tuple(
        CurvePoint(tuned_on=measure(tuning, ladders[place]), measured=measure(other, ladders[place]))
        for place in places
    )


def cheapest_single(singles: Sequence[LadderResult], target: float | None) -> LadderResult | None:
    """Return the rung that alone reaches `target` at the lowest cost per right row, None if no rung does."""
    if target is None:
        return None
    reaching = [
        (each.usd_per_1000_correct, place)
        for place, each in enumerate(singles)
        if each.usd_per_1000_correct is not None
        and each.accuracy.n - each.accuracy.hits <= allowed_wrong(each.accuracy.n, target)
    ]
    return singles[min(reaching)[1]] if reaching else None


def _guarantee(tuning: int, other: int, proposals: int, target: float, risk: float, short: float | None) -> str:
    """Return the promise in words, with the method and its assumptions.

    `short` is the accuracy that can be promised if it is below `target`, else None.
    """
    were = "1 ladder was" if proposals == 1 else f"{proposals} ladders were"
    found = (
        f"Thresholds were chosen on {tuning:,} of {tuning + other:,} gold rows, drawn at random: {were} proposed by "
        f"{_proposing(tuning):,} of them and tested on the other {tuning - _proposing(tuning):,}."
    )
    where = f"on the {other:,} rows that were not used to choose it. Over random splits at most 1 in {1 / risk:.3g}"
    if short is None:
        said = f"The cheapest ladder that passed is promised to be right on at least {target:.1%} {where}"
    else:
        said = (
            f"None passed for {target:.1%}. The most accurate ladder is promised to be right on at least {short:.1%} "
            f"{where}"
        )
    return (
        f"{found} {said} such promises is broken. Method: Learn then Test (Angelopoulos et al., arXiv:2110.01052) with "
        "the exact prediction limit (Thatcher 1964): the margin covers the chance in both halves and assumes nothing "
        "about models or confidences. For new rows it holds as far as they are like the gold rows."
    )


def accept_condition(threshold: float, confidence: str = "confidence") -> str:
    """Return the SQL of `accept`: `confidence >= 0.8125`, where `confidence` is a field's name or an SQL expression."""
    plain = re.fullmatch(r"[A-Za-z_][\w.]*", confidence)
    return f"{confidence if plain else f'({confidence})'} >= {threshold!r}"
