"""What no interval of a share can do better: how narrow it may be, and how seldom it may hold the truth."""

from __future__ import annotations

from collections import defaultdict
from functools import cache

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.stats import hypergeom

from .populations import REVIEWED, ROWS, Table

LEAST = 0.94
# So many contradicting rows of a kind are told apart; more of them are in the sample with a probability below 0.001.
COUNTS = 10
FEW = 20


def most_worth(rows: Table, value: str) -> float:
    """Return how many uniformly reviewed rows the sample may be worth at most.

    No estimator that is right on average over samples has a smaller variance, where the truth is drawn anew for each
    row by what the answer and the doubt say of it: sum of (1 / p - 1) times the variance of the row's truth (Godambe
    and Joshi, Ann. Math. Stat. 36, 1965).
    """
    parts: dict[tuple[bool, float], list[bool]] = defaultdict(list)
    for truth, answer, probability in zip(rows.truths, rows.answers, rows.probabilities, strict=True):
        parts[answer == value, round(probability, 9)].append(truth == value)
    variance = 0.0
    for (_, probability), truths in parts.items():
        share = sum(truths) / len(truths)
        variance += len(truths) * (1 / probability - 1) * share * (1 - share)
    share = rows.share(value)
    return share * (1 - share) * (1 - REVIEWED / ROWS) * len(rows.truths) ** 2 / variance


def least_coverage(rows: Table, value: str) -> float | None:
    """Return how often an interval must hold the truth of this table so that it holds 94% of the time in each.

    It goes by two counts in a uniform sample: of reviewed rows with the value that the model missed, and of rows
    without it that it was given to. It says of each pair of counts that the truth is below, in, or above the interval,
    and more missed rows never move it down. The tables that it must hold in have the same share, and the model misses
    more or fewer rows. Of all such intervals an integer program finds the one that holds least often in this table.
    Returns None where the model is wrong on too many rows for the program, or the sample is not uniform.
    """
    missed = sum(truth == value != answer for truth, answer in zip(rows.truths, rows.answers, strict=True))
    wrong = sum(answer == value != truth for truth, answer in zip(rows.truths, rows.answers, strict=True))
    uniform = max(rows.probabilities) - min(rows.probabilities) < 1e-9
    return _least(missed, wrong) if uniform and max(missed, wrong) <= FEW else None


@cache
def _least(missed: int, wrong: int) -> float:
    size = COUNTS**2

    def probabilities(more: int) -> np.ndarray:
        both = [hypergeom(ROWS, each + more, REVIEWED).pmf(range(COUNTS)) for each in (missed, wrong)]
        return np.tile(np.outer(*both).ravel(), 2)

    def place(above: bool, seen_missed: int, seen_wrong: int) -> int:
        return above * size + seen_missed * COUNTS + seen_wrong

    def row(plus: int, minus: int, sign: int) -> np.ndarray:
        found = np.zeros(2 * size)
        found[plus], found[minus] = 1, sign
        return found

    # One variable says for each pair whether the interval lies above the truth, one whether it lies below.
    at_most, limits = [], []
    for more in range(-min(missed, wrong), 100):
        at_most.append(probabilities(more))
        limits.append(1 - LEAST)
    for one in range(COUNTS):
        for other in range(COUNTS):
            at_most.append(row(place(True, one, other), place(False, one, other), 1))
            limits.append(1.0)
            if one + 1 < COUNTS:
                at_most.append(row(place(True, one, other), place(True, one + 1, other), -1))
                at_most.append(row(place(False, one + 1, other), place(False, one, other), -1))
                limits += [0.0, 0.0]
            if other + 1 < COUNTS:
                at_most.append(row(place(True, one, other + 1), place(True, one, other), -1))
                at_most.append(row(place(False, one, other), place(False, one, other + 1), -1))
                limits += [0.0, 0.0]
    found = milp(
        -probabilities(0),
        constraints=LinearConstraint(np.array(at_most), -np.inf, limits),
        integrality=np.ones(2 * size),
        bounds=Bounds(0, 1),
    )
    assert found.success
    return 1 + float(found.fun)
