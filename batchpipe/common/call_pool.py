"""Run calls that wait for the network side by side, in a few threads that never keep the process alive."""

from __future__ import annotations

import contextvars
import threading
from collections import deque
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from types import TracebackType
from typing import Generic, Protocol, TypeVar

T = TypeVar("T")
E = TypeVar("E", bound=Exception)


class Pool(Protocol):
    """A way to make calls side by side: `side_by_side`, or that of a test that decides their order."""

    def __call__(self, calls: Sequence[Callable[[], T]], most: int, expected: tuple[type[E], ...] = ()) -> list[T | E]:
        """Return the results of `calls` in their order, as `side_by_side` does."""
        ...


class _EndedCall(Generic[T]):
    """Holds what became of call `number`: its result, or the error that ended it. As a context it catches the error."""

    def __init__(self, number: int) -> None:
        """Begin without a result and without an error."""
        self.number = number
        self.results: list[T] = []
        self.error: BaseException | None = None

    def __enter__(self) -> None:
        """Begin the call."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        """Keep the error that ended the call, if there was one, and raise nothing."""
        self.error = error
        return True


def side_by_side(calls: Sequence[Callable[[], T]], most: int, expected: tuple[type[E], ...] = ()) -> list[T | E]:
    """Return the results of `calls` in their order; at most `most` of them are under way at once.

    A single call runs in this thread. An error of a class in `expected` stands in the place of its call's result. Any
    other error is raised here when all calls have ended. An interrupt is raised at once: no further call begins, and
    those under way end with the process.
    """
    if len(calls) <= 1 or most <= 1:
        return [_call(each, expected) for each in calls]
    waiting = deque(enumerate(calls))
    ended: SimpleQueue[_EndedCall[T]] = SimpleQueue()
    for _ in range(min(most, len(calls))):
        # Spans that the thread begins become children of the span that is open here.
        context = contextvars.copy_context()
        threading.Thread(target=context.run, args=(_work, waiting, ended), daemon=True).start()
    try:
        ran = sorted((ended.get() for _ in calls), key=lambda each: each.number)
    finally:
        waiting.clear()
    return [_given(each, expected) for each in ran]


def _work(waiting: deque[tuple[int, Callable[[], T]]], ended: SimpleQueue[_EndedCall[T]]) -> None:
    """Make one waiting call after the other, until none is left, and put each outcome into `ended`."""
    while True:
        try:
            number, call = waiting.popleft()
        except IndexError:
            return
        ran = _EndedCall[T](number)
        with ran:
            ran.results.append(call())
        ended.put(ran)


def _call(call: Callable[[], T], expected: tuple[type[E], ...]) -> T | E:
    """Return what `call` returns, or its error where the error is of a class in `expected`."""
    try:
        return call()
    except expected as error:
        return error


def _given(ran: _EndedCall[T], expected: tuple[type[E], ...]) -> T | E:
    """Return the result of an ended call, or its error where the error is of a class in `expected`; raise any other."""
    if ran.error is None:
        return ran.results[0]
    if isinstance(ran.error, expected):
        return ran.error
    raise ran.error
