"""Shares of the values of a field in a table, from the models' answers to all rows and a person's to a sample.

Counting a model's answers gives a biased share: it is right on most rows only. The reviewed rows correct it, and the
answers to all rows make the interval narrower than the reviewed rows alone could: prediction-powered inference
(Angelopoulos, Duchi and Zrnic, PPI++, arXiv:2311.01453). For the share of one value both the answer and the truth are
yes or no. The estimator with the best weight lambda is then the one that takes the share of true rows apart among the
rows that are answered with the value, and among the others, and adds up both by how many rows each has in the table.

Each of both shares has the beta distribution of Jeffreys (Brown, Cai and DasGupta, Stat. Sci. 16, 2001), which holds
for few rows and small shares too: `beta_of` says how rows with unequal probabilities count in it. The interval is the
middle 95% of the distribution of their weighted sum (the chain rule estimate of Hofer et al., arXiv:2405.06034; for the
difference of two shares Agresti and Min, Biometrics 61, 2005), with the correction for a finite table. Limits that are
made for each share alone and then added up hold the truth too often where few rows contradict the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

from batchpipe.evaluation.library import numpy, scipy_stats

LEVEL = 0.95
NORMAL_QUANTILE = 1.959963984540054
# What is known of weights before a row contradicts the model: so many usual rows, and degrees of freedom.
USUAL_ROWS = 1
FIRST_FREEDOM = 4
HALF_ROW = 0.5  # of a true and of a wrong row that are added to those that were seen
EQUAL = 1e-9
# In so many steps of equal probability the distribution of a part is added to that of the other part.
STEPS = 128


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
    values, seen = dict.fromkeys([*rows.answers, *rows.truths]), RowArrays.of(rows)
    found = [_share(seen, value, by) for value in values]
    return sorted(found, key=lambda each: (-each.share, each.value is None, each.value or ""))


def share_of(rows: Reviewed, value: str | None, by: Any = None) -> Share:
    """Return the share of one value with its interval. Raises ValueError for no rows."""
    if not rows.answers:
        raise ValueError("a share of no rows")
    return _share(RowArrays.of(rows), value, by)


@dataclass(frozen=True, slots=True, kw_only=True)
class RowArrays:
    """The rows of one group as arrays: `answers` to all rows, and what was said, the truth and the weight of each
    reviewed one.
    """

    answers: Any
    said: Any
    truths: Any
    weights: Any
    halves: HalfRows

    @staticmethod
    def of(rows: Reviewed) -> RowArrays:
        """Return the arrays of these rows. The weight of a row is 1 / probability."""
        np = numpy()
        answers, truths = np.array(rows.answers, dtype=object), np.array(rows.truths, dtype=object)
        said = answers[np.array(rows.places, dtype=int)]
        weights = 1 / np.array(rows.probabilities, dtype=float)
        halves = HalfRows.of(weights, (said != truths).astype(bool))
        return RowArrays(answers=answers, said=said, truths=truths, weights=weights, halves=halves)


def _share(rows: RowArrays, value: str | None, by: Any) -> Share:
    answered, seen, truth = ((each == value).astype(bool) for each in (rows.answers, rows.said, rows.truths))
    n, reviewed = len(answered), len(seen)
    counted = float(answered.mean())
    parts = []
    for with_value in (True, False):
        size = int((answered == with_value).sum())
        if size:
            chosen = seen == with_value
            part = Stratum.of(truth[chosen], rows.weights[chosen], size, rows.halves, with_value=with_value)
            parts.append((size / n, part))
    point = sum(size * part.share for size, part in parts)
    low, high = interval_ends(parts)
    low, high = min(low, point) if truth.any() else 0.0, max(high, point) if not truth.all() else 1.0
    return Share(
        value=value,
        by=by,
        rows=n,
        share=point if reviewed else counted,
        low=low if reviewed else None,
        high=high if reviewed else None,
        counted=counted,
        reviewed=reviewed,
        worth=_worth(point, high - low, reviewed, n) if reviewed else 0,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class HalfRows:
    """What is known of the weights of rows: their mean, and the mean of their squares.

    `usual` is that of rows of any kind, `against` that of rows whose true value is not the model's answer. It is taken
    from the reviewed rows of all values, with `USUAL_ROWS` beside them: one value has few. `contradicted` rows were
    seen against the model, and `equal` says that all rows have one weight.
    """

    usual: tuple[float, float]
    against: tuple[float, float]
    contradicted: int
    equal: bool

    @staticmethod
    def of(weights: Any, against: Any) -> HalfRows:
        """Return what the weights of the reviewed rows say; `against` marks those that contradict the model."""
        if not len(weights):
            return HalfRows(usual=(1.0, 1.0), against=(1.0, 1.0), contradicted=0, equal=True)
        usual = float(weights.mean()), float((weights**2).mean())
        sums = float(weights[against].sum()), float((weights[against] ** 2).sum())
        number = int(against.sum())
        mean, square = (
            (total + USUAL_ROWS * each) / (number + USUAL_ROWS) for total, each in zip(sums, usual, strict=True)
        )
        equal = float(weights.max() - weights.min()) < EQUAL
        return HalfRows(usual=usual, against=(mean, square), contradicted=number, equal=equal)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stratum:
    """The share of true rows in one part of the table, and the two parameters of its beta distribution.

    `reviewed` says whether a row of the part was reviewed. `rest` says how far the distribution reaches: the reviewed
    rows are no part of what is not known.
    """

    share: float
    beta: tuple[float, float]
    rest: float
    reviewed: bool

    @staticmethod
    def of(truth: Any, weights: Any, size: int, halves: HalfRows, *, with_value: bool) -> Stratum:
        """Return the share among `size` rows of which those with `truth` were reviewed.

        `with_value` says whether these are the rows that the model answered with the value. Where none was reviewed,
        the model is believed.
        """
        total = float(weights.sum())
        if not total:
            return Stratum(share=float(with_value), beta=(0.5, 0.5), rest=1.0, reviewed=False)
        share = float((weights * truth).sum()) / total
        beta = beta_of(truth, weights, halves, with_value=with_value)
        return Stratum(share=share, beta=beta, rest=sqrt(max(1 - len(truth) / size, 0.0)), reviewed=True)

    def at(self, levels: Any) -> Any:
        """Return the shares below which the distribution has these levels."""
        found = scipy_stats().beta.ppf(levels, *self.beta)
        return self.share + (found - self.share) * self.rest


def interval_ends(parts: Sequence[tuple[float, Stratum]]) -> tuple[float, float]:
    """Return the limits between which the sum of the parts, each with its size, has 95%.

    A part of which no row was reviewed may have any share.
    """
    np = numpy()
    tails = np.array([(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    seen = [(size, part) for size, part in parts if part.reviewed]
    unseen = sum(size for size, part in parts if not part.reviewed)
    low, high = 0.0, 0.0
    if len(seen) == 1:
        low, high = seen[0][0] * seen[0][1].at(tails)
    elif seen:
        steps = (np.arange(STEPS) + 0.5) / STEPS
        first, second = (size * part.at(steps) for size, part in seen)
        low, high = np.quantile(first[:, None] + second[None, :], tails)
    return max(float(low), 0.0), min(float(high) + unseen, 1.0)


def beta_of(truth: Any, weights: Any, halves: HalfRows, *, with_value: bool) -> tuple[float, float]:
    """Return the two parameters of the beta distribution of the share of true rows, seen in rows with these weights.

    With equal weights it is that of Jeffreys: half a true and half a wrong row are added to those that were seen. Else
    the half rows have the weights that such rows have (compare Fay and Feuer, Stat. Med. 16, 1997, who add one row of
    the largest weight), and the distribution has the mean p of the weighted rows, and their variance, sum w^2 (y - p)^2
    / (sum w)^2 (Hajek, 1971): it is worth n = p (1 - p) / variance rows of equal weight. The squares of rows against
    the model are those that their sum would have in the whole sample: few rows may all be light ones by chance. As the
    variance is estimated, n is multiplied by (z / t)^2 (Korn and Graubard, Surv. Methodol. 24, 1998). The degrees of
    freedom of t are those of the rows' number by Kish (Survey Sampling, 1965), (sum w)^2 / sum w^2 - 1, or the number
    of rows against the model and `FIRST_FREEDOM`, whichever is smaller.
    """
    right, against = halves.usual, halves.against
    agree = truth if with_value else ~truth
    agreeing, contradicting = float(weights[agree].sum()), float(weights[~agree].sum())
    total = agreeing + contradicting + (right[0] + against[0]) * HALF_ROW
    mean = (agreeing + right[0] * HALF_ROW) / total
    squares = float((weights[agree] ** 2).sum()) + right[1] * HALF_ROW
    squares_against = (contradicting + against[0] * HALF_ROW) * against[1] / against[0]
    n = mean * (1 - mean) * total**2 / (squares * (1 - mean) ** 2 + squares_against * mean**2)
    if not halves.equal:
        kish = float(weights.sum()) ** 2 / float((weights**2).sum())
        freedom = max(min(kish - 1, halves.contradicted + FIRST_FREEDOM), 1)
        n *= (NORMAL_QUANTILE / float(scipy_stats().t.ppf((1 + LEVEL) / 2, freedom))) ** 2
    return (mean * n, (1 - mean) * n) if with_value else ((1 - mean) * n, mean * n)


def quantiles(true: float, wrong: float) -> tuple[float, float]:
    """Return the limits of a beta distribution between which it has 95%."""
    beta = scipy_stats().beta
    return float(beta.ppf((1 - LEVEL) / 2, true, wrong)), float(beta.ppf((1 + LEVEL) / 2, true, wrong))


def jeffreys(hits: float, n: float) -> tuple[float, float]:
    """Return the interval of Jeffreys of a share at the level of 95%."""
    low, high = quantiles(hits + 0.5, n - hits + 0.5)
    return min(low, hits / n) if hits > 0 else 0.0, max(high, hits / n) if hits < n else 1.0


def _worth(share: float, width: float, reviewed: int, rows: int) -> int:
    """Return how many reviewed rows alone would have an interval of this width."""
    low, high = jeffreys(share * reviewed, reviewed)
    plain = (high - low) * sqrt(max(1 - reviewed / rows, 0.0))
    if not width or not plain:
        return reviewed
    return max(round(reviewed * (plain / width) ** 2), 0)
