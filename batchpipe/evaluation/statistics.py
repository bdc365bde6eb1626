"""Statistics of answers compared with gold values: each number has its n and, where it applies, its interval."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, fsum, sqrt

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
    """The number `n` of the `gold_n` rows of class `gold` that were answered with `answer` (None: no answer)."""

    gold: str
    answer: str | None
    n: int
    gold_n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """Answers with `low` < confidence <= `high` (0 is in the first bin): their mean confidence and their accuracy."""

    low: float
    high: float
    confidence: float
    accuracy: Proportion


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """How well confidences agree with accuracy. `error` is the expected calibration error; empty bins are left out."""

    n: int
    error: float
    bins: tuple[Bin, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class McNemar:
    """Numbers of rows that only the first or only the second of two got right, and McNemar's p-value."""

    only_first: int
    only_second: int
    p_value: float


def proportion(hits: int, n: int) -> Proportion:
    """Return `hits` of `n` as a share with Wilson's score interval (Wilson, JASA 22, 1927).

    Raises ValueError unless 0 <= hits <= n and n >= 1.
    """
    interval = scipy_stats().binomtest(hits, n).proportion_ci(confidence_level=LEVEL, method="wilson")
    return Proportion(n=n, hits=hits, value=hits / n, low=float(interval.low), high=float(interval.high))


def accuracy(correct: Sequence[bool]) -> Proportion:
    """Return the share of rows that are right; a failed row counts as wrong. Raises ValueError for no rows."""
    return proportion(sum(correct), len(correct))


def mean(scores: Sequence[float]) -> Mean:
    """Return the mean of scores from 0 to 1, with Wilson's interval over the sum of the scores in place of hits.

    The variance of such scores with mean p is at most p (1 - p) (Bhatia and Davis, Am. Math. Monthly 107, 2000), so
    that the interval is wide enough. Raises ValueError for no scores.
    """
    n = len(scores)
    if not n:
        raise ValueError("a mean of no scores")
    value = sum(scores) / n
    z = float(scipy_stats().norm.ppf((1 + LEVEL) / 2))
    middle = value + z * z / (2 * n)
    reach = z * sqrt(max(value * (1 - value), 0) / n + z * z / (4 * n * n))
    whole = 1 + z * z / n
    return Mean(n=n, value=value, low=max((middle - reach) / whole, 0.0), high=min((middle + reach) / whole, 1.0))


def macro_f1(gold: Sequence[str], answers: Sequence[str | None]) -> float:
    """Return the mean of F1 = 2 TP / (2 TP + FP + FN) over all classes that occur in gold or in the answers.

    A row without an answer (None) is a miss of its gold class; None is not a class. Raises ValueError for no rows.
    """
    if not gold:
        raise ValueError("macro-F1 of no rows")
    hits = Counter(true for true, answer in zip(gold, answers, strict=True) if true == answer)
    of_gold, of_answers = Counter(gold), Counter(each for each in answers if each is not None)
    classes = of_gold.keys() | of_answers.keys()
    # An exact sum: the classes come in another order in each process.
    return fsum(2 * hits[each] / (of_gold[each] + of_answers[each]) for each in classes) / len(classes)


def confusions(gold: Sequence[str], answers: Sequence[str | None], most: int | None = None) -> tuple[Confusion, ...]:
    """Return the pairs of gold class and wrong answer, the most frequent first, at most `most` of them."""
    pairs = Counter((true, answer) for true, answer in zip(gold, answers, strict=True) if true != answer)
    of_gold = Counter(gold)
    worst = sorted(pairs.items(), key=lambda each: (-each[1], each[0][0], each[0][1] or ""))
    return tuple(Confusion(gold=true, answer=answer, n=n, gold_n=of_gold[true]) for (true, answer), n in worst[:most])


def calibration(confidences: Sequence[float], correct: Sequence[bool], bins: int = BINS) -> Calibration | None:
    """Return bins of equal width and the expected calibration error, sum of n_b / n * |accuracy_b - confidence_b|.

    Guo et al., "On Calibration of Modern Neural Networks", ICML 2017. Returns None if there are no confidences, or if
    one of them is not from 0 to 1 and so is no probability.
    """
    if not confidences or not all(0 <= each <= 1 for each in confidences):
        return None
    members: dict[int, list[tuple[float, bool]]] = {}
    for confidence, hit in zip(confidences, correct, strict=True):
        members.setdefault(_bin_of(confidence, bins), []).append((confidence, hit))
    found = tuple(
        Bin(
            low=index / bins,
            high=(index + 1) / bins,
            confidence=sum(confidence for confidence, _ in members[index]) / len(members[index]),
            accuracy=accuracy([hit for _, hit in members[index]]),
        )
        for index in sorted(members)
    )
    n = len(confidences)
    error = sum(each.accuracy.n / n * abs(each.accuracy.value - each.confidence) for each in found)
    return Calibration(n=n, error=error, bins=found)


def _bin_of(confidence: float, bins: int) -> int:
    """Return the index with `index / bins` < confidence <= `(index + 1) / bins`; 0 is in the first bin."""
    index = max(ceil(confidence * bins) - 1, 0)
    if confidence <= index / bins and index > 0:
        return index - 1
    return index + 1 if confidence > (index + 1) / bins else index


def mcnemar(first: Sequence[bool], second: Sequence[bool]) -> McNemar:
    """Return McNemar's exact two-sided test of two answers to the same rows, each right (True) or wrong.

    McNemar, Psychometrika 12, 1947: if both are equally good, each of them gets half of the differing rows right. The
    p-value is 1 if no row differs.
    """
    pairs = Counter(zip(first, second, strict=True))
    only_first, only_second = pairs[True, False], pairs[False, True]
    differing = only_first + only_second
    p_value = float(scipy_stats().binomtest(only_first, differing, 0.5).pvalue) if differing else 1.0
    return McNemar(only_first=only_first, only_second=only_second, p_value=p_value)
