"""When a version of the model may answer, and when it is set aside.

Each version is tested on the same gold rows, and one that should not have passed passes by chance now and then. The
k-th version on one gold set therefore gets 6 / (π² k²) of the risk: over all versions, however many there will be,
these shares sum up to the whole risk (a union bound; Σ 1/k² = π²/6).

Drift is a test that may be looked at after every audited row: a supermartingale that starts at 1 and passes 1 / risk
with at most the chance `risk` while nothing has drifted (Waudby-Smith and Ramdas, "Estimating means of bounded random
variables by betting", arXiv:2010.09686; Ville's inequality).
"""

from __future__ import annotations

from math import log, pi

from batchpipe.evaluation.claims import critical_hits
from batchpipe.local_model.library import special

FALSE_ALARM = 0.01  # the chance over the whole life of a version
MOST_WEIGHT = 50.0


def risk_share(version: int) -> float:
    """Return the share of the risk for the k-th version on one gold set, 6 / (π² k²). Raises ValueError for k < 1."""
    if version < 1:
        raise ValueError(f"versions count from 1, and this is {version}")
    return 6 / (pi * version) ** 2


def passes(right: int, gold_rows: int, target: float, *, risk: float, version: int) -> bool:
    """Return whether the k-th version may answer: the exact binomial test of `target` at its share of the risk.

    `right`: how many gold rows the whole ladder, with this version at the file's `accept`, gets right.
    """
    return right >= critical_hits(gold_rows, target, risk * risk_share(version))


def weight(confidence: float, least: float, audit: float, *, audited_row: bool) -> float:
    """Return 1 / the probability with which a row went up that a version of the model had looked at.

    A row below `least` always goes up. One that is sure goes up with the probability `audit`. `audited_row` says
    whether it did so as an audited row; a sure row that went up for another reason, such as `--redo`, counts once.
    """
    if confidence < least or not audited_row or audit <= 0:
        return 1.0
    return min(1 / audit, MOST_WEIGHT)


def evidence_of_drift(audited: int, agreed: int, expected: float) -> float:
    """Return the log of the evidence that audited rows agree less often than `expected`; alarm from log(1 / risk).

    It is the likelihood of the audited rows under shares below `expected`, mixed evenly over them, against that under
    `expected`: for every share from `expected` up its mean is at most 1. Any order of the rows gives the same.
    """
    if audited < 1 or expected <= 0:
        return float("-inf") if expected <= 0 else 0.0
    if expected >= 1:
        return 0.0 if agreed == audited else float("inf")
    functions = special()
    a, b = agreed + 1, audited - agreed + 1
    below = float(functions.betainc(a, b, expected))
    if below <= 0:
        return float("-inf")
    mixed = float(functions.betaln(a, b)) + log(below) - log(expected)
    return mixed - agreed * log(expected) - (audited - agreed) * log(1 - expected)


def drifted(audited: int, agreed: int, expected: float, risk: float = FALSE_ALARM / 2) -> bool:
    """Return whether the model agrees with the upper rungs less often than it did out of fold.

    `expected` is the lower limit of the out-of-fold agreement at the file's `accept` (`OutOfFold.agreement(...).low`),
    which is too high with at most `FALSE_ALARM` / 2; this test adds the other half. It may be asked after every row,
    and once it has said yes, the version stays set aside.
    """
    return evidence_of_drift(audited, agreed, expected) >= log(1 / risk)
