"""Choice of the cheapest ladder that is promised to reach a target on rows to come, with all gold rows.

The ladders that may be chosen lie on a few paths. A path is a choice of rungs, and its ladders have one threshold for
all rungs but the last: a fixed grid of thresholds from the highest, with which nearly every row goes up, down to the
lowest. The order is fixed before a gold value is seen. Each ladder is tested in this order with the exact binomial
test, until the first one fails; the cheapest ladder that passed is taken. Testing in a fixed order costs no risk for
the number of ladders: Learn then Test (Angelopoulos, Bates, Candès, Jordan and Lei, arXiv:2110.01052, 2021). The paths
share the risk by fixed weights, after the ladder that they all begin with has been tested with the whole risk; that
this keeps the risk follows from the graphical procedure of Bretz, Maurer, Brannath and Posch (Stat. Med. 28, 2009).

The promise is about rows to come that are drawn like the gold rows. It assumes that the gold rows are a random sample,
and nothing about models or confidences.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, inf, isfinite, sqrt
from typing import Any

from batchpipe.evaluation.ladder_cost import Ladder, Row, measure, single
from batchpipe.evaluation.library import numpy, scipy_stats
from batchpipe.evaluation.search import AnswerArrays, choices, shortest_between
from batchpipe.evaluation.tuning import POINTS, RISK, Tuning, cheapest_single, check_gold, curve_on

# The weight of the path from the first to the last rung; the other paths share the rest equally.
MAIN_WEIGHT = 0.7
# Thresholds for confidences from 0 to 1, denser where sure models put most of their answers.
FINE = (0.9999, 0.9995, 0.999, 0.9975, 0.995, 0.9925)
GRID = (1.0, *FINE, *(place / 100 for place in range(99, -1, -1)))
POWER = 0.8  # the chance with which the number of labels that is asked for is enough


@dataclass(frozen=True, slots=True, kw_only=True)
class Path:
    """The ladders of one choice of rungs from the most careful one on, with their right rows and their cost in units.

    `hits` and `cost` are arrays with one number per ladder.
    """

    ladders: Sequence[Ladder]
    hits: Any
    cost: Any


def tune_by_all(rows: Sequence[Row], *, target: float, risk: float = RISK, points: int = POINTS) -> Tuning:
    """Return the cheapest ladder that is promised to reach `target` on rows to come, tested with all gold rows.

    `risk`: the greatest chance, over samples of gold rows, that a promise is given and does not hold. Raises
    UsageError for fewer than 20 rows, or for a target or a risk that is out of range.
    """
    check_gold(len(rows), target, risk)
    answers = AnswerArrays(rows)
    paths = [path_of(answers, rungs) for rungs in choices(answers.rungs) if len(rungs) > 1]
    start = _start(answers, rows)
    passed = _passed(start, paths, len(rows), target, risk)
    best = min(passed, key=lambda each: each[1])[0] if passed else start.ladders[0]
    found = measure(rows, best)
    singles = tuple(measure(rows, single(rung)) for rung in range(1, answers.rungs + 1))
    promised = target if passed else lower_bound(found.accuracy.hits, len(rows), risk)
    more = None if passed else labels_needed(found.accuracy.value, target, risk)
    return Tuning(
        target=target,
        risk=risk,
        held_out=False,
        reached=bool(passed),
        ladder=best,
        tuned_on=found,
        measured=found,
        promised=promised,
        labels=more,
        guarantee=_guarantee(len(rows), target, risk, None if passed else promised, more),
        curve=curve_on(rows, rows, points),
        singles=singles,
        cheapest_single=cheapest_single(singles, target),
    )


def path_of(answers: AnswerArrays, rungs: tuple[int, ...]) -> Path:
    """Return the ladders of `rungs`, the most careful first; the last one accepts every valid answer."""
    np = numpy()
    thresholds = (*grid_of(answers), None)
    last, newest = rungs[-1] - 1, answers.newest_correct(rungs)
    shape = (len(thresholds), answers.n)
    right, paid, rising = np.zeros(shape), np.zeros(shape), np.ones(shape, dtype=bool)
    for rung in rungs[:-1]:
        accepted = rising & answers.accepted(rung, thresholds)
        paid += rising * answers.cost[:, rung - 1]
        right += accepted & answers.correct[:, rung - 1]
        rising &= ~accepted
    ladders = [Ladder(rungs=rungs, accepts=(*(each,) * (len(rungs) - 1), None)) for each in thresholds]
    hits = np.rint((right + rising * newest).sum(axis=1)).astype(int)
    return Path(ladders=ladders, hits=hits, cost=(paid + rising * answers.cost[:, last]).sum(axis=1))


def grid_of(answers: AnswerArrays) -> tuple[float, ...]:
    """Return the thresholds of a path, the highest first.

    Confidences that are no probabilities have no grid that is fixed beforehand: its thresholds are then spread evenly
    over the confidences of all answers, whichever of them are right.
    """
    np = numpy()
    known = np.sort(answers.confidence[np.isfinite(answers.confidence)])
    if not known.size or (known[0] >= 0 and known[-1] <= 1):
        return GRID
    values = np.unique(known[np.linspace(0, known.size - 1, len(GRID)).astype(int)])
    lows = [-inf, *(float(each) for each in values[:-1])]
    return tuple(shortest_between(low, float(high)) for low, high in zip(lows, values, strict=True))[::-1]


def critical_hits(n: int, target: float, risk: float) -> int:
    """Return the fewest right rows of `n` with which the exact binomial test passes: P(X >= hits) <= risk if the
    accuracy is `target`; n + 1 if no number of right rows is enough.
    """
    stats = scipy_stats()
    hits = int(stats.binom.isf(risk, n, target)) + 1
    while hits > 0 and stats.binom.sf(hits - 2, n, target) <= risk:
        hits -= 1
    while hits <= n and stats.binom.sf(hits - 1, n, target) > risk:
        hits += 1
    return hits


def lower_bound(hits: int, n: int, risk: float) -> float:
    """Return the lower limit of Clopper and Pearson (Biometrika 26, 1934) of a share, one-sided at `risk`."""
    return float(scipy_stats().beta.ppf(risk, hits, n - hits + 1)) if hits else 0.0


def labels_needed(accuracy: float, target: float, risk: float) -> int | None:
    """Return about how many gold rows a promise of `target` needs, if the ladder is right on the share `accuracy`.

    None if no number is enough. The formula is that of the size of a sample for one share by the normal approximation
    (Fleiss, "Statistical Methods for Rates and Proportions", 1981), with a chance of `POWER`.
    """
    if not target < min(accuracy, 1.0) or not isfinite(accuracy):
        return None
    stats = scipy_stats()
    by_risk, by_power = float(stats.norm.isf(risk)), float(stats.norm.isf(1 - POWER))
    spread = by_risk * sqrt(target * (1 - target)) + by_power * sqrt(accuracy * (1 - accuracy))
    return ceil((spread / (accuracy - target)) ** 2)


def _start(answers: AnswerArrays, rows: Sequence[Row]) -> Path:
    """Return the one ladder that all paths begin near: the last rung alone, or all rungs where it may not answer all
    rows.
    """
    everywhere = all(row[-1] is not None for row in rows)
    rungs = (answers.rungs,) if everywhere or answers.rungs == 1 else tuple(range(1, answers.rungs + 1))
    whole = path_of(answers, rungs)
    return Path(ladders=whole.ladders[:1], hits=whole.hits[:1], cost=whole.cost[:1])


def _passed(
    start: Path, paths: Sequence[Path], n: int, target: float, risk: float
) -> list[tuple[Ladder, tuple[float, float]]]:
    """Return the ladders that passed, each with its cost and with minus its right rows, which decide at equal cost."""
    np = numpy()
    if start.hits[0] < critical_hits(n, target, risk):
        return []
    passed = [(start.ladders[0], (float(start.cost[0]), float(-start.hits[0])))]
    for path, share in zip(paths, _shares(paths), strict=True):
        short = np.flatnonzero(path.hits < critical_hits(n, target, risk * share))
        until = int(short[0]) if short.size else len(path.ladders)
        passed += [(path.ladders[place], (float(path.cost[place]), float(-path.hits[place]))) for place in range(until)]
    return passed


def _shares(paths: Sequence[Path]) -> list[float]:
    """Return each path's share of the risk. The path from the first to the last rung has the largest."""
    if len(paths) == 1:
        return [1.0]
    ends = [(path.ladders[0].rungs[0], path.ladders[0].rungs[-1]) for path in paths]
    longest = max(ends, key=lambda each: each[1] - each[0], default=(0, 0))
    main = [len(path.ladders[0].rungs) == 2 and each == longest for path, each in zip(paths, ends, strict=True)]
    return [MAIN_WEIGHT if each else (1 - MAIN_WEIGHT) / (len(paths) - 1) for each in main]


