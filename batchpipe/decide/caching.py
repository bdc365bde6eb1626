"""Prompt caching: whether the static beginning of requests is marked, and whether one request primes the others.

Per token of that prefix, for n requests, with the batch prices i of a token that is not cached, w of one that is
written and r of one that is read (w is 1.25 i for 5 minutes and 2 i for an hour, r 0.1 i or less, and the discount of
batches is on all of them: https://docs.anthropic.com/en/docs/build-with-claude/prompt-caching#pricing), and h, the
share of requests that find a prefix which was there before their batch:

    none     n i
    warm     n (h r + (1 - h) w)              the prefix is there: those that miss write it again
    primed   w + (n - 1) (h r + (1 - h) w)    one request, in a batch of its own, writes it first
    cold     n w                              requests of one batch run side by side: none finds what another writes

So a mark without priming only costs. CacheHits are best effort, 30% to 98%
(https://docs.anthropic.com/en/docs/build-with-claude/batch-processing#using-prompt-caching-with-message-batches):
before there are results h is taken to be the middle of that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Literal

# About 4 characters a token (https://docs.anthropic.com/en/docs/about-claude/glossary#tokens); newer models count more.
CHARACTERS_PER_TOKEN = 4
HITS_ASSUMED, WEIGHT_OF_ASSUMED = 0.64, 20
SECONDS: Mapping[CacheTtl, int] = {"5m": 300, "1h": 3_600}
# What passes between the end of one batch and the sending of the next: a poll.
BETWEEN_SECONDS = 60.0
ENOUGH_BATCHES = 3
# How long the rest waits for its prime, and how often one is sent in a row that leads to nothing.
PATIENCE = timedelta(hours=2)
MOST_PRIMES = 2

CacheTtl = Literal["5m", "1h"]
CacheStep = Literal["none", "prime", "warm", "wait"]
ALL = 1 << 62


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRates:
    """US dollars of a token at the batch price: not cached, written with a ttl, read."""

    input: Decimal
    write: Decimal
    read: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheHits:
    """What batches whose prefix was there showed: prefix tokens read and written by how many requests."""

    read: int = 0
    written: int = 0
    requests: int = 0

    @property
    def share(self) -> float:
        """The share of requests that find the prefix, weighed against what is assumed while there are few."""
        tokens = self.read + self.written
        seen = self.read / tokens if tokens else 0.0
        requests = self.requests if tokens else 0
        return (seen * requests + HITS_ASSUMED * WEIGHT_OF_ASSUMED) / (requests + WEIGHT_OF_ASSUMED)


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefixState:
    """What is known of one prefix on one model. Times are naive UTC.

    `primed_at` is when a prime that is under way was sent, `used_until` until when the prefix may be in the cache,
    `primes` how many were sent since the last other request, `uncached` that a request that bore the mark was
    answered and neither wrote nor read: the prefix is too short after all, or the provider does not cache.
    """

    primed_at: datetime | None = None
    used_until: datetime | None = None
    primes: int = 0
    uncached: bool = False

    def is_warm(self, now: datetime) -> bool:
        return self.used_until is not None and now < self.used_until


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheMark:
    """How the requests of a rung may be marked: a prefix of about `tokens`, with a lifetime, at what rates."""

    prefix: str
    tokens: int
    ttl: CacheTtl
    rates: TokenRates
    hits: CacheHits
    state: PrefixState

    @property
    def is_hopeless(self) -> bool:
        """Whether not even a prefix that is there saves anything, or nothing is cached at all."""
        return self.state.uncached or saved_usd(self, 1, warm=True) <= 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheDecision:
    """What the next chunk does: at most `most` requests, `step` of them; "wait" is for a prime under way.

    `alone` says that what the chunk after it does depends on this one: it is recorded before that is decided.
    """

    step: CacheStep
    most: int = ALL
    alone: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedCaching:
    """What caching is expected to do for the requests that are due on a rung; US dollars against no cache."""

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
    """The lifetime that costs least.

    90 of 100 batches took up to `seconds`, of `batches` seen: 5 minutes are for who knows that a prime and the batch
    after it are through by then.
    """
    quick = batches >= ENOUGH_BATCHES and 2 * seconds + BETWEEN_SECONDS <= SECONDS["5m"]
    lives: tuple[CacheTtl, ...] = ("1h", "5m") if quick else ("1h",)
    return min(lives, key=lambda ttl: _found(rates[ttl], hits.get(ttl, CacheHits())))


def _found(rates: TokenRates, hits: CacheHits) -> Decimal:
    """What a token costs in a request whose prefix is there: h r + (1 - h) w."""
    share = Decimal(repr(hits.share))
    return share * rates.read + (1 - share) * rates.write


def saved_usd(mark: CacheMark, requests: int, *, warm: bool) -> Decimal:
    """US dollars that marks save on `requests`, a prime among them unless it is `warm`; below 0 where they lose."""
    found = _found(mark.rates, mark.hits)
    cost = requests * found if warm else mark.rates.write + (requests - 1) * found
    return mark.tokens * (requests * mark.rates.input - cost)


def decide_caching(mark: CacheMark, requests: int, now: datetime) -> CacheDecision:
    """What is sent next of `requests` that are due on a prefix.

    A prime that is under way for long is not waited for, and primes that led to nothing are not sent for ever: the
    rest goes without a mark.
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
    """What comes of `requests`, a prime that is under way believed to succeed."""
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
    """How many batches of one request go ahead of others."""
    return sum(each.step == "prime" and each.requests > 1 for each in expected)
