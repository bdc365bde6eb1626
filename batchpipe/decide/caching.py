"""Decisions on prompt caching: whether requests mark their shared prefix, and whether one request primes the cache.

To prime is to send one request ahead, in a batch of its own, that writes the prefix into the cache. The cost of a token
of the prefix for n requests is, with i, w and r the batch prices of a token that is not cached, written and read (w is
1.25 i for 5 minutes and 2 i for an hour, r is 0.1 i or less, and the batch discount is on all of them:
https://docs.anthropic.com/en/docs/build-with-claude/prompt-caching#pricing), and h the share of requests that find a
prefix which was in the cache before their batch:

    none     n i
    warm     n (h r + (1 - h) w)              the cache holds the prefix; requests that miss it write it again
    primed   w + (n - 1) (h r + (1 - h) w)    one request writes the prefix first
    cold     n w                              requests of one batch run side by side: none finds what another writes

So a mark without priming only costs money. The provider promises no share of hits; it names 30% to 98%
(https://docs.anthropic.com/en/docs/build-with-claude/batch-processing#using-prompt-caching-with-message-batches). As
long as there are no results h is taken to be the middle of that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Literal

# The share of hits that is assumed, and the number of requests that this assumption weighs as much as.
HITS_ASSUMED, WEIGHT_OF_ASSUMED = 0.64, 20
SECONDS: Mapping[CacheTtl, int] = {"5m": 300, "1h": 3_600}
# The time between the end of one batch and the submit of the next: one poll interval.
BETWEEN_SECONDS = 60.0
ENOUGH_BATCHES = 3
# How long other requests wait for the priming one, and how many primes in a row may be sent without a use.
PATIENCE = timedelta(hours=2)
MOST_PRIMES = 2

CacheTtl = Literal["5m", "1h"]
CacheStep = Literal["none", "prime", "warm", "wait"]
ALL = 1 << 62


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRates:
    """Batch prices in US dollars of one token: not cached, written to the cache, and read from it."""

    input: Decimal
    write: Decimal
    read: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheHits:
    """Tokens of the prefix that `requests` read and wrote in batches that began while the cache held the prefix."""

    read: int = 0
    written: int = 0
    requests: int = 0

    @property
    def share(self) -> float:
        """Return the share of requests that find the prefix, with `HITS_ASSUMED` mixed in while requests are few."""
        tokens = self.read + self.written
        seen = self.read / tokens if tokens else 0.0
        requests = self.requests if tokens else 0
        return (seen * requests + HITS_ASSUMED * WEIGHT_OF_ASSUMED) / (requests + WEIGHT_OF_ASSUMED)


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefixState:
    """What is known of the cache of one prefix on one model. Times are naive UTC.

    `primed_at`: when the priming request that is in flight was sent. `used_until`: the end of the time in which the
    cache may hold the prefix. `primes`: number of priming requests since the last other request. `uncached`: a marked
    request was answered and neither wrote nor read the cache, so that the prefix is too short, or the provider does not
    cache.
    """

    primed_at: datetime | None = None
    used_until: datetime | None = None
    primes: int = 0
    uncached: bool = False

    def is_warm(self, now: datetime) -> bool:
        """Return whether the cache may hold the prefix at `now`."""
        return self.used_until is not None and now < self.used_until


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheMark:
    """The mark that requests of a rung may bear: the id of their prefix, its size in tokens, its time in the cache."""

    prefix: str
    tokens: int
    ttl: CacheTtl
    rates: TokenRates
    hits: CacheHits
    state: PrefixState

    @property
    def is_hopeless(self) -> bool:
        """Return whether the mark cannot save money, not even where the cache holds the prefix."""
        return self.state.uncached or saved_usd(self, 1, warm=True) <= 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheDecision:
    """How the next chunk of a rung uses the cache.

    `step`: "none" sends requests without a mark, "prime" sends one marked request ahead, "warm" sends marked requests,
    "wait" sends nothing before the priming request has ended. `most`: most requests of the chunk. `alone`: the decision
    on the chunk after it depends on this chunk, which has to be recorded first.
    """

    step: CacheStep
    most: int = ALL
    alone: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedCaching:
    """What the cache is expected to save on the due requests of a rung, in US dollars against no cache.

    `hits_seen` is the number of requests that `hit_share` is based on.
    """

    rung: int
    model: str
    step: CacheStep
    ttl: CacheTtl
    tokens: int
    requests: int
    hit_share: float
    hits_seen: int
    saved_usd: Decimal


def choose_ttl(
    rates: Mapping[CacheTtl, TokenRates], hits: Mapping[CacheTtl, CacheHits], seconds: float, batches: int
) -> CacheTtl:
    """Return the lifetime of the cache that costs least.

    90% of the last `batches` batches took at most `seconds`. 5 minutes are considered only if that is enough for the
    batch of the priming request and the batch after it.
    """
    quick = batches >= ENOUGH_BATCHES and 2 * seconds + BETWEEN_SECONDS <= SECONDS["5m"]
    lives: tuple[CacheTtl, ...] = ("1h", "5m") if quick else ("1h",)
    return min(lives, key=lambda ttl: _found(rates[ttl], hits.get(ttl, CacheHits())))


def _found(rates: TokenRates, hits: CacheHits) -> Decimal:
    """Return the cost of a token while the cache holds the prefix: h r + (1 - h) w."""
    share = Decimal(repr(hits.share))
    return share * rates.read + (1 - share) * rates.write


def saved_usd(mark: CacheMark, requests: int, *, warm: bool) -> Decimal:
    """Return the US dollars that marks save on `requests`; below 0 where they cost more than they save.

    One of the requests primes the cache, unless the cache is `warm`.
    """
    found = _found(mark.rates, mark.hits)
    cost = requests * found if warm else mark.rates.write + (requests - 1) * found
    return mark.tokens * (requests * mark.rates.input - cost)


def decide_caching(mark: CacheMark, requests: int, now: datetime) -> CacheDecision:
    """Return how the next chunk of `requests` due requests with this prefix uses the cache.

    Requests are sent without a mark if the priming request takes longer than `PATIENCE`, or if `MOST_PRIMES` priming
    requests in a row were of no use.
    """
    state = mark.state
    warm = state.is_warm(now)
    if state.uncached or saved_usd(mark, requests, warm=warm) <= 0:
        return CacheDecision(step="none")
    if warm:
        return CacheDecision(step="warm")
    if state.primed_at is not None:
        return CacheDecision(step="wait", most=0) if now < state.primed_at + PATIENCE else CacheDecision(step="none")
    if state.primes >= MOST_PRIMES:
        return CacheDecision(step="none", alone=True)
    return CacheDecision(step="prime", most=1, alone=True)


def expect_caching(mark: CacheMark, rung: int, model: str, requests: int, now: datetime) -> ExpectedCaching:
    """Return what the cache is expected to save on `requests`. A priming request in flight is taken to succeed."""
    step = decide_caching(mark, requests, now).step
    gain = saved_usd(mark, requests, warm=step != "prime") if step != "none" else Decimal(0)
    return ExpectedCaching(
        rung=rung,
        model=model,
        step=step,
        ttl=mark.ttl,
        tokens=mark.tokens,
        requests=requests,
        hit_share=mark.hits.share,
        hits_seen=mark.hits.requests,
        saved_usd=gain,
    )


def count_primes(expected: Sequence[ExpectedCaching]) -> int:
    """Return how many priming batches, of one request each, are sent ahead of other batches."""
    return sum(each.step == "prime" and each.requests > 1 for each in expected)
