"""Realtime calls of this provider: streams, the body that a stream makes, and what headers say of the limits."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from batchpipe.providers import RateRoom
from batchpipe.providers.openai.encoding import CHAT, Endpoint
from batchpipe.providers.shared.streams import dumped, error_of, read_answer, str_of, text_of

# A longer answer is streamed: a connection that is silent for minutes is cut by what stands in between.
STREAMED_FROM_TOKENS = 8_192
_LIMITS = ("max_output_tokens", "max_completion_tokens", "max_tokens")
_FINAL = ("response.completed", "response.incomplete", "response.failed")
_ENDED = ("completed", "incomplete", "failed", "cancelled")
_RESET_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")
_RESET = re.compile(rf"(?:{_RESET_PART.pattern})+")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


def is_streamed(params: bytes) -> bool:
    """Return whether the answer to these params may be so long that it is streamed."""
    body = orjson.loads(params)
    return not body.get("background") and any(
        isinstance(body.get(name), int) and body[name] >= STREAMED_FROM_TOKENS for name in _LIMITS
    )


def streamed(endpoint: Endpoint, params: bytes) -> bytes:
    """Return the params of the same request with a streamed answer, its usage at the end."""
    options = b',"stream_options":{"include_usage":true}' if endpoint == CHAT else b""
    return params.rstrip().removesuffix(b"}") + b',"stream":true' + options + b"}"


def body_of(endpoint: Endpoint, lines: Iterable[str]) -> bytes:
    """Return the body that the lines of a stream of server-sent events make, as JSON.

    Raises SaidError for an error in the place of a body, UnavailableError or ValueError where the stream breaks off.
    """
    if endpoint == CHAT:
        return read_answer(lines, _Completion())
    return read_answer(lines, _Response(), pieces=False)


class _Response:
    """The whole response, which the last event of a stream holds. Some servers leave its items to the events before."""

    def __init__(self) -> None:
        self.begun = False
        self.has_content = False
        self._items: dict[int, Any] = {}
        self._said: Mapping[str, Any] | None = None
        self._body: dict[str, Any] = {}

    def ended(self, *, unbroken: bool) -> bool:
        return bool(self._body)

    def error_of(self, event: Mapping[str, Any]) -> Mapping[str, Any] | None:
        found = None if _final_state(event) else error_of(event)
        self._said = self._said or found
        return found

    def add(self, event: Mapping[str, Any]) -> bool:
        self.begun = True
        state, response = _final_state(event), event.get("response")
        if state:
            self._body = dict(response) if isinstance(response, dict) else {}
            if not isinstance(self._body.get("status"), str):
                self._body["status"] = state
            return True
        if event.get("type") == "response.output_item.done" and isinstance(event.get("item"), dict):
            place = event.get("output_index")
            self._items[place if isinstance(place, int) else len(self._items)] = event["item"]
        self.has_content = self.has_content or "delta" in event or bool(self._items)
        return False

    def whole(self) -> bytes:
        body = self._body
        if self._items and not body.get("output"):
            body["output"] = [self._items[place] for place in sorted(self._items)]
        if self._said is not None and body["status"] == "failed" and not body.get("error"):
            body["error"] = self._said
        return dumped(body)


def _final_state(event: Mapping[str, Any]) -> str:
    """Return how the response ended that an event holds, by its type or its status; "" where it has not ended."""
    kind, response = event.get("type"), event.get("response")
    if kind in _FINAL:
        return str(kind).removeprefix("response.")
    state = response.get("status") if isinstance(response, dict) else None
    return str(state) if state in _ENDED else ""


class _Completion:
    """The completion that the chunks of a stream add up to."""

    def __init__(self) -> None:
        self._head: dict[str, Any] = {}
        self._message: dict[str, Any] = {"role": "assistant", "content": None, "refusal": None}
        self._calls: dict[int, dict[str, Any]] = {}
        self._reason: Any = None
        self._usage: Any = None

    @property
    def begun(self) -> bool:
        return bool(self._head)

    @property
    def has_content(self) -> bool:
        return bool(self._message["content"] or self._message["refusal"] or self._calls)

    def ended(self, *, unbroken: bool) -> bool:
        return bool(self._reason)

    def error_of(self, event: Mapping[str, Any]) -> Mapping[str, Any] | None:
        return error_of(event)

    def add(self, event: Mapping[str, Any]) -> bool:
        self._head |= {name: each for name, each in event.items() if name not in ("choices", "usage")}
        choices = event.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
        if choice.get("finish_reason"):
            # A count that came before the end is not that of the whole.
            self._reason, self._usage = choice["finish_reason"], None
        self._usage = event.get("usage") or self._usage
        delta = choice.get("delta")
        if isinstance(delta, dict):
            self._add(delta)
        return False

    def _add(self, delta: Mapping[str, Any]) -> None:
        for name in ("content", "refusal"):
            piece = _text(delta.get(name))
            if piece:
                self._message[name] = (self._message[name] or "") + piece
        calls = delta.get("tool_calls")
        for call in calls if isinstance(calls, list) else ():
            if isinstance(call, dict):
                self._add_call(call)

    def _add_call(self, delta: Mapping[str, Any]) -> None:
        """Add a piece of a tool call to it; without a place it is the last one."""
        place, function = delta.get("index"), delta.get("function")
        place = place if isinstance(place, int) else max(self._calls, default=0)
        found = self._calls.setdefault(place, {"type": "function", "function": {"arguments": ""}})
        if isinstance(delta.get("id"), str):
            found["id"] = delta["id"]
        if isinstance(function, dict):
            arguments = function.get("arguments")
            found["function"]["name"] = str_of(function.get("name")) or found["function"].get("name")
            found["function"]["arguments"] += (
                dumped(arguments).decode() if isinstance(arguments, dict) else text_of(arguments)
            )

    def whole(self) -> bytes:
        if self._calls:
            self._message["tool_calls"] = [self._calls[place] for place in sorted(self._calls)]
        choice = {"index": 0, "message": self._message, "finish_reason": self._reason}
        return dumped({**self._head, "object": "chat.completion", "choices": [choice], "usage": self._usage})


def _text(value: Any) -> str:
    """Return a piece of a text, which may come as a list of parts."""
    if isinstance(value, list):
        return "".join(text_of(each.get("text")) for each in value if isinstance(each, dict))
    return text_of(value)


def room_of(headers: Mapping[str, str]) -> RateRoom:
    """Return what the headers of a reply say of the limits (`x-ratelimit-remaining-requests` and the like)."""
    left: dict[str, int | None] = {}
    seconds: list[float] = []
    for kind in ("requests", "tokens"):
        remaining = headers.get(f"x-ratelimit-remaining-{kind}", "")
        left[kind] = int(remaining) if re.fullmatch(r"[0-9]{1,15}", remaining) else None
        reset = headers.get(f"x-ratelimit-reset-{kind}", "")
        if _RESET.fullmatch(reset):
            seconds.append(sum(float(count) * _SECONDS[unit] for count, unit in _RESET_PART.findall(reset)))
    return RateRoom(requests=left["requests"], tokens=left["tokens"], seconds=max(seconds, default=None))
