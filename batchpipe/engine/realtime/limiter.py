"""Let realtime calls begin while there is room: one limiter for each address, key and model."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from batchpipe.common.machine import Machine
from batchpipe.decide.concurrency import MOST, START, Concurrency
from batchpipe.decide.rate_room import RoomLeft, room_left
from batchpipe.engine.context import Context
from batchpipe.providers import Provider, RateRoom

# How often a thread that waits for room checks whether it is to stop.
LOOK_SECONDS = 0.2


@dataclass(slots=True, kw_only=True)
class CallLimiter:
    """Counts the calls under way and holds back further ones. Several threads may call at once.

    `monotonic` and `sleep` are the machine's.
    """

    monotonic: Callable[[], float]
    sleep: Callable[[float], None]
    state: Concurrency = field(default_factory=Concurrency)
    under_way: int = 0
    _room: threading.Condition = field(default_factory=threading.Condition, init=False)

    def begin(self, patience_seconds: float, stopped: Callable[[], bool]) -> bool:
        """Wait until a call may begin, and count it; return False where it may not: `stopped`, or the pause is longer
        than `patience_seconds`.
        """
        while not stopped():
            with self._room:
                now = self.monotonic()
                wait = self.state.wait_seconds(now)
                if wait > patience_seconds:
                    return False
                if not wait and self.under_way < self.state.at_once(now):
                    self.under_way += 1
                    return True
                if not wait:
                    self._room.wait(LOOK_SECONDS)
            if wait:
                self.sleep(min(wait, LOOK_SECONDS))
        return False

    def end(self, change: Callable[[Concurrency, float, int], Concurrency]) -> None:
        """Count a call as ended; `change` gets the state, the time and the calls under way, and returns the new
        state.
        """
        with self._room:
            self.state = change(self.state, self.monotonic(), self.under_way)
            self.under_way -= 1
            self._room.notify_all()

    def wait_seconds(self) -> float:
        """Return how long no call may begin."""
        with self._room:
            return self.state.wait_seconds(self.monotonic())

    def wait_until_idle(self, seconds: float) -> None:
        """Wait until no call is under way, `seconds` at most."""
        until = self.monotonic() + seconds
        with self._room:
            while self.under_way and self.monotonic() < until:
                self._room.wait(LOOK_SECONDS)


def limiter_of(context: Context, provider: Provider, model: str, most: int | None = None) -> CallLimiter:
    """Return the limiter of a model of `provider`: all pipelines of a call share it. `most` calls may be under way."""
    machine: Machine = context.machine
    key = ("limiter", provider.base_url, provider.key_hash, model)
    found = context.shared.get(key)
    if not isinstance(found, CallLimiter):
        state = Concurrency() if most is None else Concurrency(limit=min(START, float(most)), most=min(MOST, most))
        found = CallLimiter(monotonic=machine.monotonic, sleep=machine.sleep, state=state)
        context.shared[key] = found
    return found


def room_of(room: RateRoom, request_bytes: int) -> RoomLeft:
    """Return what a reply says to be left for requests of about this size."""
    return room_left(room.requests, room.tokens, room.seconds, request_bytes / 4)
