"""Realtime calls of this provider: when they are streamed, and the message that a stream makes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from batchpipe.providers import RateRoom, UnavailableError
from batchpipe.providers.shared import values
from batchpipe.providers.shared.http import error_json
from batchpipe.providers.shared.streams import dumped, events

# A longer answer is streamed: a connection that is silent for minutes is cut by what stands in between. The SDK refuses
# plain calls of 21,334 tokens and more (10 minutes at 128,000 tokens an hour); inspect-ai streams from here on.
STREAMED_FROM_TOKENS = 8_192
# The statuses that errors in a stream stand for (https://docs.anthropic.com/en/api/errors).
_STATUSES = {"overloaded_error": 529, "rate_limit_error": 429}
_KINDS = ("requests", "tokens", "input-tokens", "output-tokens")
# The part of a block that each kind of delta goes on with.
_TEXTS = {"text_delta": "text", "thinking_delta": "thinking", "signature_delta": "signature"}


def is_streamed(params: bytes) -> bool:
    """Return whether the answer to these params may be so long that it is streamed."""
    most = orjson.loads(params).get("max_tokens")
    return isinstance(most, int) and most >= STREAMED_FROM_TOKENS


def streamed(params: bytes) -> bytes:
    """Return the params of the same request with a streamed answer."""
    return params.rstrip().removesuffix(b"}") + b',"stream":true}'


def message_of(lines: Iterable[str]) -> bytes:
    """Return the message that the lines of a stream of server-sent events make, as JSON.

    Raises UnavailableError where the stream breaks off, or holds an error; with its status where nothing was answered.
    Source: https://docs.anthropic.com/en/docs/build-with-claude/streaming
    """
    message: dict[str, Any] | None = None
    blocks: dict[int, dict[str, Any]] = {}
    inputs: dict[int, list[str]] = {}
    for event in events(lines):
        kind = event.get("type")
        if kind == "message_start" and isinstance(event.get("message"), dict):
            message = event["message"]
        elif kind == "error":
            raise _error(event.get("error"), begun=message is not None)
        elif kind == "content_block_start" and isinstance(event.get("content_block"), dict):
            blocks[int(event.get("index") or 0)] = event["content_block"]
        elif kind == "content_block_delta":
            place = int(event.get("index") or 0)
            _add(blocks.setdefault(place, {}), event.get("delta") or {}, inputs.setdefault(place, []))
        elif kind == "message_delta" and message is not None:
            message.update(event.get("delta") or {})
            message["usage"] = {**(message.get("usage") or {}), **(event.get("usage") or {})}
        elif kind == "message_stop" and message is not None:
            message["content"] = [_whole(blocks[place], inputs.get(place, [])) for place in sorted(blocks)]
            return dumped(message)
    raise UnavailableError("the stream of the answer broke off")


def _error(found: Any, *, begun: bool) -> UnavailableError:
    """Return the error that a stream holds. Once the answer had begun it may have been paid for."""
    error = found if isinstance(found, dict) else {}
    kind = str(error.get("type") or "error")
    message = values.plain(f"{kind}: {error.get('message') or 'in the stream of the answer'}")
    return UnavailableError(message, status=None if begun else _STATUSES.get(kind))


def _add(block: dict[str, Any], delta: Mapping[str, Any], input_parts: list[str]) -> None:
    """Add a delta to its block."""
    kind = str(delta.get("type"))
    if kind == "input_json_delta":
        input_parts.append(str(delta.get("partial_json") or ""))
    elif kind == "citations_delta":
        block["citations"] = [*(block.get("citations") or []), delta.get("citation")]
    elif (name := _TEXTS.get(kind)) is not None:
        block[name] = f"{block.get(name) or ''}{delta.get(name) or ''}"


def _whole(block: dict[str, Any], input_parts: list[str]) -> dict[str, Any]:
    """Return a block with the input of its tool as it came: numbers keep their digits, and no JSON stays text."""
    text = "".join(input_parts)
    if not text.strip():
        return block
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return {**block, "input": text}
    return {**block, "input": orjson.Fragment(text)}


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
