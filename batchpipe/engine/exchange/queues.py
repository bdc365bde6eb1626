"""What a provider's queue has room for: batches at once, requests, and input tokens of a model.

The limits that the settings name hold from the start. Other limits are learned when the provider says that the queue is
full: what waited there then was not too much, and for a day no more than that is sent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from batchpipe.decide.chunking import is_worth_sending
from batchpipe.decide.tokens import BYTES_PER_TOKEN
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.providers import RungSettings
from batchpipe.providers.known import KnownProvider
from batchpipe.store.database import Session
from batchpipe.store.queries import query

# For so long a queue that was full is taken to hold what it held then: an account's limits change with its tier.
LEARNED_FOR = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenLoad:
    """What goes to a provider with the next chunk: batches, requests, and bytes that stand for tokens to its model."""

    batches: int
    requests: int
    bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueRoom:
    """Says how many `batches`, `requests`, and `bytes` of requests the queue takes yet; None for any number.

    `empty`: none waits. `learned`: the room is what was left when the provider last said that the queue is full.
    """

    batches: int | None = None
    requests: int | None = None
    bytes: int | None = None
    empty: bool = True
    learned: bool = False

    def fitting(self, count: int, size_of: Callable[[int], int], chosen: ChosenLoad) -> int:
        """Return how many of `count` requests fit beside what is `chosen` already.

        `size_of` gives the bytes of so many requests. A request that is too large for an empty queue is tried: the
        provider says so at no cost. A batch of a few requests is not sent where waiting makes it whole.
        """
        if self.batches is not None and chosen.batches >= self.batches:
            return 0
        fits = count if self.requests is None else min(count, max(self.requests - chosen.requests, 0))
        if self.bytes is not None and count:
            left = self.bytes - chosen.bytes
            fits = min(fits, max(left, 0) * count // max(size_of(count), 1))
        if self.empty and not chosen.batches:
            return max(fits, min(count, 1))
        return fits if not self.learned or is_worth_sending(fits, count) else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FullQueue:
    """What waited when the queue of a provider was full: requests of all models, and bytes of requests to one."""

    requests: int
    bytes: int


# By provider and model.
FullQueues = Mapping[tuple[str, str], FullQueue]


def read_full_queues(session: Session, resolved: Resolved) -> FullQueues:
    """Return the queues that the rungs' providers called full, and that held something then.

    Reads `ledger.events`, `ledger.batches`.
    """
    since = {"since": session.now - LEARNED_FOR}
    if all(each.mode == "realtime" for each in resolved.rungs) or not session.one(query("was_full"), since)[0]:
        return {}
    rows = session.rows(query("full_queues"), since)
    return {(provider, model): FullQueue(requests=requests, bytes=size) for provider, model, requests, size in rows}


def queue_room(session: Session, provider: KnownProvider, rung: RungSettings, full: FullQueues) -> QueueRoom:
    """Return what the queue of a rung's provider has room for, by the open batches of every pipeline.

    Without a limit nothing is read. Reads `ledger.batches`.
    """
    most, tokens = provider.batch_limits.max_batches, provider.limits.get("max_queued_tokens")
    by_tokens = provider.rules.limits.queued == "input_tokens"
    learned = [
        each for (name, model), each in full.items() if name == provider.name and _is_meant(model, rung, by_tokens)
    ]
    if most is None and tokens is None and not learned:
        return QueueRoom()
    batches, requests, size = session.one(query("queued_at"), {"provider": provider.name, "model": rung.model})
    sizes = [int(tokens * BYTES_PER_TOKEN)] if tokens is not None else []
    sizes += [each.bytes for each in learned if by_tokens and each.bytes]
    counts = [each.requests for each in learned if not by_tokens]
    return QueueRoom(
        batches=None if most is None else most - batches,
        requests=min(counts) - requests if counts else None,
        bytes=min(sizes) - size if sizes else None,
        empty=not batches,
        learned=bool(learned),
    )


def _is_meant(model: str, rung: RungSettings, by_tokens: bool) -> bool:
    """Return whether the queue of `model` is that of a rung: some providers have one for each model."""
    return not by_tokens or model == rung.model
