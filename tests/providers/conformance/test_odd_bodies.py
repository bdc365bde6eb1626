"""Bodies that no strict reader takes, values nested too deeply, and keys in the words of replies, over real HTTP."""

from __future__ import annotations

import gzip
import json
import random
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from batchpipe.common.secrets import forget, remember
from batchpipe.providers import NotSentError, Provider, RefusedError, UnavailableError, UnknownOutcomeError

from .protocols import Desk

EXPECTED = (NotSentError, RefusedError, UnavailableError, UnknownOutcomeError)
SECRET = "prod-key-abcdefghijklmnopqrstuvwxyz0123456789"
# So many changed replies of each protocol are tried a day.
TRIED = 40
# What stands in a reply for a value that is none: JSON that a strict reader takes, and some that it does not take.
VALUES = ("[" * 1000 + "]" * 1000, '{"a":' * 900 + "1" + "}" * 900, "1e400", "9" * 5000, r'"\ud83d"', "null", "[[1]]")
BATCHES: Mapping[str, Mapping[str, Any]] = {
    "anthropic": {
        "id": "msgbatch_1",
        "processing_status": "ended",
        "request_counts": {"processing": 0, "succeeded": 1},
        "ended_at": "2026-11-22T11:00:00Z",
        "archived_at": None,
    },
    "openai": {
        "id": "batch_1",
        "status": "failed",
        "output_file_id": None,
        "failed_at": 1_795_000_000,
        "request_counts": {"total": 2, "completed": 0},
        "metadata": {"batchpipe": "label"},
        "errors": {"data": [{"code": "x", "message": "words", "line": 3}]},
    },
    "gemini": {
        "name": "batches/b1",
        "done": True,
        "metadata": {
            "state": "BATCH_STATE_FAILED",
            "displayName": "label",
            "output": None,
            "batchStats": {"requestCount": "2"},
        },
        "error": {
            "code": 8,
            "message": "words",
            "status": "RESOURCE_EXHAUSTED",
            "details": [
                {"@type": "google.rpc.QuotaFailure", "violations": [{"quotaId": "q"}]},
                {"@type": "google.rpc.RetryInfo", "retryDelay": "3s"},
            ],
        },
    },
}
STATES = {"anthropic": "processing_status", "openai": "status", "gemini": "state"}
# An error in the words of every protocol.
ERROR = {
    "type": "error",
    "error": {"type": "invalid_request_error", "code": 400, "status": "INVALID_ARGUMENT", "message": "words"},
}
LOOSE = (r'"half of a character: \ud83d"', '"words", "value": NaN', '"words", "value": ' + "9" * 5000)


class Said(ThreadingHTTPServer):
    """A server that answers every call with one status, body and headers."""

    status, body = 200, b""
    headers: Mapping[str, str] = {}
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Saying)
        self.url = f"http://127.0.0.1:{self.server_port}"

    def say(self, body: bytes, status: int = 200, **headers: str) -> None:
        self.status, self.body = status, body
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


class Saying(BaseHTTPRequestHandler):
    server: Said

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.send_response(self.server.status)
        for name, value in {"content-type": "application/json", **self.server.headers}.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(self.server.body)))
        self.end_headers()
        self.wfile.write(self.server.body)

    do_GET = do_POST = answer  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[Said]:
    with Said() as found:
        thread = threading.Thread(target=found.serve_forever, args=(0.01,))
        thread.start()
        yield found
        found.shutdown()
        thread.join()


def changed(value: Any, mark: Any) -> Iterator[Any]:
    """Yield `value` with each of its members replaced by `mark`."""
    yield mark
    if isinstance(value, dict):
        for name, each in value.items():
            yield from ({**value, name: made} for made in changed(each, mark))
    elif isinstance(value, list):
        for place, each in enumerate(value):
            yield from ([*value[:place], made, *value[place + 1 :]] for made in changed(each, mark))


def bodies(value: Any) -> Iterator[bytes]:
    """Yield JSON of `value` with each member replaced by each of `VALUES`."""
    for each in changed(value, "@"):
        for odd in VALUES:
            yield json.dumps(each).replace('"@"', odd).encode()


def calls(desk: Desk, provider: Provider) -> dict[str, Callable[[], Any]]:
    batch_id = next(value for name, value in BATCHES[desk.spoken.protocol].items() if name in ("id", "name"))
    body, shipment = desk.shipment()
    headers, params = desk.provider.batch_headers(desk.rung), desk.params("Row <1>")
    return {
        "poll": lambda: provider.poll(batch_id),
        "list": provider.account,
        "submit": lambda: provider.submit(body, shipment, input_id="files/a", timeout_seconds=5),
        "answer": lambda: provider.answer("id-1", params, headers=headers, timeout_seconds=5),
    }


