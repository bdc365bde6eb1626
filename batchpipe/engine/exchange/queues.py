"""What a provider's queue has room for: batches at once, and input tokens of a model."""

from __future__ import annotations

from collections.abc import Callable

from batchpipe.common.lazy_dataclass import dataclass
from batchpipe.decide.tokens import BYTES_PER_TOKEN
from batchpipe.providers import RungSettings
from batchpipe.providers.known import KnownProvider
from batchpipe.store.database import Session
from batchpipe.store.queries import query


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueRoom:
    """Says how many `batches` and `bytes` of requests the queue takes yet; None for any number. `empty`: none waits."""

    batches: int | None = None
    bytes: int | None = None
    empty: bool = True

    def fitting(self, count: int, size_of: Callable[[int], int], chosen: int, chosen_bytes: int) -> int:
        """Return how many of `count` requests fit beside `chosen` chunks with `chosen_bytes`.

        `size_of` gives the bytes of so many requests. A request that is too large for an empty queue is tried: the
        provider says so at no cost.
        """
        if self.batches is not None and chosen >= self.batches:
            return 0
        if self.bytes is None or not count:
            return count
        left = self.bytes - chosen_bytes
        fits = min(count, max(left, 0) * count // max(size_of(count), 1))
        return max(fits, 1) if self.empty and not chosen else fits


def queue_room(session: Session, provider: KnownProvider, rung: RungSettings) -> QueueRoom:
    """Return what the queue of a rung's provider has room for, by the open batches of every pipeline.

    Without a limit nothing is read. Reads `ledger.batches`.
    """
    most, tokens = provider.batch_limits.max_batches, provider.limits.get("max_queued_tokens")
    if most is None and tokens is None:
        return QueueRoom()
    batches, size = session.one(query("queued_at"), {"provider": provider.name, "model": rung.model})
    return QueueRoom(
        batches=None if most is None else most - batches,
        bytes=None if tokens is None else int(tokens * BYTES_PER_TOKEN) - size,
        empty=not batches,
    )
