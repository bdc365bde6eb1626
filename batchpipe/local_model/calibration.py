"""Confidences that are shares of right answers, learnt from rows that the model had not seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from batchpipe.local_model.library import isotonic, numpy, special

KNOTS = 60
ROWS_PER_KNOT = 40
PRIOR_ROWS = 2.0  # the number of assumed rows that pull each knot towards the share of all rows
EDGE = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationLine:
    """A rising line from the model's own probability to the share of right answers; `knots` and `shares` are its
    corners.
    """

    knots: Any
    shares: Any

    def confidence(self, probabilities: Any) -> Any:
        """Return the confidence for each probability."""
        np = numpy()
        return np.round(np.interp(probabilities, self.knots, self.shares), 4)


@dataclass(frozen=True, slots=True, kw_only=True)
class OutOfFoldAgreement:
    """The weighted share of agreement among the `rows` out-of-fold rows at or above a confidence; `low` is a lower
    limit.
    """

    rows: int
    share: float
    low: float


@dataclass(frozen=True, slots=True, kw_only=True)
class OutOfFold:
    """Each training row's confidence by a model that had not seen it, whether that model was right, and its weight.

    `own` is the probability that this model gave the row's own answer, `digests` stand for the texts.
    """

    confidences: Any
    right: Any
    weights: Any
    own: Any
    digests: Any

    @property
    def accuracy(self) -> float:
        """Return the share of right rows, each row by its weight."""
        return float(numpy().average(self.right, weights=self.weights))

    def agreement(self, least: float, risk: float = 0.005) -> OutOfFoldAgreement:
        """Return how often the model agreed on rows of at least this confidence, with a lower limit at `risk`.

        The limit is that of Clopper and Pearson (Biometrika 26, 1934) for the effective number of rows,
        (sum of weights)² / sum of squared weights (Kish, "Survey Sampling", 1965). Without such rows it is 0.
        """
        np = numpy()
        sure = self.confidences >= least
        weights = self.weights[sure]
        if not sure.any():
            return OutOfFoldAgreement(rows=0, share=0.0, low=0.0)
        share = float(np.average(self.right[sure], weights=weights))
        n = float(weights.sum() ** 2 / (weights**2).sum())
        low = float(special().betaincinv(share * n, n - share * n + 1, risk)) if share > 0 else 0.0
        return OutOfFoldAgreement(rows=int(sure.sum()), share=share, low=low)


def calibrate(probabilities: Any, right: Any, weights: Any) -> CalibrationLine:
    """Return the line through groups of rows of about equal size, made rising (isotonic regression).

    It rises a little everywhere, so that rows keep the order that the model gives them.
    """
    np = numpy()
    order = np.argsort(probabilities, kind="stable")
    groups = np.array_split(order, max(min(KNOTS, len(order) // ROWS_PER_KNOT), 1))
    overall = np.average(right, weights=weights)
    usual = weights.mean()
    knots, shares, sizes = [], [], []
    for group in groups:
        size = weights[group].sum()
        knots.append(np.average(probabilities[group], weights=weights[group]))
        prior = PRIOR_ROWS * usual
        shares.append(((right[group] * weights[group]).sum() + prior * overall) / (size + prior))
        sizes.append(size)
    at = np.array(knots)
    rising = isotonic(at, np.array(shares), np.array(sizes))
    rising = np.clip(rising + EDGE * at, 0, 1)
    return CalibrationLine(knots=np.concatenate([[0.0], at, [1.0]]), shares=_ends(at, rising))


def _ends(knots: Any, shares: Any) -> Any:
    """Return the shares with those of the probabilities 0 and 1: the lowest and the highest knot's."""
    np = numpy()
    return np.concatenate([[min(shares[0], knots[0])], shares, [min(shares[-1] + EDGE, 1.0)]])