def test_no_value_of_a_batch_or_an_error_raises_what_nobody_expects(
    desk: Desk, server: Said, chance: random.Random, full_sweep: bool
) -> None:
    provider = desk.bound(server.url)
    call, batch = calls(desk, provider), BATCHES[desk.spoken.protocol]
    said = [(200, name, body) for name in ("poll", "submit") for body in bodies(batch)]
    listed = {"operations": ["*"]} if desk.spoken.protocol == "gemini" else {"data": ["*"], "has_more": False}
    for body in bodies(batch):
        said.append((200, "list", json.dumps(listed).encode().replace(b'"*"', body)))
    for status, name in ((400, "answer"), (429, "answer"), (400, "submit"), (500, "poll")):
        said += [(status, name, body) for body in bodies(ERROR)]
    for status, name, body in said if full_sweep else chance.sample(said, TRIED):
        server.say(body, status)
        with suppress(*EXPECTED):
            call[name]()


def test_a_state_that_is_nested_too_deeply_has_no_word(desk: Desk, server: Said) -> None:
    batch = json.dumps(BATCHES[desk.spoken.protocol])
    field = STATES[desk.spoken.protocol]
    word = json.loads(batch).get(field) or json.loads(batch)["metadata"][field]
    server.say(batch.replace(f'"{word}"', VALUES[0]).encode())
    provider = desk.bound(server.url)
    assert calls(desk, provider)["poll"]().unknown_state == "list"


@pytest.mark.parametrize("message", LOOSE)
def test_an_error_that_no_strict_reader_takes_is_the_providers_own(
    desk: Desk, server: Said, tmp_path: Path, message: str
) -> None:
    """It may quote the text of a row, cut in the middle of a character: that row fails, and no other."""
    server.say(json.dumps(ERROR).replace('"words"', message).encode(), 400)
    call = calls(desk, desk.bound(server.url))
    with pytest.raises(RefusedError) as refused:
        call["answer"]()
    assert (refused.value.kind, refused.value.line is not None) == ("invalid", True)
    path = tmp_path / "line.jsonl"
    path.write_bytes(refused.value.line or b"")
    line = desk.read(path)["id-1"]
    assert (line["outcome"], line["billed"]) == ("permanent", False)
    assert line["error_message"].startswith(message[1:5])
    for name in ("submit", "poll"):
        with pytest.raises(RefusedError) as refused:
            call[name]()
        assert refused.value.kind == "invalid"


@pytest.mark.parametrize("headers", [{"content_encoding": "gzip"}, {"content_type": "text/plain; charset=undefined"}])
def test_a_refusal_whose_body_cannot_be_decoded_keeps_its_status(
    desk: Desk, server: Said, headers: Mapping[str, str]
) -> None:
    call = calls(desk, desk.bound(server.url))
    for status in (429, 529):
        server.say(b"slow down", status, **headers)
        with pytest.raises(UnavailableError) as unavailable:
            call["answer"]()
        assert unavailable.value.turned_away
    server.say(b"too large", 413, **headers)
    with pytest.raises(RefusedError) as refused:
        call["submit"]()
    assert refused.value.kind == "too_large"
    server.say(gzip.compress(json.dumps(ERROR).encode()), 400, content_encoding="gzip")
    with pytest.raises(RefusedError, match="words"):
        call["submit"]()


def test_no_part_of_a_key_is_left_where_a_text_is_cut(desk: Desk, server: Said) -> None:
    call = calls(desk, desk.bound(server.url))
    remember(SECRET, "${KEY}")
    try:
        for before in (56, 360, 450, 480):
            words = "x" * before + " " + SECRET
            error = {"type": "error", "error": {**ERROR["error"], "message": words}}  # type: ignore[dict-item]
            place = f"http://other/{words[130:].replace(' ', '')}"
            for status, body, name in (
                (200, words.encode(), "poll"),
                (200, words.encode(), "answer"),
                (400, json.dumps(error).encode(), "poll"),
                (500, words.encode(), "poll"),
                (302, b"", "submit"),
                (400, json.dumps(error).encode(), "submit"),
            ):
                server.say(body, status, location=place)
                with pytest.raises(EXPECTED) as failed:
                    call[name]()
                assert SECRET[:12] not in str(failed.value), (before, status, name)
        batch = json.dumps(BATCHES[desk.spoken.protocol])
        for word in ("ended", "failed", "BATCH_STATE_FAILED"):
            batch = batch.replace(f'"{word}"', f'"{"x" * 20}-{SECRET}"')
        server.say(batch.encode())
        assert "prod-key" not in str(call["poll"]().unknown_state)
    finally:
        forget()
