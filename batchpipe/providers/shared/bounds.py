"""Bounds on a reply: a body that has no end, or comes a byte at a time, ends as a broken one.

A hook of the HTTP client puts them on each reply, so that they hold for calls through an SDK too.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from batchpipe.providers.shared.download import ENCODINGS
from batchpipe.providers.shared.wire import give_body

if TYPE_CHECKING:
    import httpx2

# The words of an error fit into so many bytes, and come within so long. What is more is left unread, since its status
# says the most; so is what breaks off, and what cannot be decoded.
ERROR_BYTES, ERROR_SECONDS = 1_000_000, 30.0
# Any reply but a download is smaller: the longest answer has some megabytes, a page of a list less.
REPLY_BYTES = 256_000_000
# How long a body may take once it has begun: a streamed answer of 128,000 tokens takes an hour, a file the most.
REPLY_SECONDS, STREAM_SECONDS, FILE_SECONDS = 600.0, 7_200.0, 21_600.0


def bound(response: httpx2.Response) -> None:
    """Put an end to the body of a reply, by its bytes and by the clock; a download is bound by the clock alone."""
    import httpx2

    class Bounded(httpx2.SyncByteStream):
        """The bytes of a body within their bounds."""

        def __init__(self, inner: httpx2.SyncByteStream, most_bytes: float, seconds: float, *, cut: bool) -> None:
            self.inner, self.most_bytes, self.seconds, self.cut = inner, most_bytes, seconds, cut

        def __iter__(self) -> Iterator[bytes]:
            try:
                yield from self._bounded()
            except httpx2.TransportError:
                if not self.cut:
                    raise

        def _bounded(self) -> Iterator[bytes]:
            end, left = time.monotonic() + self.seconds, self.most_bytes
            for chunk in self.inner:
                left -= len(chunk)
                if left < 0 or time.monotonic() >= end:
                    what = f"is longer than {self.most_bytes:,} bytes" if left < 0 else f"took {self.seconds:,.0f} s"
                    raise httpx2.ReadError(f"the body of the reply {what}, and was not read to its end")
                yield chunk

        def close(self) -> None:
            self.inner.close()

    stream = response.stream
    assert isinstance(stream, httpx2.SyncByteStream)
    kind = response.headers.get("content-type", "").lower()
    most_bytes, cut = float(REPLY_BYTES), not response.is_success
    seconds = STREAM_SECONDS if kind.startswith("text/event-stream") else REPLY_SECONDS
    if cut:
        most_bytes, seconds = ERROR_BYTES, ERROR_SECONDS
    elif response.request.headers.get("accept-encoding") == ENCODINGS:
        most_bytes, seconds = float("inf"), FILE_SECONDS
    response.stream = Bounded(stream, most_bytes, seconds, cut=cut)
    give_body(response, seconds)
    if cut:
        _decode(response)


def _decode(response: httpx2.Response) -> None:
    """Read the body of an error now. One that cannot be decoded is empty, and is UTF-8 whatever its headers say: else
    the status would be lost with it.
    """
    import httpx2

    stream, encodings = response.stream, response.headers.pop("content-encoding", "identity")
    assert isinstance(stream, httpx2.SyncByteStream)
    raw = b"".join(stream)
    stream.close()
    try:
        body = httpx2.Response(response.status_code, headers={"content-encoding": encodings}, content=raw).content
    except (httpx2.DecodingError, ValueError, LookupError):
        body = b""
    response.stream = httpx2.ByteStream(body)
    response.encoding = "utf-8"
