"""Streams of server-sent events, as the realtime calls of all protocols send them.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import TYPE_CHECKING, Any, Protocol

import orjson

from batchpipe.providers import UnavailableError
from batchpipe.providers.shared.mending import read_object, read_objects, written

if TYPE_CHECKING:
    import httpx2

_BYTE_ORDER_MARK = "\ufeff"
_LINE_BREAK = re.compile(rb"\r\n|\n|\r")
_BLANK = " \t\r\n\x00" + _BYTE_ORDER_MARK


class StreamedAnswer(Protocol):
    """The answer that the events of a stream add up to, in one protocol. A part of the wrong type is no part of it."""

    @property
    def begun(self) -> bool:
        """Whether the stream has something of the answer: it may have been paid for."""
        ...

    @property
    def has_content(self) -> bool:
        """Whether a piece of the content has come."""
        ...

    def ended(self, *, unbroken: bool) -> bool:
        """Return whether the reason has come why the model stopped, so that all of the content is there.

        `unbroken`: the stream has ended by itself, and without an error.
        """
        ...

    def error_of(self, event: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Return the error that an event is; None for one that has a part of the answer."""
        ...

    def add(self, event: Mapping[str, Any]) -> bool:
        """Take what an event has of the answer; return whether it is the last one."""
        ...

    def whole(self) -> bytes:
        """Return the answer as JSON."""
        ...


class SaidError(Exception):
    """A stream has an error in the place of an answer. `begun` and `has_content` are those of the answer."""

    def __init__(self, error: Mapping[str, Any], *, begun: bool, has_content: bool) -> None:
        super().__init__("the stream has an error")
        self.error = error
        self.begun = begun
        self.has_content = has_content


def lines_of(response: httpx2.Response) -> Iterator[str]:
    """Yield the lines of a stream, which is UTF-8 whatever its headers say; what is none becomes U+FFFD.

    Only CR and LF end a line: a text may hold other characters that break lines elsewhere, as U+2028.
    """
    import httpx2

    begun, after_cr, broken = bytearray(), False, None
    try:
        for chunk in response.iter_bytes():
            first, *more = _LINE_BREAK.split(chunk[1:] if after_cr and chunk.startswith(b"\n") else chunk)
            after_cr = chunk.endswith(b"\r")
            begun += first
            for line in more:
                yield begun.decode("utf-8", "replace")
                begun[:] = line
    except (httpx2.HTTPError, httpx2.StreamError) as error:
        broken = error
    if begun:
        yield begun.decode("utf-8", "replace")
    if broken is not None:
        raise broken


def read_answer(lines: Iterable[str], answer: StreamedAnswer, *, exact: bool = False, pieces: bool = True) -> bytes:
    """Return the answer that the lines of a reply make. `answer` takes the events in; `exact` and `pieces` are those of
    `events`.

    A reply that is plain JSON, from a server that does not stream, is the answer as it came. Once the answer has ended,
    nothing that follows can take it away: no break, no damaged piece and no error. Raises SaidError for an error in the
    place of an answer, UnavailableError for a stream that ends before its answer, and else what broke it.
    """
    import httpx2

    source = iter(lines)
    said: Mapping[str, Any] | None = None
    broken: Exception | None = None
    try:
        first = next((line for line in source if line.strip(_BLANK)), "")
        if first.lstrip(_BLANK).startswith(("{", "[")):
            whole, found = _not_streamed(first, source)
            if whole is not None:
                return whole
        else:
            found = events(chain((first,), source), exact=exact, pieces=pieces)
        for event in found:
            error = answer.error_of(event)
            if error is None and answer.add(event):
                break
            said = said or error
    except (httpx2.HTTPError, httpx2.StreamError, ValueError) as error:
        broken = error
    if answer.ended(unbroken=broken is None and said is None):
        return answer.whole()
    if said is not None:
        raise SaidError(said, begun=answer.begun, has_content=answer.has_content)
    raise broken or UnavailableError("the stream of the answer broke off")


def _not_streamed(first: str, lines: Iterator[str]) -> tuple[bytes | None, Iterable[Mapping[str, Any]]]:
    """Return the answer that a body of plain JSON is, which `first` begins; else the events that it has in a list, or
    one after the other.

    Raises what breaks the body off before its end.
    """
    import httpx2

    held, broken = [first], None
    try:
        held.extend(lines)
    except (httpx2.HTTPError, httpx2.StreamError) as error:
        broken = error
    text = "\n".join(held).strip(_BLANK)
    found = read_objects(text)
    if broken is not None and not found:
        raise broken
    if text.startswith("{") and len(found) < 2:
        return text.encode("utf-8", "replace"), ()
    return None, found


def error_of(event: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the error that an event is: its member `error`, or itself; None for any other event."""
    error = event.get("error")
    if isinstance(error, dict) and error:
        return error
    if type(error) is str and error.strip():  # a number may be a text too, as it came
        return {"message": error}
    return event if event.get("type") == "error" else None


def str_of(value: Any) -> str:
    """Return a word of an error; "" for what is no text."""
    return value if isinstance(value, str) else ""


def text_of(value: Any) -> str:
    """Return a piece of a text. What is none becomes U+FFFD, as what cannot be read in a line of results."""
    return value if isinstance(value, str) else "" if value is None else "\ufffd"


def events(lines: Iterable[str], *, exact: bool = False, pieces: bool = True) -> Iterator[Mapping[str, Any]]:
    """Yield the data of the events of a stream. Data of several lines are put together.

    What is no JSON object is left out. With `pieces`, of which all are needed, it raises ValueError for an object that
    cannot be read. With `exact` each number is `Verbatim`.
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
    found: Any = read_object(text, exact=True) if exact else None
    if found is None:
        # It reads what is nested more deeply, too.
        try:
            found = orjson.loads(text)
        except ValueError:
            found = read_object(text, exact=False)
    return found if isinstance(found, dict) else None


def dumped(value: Any) -> bytes:
    """Return a value that pieces of a stream make, as JSON; halves of surrogate pairs that come together are one."""
    try:
        return orjson.dumps(value, option=orjson.OPT_PASSTHROUGH_SUBCLASS)
    except TypeError:
        return written(value).rstrip(b"\n")
