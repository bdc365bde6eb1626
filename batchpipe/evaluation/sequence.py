"""Choice of the cheapest ladder that is promised to reach a target on rows to come, with all gold rows.

The ladders that may be chosen lie on a few paths. A path is a choice of rungs, and its ladders have one threshold for
all rungs but the last: a fixed grid of thresholds from the highest, with which nearly every row goes up, down to the
lowest. The order is fixed before a gold value is seen. Each ladder is tested in this order with the exact binomial
test, until the first one fails; the cheapest ladder that passed is taken. Testing in a fixed order costs no risk for
the number of ladders: Learn then Test (Angelopoulos, Bates, Candès, Jordan and Lei, arXiv:2110.01052, 2021). The paths
share the risk by fixed weights, after the ladder that they all begin with has been tested with the whole risk; that
this keeps the risk follows from the graphical procedure of Bretz, Maurer, Brannath and Posch (Stat. Med. 28, 2009).

For a promise of accuracy alone the paths are tested twice, with two parts of the risk. The first time they begin with
the last rung alone. A ladder whose rungs keep only what they are sure of is often more right than its last rung, and
with few gold rows a last rung that just misses would keep all others from being tested: the second time the paths begin
with the ladder of all rungs at a threshold of 0.92. Where confidences say nothing, the first sequence still stands.

The promise is about rows to come that are drawn like the gold rows. It assumes that the gold rows are a random sample,
and nothing about models or confidences.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Any, Literal

from batchpipe.evaluation.claims import (
    Claim,
    ClaimResult,
    PromisedValues,
    claim_result,
    critical_counts,
)
from batchpipe.evaluation.guarantee import guarantee
from batchpipe.evaluation.ladder_cost import Row, ThresholdLadder, measure, single
from batchpipe.evaluation.library import numpy
from batchpipe.evaluation.search import AnswerArrays, choices, shortest_between
from batchpipe.evaluation.tuning import POINTS, RISK, Tuning, cheapest_single, check_gold, curve_on

# The weight of the path from the first to the last rung; the other paths share the rest equally.
MAIN_WEIGHT = 0.7
# Thresholds for confidences from 0 to 1, denser where sure models put most of their answers.
FINE = (0.9999, 0.9995, 0.999, 0.9975, 0.995, 0.9925)
GRID = (1.0, *FINE, *(place / 100 for place in range(99, -1, -1)))

# The place in the grid of the threshold that a second sequence begins with (0.92), and its share of the risk.
SURE_PLACE = 14
SURE_SHARE = 0.8

# How the two thresholds of a path's ladders fall: together, one after the other, or one of them accepts all answers.
Shape = Literal["same", "values first", "others first", "values free", "others free"]
Thresholds = tuple[float | None, ...]
NO_VALUES = PromisedValues()


@dataclass(frozen=True, slots=True, kw_only=True)
class Path:
    """The ladders of one choice of rungs from the most careful one on.

    The arrays have one number per ladder: right rows, cost in units, and for each promised value, in the second
    dimension, the answers that give it (`answered`) and those of them that are right (`found`).
    `share`: the path's part of the risk.
    """

    ladders: Sequence[ThresholdLadder]
    hits: Any
    cost: Any
    answered: Any
    found: Any
    share: float = 1.0


def tune_by_all(
    rows: Sequence[Row],
    *,
    target: float | None,
    risk: float = RISK,
    points: int = POINTS,
    values: PromisedValues = NO_VALUES,
) -> Tuning:
    """Return the cheapest ladder that is promised to reach `target` on rows to come, tested with all gold rows.

    `risk`: the greatest chance, over samples of gold rows, that a promise is given and does not hold. `values` are the
    claims about values, which hold together with `target`; without a target (None) they are all that is promised.
    Raises UsageError for fewer than 20 rows, or for a target or a risk that is out of range.
    """
    check_gold(len(rows), target, risk)
    answers = AnswerArrays(rows)
    chosen = choose_ladder(answers, target, risk, values)
    ladder, results = chosen.ladder, chosen.results
    found = measure(rows, ladder)
    singles = tuple(measure(rows, single(rung)) for rung in range(1, answers.rungs + 1))
    promised = target if chosen.passed or target is None else results[0].low
    wanted = [each.gold_rows for each in results if each.low < each.claim.target]
    known = [each for each in wanted if each is not None]
    more = None if chosen.passed or len(known) < len(wanted) else max(known, default=None)
    return Tuning(
        target=target,
        risk=risk,
        held_out=False,
        reached=chosen.passed,
        ladder=ladder,
        tuned_on=found,
        measured=found,
        promised=promised,
        labels=more,
        guarantee=guarantee(len(rows), results, risk, more),
        curve=curve_on(rows, rows, points),
        singles=singles,
        cheapest_single=cheapest_single(singles, target),
        claims=results,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenLadder:
    """The cheapest ladder that passed, else the most careful one; `results` has what is known of each claim."""

    ladder: ThresholdLadder
    passed: bool
    results: tuple[ClaimResult, ...]


def choose_ladder(
    answers: AnswerArrays, target: float | None, risk: float, values: PromisedValues = NO_VALUES
) -> ChosenLadder:
    """Test the ladders in their fixed order, and return the cheapest that passes."""
    claims = Claims(answers, target, values)
    start = _start(answers, claims)
    chosen = [rungs for rungs in choices(answers.rungs) if len(rungs) > 1]
    paths = [
        path_of(answers, rungs, claims, shape, share / len(claims.shapes))
        for rungs, share in zip(chosen, _shares(chosen), strict=True)
        for shape in claims.shapes
    ]
    # A promise that the first ladder does not pass is the one that it could be given, at the same share of the risk.
    first_risk = risk if not paths or values.claims else risk * (1 - SURE_SHARE)
    passed = _passed(start, paths, claims, first_risk)
    if paths and not values.claims:
        every = tuple(range(1, answers.rungs + 1))
        sure = _from(path_of(answers, every, claims), SURE_PLACE)
        passed += _passed(sure, [_from(each, SURE_PLACE) for each in paths], claims, risk * SURE_SHARE)
    path, _, place = min(passed, key=lambda each: each[1]) if passed else (start, (0.0, 0.0), 0)
    results = claims.results(path, place, first_risk, given=bool(passed))
    return ChosenLadder(ladder=path.ladders[place], passed=bool(passed), results=results)


class Claims:
    """The claims that a ladder is tested for, and what is counted for each of them.

    `shapes` are the kinds of paths whose ladders are tested. A claim about a value makes a second threshold useful: to
    accept every answer with the value costs no recall, and to accept every other answer costs no precision.
    """

    def __init__(self, answers: AnswerArrays, target: float | None, values: PromisedValues) -> None:
        np = numpy()
        self.n = answers.n
        self.claims = (*(() if target is None else (Claim(kind="accuracy", target=target),)), *values.claims)
        self.first = len(self.claims) - len(values.claims)
        self.truths = np.array(values.truths, dtype=bool).reshape(len(values.claims), answers.n)
        kinds = {each.kind for each in self.claims}
        if kinds == {"recall"}:
            self.shapes: tuple[Shape, ...] = ("values free",)
        elif kinds == {"precision"}:
            self.shapes = ("others free",)
        else:
            self.shapes = ("same", "values first", "others first") if values.claims else ("same",)

    def counted(self, path: Path, number: int) -> tuple[Any, Any]:
        """Return for each ladder of the path the rows that count for a claim, and the right ones among them."""
        np, kind = numpy(), self.claims[number].kind
        if kind == "accuracy":
            return np.full(len(path.ladders), self.n), path.hits
        place = number - self.first
        if kind == "precision":
            return path.answered[:, place], path.found[:, place]
        return np.full(len(path.ladders), self.truths[place].sum()), path.found[:, place]

    def passes(self, path: Path, risk: float) -> Any:
        """Return an array that says of each ladder whether every claim passes the exact test at the path's risk."""
        np = numpy()
        kept = np.ones(len(path.ladders), dtype=bool)
        for number, claim in enumerate(self.claims):
            n, hits = self.counted(path, number)
            kept &= hits >= critical_counts(n, claim.target, risk * path.share)
        return kept

    def results(self, path: Path, place: int, risk: float, *, given: bool) -> tuple[ClaimResult, ...]:
        """Return what is known of each claim for one ladder of the path."""
        found = []
        for number, claim in enumerate(self.claims):
            n, hits = self.counted(path, number)
            found.append(claim_result(claim, int(hits[place]), int(n[place]), self.n, risk, given=given))
        return tuple(found)


