"""What is promised of a ladder: its accuracy, or the precision or recall of one value of a field, and the exact test.

The precision of a value is the share of the answers with this value that are right; its recall is the share of the rows
whose true value it is that are answered with it. A failed row has no answer: it is no part of the precision, and a miss
in the recall. Given the number of rows that count, the right ones follow a binomial distribution whatever the other
rows are, so that the binomial test is exact (Clopper and Pearson, Biometrika 26, 1934).

Several claims are tested together: a ladder passes where every claim passes. A ladder that breaks one of them passes
with at most the chance that this one claim passes, so that the risk is that of all claims together (the union and
intersection test of Berger, Technometrics 24, 1982).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, isfinite, sqrt
from typing import Any, Literal

from batchpipe.common.errors import UsageError
from batchpipe.evaluation.library import numpy, scipy_stats
from batchpipe.evaluation.statistics import Proportion, proportion

ClaimKind = Literal["accuracy", "precision", "recall"]
POWER = 0.8  # the probability that the number of labels that we ask for is enough

WRITTEN = re.compile(r"(?P<field>[^=]+)=(?P<value>.*):(?P<target>[^:]+)", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """That the share `target` of some rows is right: of all rows, or of those with `value` in `field`."""

    kind: ClaimKind
    target: float
    field: str = ""
    value: str = ""

    @property
    def words(self) -> str:
        """Return the claim as a person reads it: `recall of label=complaint`."""
        return f"{self.kind} of {self.field}={self.value}" if self.field else "accuracy"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimResult:
    """A claim about one ladder, on the gold rows that count for it.

    `counted` is None where no row counts. `low` is the share that could be promised in place of the target.
    `gold_rows`: about how many gold rows in all would do, None if that is not known; `missing`: how many more.
    """

    claim: Claim
    counted: Proportion | None
    low: float
    given: bool
    gold_rows: int | None
    missing: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PromisedValues:
    """The claims about values, and for each of them a list that says of each gold row whether its true value is it."""

    claims: tuple[Claim, ...] = ()
    truths: tuple[Sequence[bool], ...] = ()


def read_claim(kind: Literal["precision", "recall"], text: str) -> Claim:
    """Return the claim that `field=value:target` writes. A value may hold `=` and `:`.

    Raises UsageError for another form, or for a target that is not above 0 and at most 1.
    """
    where, example = f"--{kind} {text}", f"Write it so: --{kind} label=complaint:0.95"
    found = WRITTEN.fullmatch(text)
    if found is None:
        raise UsageError("a field, a value and a target are needed", where=where, hint=example)
    try:
        target = float(found["target"])
    except ValueError as error:
        raise UsageError(f"{found['target']!r} is no number", where=where, hint=example) from error
    if not 0 < target <= 1:
        what = f"the target must be above 0 and at most 1, and it is {target:g}"
        raise UsageError(what, where=where, hint=example)
    return Claim(kind=kind, field=found["field"].strip(), value=found["value"], target=target)


def critical_hits(n: int, target: float, risk: float) -> int:
    """Return the fewest right rows of `n` with which the exact binomial test passes: P(X >= hits) <= risk if the
    accuracy is `target`; n + 1 if no number of right rows is enough.
    """
    return int(critical_counts(numpy().array([n]), target, risk)[0])


def critical_counts(n: Any, target: float, risk: float) -> Any:
    """Return `critical_hits` for each number of the array `n`."""
    np, stats = numpy(), scipy_stats()
    # The quantile is exact up to rounding: the number wanted is one of the four beside it.
    first = np.maximum(stats.binom.isf(risk, np.maximum(n, 1), target).astype(int) - 1, 0)
    found = n + 1
    for step in (3, 2, 1, 0):
        tried = first + step
        passes = (stats.binom.sf(tried - 1, n, target) <= risk) & (tried <= n)
        found = np.where(passes, tried, found)
    return found


def lower_bound(hits: int, n: int, risk: float) -> float:
    """Return the lower limit of Clopper and Pearson (Biometrika 26, 1934) of a share, one-sided at `risk`."""
    return float(scipy_stats().beta.ppf(risk, hits, n - hits + 1)) if hits else 0.0


def labels_needed(accuracy: float, target: float, risk: float) -> int | None:
    """Return the fewest rows with which the exact test of `target` passes with a chance of `POWER`, if the ladder is
    right on the share `accuracy` of them; None if no number is enough.

    The search begins near the size by the normal approximation (Fleiss, "Statistical Methods for Rates and
    Proportions", 1981).
    """
    if not target < min(accuracy, 1.0) or not isfinite(accuracy):
        return None
    np, stats = numpy(), scipy_stats()
    by_risk, by_power = float(stats.norm.isf(risk)), float(stats.norm.isf(1 - POWER))
    spread = by_risk * sqrt(target * (1 - target)) + by_power * sqrt(accuracy * (1 - accuracy))
    about = ceil((spread / (accuracy - target)) ** 2)
    step = max(about // 4_000, 1)
    sizes = np.arange(max(about // 2, 1), 2 * about + 200, step)
    power = stats.binom.sf(critical_counts(sizes, target, risk) - 1, sizes, accuracy)
    enough = np.flatnonzero(power >= POWER)
    return int(sizes[enough[0]]) if enough.size else about


def claim_result(claim: Claim, hits: int, n: int, rows: int, risk: float, *, given: bool) -> ClaimResult:
    """Return what is known of a claim after `hits` of the `n` rows that count, of `rows` gold rows, were right."""
    counted, low = proportion(hits, n) if n else None, lower_bound(hits, n, risk)
    # A claim that could be promised alone lacks nothing: another one is why nothing is promised.
    needed = labels_needed(hits / n, claim.target, risk) if n and not given and low < claim.target else None
    gold_rows = ceil(needed * rows / n) if needed is not None else None
    return ClaimResult(
        claim=claim,
        counted=counted,
        low=low,
        given=given,
        gold_rows=gold_rows,
        missing=max(gold_rows - rows, 1) if gold_rows is not None else None,
    )
