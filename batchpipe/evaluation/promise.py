"""What the rows that were looked at promise about the rows that were not, exactly and for any number of rows.

Rows are split at random into `n` seen and `other` unseen ones. However many rows `wrong` a ladder gets wrong in all,
the wrong ones among the seen are hypergeometric. So "at most `seen` wrong among the seen, and more than `unseen` among
the unseen" is likeliest for wrong = seen + unseen + 1, and no likelier than P(X <= seen) there: the exact prediction
limit of Thatcher (J. R. Stat. Soc. B 26, 1964; Krishnamoorthy and Peng, J. Stat. Plan. Inference 141, 2011). It covers
the noise of both parts, and assumes nothing about models, confidences or errors.
"""

from __future__ import annotations

from fractions import Fraction
from math import ceil

from batchpipe.evaluation.library import scipy_stats


def breach_chance(n: int, seen: int, other: int, unseen: int) -> float:
    """The greatest chance that at most `seen` of n rows are wrong and yet more than `unseen` of `other` are."""
    if unseen >= other or seen < 0:
        return 0.0
    return float(scipy_stats().hypergeom.cdf(seen, n + other, seen + unseen + 1, n)) if seen < n else 1.0


def allowed_wrong(n: int, target: float) -> int:
    """How many of n rows may be wrong so that at least the share `target` is right, to the digit; -1 for none."""
    return n - ceil(Fraction(str(target)) * n)


def wrong_limit(n: int, seen: int, other: int, risk: float) -> int:
    """How many of the `other` rows are wrong at most, but for `risk`, where `seen` of n rows were wrong.

    Whatever the number of wrong rows in all, the chance that more are is at most `risk`.
    """
    low, high = -1, other
    while high - low > 1:
        middle = (low + high) // 2
        if breach_chance(n, seen, other, middle) <= risk:
            high = middle
        else:
            low = middle
    return high
