"""Numbers about answers held against gold values, each with its n and its interval."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from batchpipe.evaluation.library import scipy_stats

LEVEL = 0.95
BINS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Proportion:
    """`hits` of `n` as the share `value`, with the 95% interval from `low` to `high`."""

    n: int
    hits: int
    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Mean:
    """The mean of `n` scores between 0 and 1, with a 95% interval."""

    n: int
    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Confusion:
    """How often rows of the class `gold` (`gold_n` of them) got `answer`; None where there was no answer."""

    gold: str
    answer: str | None
    n: int
    gold_n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """Answers whose confidence lies above `low` (in the first bin also at it) and at most at `high`."""

    low: float
    high: float
    confidence: float
    accuracy: Proportion


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """`error` is the expected calibration error; bins without answers are left out."""

    n: int
    error: float
    bins: tuple[Bin, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class McNemar:
    """Rows that only one of two got right, and the probability of so uneven a share if both were equally good."""

    only_first: int
    only_second: int
    p_value: float


def proportion(hits: int, n: int) -> Proportion:
    """Wilson's score interval (Wilson, JASA 22, 1927); ValueError unless 0 <= hits <= n and n >= 1."""
    interval = scipy_stats().binomtest(hits, n).proportion_ci(confidence_level=LEVEL, method="wilson")
    return Proportion(n=n, hits=hits, value=hits / n, low=float(interval.low), high=float(interval.high))


def accuracy(correct: Sequence[bool]) -> Proportion:
    """The share of rows that are right; a failed row is a wrong one. ValueError for no rows."""
    return proportion(sum(correct), len(correct))


def mean(scores: Sequence[float]) -> Mean:
    """Student's interval around the mean, cut to 0 and 1; ValueError for no scores. One score says nothing: 0 to 1."""
    raise NotImplementedError


def macro_f1(gold: Sequence[str], answers: Sequence[str | None]) -> float:
    """F1 = 2 TP / (2 TP + FP + FN) of each class, averaged over the classes that gold or the answers hold.

    A row without an answer (None) is a miss of its gold class and no class of its own.
    """
    raise NotImplementedError


def confusions(gold: Sequence[str], answers: Sequence[str | None], most: int | None = None) -> tuple[Confusion, ...]:
    """The pairs of gold class and differing answer, the most frequent first, at most `most` of them."""
    raise NotImplementedError


def calibration(confidences: Sequence[float], correct: Sequence[bool], bins: int = BINS) -> Calibration | None:
    """Bins of equal width and the expected calibration error, sum of n_b / n * |accuracy_b - confidence_b|.

    Guo et al., "On Calibration of Modern Neural Networks", ICML 2017. None where there are no confidences, or one
    lies outside 0 to 1 and so is no probability.
    """
    raise NotImplementedError


def mcnemar(first: Sequence[bool], second: Sequence[bool]) -> McNemar:
    """McNemar's exact test, two-sided, of which rows two answers to the same rows got right.

    McNemar, Psychometrika 12, 1947: of the rows that differ, half would go either way. p is 1 where none differ.
    """
    raise NotImplementedError
