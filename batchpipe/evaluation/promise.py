"""A limit on the wrong rows among rows that were not tested, computed from a random sample that was tested.

All rows are split at random into `n` tested rows and `other` rows. Whatever the number of wrong rows in all, those
among the tested rows follow a hypergeometric distribution. "At most `wrong` tested rows and more than `other_wrong` of
the other rows are wrong" is therefore most likely where wrong + other_wrong + 1 rows are wrong in all, and then has the
probability P(X <= wrong): the exact prediction limit of Thatcher (J. R. Stat. Soc. B 26, 1964; Krishnamoorthy and Peng,
J. Stat. Plan. Inference 141, 2011). It covers the chance in both parts, holds for any number of rows, and assumes
nothing about models, confidences or errors.
"""

from __future__ import annotations

from fractions import Fraction
from math import ceil

from batchpipe.evaluation.library import scipy_stats


def breach_chance(n: int, wrong: int, other: int, other_wrong: int) -> float:
    """Return the greatest chance that at most `wrong` of `n` tested rows, but more than `other_wrong` of the `other`
    rows, are wrong.
    """
    if other_wrong >= other or wrong < 0:
        return 0.0
    return float(scipy_stats().hypergeom.cdf(wrong, n + other, wrong + other_wrong + 1, n)) if wrong < n else 1.0


def allowed_wrong(n: int, target: float) -> int:
    """Return how many of `n` rows may be wrong so that at least the share `target` is right; -1 for a target above 1.

    `target` is taken as the decimal number that it prints as.
    """
    return n - ceil(Fraction(str(target)) * n)


def wrong_limit(n: int, wrong: int, other: int, risk: float) -> int:
    """Return the most of the `other` rows that can be wrong, after `wrong` of `n` tested rows were.

    The chance that more are wrong is at most `risk`, whatever the number of wrong rows in all.
    """
    low, high = -1, other
    while high - low > 1:
        middle = (low + high) // 2
        if breach_chance(n, wrong, other, middle) <= risk:
            high = middle
        else:
            low = middle
    return high
