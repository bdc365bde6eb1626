"""Streams of server-sent events, as the realtime calls of all protocols send them.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import orjson

from batchpipe.providers.shared.mending import read_object, written

if TYPE_CHECKING:
    import httpx2

_BYTE_ORDER_MARK = "\ufeff"
_LINE_BREAK = re.compile(rb"\r\n|\n|\r")


def lines_of(response: httpx2.Response) -> Iterator[str]:
    """Yield the lines of a stream, which is UTF-8 whatever its headers say; what is none becomes U+FFFD.

    Only CR and LF end a line: a text may hold other characters that break lines elsewhere, as U+2028.
    """
    begun, after_cr = bytearray(), False
    for chunk in response.iter_bytes():
        first, *more = _LINE_BREAK.split(chunk[1:] if after_cr and chunk.startswith(b"\n") else chunk)
        after_cr = chunk.endswith(b"\r")
        begun += first
        for line in more:
            yield begun.decode("utf-8", "replace")
            begun[:] = line
    if begun:
        yield begun.decode("utf-8", "replace")


def events(lines: Iterable[str], *, exact: bool = False, pieces: bool = True) -> Iterator[Mapping[str, Any]]:
    """Yield the data of the events of a stream. Data of several lines are put together.

    What is no JSON object is left out. With `pieces`, of which all are needed, it raises ValueError for an object that
    cannot be read. With `exact` each number is a text that `written` writes as it came.
    """
    held: list[str] = []
    for line in lines:
        name, _, data = line.removeprefix(_BYTE_ORDER_MARK).partition(":")
        if name == "data":
            held.append(data.removeprefix(" "))
            found = _object("\n".join(held), exact=exact)
            if found is None and held[0].lstrip().startswith("{"):
                continue
            if found is not None:
                yield found
        elif name.strip():
            continue
        elif pieces and held:
            raise ValueError("the stream of the answer has a damaged part")
        held = []


def _object(text: str, *, exact: bool) -> dict[str, Any] | None:
    """Return the JSON object that `text` is; None where it is none."""
    if not exact:
        try:
            found = orjson.loads(text)
        except ValueError:
            pass
        else:
            return found if isinstance(found, dict) else None
    return read_object(text, exact=exact)


def dumped(value: Any) -> bytes:
    """Return a value that pieces of a stream make, as JSON; halves of surrogate pairs that come together are one."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return written(value).rstrip(b"\n")
