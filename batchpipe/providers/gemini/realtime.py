"""Realtime calls of this provider: when they are streamed, and the response that a stream makes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from batchpipe.providers.shared.http import error_json
from batchpipe.providers.shared.streams import dumped, error_of, read_answer

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
    SaidError for an error in the place of a response, UnavailableError or ValueError where the stream breaks off before
    a candidate has ended.
    Source: https://ai.google.dev/api/generate-content#method:-models.streamgeneratecontent
    """
    return read_answer(lines, _Response(), exact=True)


class _Response:
    """The response that pieces add up to."""

    def __init__(self) -> None:
        self._whole: dict[str, Any] = {}
        self._candidate: dict[str, Any] = {}
        self._parts: list[Any] = []

    @property
    def begun(self) -> bool:
        return bool(self._whole or self._candidate or self._parts)

    @property
    def has_content(self) -> bool:
        return bool(self._parts)

    def ended(self, *, unbroken: bool) -> bool:
        """Return whether a candidate has ended, or the prompt was blocked. Some servers give no reason, or null."""
        feedback = self._whole.get("promptFeedback")
        if isinstance(feedback, dict) and not self._candidate:
            return unbroken or feedback.get("blockReason") is not None
        reason = self._candidate.get("finishReason")
        return reason is not None or (unbroken and "finishReason" in self._candidate)

    def error_of(self, event: Mapping[str, Any]) -> Mapping[str, Any] | None:
        return error_of(event)

    def add(self, event: Mapping[str, Any]) -> bool:
        candidates = event.get("candidates")
        piece = candidates[0] if isinstance(candidates, list) and candidates else None
        if isinstance(piece, dict):
            content = piece.get("content")
            found = content.get("parts") if isinstance(content, dict) else None
            for part in found if isinstance(found, list) else ():
                _add(self._parts, part)
            self._candidate |= {name: each for name, each in piece.items() if name in _AT_THE_END}
            if piece.get("finishReason") is not None:
                # Counts that came before the end are not those of the whole.
                self._whole.pop("usageMetadata", None)
        self._whole |= {name: each for name, each in event.items() if name != "candidates"}
        return False

    def whole(self) -> bytes:
        candidate = {**self._candidate, "content": {"role": "model", "parts": self._parts}}
        has_candidate = self._candidate or self._parts
        return dumped({**({"candidates": [candidate]} if has_candidate else {}), **self._whole})


def _add(parts: list[Any], part: Any) -> None:
    """Add a part of the content; a text goes on with the one before it, as both halves of a character may have to."""
    before = parts[-1] if parts else None
    if isinstance(before, dict) and isinstance(part, dict) and isinstance(part.get("text"), str):
        text, beside = before.get("text"), _beside_text(before)
        if isinstance(text, str) and beside is not None and beside == _beside_text(part):
            before["text"] = text + part["text"]
            return
    parts.append(part)


def _beside_text(part: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what a part has beside its text; None where that has parts of its own."""
    found = {name: each for name, each in part.items() if name != "text"}
    return None if any(isinstance(each, dict | list) for each in found.values()) else found


def error_line(custom_id: str, status: int, body: bytes) -> bytes:
    """Return the line that a results file has for a request that was refused with the error `body`."""
    reason = {"code": status, "message": "refused without a reason"}
    head = orjson.dumps({"key": custom_id}).removesuffix(b"}")
    return head + b',"error":' + error_json(body, member="error", otherwise=reason) + b"}\n"
