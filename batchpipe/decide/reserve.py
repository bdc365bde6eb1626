"""Bound what a chunk of requests will cost, from what earlier requests of the same kind cost: pure arithmetic.

A request j cannot cost more than m(j) = i(j) + o(j): every byte is a token, and the answer fills its room. It costs
i(j) u(j) + o(j) v(j). The shares u and v lie between 0 and 1, and those of n earlier requests are known. The requests
are taken to be drawn alike; nothing is assumed of the distribution, so that its tail may be as heavy as the room lets
it. With M the largest m(j), any t > 0, and U and V upper bounds on the means of exp(t u) - 1 and exp(t v) - 1, the
convexity of exp gives for the sum S of N requests (Chernoff's bound):

    S <= M / t * (N log(1 + (U sum(i) + V sum(o)) / (N M)) + log(1 / risk))     but for that risk

U and V are the largest means of all distributions whose Kullback-Leibler divergence from the observed one is at most
log(2 sqrt(n + 1) / risk) / n. These are mixtures of the observed distribution with the bound 1, so that what was never
seen counts as far as n results leave it possible. The divergence is maximised as by Filippi, Cappé, Garivier ("Optimism
in reinforcement learning and Kullback-Leibler divergence", Allerton 2010, https://arxiv.org/abs/1004.5229). The bound
holds for every n by Ville's inequality with the regret of a universal portfolio: Orabona, Jun ("Tight concentrations
and confidence sequences from the regret of universal portfolio", IEEE Trans. Inf. Theory 2024,
https://arxiv.org/abs/2110.14099); Cover, Ordentlich ("Universal portfolios with side information", 1996) prove
2 sqrt(n + 1).

t depends on n and N alone, and not on the results: else the bound would not hold.

A job looks many times. The k-th bounded chunk gets the risk JOB_RISK / (k (k + 1)), and these sum to JOB_RISK, however
many chunks a job has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import exp, expm1, log, log1p, sqrt

# The share of jobs that may pass a limit, and the fewest results that a bound is made from.
JOB_RISK = 0.001
LEAST_RESULTS = 30
# Shares are counted in classes, each of which reaches 3% further than the one before; all of a class count as its end.
CLASS_WIDTH = 1.03
STEPS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenShares:
    """What `results` earlier requests used: how many of them had which share, of input and of output.

    A share of the input is in tokens per byte, each token as dear as a usual one; it may be above 1 where requests are
    small. A share of the output is of the room of the answer.
    """

    results: int
    input: Mapping[float, int]
    output: Mapping[float, int]

    def widened(self) -> SeenShares:
        """Return the shares with twice their distance from their mean."""
        return SeenShares(results=self.results, input=_widened(self.input), output=_widened(self.output))


@dataclass(frozen=True, slots=True, kw_only=True)
class Most:
    """The most that `requests` can cost together, in US dollars: for input and for output; `single` for one of them.

    `input_share` is the share of the input (as in `SeenShares`) at which a request costs the most.
    """

    requests: int
    input_usd: float
    output_usd: float
    single_usd: float
    input_share: float

    @property
    def usd(self) -> float:
        """Return the most that all of them can cost."""
        return self.input_usd + self.output_usd


def chunk_risk(number: int) -> float:
    """Return the risk that the `number`-th bounded chunk of a job may take; the first is number 1."""
    return JOB_RISK / (number * (number + 1))


def bound_usd(most: Most, seen: SeenShares, risk: float) -> float:
    """Return US dollars that the sum of the costs exceeds with a probability of at most `risk`.

    Formula: the head of this module.
    """
    if most.requests == 0 or seen.results < LEAST_RESULTS or most.single_usd <= 0:
        return most.usd
    beyond = log(4 / risk) + log(2 * sqrt(seen.results + 1))
    of_sum = log(2 / risk)
    tilt = _tilt(most.usd / most.single_usd, beyond / seen.results, of_sum)
    inputs = {share / most.input_share: count for share, count in seen.input.items()}
    above = most.input_usd * _mean_above(inputs, tilt, beyond) + most.output_usd * _mean_above(
        seen.output, tilt, beyond
    )
    per_request = log1p(above / (most.requests * most.single_usd))
    return min(most.usd, most.single_usd / tilt * (most.requests * per_request + of_sum))


def largest_fitting(count: int, fits: Callable[[int], bool], *, whole_only: bool = False) -> int:
    """Return the largest number up to `count` of requests that fit; with `whole_only` it is `count` or 0."""
    if fits(count):
        return count
    low, high = 0, count
    while not whole_only and high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def _tilt(whole: float, unseen: float, of_sum: float) -> float:
    """Return t: the one that is best where all requests but the unseen ones cost nothing.

    It makes (whole * unseen * (exp(t) - 1) + of_sum) / t the least.
    """
    low, high = 1e-6, 50.0
    for _ in range(STEPS):
        tilt = (low + high) / 2
        if whole * -expm1(-unseen) * (exp(tilt) * (tilt - 1) + 1) < of_sum:
            low = tilt
        else:
            high = tilt
    return high


def _mean_above(shares: Mapping[float, int], tilt: float, beyond: float) -> float:
    """Return an upper bound on the mean of exp(tilt * share) - 1."""
    whole = expm1(tilt)
    values = [(expm1(tilt * min(share, 1.0)) / whole, count) for share, count in shares.items()]
    return whole * largest_mean(values, beyond)


def largest_mean(values: Sequence[tuple[float, int]], beyond: float) -> float:
    """Return the largest mean of a distribution on [0, 1] whose divergence from `values` is `beyond` / their number.

    `values` are (value, count).
    """
    number = sum(count for _, count in values)
    allowed = beyond / number
    found = [(value, count / number) for value, count in values]
    if all(value < 1 for value, _ in found) and (at_one := _divergence(found, 1.0)) < allowed:
        unseen = -expm1(at_one - allowed)
        return unseen + (1 - unseen) * _tilted_mean(found, 1.0)
    low, high = 1.0, 2.0
    while _divergence(found, high) > allowed:
        high = 1 + 2 * (high - 1)
    for _ in range(STEPS):
        middle = (low + high) / 2
        if _divergence(found, middle) > allowed:
            low = middle
        else:
            high = middle
    return min(_tilted_mean(found, low), 1.0) if low > 1 else 1.0


def _divergence(found: Sequence[tuple[float, float]], place: float) -> float:
    """Return the divergence of the distribution that weighs each value by 1 / (place - value)."""
    mean_log = sum(share * log(max(place - value, 1e-300)) for value, share in found)
    return mean_log + log(sum(share / max(place - value, 1e-300) for value, share in found))


def _tilted_mean(found: Sequence[tuple[float, float]], place: float) -> float:
    """Return the mean of the distribution that weighs each value by 1 / (place - value)."""
    weights = [(value, share / max(place - value, 1e-300)) for value, share in found]
    return sum(value * weight for value, weight in weights) / sum(weight for _, weight in weights)


def _widened(shares: Mapping[float, int]) -> dict[float, int]:
    """Return the shares with twice their distance from their mean."""
    mean = sum(share * count for share, count in shares.items()) / max(sum(shares.values()), 1)
    wider: dict[float, int] = {}
    for share, count in shares.items():
        moved = max(2 * share - mean, 0.0)
        wider[moved] = wider.get(moved, 0) + count
    return wider
