"""What a streamed answer is in every protocol, however its bytes come: over a transport that sends them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
import httpx2
import pytest

from batchpipe.providers import Message, RungSettings, UnavailableError, get_provider_module

from .protocols import KEY, PROTOCOLS, Spoken

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


def written(events: Events, *, indent: int | None = None, breaks: bytes = BREAK, escaped: bool = False) -> bytes:
    """Return events as a stream has them, each of its lines as a line of data."""
    made = b""
    for event in events:
        text = json.dumps(event, ensure_ascii=escaped, indent=indent)
        lines = [b"data: " + line.encode("utf-8", "surrogatepass") for line in text.split("\n")]
        made += breaks.join([b"event: x", *lines, b"", b""])
    return made + b"data: [DONE]" + breaks * 2


class Pieces(httpx2.SyncByteStream):
    """A body that comes a few bytes at a time."""

    def __init__(self, body: bytes, size: int) -> None:
        self.body, self.size = body, size

    def __iter__(self) -> Iterator[bytes]:
        for place in range(0, len(self.body), self.size):
            yield self.body[place : place + self.size]


def asked(spoken: Spoken, body: bytes, folder: Path, *, kind: str = PLAIN, size: int = 7) -> dict[str, Any]:
    """Return the line that the SQL makes of the answer that `body` streams."""

    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers={"content-type": kind}, stream=Pieces(body, size))

    module = get_provider_module(spoken.protocol)
    provider = module.provider(
        {module.KEY_VARIABLE: KEY},
        base_url="https://provider.example",
        endpoint=spoken.endpoint,
        transport=httpx2.MockTransport(answer),
    )
    rung = RungSettings(model=spoken.model, max_tokens=9_000)
    params = provider.encoder(rung, output_format="text", sent_schema=None)(Message(None, "x"), max_tokens=9_000)
    line = provider.answer("id-1", params, headers=provider.batch_headers(rung), timeout_seconds=5).line
    path, mended = folder / "line.jsonl", folder / "mended.jsonl"
    path.write_bytes(line)
    mended.write_bytes(b"".join(provider.mended_lines([line], exact_inputs=False)))
    with duckdb.connect() as connection:
        given = {"paths": [str(mended)], "maximum_object_size": 1 << 24}
        cursor = connection.execute(str(provider.lines_sql(text=True)), given)
        (row,) = cursor.fetchall()
        return dict(zip([each[0] for each in cursor.description or ()], row, strict=True))


@pytest.fixture(params=PROTOCOLS, ids=lambda spoken: spoken.name)
def spoken(request: pytest.FixtureRequest) -> Spoken:
    found: Spoken = request.param
    return found


def test_a_streamed_text_is_the_one_that_was_sent(spoken: Spoken, tmp_path: Path) -> None:
    """Other line breaks in a text, a mark at the beginning, CRLF, data of several lines, a wrong character set."""
    texts = ["Grüße \u2028 a\x85b\x0b\u2029", "\x1c and 😀", " end"]
    events = MADE[spoken.name](texts)
    bodies = (
        (written(events), PLAIN),
        (b"\xef\xbb\xbf" + written(events), PLAIN),
        (written(events, breaks=b"\r\n", indent=1), PLAIN),
        (written(events, breaks=b"\r"), PLAIN),
        (written(events), "text/event-stream; charset=latin-1"),
        (written(events, escaped=True), "application/json"),
        (b": hello\n\ndata: ping\n\n" + written(events), PLAIN),
    )
    for body, kind in bodies:
        for size in (1, 10_000):
            row = asked(spoken, body, tmp_path, kind=kind, size=size)
            assert (row["answer"], row["outcome"], row["output_tokens"]) == ("".join(texts), "answered", 9)


def test_halves_of_a_character_that_come_apart_are_one(spoken: Spoken, tmp_path: Path) -> None:
    row = asked(spoken, written(MADE[spoken.name](["a\ud83d", "\ude00b\ud83d"]), escaped=True), tmp_path)
    assert (row["answer"], row["outcome"]) == ("a😀b\ufffd", "answered")


def test_a_piece_that_cannot_be_read_is_no_hole_in_an_answer(spoken: Spoken, tmp_path: Path) -> None:
    """Where the end of a stream has the whole answer, a damaged piece before it is no loss."""
    body = written(MADE[spoken.name](["one ", "two ", "three"]))
    damaged = body.replace(b'two "', b"two ", 1)
    assert damaged != body
    if spoken.name == "openai":
        assert asked(spoken, damaged, tmp_path)["answer"] == "one two three"
        return
    with pytest.raises(UnavailableError) as broken:
        asked(spoken, damaged, tmp_path)
    assert broken.value.status is None
