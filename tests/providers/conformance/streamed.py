"""Streams of each protocol, and what a provider makes of them over a transport that sends their bytes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
import httpx2

from batchpipe.providers import Message, Provider, RungSettings, get_provider_module

from .protocols import KEY, Spoken

Events = Sequence[Mapping[str, Any]]


def of_anthropic(texts: Sequence[str]) -> Events:
    usage = {"input_tokens": 3, "output_tokens": 1}
    start: dict[str, Any] = {"model": "claude-haiku-4-5", "content": [], "stop_reason": None, "usage": usage}
    pieces = [{"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": t}} for t in texts]
    return (
        {"type": "message_start", "message": start},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        *pieces,
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 9}},
        {"type": "message_stop"},
    )


def of_openai(texts: Sequence[str]) -> Events:
    part = {"type": "output_text", "text": "".join(texts)}
    response: dict[str, Any] = {
        "status": "completed",
        "model": "gpt-6-luna",
        "output": [{"type": "message", "content": [part]}],
    }
    response |= {"usage": {"input_tokens": 3, "output_tokens": 9}}
    pieces = [{"type": "response.output_text.delta", "delta": each} for each in texts]
    return ({"type": "response.created"}, *pieces, {"type": "response.completed", "response": response})


def of_chat(texts: Sequence[str]) -> Events:
    pieces: list[dict[str, Any]] = [{"model": "gpt-5.4", "choices": [{"delta": {"content": each}}]} for each in texts]
    end: dict[str, Any] = {"choices": [{"delta": {}, "finish_reason": "stop"}]}
    return (*pieces, end, {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 9}})


def of_gemini(texts: Sequence[str]) -> Events:
    usage = {"promptTokenCount": 3, "candidatesTokenCount": 9, "totalTokenCount": 12}
    pieces = [{"candidates": [{"content": {"parts": [{"text": each}]}}]} for each in texts]
    end = {"candidates": [{"finishReason": "STOP"}], "usageMetadata": usage, "modelVersion": "gemini-3.8-flash"}
    return (*pieces, end)


MADE: Mapping[str, Callable[[Sequence[str]], Events]] = {
    "anthropic": of_anthropic,
    "openai": of_openai,
    "openai /v1/chat/completions": of_chat,
    "gemini": of_gemini,
}
PLAIN, BREAK = "text/event-stream", b"\n"


def written(events: Sequence[Any], *, indent: int | None = None, breaks: bytes = BREAK, escaped: bool = False) -> bytes:
    """Return events as a stream has them, each of its lines as a line of data. A text is an event as it is."""
    made = b""
    for event in events:
        text = event if isinstance(event, str) else json.dumps(event, ensure_ascii=escaped, indent=indent)
        lines = [b"data: " + line.encode("utf-8", "surrogatepass") for line in text.split("\n")]
        made += breaks.join([b"event: x", *lines, b"", b""])
    return made + b"data: [DONE]" + breaks * 2


class Pieces(httpx2.SyncByteStream):
    """A body that comes a few bytes at a time. With `cut` the connection breaks where it ends."""

    def __init__(self, body: bytes, size: int, *, cut: bool) -> None:
        self.body, self.size, self.cut = body, size, cut

    def __iter__(self) -> Iterator[bytes]:
        for place in range(0, len(self.body), self.size):
            yield self.body[place : place + self.size]
        if self.cut:
            raise httpx2.RemoteProtocolError("peer closed connection")


class Line:
    """One provider whose every call is answered with the bytes of `body`."""

    def __init__(self, spoken: Spoken) -> None:
        self.body, self.kind, self.size, self.cut = b"", PLAIN, 7, False
        module = get_provider_module(spoken.protocol)
        self.provider: Provider = module.provider(
            {module.KEY_VARIABLE: KEY},
            base_url="https://provider.example",
            endpoint=spoken.endpoint,
            transport=httpx2.MockTransport(self._answer),
        )
        rung = RungSettings(model=spoken.model, max_tokens=9_000)
        encoder = self.provider.encoder(rung, output_format="text", sent_schema=None)
        self._params = encoder(Message(None, "x"), max_tokens=9_000)
        self._headers = dict(self.provider.batch_headers(rung))

    def _answer(self, request: httpx2.Request) -> httpx2.Response:
        pieces = Pieces(self.body, self.size, cut=self.cut)
        return httpx2.Response(200, headers={"content-type": self.kind}, stream=pieces)

    def ask(self, custom_id: str, body: bytes, *, size: int = 10_000, cut: bool = False, kind: str = PLAIN) -> bytes:
        """Return the line of results that the answer is which `body` streams."""
        self.body, self.size, self.cut, self.kind = body, size, cut, kind
        return self.provider.answer(custom_id, self._params, headers=self._headers, timeout_seconds=5).line

    def rows(self, lines: Sequence[bytes], folder: Path) -> dict[str, dict[str, Any]]:
        """Return what the SQL makes of lines of results, by their custom ids."""
        mended = folder / "mended.jsonl"
        mended.write_bytes(b"".join(self.provider.mended_lines(lines, exact_inputs=False)))
        with duckdb.connect() as connection:
            given = {"paths": [str(mended)], "maximum_object_size": 1 << 24}
            cursor = connection.execute(str(self.provider.lines_sql(text=True)), given)
            names = [each[0] for each in cursor.description or ()]
            found = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        return {row["custom_id"]: row for row in found}

    def row(self, body: bytes, folder: Path, *, size: int = 7, cut: bool = False, kind: str = PLAIN) -> dict[str, Any]:
        """Return what the SQL makes of the answer that `body` streams."""
        return self.rows([self.ask("id-1", body, size=size, cut=cut, kind=kind)], folder)["id-1"]
