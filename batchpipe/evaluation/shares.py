"""Shares of the values of a field in a table, from the models' answers to all rows and a person's to a sample.

Counting a model's answers gives a biased share: it is right on most rows only. The reviewed rows correct it, and the
answers to all rows make the interval narrower than the reviewed rows alone could: prediction-powered inference
(Angelopoulos, Duchi and Zrnic, PPI++, arXiv:2311.01453). For the share of one value both the answer and the truth are
yes or no. The estimator with the best weight lambda is then the one that takes the share of true rows apart among the
rows that are answered with the value, and among the others, and adds up both by how many rows each has in the table.

The interval of each of both shares is that of Jeffreys (Brown, Cai and DasGupta, Stat. Sci. 16, 2001), which holds for
few rows and small shares too. Both are put together by the method of variance estimates recovery (Zou and Donner, Stat.
Med. 27, 2008), with the correction for a finite table. Rows with unequal probabilities count by 1 / probability, with
the effective number of rows by the variance of the weighted share, at least that of Kish (Survey Sampling, 1965).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

from batchpipe.evaluation.library import numpy, scipy_stats

LEVEL = 0.95
MOST_GAIN = 1.3  # the most rows of equal probability that a row of the sample by doubt counts as
FEWEST_OF_A_KIND = 2
EQUAL = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """The share of `value` among the rows of the group `by`, with its 95% interval.

    `counted` is what counting the models' answers gives. `reviewed` rows of the group were seen by a person, and
    `worth` is how many would give the same interval without the models' answers. `low` and `high` are None without
    reviewed rows.
    """

    value: str | None
    by: Any
    rows: int
    share: float
    low: float | None
    high: float | None
    counted: float
    reviewed: int
    worth: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reviewed:
    """The rows of one group: `answers` of the models to all rows, and of the reviewed ones the place, the true value
    and the probability with which the row was to be reviewed.
    """

    answers: Sequence[str | None]
    places: Sequence[int]
    truths: Sequence[str | None]
    probabilities: Sequence[float]


def shares_of(rows: Reviewed, by: Any) -> list[Share]:
    """Return the share of each value that a model or a person gave, the largest first."""
    values = dict.fromkeys([*rows.answers, *rows.truths])
    found = [share_of(rows, value, by) for value in values]
    return sorted(found, key=lambda each: (-each.share, each.value is None, each.value or ""))


def share_of(rows: Reviewed, value: str | None, by: Any = None) -> Share:
    """Return the share of one value with its interval. Raises ValueError for no rows."""
    np = numpy()
    n = len(rows.answers)
    if not n:
        raise ValueError("a share of no rows")
    answered = np.array([each == value for each in rows.answers])
    seen = answered[list(rows.places)] if len(rows.places) else np.zeros(0, dtype=bool)
    truth = np.array([each == value for each in rows.truths], dtype=bool)
    weights = 1 / np.array(rows.probabilities, dtype=float)
    counted = float(answered.mean())
    point, below, above = 0.0, 0.0, 0.0
    for with_value in (True, False):
        size = int((answered == with_value).sum())
        if not size:
            continue
        chosen = seen == with_value
        part = Stratum.of(truth[chosen], weights[chosen], size, fallback=float(with_value))
        point += size / n * part.share
        below += (size / n * part.below) ** 2
        above += (size / n * part.above) ** 2
    if not len(rows.places):
        return Share(
            value=value, by=by, rows=n, share=counted, low=None, high=None, counted=counted, reviewed=0, worth=0
        )
    low, high = max(point - sqrt(below), 0.0), min(point + sqrt(above), 1.0)
    return Share(
        value=value,
        by=by,
        rows=n,
        share=point,
        low=low,
        high=high,
        counted=counted,
        reviewed=len(rows.places),
        worth=_worth(point, high - low, len(rows.places), n),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Stratum:
    """The share of true rows in one part of the table, and how far its interval reaches below and above."""

    share: float
    below: float
    above: float

    @staticmethod
    def of(truth: Any, weights: Any, size: int, *, fallback: float) -> Stratum:
        """Return the share among `size` rows of which those with `truth` were reviewed; `fallback` where none was."""
        total = float(weights.sum())
        if not total:
            return Stratum(share=fallback, below=fallback, above=1 - fallback)
        share = float((weights * truth).sum()) / total
        n = effective(truth, weights, total)
        low, high = jeffreys(share * n, n)
        # The reviewed rows are no part of what is not known.
        rest = sqrt(max(1 - len(truth) / size, 0.0))
        return Stratum(share=share, below=(share - low) * rest, above=(high - share) * rest)


def effective(truth: Any, weights: Any, total: float) -> float:
    """Return how many rows drawn with equal probabilities would be worth as much as these.

    It is the quotient of the variance of one row, p (1 - p), by the variance of the weighted share, sum w^2 (y - p)^2 /
    (sum w)^2 (Hajek, 1971). Where weights differ, half a true and half a wrong row of mean weight are added: a variance
    from few rows may look too small. With fewer than `FEWEST_OF_A_KIND` true or wrong rows it is the number of Kish.
    """
    rows, true = len(truth), int(truth.sum())
    kish = total**2 / float((weights**2).sum())
    if min(true, rows - true) < FEWEST_OF_A_KIND or float(weights.max() - weights.min()) < EQUAL:
        return kish
    mean = total / rows
    smooth = (float((weights * truth).sum()) + mean / 2) / (total + mean)
    added = mean**2 / 2 * ((1 - smooth) ** 2 + smooth**2)
    spread = (float((weights**2 * (truth - smooth) ** 2).sum()) + added) / total**2
    return float(min(max(smooth * (1 - smooth) / spread, kish), MOST_GAIN * rows))


def jeffreys(hits: float, n: float) -> tuple[float, float]:
    """Return the interval of Jeffreys of a share at the level of 95%."""
    beta = scipy_stats().beta
    low = float(beta.ppf((1 - LEVEL) / 2, hits + 0.5, n - hits + 0.5)) if hits > 0 else 0.0
    high = float(beta.ppf((1 + LEVEL) / 2, hits + 0.5, n - hits + 0.5)) if hits < n else 1.0
    return min(low, hits / n), max(high, hits / n)


def _worth(share: float, width: float, reviewed: int, rows: int) -> int:
    """Return how many reviewed rows alone would have an interval of this width."""
    low, high = jeffreys(share * reviewed, reviewed)
    plain = (high - low) * sqrt(max(1 - reviewed / rows, 0.0))
    if not width or not plain:
        return reviewed
    return max(round(reviewed * (plain / width) ** 2), 0)
