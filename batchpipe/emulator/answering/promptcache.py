"""Prompt caching, as the usage of a message shows it: which request writes a prefix, and which reads it.

Nearly all requests read a prefix that an earlier batch or call left in the cache, and each use renews it. The requests
of one batch run side by side: if the cache did not hold the prefix before, every one of them writes it.
"""

from dataclasses import dataclass
from hashlib import md5

from batchpipe.emulator.answering.values import Draw
from batchpipe.emulator.service.faults import CACHE_HITS


@dataclass(frozen=True, slots=True)
class CacheUse:
    """The tokens of one request that were read from the cache, or written to it."""

    read: int = 0
    written: int = 0


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

    def use(self, model: str, prefix: str, seconds: float, tokens: int, draw: Draw) -> CacheUse:
        """Return the cached tokens of a request whose prefix has `tokens`, and which keeps it for `seconds`."""
        key = md5(f"{model}\n{prefix}".encode()).hexdigest()
        hit = self._before.get(key, 0) > self._now and draw.below(100) < self._hits
        self.written[key] = self._now + seconds
        return CacheUse(read=tokens) if hit else CacheUse(written=tokens)