def path_of(
    answers: AnswerArrays, rungs: tuple[int, ...], claims: Claims | None = None, shape: Shape = "same", share: float = 1
) -> Path:
    """Return the ladders of `rungs`, the most careful first; the last one accepts every valid answer."""
    np = numpy()
    claims = claims or Claims(answers, 1.0, NO_VALUES)
    for_values, others = pairs_of(shape, (*grid_of(answers), None))
    truth = claims.truths.T
    rising = np.ones((len(others), answers.n), dtype=bool)
    hits, cost = np.zeros(len(others)), np.zeros(len(others))
    counted = np.zeros((2, len(others), truth.shape[1]))

    def keep(kept: Any, correct: Any, has: Any) -> None:
        counted[0] += kept @ has.astype(float)
        counted[1] += kept @ (has & truth).astype(float)
        hits[:] += kept @ correct.astype(float)

    for rung in rungs[:-1]:
        accepted = answers.accepted(rung, others)
        if for_values is not others:
            named = answers.has[:, rung - 1].any(axis=1)
            accepted = np.where(named, answers.accepted(rung, for_values), accepted)
        accepted &= rising
        cost += rising @ answers.cost[:, rung - 1]
        keep(accepted, answers.correct[:, rung - 1], answers.has[:, rung - 1])
        rising &= ~accepted
    cost += rising @ answers.cost[:, rungs[-1] - 1]
    keep(rising, answers.newest_correct(rungs), answers.newest_has(rungs))
    two = for_values is not others
    ladders = [
        ThresholdLadder(
            rungs=rungs,
            accepts=(*(other,) * (len(rungs) - 1), None),
            for_values=(*(value,) * (len(rungs) - 1), None) if two else None,
        )
        for value, other in zip(for_values, others, strict=True)
    ]
    answered, found = np.rint(counted).astype(int)
    return Path(ladders=ladders, hits=np.rint(hits).astype(int), cost=cost, answered=answered, found=found, share=share)