def _guarantee(n: int, target: float, risk: float, short: float | None, labels: int | None) -> str:
    """Return the promise in words, with the method and its assumptions.

    `short` is the accuracy that can be promised if it is below `target`, else None; `labels` is how many gold rows a
    promise would need.
    """
    seldom = f"Over samples of gold rows at most 1 in {1 / risk:.3g} such promises is broken."
    if short is None:
        said = f"The ladder is promised to be right on at least {target:.1%} of the rows to come. {seldom}"
    else:
        said = (
            f"No ladder passed for {target:.1%}. The most careful one is promised to be right on at least {short:.1%} "
            f"of the rows to come. {seldom} "
        )
        said += (
            f"If it is as accurate as on these rows, about {labels:,} gold rows are enough for {target:.1%}."
            if labels is not None
            else f"It was right on too few rows: more gold rows alone do not bring the promise of {target:.1%}."
        )
    return (
        f"All {n:,} gold rows tested the ladders, which were ordered before a gold value was seen. {said} The gold "
        "rows must be a random sample of the rows to come, which nobody picked. Method: Learn then Test with a fixed "
        "sequence (Angelopoulos et al., arXiv:2110.01052) and the exact binomial test; it assumes nothing about models "
        "or confidences. What holds for the rest of this table is what --held-out promises."
    )
