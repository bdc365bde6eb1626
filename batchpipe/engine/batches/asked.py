"""Define what the sender of due requests sees of a chunk that was asked by realtime calls."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from batchpipe.common.errors import BatchpipeError
from batchpipe.engine.batches.submit import ChooseChunks
from batchpipe.engine.plan.cache_marks import CacheMarks
from batchpipe.engine.plan.plan import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedChunk:
    """Holds what became of `count` requests of `work.to_send` from number `start` on.

    `left` are the numbers of those that were not asked, or refused: they cost nothing. `lost` counts the calls without
    an answer, and `lost_message` says why. No further call may begin for `wait_seconds`; with `is_own_wait` nobody
    asked for that. `not_sent` has the message where no connection was made; `stop` is the refusal that every further
    call would get too. `message` is the provider's of a refusal.
    """

    start: int
    count: int
    left: Sequence[int] = ()
    lost: int = 0
    lost_message: str = ""
    wait_seconds: float = 0.0
    is_own_wait: bool = False
    not_sent: str | None = None
    message: str = ""
    stop: BatchpipeError | None = None

    @property
    def wait_message(self) -> str | None:
        """Return by which words the provider asks to wait; None where it does not."""
        return None if self.is_own_wait else self.message or "its limits have no room"

    @property
    def asked(self) -> int:
        """Return how many requests were asked."""
        return self.count - len(self.left)

    @property
    def whole_until(self) -> int:
        """Return the number from which on no request was asked: the rest of the chunk is still to be asked."""
        number, left = self.start + self.count, set(self.left)
        while number - 1 in left and number > self.start:
            number -= 1
        return number

    @property
    def is_scattered(self) -> bool:
        """Return whether some requests before `whole_until` were not asked. They are planned again."""
        return any(each < self.whole_until for each in self.left)


class ChunkAsker(Protocol):
    """Asks chunks of due requests by realtime calls."""

    @property
    def size(self) -> int:
        """Return how many requests the next chunk may have."""
        ...

    def send(
        self, plan: Plan, choose: ChooseChunks, cache_marks: CacheMarks, rungs: Collection[int]
    ) -> AskedChunk | None:
        """Ask the chunk that `choose` returns, and return what became of it; None where there is none any more."""
        ...
