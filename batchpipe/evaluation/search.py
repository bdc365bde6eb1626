"""Search over ladders: the number of right rows and the cost of every ladder in a grid of thresholds, with arrays."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from itertools import combinations
from math import floor, inf, isnan
from typing import Any

from batchpipe.evaluation.ladder_cost import FinalAnswer, Row, ThresholdLadder
from batchpipe.evaluation.library import numpy

# The most ladders that are tried for one choice of rungs, and the most and fewest thresholds of one rung.
MOST_LADDERS = 8_000
MOST_THRESHOLDS = 200
FEWEST_THRESHOLDS = 4

DIGITS = 17  # a float has no more significant ones
UNITS_PER_USD = 10**12


@dataclass(frozen=True, slots=True, kw_only=True)
class TriedLadders:
    """All ladders of one choice of rungs.

    `thresholds` are the thresholds tried on each rung but the last, `shape` the number of them on each rung. `hits`
    (right rows) and `cost` (in units of 1 / `UNITS_PER_USD`) are arrays with one number per ladder, flattened from
    `shape`.
    """

    rungs: tuple[int, ...]
    thresholds: tuple[tuple[float | None, ...], ...]
    shape: tuple[int, ...]
    hits: Any
    cost: Any

    def ladder(self, index: int) -> ThresholdLadder:
        """Return the ladder at `index` of the arrays."""
        places = numpy().unravel_index(index, self.shape) if self.shape else ()
        chosen = [each[place] for each, place in zip(self.thresholds, places, strict=True)]
        return ThresholdLadder(rungs=self.rungs, accepts=(*chosen, None))


class AnswerArrays:
    """The answers to gold rows as arrays of shape (row, rung)."""

    def __init__(self, rows: Sequence[Row]) -> None:
        np = numpy()
        self.n, self.rungs = len(rows), len(rows[0])
        self.allowed = np.array([[each is not None for each in row] for row in rows])
        self.valid = np.array([[each is not None and each.valid for each in row] for row in rows])
        correct = np.array([[each is not None and each.correct for each in row] for row in rows])
        self.correct = correct & self.valid
        confidence = np.array([[_known(each) for each in row] for row in rows])
        self.confidence = np.where(self.valid, confidence, -inf)
        self.cost = np.array([[0.0 if each is None else _units(each) for each in row] for row in rows])
        self.has = _promised_values(rows)

    def subset(self, places: Sequence[int]) -> AnswerArrays:
        """Return the answers to the rows at `places`."""
        fewer = copy(self)
        fewer.n = len(places)
        fewer.allowed = self.allowed[list(places)]
        fewer.valid, fewer.correct = self.valid[list(places)], self.correct[list(places)]
        fewer.confidence, fewer.cost = self.confidence[list(places)], self.cost[list(places)]
        fewer.has = self.has[list(places)]
        return fewer

    def thresholds(self, rung: int, most: int) -> tuple[float | None, ...]:
        """Return at most `most` thresholds of a rung, spread evenly over its answers. The first is None: accept all.

        They depend on the confidences alone, not on which answers are right. Each is the shortest decimal number that
        separates the same rows.
        """
        np = numpy()
        column = np.sort(self.confidence[:, rung - 1])
        known = column[np.isfinite(column)]
        if not known.size:
            return (None,)
        values = np.unique(known)
        picked = known[np.unique(np.linspace(0, known.size - 1, most - 1).astype(int))]
        places = np.unique(np.searchsorted(values, picked))
        lows = [float(values[place - 1]) if place else -inf for place in places]
        return (None, *(shortest_between(low, float(values[place])) for low, place in zip(lows, places, strict=True)))

    def newest_correct(self, rungs: Sequence[int]) -> Any:
        """Return an array by row: whether the newest valid answer of `rungs` is right, False where none is valid."""
        np = numpy()
        newest = np.zeros(self.n, dtype=bool)
        for rung in rungs:
            newest = np.where(self.valid[:, rung - 1], self.correct[:, rung - 1], newest)
        return newest

    def newest_has(self, rungs: Sequence[int]) -> Any:
        """Return an array of shape (row, promised value): whether the newest valid answer of `rungs` gives it."""
        np = numpy()
        newest = np.zeros(self.has[:, 0].shape, dtype=bool)
        for rung in rungs:
            newest = np.where(self.valid[:, rung - 1, None], self.has[:, rung - 1], newest)
        return newest

    def accepted(self, rung: int, thresholds: Sequence[float | None]) -> Any:
        """Return an array of shape (threshold, row): whether the rung's answer to the row is accepted."""
        np = numpy()
        valid, confidence = self.valid[:, rung - 1], self.confidence[:, rung - 1]
        return np.array([valid if each is None else valid & (confidence >= each) for each in thresholds])


def _promised_values(rows: Sequence[Row]) -> Any:
    """Return an array of shape (row, rung, promised value): whether the answer is valid and gives the value."""
    width = next((len(each.has) for row in rows for each in row if each is not None), 0)
    nothing = (False,) * width
    marks = [[each.has if each is not None and each.valid else nothing for each in row] for row in rows]
    return numpy().array(marks, dtype=bool).reshape(len(rows), len(rows[0]), width)


def _known(answer: FinalAnswer | None) -> float:
    if answer is None or answer.confidence is None or isnan(answer.confidence):
        return -inf
    return float(answer.confidence)


