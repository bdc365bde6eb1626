"""Realtime calls of this provider: when they are streamed, and the response that a stream makes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from batchpipe.providers import UnavailableError
from batchpipe.providers.shared import values
from batchpipe.providers.shared.http import error_json
from batchpipe.providers.shared.mending import written
from batchpipe.providers.shared.streams import events

# A longer answer is streamed: a connection that is silent for minutes is cut by what stands in between, and Gemini 4
# writes no more than 32,768 tokens into an answer that is not streamed.
STREAMED_FROM_TOKENS = 8_192
# The parts of a candidate that stand in the last piece of a stream alone.
_AT_THE_END = ("finishReason", "finishMessage", "safetyRatings", "citationMetadata", "tokenCount", "avgLogprobs")


def is_streamed(request: bytes) -> bool:
    """Return whether the answer to this request may be so long that it is streamed."""
    config = orjson.loads(request).get("generationConfig")
    most = config.get("maxOutputTokens") if isinstance(config, dict) else None
    return isinstance(most, int) and most >= STREAMED_FROM_TOKENS


def response_of(lines: Iterable[str]) -> bytes:
    """Return the response that the lines of a stream of server-sent events make, as JSON.

    Each event is a response with a piece of the content; the counts of the last one are those of the whole. Raises
    UnavailableError where the stream breaks off before a candidate has ended, or holds an error; with its status where
    nothing was answered.
    Source: https://ai.google.dev/api/generate-content#method:-models.streamgeneratecontent
    """
    whole: dict[str, Any] = {}
    candidate: dict[str, Any] = {}
    parts: list[Any] = []
    for event in events(lines, exact=True):
        if isinstance(event.get("error"), dict):
            raise _error(event["error"], begun=bool(whole or candidate))
        whole.update({name: each for name, each in event.items() if name != "candidates"})
        candidates = event.get("candidates")
        piece = candidates[0] if isinstance(candidates, list) and candidates else None
        if isinstance(piece, dict):
            content = piece.get("content")
            found = content.get("parts") if isinstance(content, dict) else None
            for part in found if isinstance(found, list) else ():
                _add(parts, part)
            candidate.update({name: each for name, each in piece.items() if name in _AT_THE_END})
            candidate["content"] = {"role": "model", "parts": parts}
    blocked = isinstance(whole.get("promptFeedback"), dict) and not candidate
    if not blocked and "finishReason" not in candidate:
        raise UnavailableError("the stream of the answer broke off")
    return written({**({"candidates": [candidate]} if candidate else {}), **whole})


def _add(parts: list[Any], part: Any) -> None:
    """Add a part of the content; a text goes on with the one before it, as both halves of a character may have to."""
    before = parts[-1] if parts else None
    if isinstance(before, dict) and isinstance(part, dict) and isinstance(part.get("text"), str):
        text = before.get("text")
        if isinstance(text, str) and {**before, "text": ""} == {**part, "text": ""}:
            before["text"] = text + part["text"]
            return
    parts.append(part)


def _error(error: Mapping[str, Any], *, begun: bool) -> UnavailableError:
    """Return the error that a stream holds. Once the answer had begun it may have been paid for."""
    code = int(error["code"]) if str(error.get("code")).isdecimal() else None
    message = values.plain(f"{error.get('status') or code}: {error.get('message') or 'in the stream of the answer'}")
    known = code is not None and 400 <= code < 600
    return UnavailableError(message, status=code if known and not begun else None, by_provider=True)


def error_line(custom_id: str, status: int, body: bytes) -> bytes:
    """Return the line that a results file has for a request that was refused with the error `body`."""
    reason = {"code": status, "message": "refused without a reason"}
    head = orjson.dumps({"key": custom_id}).removesuffix(b"}")
    return head + b',"error":' + error_json(body, member="error", otherwise=reason) + b"}\n"
