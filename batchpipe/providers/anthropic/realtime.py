"""Realtime calls of this provider: when they are streamed, and the message that a stream makes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from batchpipe.providers import RateRoom
from batchpipe.providers.shared import values
from batchpipe.providers.shared.http import error_json
from batchpipe.providers.shared.mending import Verbatim
from batchpipe.providers.shared.streams import dumped, error_of, read_answer, text_of

# A longer answer is streamed: a connection that is silent for minutes is cut by what stands in between. The SDK refuses
# plain calls of 21,334 tokens and more (10 minutes at 128,000 tokens an hour); inspect-ai streams from here on.
STREAMED_FROM_TOKENS = 8_192
_KINDS = ("requests", "tokens", "input-tokens", "output-tokens")
# The type of the block that each part of a delta belongs to.
_TYPES = {"text": "text", "thinking": "thinking", "signature": "thinking", "partial_json": "tool_use"}
# What the start of a message and its blocks say, and its end does not.
_STARTS = ("type", "role", "content", "usage")


def is_streamed(params: bytes) -> bool:
    """Return whether the answer to these params may be so long that it is streamed."""
    most = orjson.loads(params).get("max_tokens")
    return isinstance(most, int) and most >= STREAMED_FROM_TOKENS


def streamed(params: bytes) -> bytes:
    """Return the params of the same request with a streamed answer."""
    return params.rstrip().removesuffix(b"}") + b',"stream":true}'


def message_of(lines: Iterable[str]) -> bytes:
    """Return the message that the lines of a stream of server-sent events make, as JSON.

    Raises SaidError for an error in the place of a message, UnavailableError or ValueError where the stream breaks off.
    Source: https://docs.anthropic.com/en/docs/build-with-claude/streaming
    """
    return read_answer(lines, _Message())


class _Message:
    """The message that events add up to. An event is known by its parts; its type may be missing."""

    def __init__(self) -> None:
        self.begun = False
        self.has_content = False
        self._ended = False
        self._start: Mapping[str, Any] = {}
        self._end: dict[str, Any] = {}
        # The tokens that were written are known from the end of a stream alone.
        self._used: dict[str, Any] = {"output_tokens": None}
        self._blocks: list[_Block] = []
        self._at: dict[Any, _Block] = {}

    def ended(self, *, unbroken: bool) -> bool:
        return self._ended

    def error_of(self, event: Mapping[str, Any]) -> Mapping[str, Any] | None:
        return error_of(event)

    def add(self, event: Mapping[str, Any]) -> bool:
        message, block, delta = (event.get(name) for name in ("message", "content_block", "delta"))
        is_end = event.get("type") == "message_delta" or (isinstance(delta, dict) and "stop_reason" in delta)
        if isinstance(message, dict):
            self.begun, self._start = True, message
        if isinstance(block, dict):
            self._begin(_place(event), block)
        if is_end:
            self._finish(delta, event.get("usage"))
        elif isinstance(delta, dict):
            self.has_content = True
            self._block(_place(event), delta).add(delta)
        is_last = event.get("type") == "message_stop"
        self._ended = self._ended or is_last
        return is_last

    def whole(self) -> bytes:
        usage = self._start.get("usage")
        message = {"type": "message", "role": "assistant", **self._start, **self._end}
        message["usage"] = {**(usage if isinstance(usage, dict) else {}), **self._used}
        if self._blocks or not isinstance(message.get("content"), list):
            message["content"] = [each.whole() for each in self._blocks]
        return dumped(message)

    def _begin(self, place: Any, start: Mapping[str, Any]) -> None:
        """Begin a block. One that begins twice, before a piece of it has come, is one block."""
        found = self._at.get(place)
        if found is None or found.pieces:
            found = self._at[place] = _Block()
            self._blocks.append(found)
        found.start = start

    def _block(self, place: Any, delta: Mapping[str, Any]) -> _Block:
        """Return the block that a piece belongs to. Where none has begun that is the last one, if it fits."""
        if place not in self._at:
            last = self._blocks[-1] if self._blocks else None
            if last is not None and last.takes(delta) and (place is None or not last.pieces):
                return last
            self._begin(place, {})
        return self._at[place]

    def _finish(self, delta: Any, usage: Any) -> None:
        """Take the end of the message. A count that it leaves out, or gives as null, is that of the start."""
        if isinstance(delta, dict):
            self._end |= {name: each for name, each in delta.items() if name not in _STARTS}
            self._ended = self._ended or delta.get("stop_reason") is not None
        if isinstance(usage, dict):
            self._used |= {name: each for name, each in usage.items() if each is not None}


class _Block:
    """A block of a message, which begins as `start`, and the pieces that it goes on with, by their names."""

    def __init__(self) -> None:
        self.start: Mapping[str, Any] = {}
        self.pieces: dict[str, list[Any]] = {}

    def takes(self, delta: Mapping[str, Any]) -> bool:
        """Return whether a piece is one of such a block."""
        return any(_TYPES.get(name) == self.start.get("type") for name in delta)

    def add(self, delta: Mapping[str, Any]) -> None:
        for name in (*_TYPES, "citation"):
            if name in delta:
                self.pieces.setdefault(name, []).append(delta[name])

    def whole(self) -> dict[str, Any]:
        """Return the block, with the input of its tool as it came: its numbers keep their digits, no JSON is a text."""
        made = dict(self.start)
        if not isinstance(made.get("type"), str):
            made["type"] = next((_TYPES[name] for name in self.pieces if name in _TYPES), None)
        for name in ("text", "thinking", "signature"):
            if name in self.pieces:
                made[name] = "".join(map(text_of, [made.get(name), *self.pieces[name]]))
        if "citation" in self.pieces:
            cited = made.get("citations")
            made["citations"] = [*(cited if isinstance(cited, list) else ()), *self.pieces["citation"]]
        text = "".join(map(text_of, self.pieces.get("partial_json", ())))
        if text.strip():
            made["input"] = _input(text)
        return made


def _place(event: Mapping[str, Any]) -> Any:
    """Return the index of the block that an event is about; None where it is none."""
    index = event.get("index")
    return index if isinstance(index, int) else None


def _input(text: str) -> str:
    try:
        orjson.loads(text)
    except ValueError:
        return text
    return Verbatim(text)


def room_of(headers: Mapping[str, str]) -> RateRoom:
    """Return what the headers of a reply say of the limits.

    Source: https://docs.anthropic.com/en/api/rate-limits#response-headers
    """
    left: dict[str, int] = {}
    seconds: list[float] = []
    now = values.http_date(headers.get("date"))
    for kind in _KINDS:
        remaining = headers.get(f"anthropic-ratelimit-{kind}-remaining", "")
        if remaining.isascii() and remaining.isdigit() and len(remaining) <= 15:
            left[kind] = int(remaining)
        reset = values.utc_moment(headers.get(f"anthropic-ratelimit-{kind}-reset"))
        if reset is not None and now is not None and reset > now:
            seconds.append((reset - now).total_seconds())
    tokens = [count for kind, count in left.items() if kind != "requests"]
    return RateRoom(requests=left.get("requests"), tokens=min(tokens, default=None), seconds=max(seconds, default=None))


def error_line(custom_id: str, body: bytes) -> bytes:
    """Return the line that a results file has for a request that was refused with the error `body`."""
    reason = {"type": "error", "error": {"type": "invalid_request_error", "message": "refused without a reason"}}
    head = orjson.dumps({"custom_id": custom_id, "result": {"type": "errored"}}).removesuffix(b"}}")
    return head + b',"error":' + error_json(body, otherwise=reason) + b"}}\n"