def _units(answer: FinalAnswer) -> float:
    """Return the cost in whole units: their sums are exact in a float, so that ladders of equal cost compare equal."""
    return float(round(answer.cost_usd * UNITS_PER_USD))


def shortest_between(low: float, high: float) -> float:
    """Return the decimal number with the fewest digits that is above `low` and at most `high`, which is finite."""
    for digits in range(DIGITS):
        candidate: float = floor(high * 10**digits) / 10**digits
        if low < candidate <= high:
            return candidate
    return high


def choices(rungs: int) -> list[tuple[int, ...]]:
    """Return every choice of one or more of the rungs 1 to `rungs`, each in the ladder's order."""
    return [chosen for size in range(1, rungs + 1) for chosen in combinations(range(1, rungs + 1), size)]


def grid(answers: AnswerArrays) -> list[tuple[tuple[int, ...], tuple[tuple[float | None, ...], ...]]]:
    """Return every choice of rungs, with the thresholds to try on each of its rungs but the last."""
    found = []
    for chosen in choices(answers.rungs):
        free = len(chosen) - 1
        most = MOST_THRESHOLDS if free < 2 else max(int(MOST_LADDERS ** (1 / free)), FEWEST_THRESHOLDS)
        found.append((chosen, tuple(answers.thresholds(rung, min(most, MOST_THRESHOLDS)) for rung in chosen[:-1])))
    return found


def try_thresholds(
    answers: AnswerArrays, rungs: tuple[int, ...], thresholds: tuple[tuple[float | None, ...], ...]
) -> TriedLadders:
    """Return the right rows and the cost of all ladders of these rungs and thresholds.

    The arrays are built from the last rung down: for each ladder of the rungs above, value(t, ...) = accepted(t) *
    correct + (1 - accepted(t)) * value(...). A row that no rung accepts keeps its newest valid answer, whatever the
    thresholds.
    """
    np = numpy()
    columns, newest = [rung - 1 for rung in rungs], answers.newest_correct(rungs)
    hits, cost = newest[None, :].astype(float), answers.cost[:, columns[-1]][None, :]
    for place in reversed(range(len(columns) - 1)):
        column, accepted = columns[place], answers.accepted(rungs[place], thresholds[place])
        up, right, paid = (~accepted).astype(float), accepted * answers.correct[:, column], answers.cost[:, column]
        if place:
            hits = (right[:, None, :] + up[:, None, :] * hits[None, :, :]).reshape(-1, answers.n)
            cost = (paid + up[:, None, :] * cost[None, :, :]).reshape(-1, answers.n)
        else:
            hits, cost = right.sum(axis=1)[:, None] + up @ hits.T, paid.sum() + up @ cost.T
    whole = len(columns) == 1
    return TriedLadders(
        rungs=rungs,
        thresholds=thresholds,
        shape=tuple(len(each) for each in thresholds),
        hits=np.rint(hits.sum(axis=1) if whole else hits.ravel()).astype(int),
        cost=cost.sum(axis=1) if whole else cost.ravel(),
    )


def try_all_ladders(answers: AnswerArrays) -> list[TriedLadders]:
    """Return the right rows and the cost of every ladder of the grid."""
    return [try_thresholds(answers, rungs, thresholds) for rungs, thresholds in grid(answers)]


def best_of(tried: Sequence[TriedLadders], hits: float) -> ThresholdLadder:
    """Return the cheapest ladder with at least `hits` right rows; if there is none, the most accurate one."""
    found = [_best(each, hits) for each in tried]
    _, _, place, index = min((*key, place, index) for place, (key, index) in enumerate(found))
    return tried[place].ladder(index)


def _best(tried: TriedLadders, hits: float) -> tuple[tuple[float, float], int]:
    """Return the sort key and the index of the best ladder.

    Ladders with enough right rows come first, by cost; the others follow by right rows, then by cost.
    """
    np = numpy()
    enough = np.flatnonzero(tried.hits >= hits)
    if enough.size:
        index = enough[np.lexsort((-tried.hits[enough], tried.cost[enough]))[0]]
        return (-inf, float(tried.cost[index])), int(index)
    index = np.lexsort((tried.cost, -tried.hits))[0]
    return (-float(tried.hits[index]), float(tried.cost[index])), int(index)


def frontier(tried: Sequence[TriedLadders]) -> list[ThresholdLadder]:
    """Return the ladders that are more accurate than every cheaper ladder, the cheapest first."""
    np = numpy()
    hits, cost = np.concatenate([each.hits for each in tried]), np.concatenate([each.cost for each in tried])
    order = np.lexsort((-hits, cost))
    best_before = np.concatenate(([-1], np.maximum.accumulate(hits[order])[:-1]))
    starts = np.cumsum([0, *(len(each.hits) for each in tried)])
    ladders = []
    for index in order[hits[order] > best_before]:
        place = int(np.searchsorted(starts, index, side="right")) - 1
        ladders.append(tried[place].ladder(int(index - starts[place])))
    return ladders


def count_right(answers: AnswerArrays, ladder: ThresholdLadder) -> tuple[int, float]:
    """Return how many rows a ladder gets right, and its cost in units."""
    tried = try_thresholds(answers, ladder.rungs, tuple((each,) for each in ladder.accepts[:-1]))
    return int(tried.hits[0]), float(tried.cost[0])
