"""Realtime calls of this provider: streams, the body that a stream makes, and what headers say of the limits."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from batchpipe.providers import RateRoom, UnavailableError
from batchpipe.providers.openai.encoding import CHAT, Endpoint
from batchpipe.providers.shared import values
from batchpipe.providers.shared.streams import dumped, events

# A longer answer is streamed: a connection that is silent for minutes is cut by what stands in between.
STREAMED_FROM_TOKENS = 8_192
_LIMITS = ("max_output_tokens", "max_completion_tokens", "max_tokens")
_FINAL = ("response.completed", "response.incomplete", "response.failed")
_RESET_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")
_RESET = re.compile(rf"(?:{_RESET_PART.pattern})+")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_STATUSES = {"rate_limit_exceeded": 429, "server_error": 500, "overloaded": 503}


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

    Raises UnavailableError where the stream breaks off, or holds an error; with its status where nothing was answered.
    """
    return _chat_body(lines) if endpoint == CHAT else _response_body(lines)


def _response_body(lines: Iterable[str]) -> bytes:
    """Return the whole response, which the last event of the stream holds."""
    begun = False
    for event in events(lines, pieces=False):
        kind = event.get("type")
        if kind in _FINAL and isinstance(event.get("response"), dict):
            return dumped(event["response"])
        if kind == "error" or "error" in event:
            raise _error(event.get("error") or event, begun=begun)
        begun = True
    raise UnavailableError("the stream of the answer broke off")


def _chat_body(lines: Iterable[str]) -> bytes:
    """Return the completion that the chunks of a stream add up to."""
    head: dict[str, Any] = {}
    message: dict[str, Any] = {"role": "assistant", "content": None, "refusal": None}
    calls: dict[int, dict[str, Any]] = {}
    finish_reason, usage = None, None
    for chunk in events(lines):
        if isinstance(chunk.get("error"), dict):
            raise _error(chunk["error"], begun=bool(head))
        head = {**head, **{key: value for key, value in chunk.items() if key not in ("choices", "usage")}}
        usage = chunk.get("usage") or usage
        choices = chunk.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
        delta = choice.get("delta")
        finish_reason = choice.get("finish_reason") or finish_reason
        if not isinstance(delta, dict):
            continue
        for name in ("content", "refusal"):
            if isinstance(delta.get(name), str):
                message[name] = (message[name] or "") + delta[name]
        for call in delta.get("tool_calls") or ():
            _add_call(calls, call)
    if finish_reason is None:
        raise UnavailableError("the stream of the answer broke off")
    if calls:
        message["tool_calls"] = [calls[place] for place in sorted(calls)]
    choice = {"index": 0, "message": message, "finish_reason": finish_reason}
    return dumped({**head, "object": "chat.completion", "choices": [choice], "usage": usage})


def _add_call(calls: dict[int, dict[str, Any]], delta: Any) -> None:
    """Add a piece of a tool call to it."""
    if not isinstance(delta, dict):
        return
    found = calls.setdefault(int(delta.get("index") or 0), {"type": "function", "function": {"arguments": ""}})
    function = delta.get("function")
    if isinstance(delta.get("id"), str):
        found["id"] = delta["id"]
    if isinstance(function, dict):
        found["function"]["name"] = function.get("name") or found["function"].get("name")
        found["function"]["arguments"] += str(function.get("arguments") or "")


def _error(found: Any, *, begun: bool) -> UnavailableError:
    """Return the error that a stream holds. Once the answer had begun it may have been paid for."""
    error = found if isinstance(found, dict) else {}
    kind = str(error.get("code") or error.get("type") or "error")
    message = values.plain(f"{kind}: {error.get('message') or 'in the stream of the answer'}")
    return UnavailableError(message, status=None if begun else _STATUSES.get(kind), by_provider=True)


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
