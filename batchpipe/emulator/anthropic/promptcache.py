"""Prompt caching, as the usage of a message shows it: which request writes a prefix, and which reads it.

Nearly all requests read a prefix that an earlier batch or call left in the cache, and each use renews it. The requests
of one batch run side by side: if the cache did not hold the prefix before, every one of them writes it. A prefix with
fewer tokens than the model caches is neither written nor read.
"""

from dataclasses import dataclass
from hashlib import md5

from batchpipe.emulator.anthropic.models import Model
from batchpipe.emulator.service.faults import CACHE_HITS
from batchpipe.emulator.service.values import Draw

_SECONDS = {"5m": 300, "1h": 3600}


@dataclass(frozen=True, slots=True)
class CacheUse:
    """The tokens of one request that were read from the cache, or written to it with the lifetime `ttl`."""

    read: int = 0
    written: int = 0
    ttl: str = ""


NO_CACHE = CacheUse()


class PromptCache:
    """The cache during one batch. `entries` maps a prefix to its expiry (emulator time), as it was before the batch.

    `hits` is the share of requests that find a prefix which the cache holds.
    """

    def __init__(self, entries: dict[str, float], now: float, hits: float = CACHE_HITS) -> None:
        self._before = entries
        self._now = now
        self._hits = round(hits * 100)
        self.written: dict[str, float] = {}

    def use(self, model: Model, prefix: str, ttl: str, total: int, draw: Draw) -> CacheUse:
        """Return the cached tokens of a request of `total` input tokens that begins with `prefix`."""
        tokens = min(int(len(prefix.encode()) * model.token_factor) // 4, total - 1)
        if tokens < model.cached_from_tokens:
            return NO_CACHE
        key = md5(f"{model.id}\n{prefix}".encode()).hexdigest()
        hit = self._before.get(key, 0) > self._now and draw.below(100) < self._hits
        self.written[key] = self._now + _SECONDS[ttl]
        return CacheUse(read=tokens) if hit else CacheUse(written=tokens, ttl=ttl)
