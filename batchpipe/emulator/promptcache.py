"""Prompt caching, as far as usage shows it: who writes a prefix, and who reads it.

A prefix that an earlier batch or call left in the cache is read by nearly all requests. Inside one batch
requests run side by side: of those that share an unknown prefix the first and about two in five write it.
"""

from dataclasses import dataclass
from hashlib import md5

from batchpipe.emulator.values import Draw

LEAST_TOKENS = 1024
_SECONDS = {"5m": 300, "1h": 3600}


@dataclass(frozen=True, slots=True)
class CacheUse:
    """Tokens of one request that were read from the cache, or written with a lifetime of `ttl`."""

    read: int = 0
    written: int = 0
    ttl: str = ""


NO_CACHE = CacheUse()


class PromptCache:
    """`entries` maps a prefix to when it expires (emulator time), as found before this batch."""

    def __init__(self, entries: dict[str, float], now: float) -> None:
        self._before = entries
        self._now = now
        self.written: dict[str, float] = {}

    def use(self, model_id: str, prefix: str, ttl: str, total: int, draw: Draw) -> CacheUse:
        """What the cache does for a request of `total` input tokens that begins with `prefix`."""
        tokens = min(len(prefix.encode()) // 4, total - 1)
        if tokens < LEAST_TOKENS:
            return NO_CACHE
        key = md5(f"{model_id}\n{prefix}".encode()).hexdigest()
        chance = draw.below(100)
        if self._before.get(key, 0) > self._now:
            hit = chance < 98
        else:
            hit = key in self.written and chance < 60
        self.written[key] = self._now + _SECONDS[ttl]
        return CacheUse(read=tokens) if hit else CacheUse(written=tokens, ttl=ttl)