def pairs_of(shape: Shape, grid: Thresholds) -> tuple[Thresholds, Thresholds]:
    """Return the thresholds of a path for answers with a promised value, and those for the others, from the most
    careful pair on. Both are one and the same object where they do not differ.
    """
    top = grid[0]
    if shape == "values free":
        return (None,) * len(grid), grid
    if shape == "others free":
        return grid, (None,) * len(grid)
    if shape == "values first":
        return (*grid, *(None,) * (len(grid) - 1)), (*(top,) * len(grid), *grid[1:])
    if shape == "others first":
        return (*(top,) * len(grid), *grid[1:]), (*grid, *(None,) * (len(grid) - 1))
    return grid, grid


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


def _start(answers: AnswerArrays, claims: Claims) -> Path:
    """Return the one ladder that all paths begin near: the last rung alone, or all rungs where it may not answer all
    rows.
    """
    everywhere = bool(answers.allowed[:, -1].all())
    rungs = (answers.rungs,) if everywhere or answers.rungs == 1 else tuple(range(1, answers.rungs + 1))
    whole = path_of(answers, rungs, claims)
    first = {name: getattr(whole, name)[:1] for name in ("ladders", "hits", "cost", "answered", "found")}
    return Path(**first)


def _from(path: Path, place: int) -> Path:
    """Return a path from the ladder at a place on."""
    return replace(
        path, **{name: getattr(path, name)[place:] for name in ("ladders", "hits", "cost", "answered", "found")}
    )


def _passed(
    start: Path, paths: Sequence[Path], claims: Claims, risk: float
) -> list[tuple[Path, tuple[float, float], int]]:
    """Return the ladders that passed as path and place, each with its cost and with minus its right rows, which decide
    at equal cost.
    """
    np = numpy()
    if not claims.passes(start, risk)[0]:
        return []
    passed = [(start, (float(start.cost[0]), float(-start.hits[0])), 0)]
    for path in paths:
        short = np.flatnonzero(~claims.passes(path, risk))
        until = int(short[0]) if short.size else len(path.ladders)
        passed += [(path, (float(path.cost[place]), float(-path.hits[place])), place) for place in range(until)]
    return passed


def _shares(chosen: Sequence[tuple[int, ...]]) -> list[float]:
    """Return the share of the risk for each choice of rungs. That of the first and the last rung has the largest."""
    if len(chosen) == 1:
        return [1.0]
    longest = max((rungs[-1] - rungs[0] for rungs in chosen), default=0)
    main = [len(rungs) == 2 and rungs[1] - rungs[0] == longest for rungs in chosen]
    return [MAIN_WEIGHT if each else (1 - MAIN_WEIGHT) / (len(chosen) - 1) for each in main]
