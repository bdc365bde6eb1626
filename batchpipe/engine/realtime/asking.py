"""Ask the requests of one chunk, side by side, and write each answer down when it comes."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, NamedTuple

from batchpipe.common.call_pool import Pool
from batchpipe.common.errors import BatchpipeError, ProviderError
from batchpipe.decide.concurrency import LONGEST_REFUSAL_SECONDS, LOST_IN_A_ROW, Concurrency
from batchpipe.engine.batches.submit import INTENT_SECONDS, IntentAge
from batchpipe.engine.realtime.journal import CallJournal
from batchpipe.engine.realtime.limiter import CallLimiter, room_of
from batchpipe.providers import NotSentError, Provider, RefusedError, UnavailableError

CALL_TIMEOUT_SECONDS = 600.0
# A pause that is longer ends the chunk: what was answered is recorded meanwhile, and other pipelines go on.
PATIENCE_SECONDS = 5.0
# After this time no further call of the chunk begins, so that its answers are recorded and other chunks have their
# turn.
CHUNK_SECONDS = 20.0
# How long an interrupt waits for the answers to calls that are under way and paid for.
GRACE_SECONDS = 10.0
RATE_KINDS = ("rate_limit", "queue_full")

Ending = Literal["asked", "paused", "time_is_up", "not_sent"]


class RealtimeCall(NamedTuple):
    """A request to ask: its custom id, its number among the due requests, and its params."""

    custom_id: str
    number: int
    params: bytes


@dataclass(slots=True, kw_only=True)
class Asked:
    """Says what became of a chunk's requests.

    `left` are the numbers of those that were not asked, or refused: they cost nothing. `lost` counts the calls without
    an answer, which may have been paid for, and `lost_message` says why. `wait_seconds` is how long no call may begin;
    `is_own_wait` says that nobody asked for that: it follows calls without an answer. `message` is the provider's of a
    refusal; `stop` is the refusal that every further call would get too.
    """

    answered: int = 0
    lost: int = 0
    lost_message: str = ""
    left: list[int] = field(default_factory=list)
    ending: Ending = "asked"
    wait_seconds: float = 0.0
    is_own_wait: bool = False
    message: str = ""
    stop: BatchpipeError | None = None


@dataclass(slots=True, kw_only=True)
class ChunkAsking:
    """Asks the calls of one chunk. `progress` is told after each answer how many there are. `refusal` makes the error
    of a refusal that every further call would get too.
    """

    provider: Provider
    headers: dict[str, str]
    journal: CallJournal
    limiter: CallLimiter
    age: IntentAge
    clock: Callable[[], datetime]
    progress: Callable[[int], None]
    refusal: Callable[[RefusedError], BatchpipeError]
    _waiting: deque[RealtimeCall] = field(default_factory=deque, init=False)
    _found: Asked = field(default_factory=Asked, init=False)
    _changing: threading.Lock = field(default_factory=threading.Lock, init=False)
    _ended: bool = field(default=False, init=False)

    def ask(self, calls: Sequence[RealtimeCall], pool: Pool) -> Asked:
        """Ask the calls, as many at once as the limiter lets begin, and return what became of them.

        An interrupt waits a little for the answers to calls that are under way. Writes the raw folder. Raises
        DatabaseError where the disk fails.
        """
        self._waiting.extend(calls)
        workers = min(len(calls), int(self.limiter.state.most))
        try:
            pool([self._work] * workers, workers)
        except KeyboardInterrupt:
            self._ended = True
            self.limiter.wait_until_idle(GRACE_SECONDS)
            raise
        found = self._found
        found.left = sorted([*found.left, *(each.number for each in self._waiting)])
        if found.left and found.ending == "asked":
            found.ending = "time_is_up"
        found.wait_seconds = self.limiter.wait_seconds()
        found.is_own_wait = self.limiter.state.lost > 0 and not found.message
        if found.stop is None:
            found.stop = self._without_end()
        return found

    def _work(self) -> None:
        """Ask one waiting call after the other, until none is left or the chunk ends."""
        while self._waiting:
            if not self.limiter.begin(PATIENCE_SECONDS, self._stops):
                with self._changing:
                    if not self._stops() and self._found.ending == "asked":
                        self._found.ending = "paused"
                return
            try:
                call = self._waiting.popleft()
            except IndexError:
                self.limiter.end(lambda state, now, under_way: state)
                return
            self._ask(call)

    def _stops(self) -> bool:
        """Return whether no further call of the chunk begins."""
        return (
            self._ended
            or not self._waiting
            or self._found.stop is not None
            or self._found.ending == "not_sent"
            or self.limiter.state.is_lost
            or self.age.seconds > CHUNK_SECONDS
        )

    def _ask(self, call: RealtimeCall) -> None:
        """Write down that the call begins, make it, and write down what came of it."""
        change: Callable[[Concurrency, float, int], Concurrency] = _lost
        try:
            if self.age.seconds > INTENT_SECONDS:  # the machine slept while this thread waited
                self._leave(call)
                change = _unchanged
                return
            self.journal.start(call.custom_id, self.clock())
            change = self._made(call)
        except BatchpipeError as error:
            self._stop(error)
            raise
        finally:
            self.limiter.end(change)

    def _made(self, call: RealtimeCall) -> Callable[[Concurrency, float, int], Concurrency]:
        """Make the call, and return what it means for the limiter."""
        try:
            answer = self.provider.answer(
                call.custom_id, call.params, headers=self.headers, timeout_seconds=CALL_TIMEOUT_SECONDS
            )
        except RefusedError as error:
            return self._refused(call, error)
        except NotSentError as error:
            self.journal.end(call.custom_id, "not_sent")
            with self._changing:
                self._found.ending, self._found.message = "not_sent", str(error)
            self._leave(call)
            return _unchanged
        except UnavailableError as error:
            if error.turned_away:
                return self._turned_away(call, str(error), error.retry_after_seconds)
            with self._changing:
                self._found.lost += 1
                self._found.lost_message = str(error)
            return _lost
        self.journal.answer(answer.line)
        self._answered()
        room = room_of(answer.room, len(call.params))
        return lambda state, now, under_way: state.after_answer(now, under_way, room)

    def _refused(self, call: RealtimeCall, error: RefusedError) -> Callable[[Concurrency, float, int], Concurrency]:
        """Handle a refusal: of this request, of the rate, or of everything that is sent with this key."""
        if error.kind in RATE_KINDS:
            return self._turned_away(call, error.message, error.retry_after_seconds)
        if error.line is not None:
            self.journal.answer(error.line)
            self._answered()
            return _unchanged
        self.journal.end(call.custom_id, "refused")
        self._leave(call)
        self._stop(self.refusal(error))
        return _unchanged

    def _turned_away(
        self, call: RealtimeCall, message: str, retry_after_seconds: float | None
    ) -> Callable[[Concurrency, float, int], Concurrency]:
        """Put back a call that the provider did not take now: it is asked next."""
        self.journal.end(call.custom_id, "refused")
        with self._changing:
            self._found.message = message
        self._waiting.appendleft(call)
        return lambda state, now, under_way: state.after_refusal(now, retry_after_seconds)

    def _answered(self) -> None:
        """Count an answer, and tell how many there are."""
        with self._changing:
            self._found.answered += 1
            self.progress(self._found.answered)

    def _leave(self, call: RealtimeCall) -> None:
        """Leave a call for a later chunk."""
        with self._changing:
            self._found.left.append(call.number)

    def _stop(self, error: BatchpipeError) -> None:
        """Keep the first error that no further call can escape."""
        with self._changing:
            self._found.stop = self._found.stop or error

    def _without_end(self) -> ProviderError | None:
        """Return the error that ends a run whose calls have no answer, or are all refused; None for any other run."""
        state = self.limiter.state
        if state.is_lost:
            return ProviderError(
                f"the last {LOST_IN_A_ROW} realtime calls or more had no answer: {self._found.lost_message}",
                where="provider",
                hint="They may have been paid for, and are booked. Check `base_url` and the provider's state, then run "
                "the same command again.",
            )
        if state.is_refused(self.limiter.monotonic()):
            minutes = LONGEST_REFUSAL_SECONDS / 60
            return ProviderError(
                f"the provider has refused every call for {minutes:.0f} minutes: {self._found.message}",
                where="provider",
                hint="Ask the provider about the limits of this key. The next run goes on from here.",
            )
        return None


def _unchanged(state: Concurrency, now: float, under_way: int) -> Concurrency:
    """Return the state as it is: the call says nothing of the limits."""
    return state


def _lost(state: Concurrency, now: float, under_way: int) -> Concurrency:
    """Return the state after a call without an answer."""
    return state.after_loss(now)
