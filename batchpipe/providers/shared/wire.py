"""Bounds on what goes over a connection: each part of a call ends by the clock, though its bytes come one by one.

The time-out of the HTTP client is one of silence: a byte now and then, for ever, is none. A hook of the client follows
each call through the library's own trace of it, and shortens the last read of a part to what is left of its time.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import httpx2

# How long the body of a request may take: as a file that is downloaded.
SEND_SECONDS = 21_600.0
_PIECE_BYTES = 65_536
_CONNECTED = ("connect_tcp.complete", "connect_unix_socket.complete", "start_tls.complete")
_SENDS = "send_request_headers.started"
_WAITS = "receive_response_headers.started"


class Wire:
    """The connection of one call, and the time at which the part of the call ends that is under way.

    All headers of a reply have to come within `wait_seconds`, the time for which the first of them is waited.
    """

    def __init__(self, wait_seconds: float | None) -> None:
        self._wait_seconds = wait_seconds
        self._end: float | None = None

    def __call__(self, name: str, known: Mapping[str, Any]) -> None:
        """Take one event of the trace, whose `name` begins with that of the library's part."""
        step = name.partition(".")[2]
        if step in _CONNECTED:
            self._hold(known["return_value"])
        elif step == _SENDS:
            self.give(SEND_SECONDS)
        elif step == _WAITS:
            self.give(self._wait_seconds)

    def give(self, seconds: float | None) -> None:
        """Let the part of the call that begins now take so long; None: for ever."""
        self._end = None if seconds is None else time.monotonic() + seconds

    def _hold(self, stream: Any) -> None:
        """Put the bound around the reads and writes of a connection."""
        import httpx2

        read, write = stream.read, stream.write

        def bounded_read(max_bytes: int, timeout: float | None = None) -> bytes:
            got: bytes = read(max_bytes, self._left(timeout, httpx2.ReadTimeout))
            return got

        def bounded_write(buffer: bytes, timeout: float | None = None) -> None:
            for start in range(0, len(buffer), _PIECE_BYTES):
                piece = memoryview(buffer)[start : start + _PIECE_BYTES]
                write(piece, self._left(timeout, httpx2.WriteTimeout))

        stream.read, stream.write = bounded_read, bounded_write

    def _left(self, timeout: float | None, late: type[Exception]) -> float | None:
        """Return how long a read or write may wait. Raises the error `late` where no time is left."""
        if self._end is None:
            return timeout
        left = self._end - time.monotonic()
        if left <= 0:
            raise late("the bytes came too slowly")
        return left if timeout is None else min(timeout, left)


def follow(request: httpx2.Request) -> None:
    """Follow a call, whose time-out for reading is the time for all headers of its reply."""
    waits = request.extensions.get("timeout", {})
    request.extensions = {**request.extensions, "trace": Wire(waits.get("read"))}


def give_body(response: httpx2.Response, seconds: float) -> None:
    """Let the body of a reply take so long, in all."""
    found = response.request.extensions.get("trace")
    if isinstance(found, Wire):
        found.give(seconds)
