"""Tests of the provider's calls, with the real SDK over real sockets, to a scripted server and to the emulator."""

from __future__ import annotations

import gzip
import hashlib
import json
import socket
import socketserver
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import pytest

from batchpipe.common.errors import CredentialsError
from batchpipe.emulator import Emulator
from batchpipe.providers import (
    BatchState,
    Message,
    NotSentError,
    RefusedError,
    RungSettings,
    Shipment,
    UnavailableError,
    UnknownOutcomeError,
)
from batchpipe.providers.anthropic import RULES, failures, provider
from batchpipe.providers.anthropic.calls import Calls

KEY = "sk-ant-very-secret"
BATCH = {
    "id": "msgbatch_1",
    "type": "message_batch",
    "processing_status": "in_progress",
    "request_counts": {"processing": 2, "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0},
    "created_at": "2026-11-22T10:00:00.5+02:00",
    "expires_at": "2026-11-23T08:00:00Z",
    "ended_at": None,
    "archived_at": None,
    "cancel_initiated_at": None,
    "results_url": None,
}


def reply(status: int = 200, body: Any = BATCH, *, length: int | None = None, **headers: str) -> bytes:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    shown = {name.replace("_", "-"): value for name, value in headers.items()}
    if "transfer-encoding" not in shown and length != -1:
        shown["content-length"] = str(len(content) if length is None else length)
    lines = "".join(f"{name}: {value}\r\n" for name, value in {"content-type": "application/json", **shown}.items())
    return f"HTTP/1.1 {status} X\r\n{lines}connection: close\r\n\r\n".encode() + content


def error(kind: str = "api_error", message: str = "words", **details: str) -> dict[str, Any]:
    inner: dict[str, Any] = {"type": kind, "message": message}
    if details:
        inner["details"] = details
    return {"type": "error", "error": inner, "request_id": "req_9"}


@dataclass
class Scripted:
    """A server that answers with the given bytes, one after the other; the last of them answers all further calls."""

    replies: list[bytes]
    requests: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)
    url: str = ""

    def client(self, **options: Any) -> Calls:
        settings = {"base_url": self.url, "timeout_seconds": 2.0, **options}
        return provider({"ANTHROPIC_API_KEY": KEY}, **settings)


@contextmanager
def scripted(*replies: bytes) -> Iterator[Scripted]:
    script = Scripted(list(replies))

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            first = self.rfile.readline().decode().split()
            headers = {}
            while line := self.rfile.readline().decode().strip():
                name, _, value = line.partition(":")
                headers[name.lower()] = value.strip()
            body = self.rfile.read(int(headers.get("content-length", 0)))
            script.requests.append((first[0], first[1], headers, body))
            answer = script.replies.pop(0) if len(script.replies) > 1 else script.replies[0]
            if answer == b"late":
                time.sleep(0.6)
            elif answer:
                self.wfile.write(answer)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        script.url = f"http://127.0.0.1:{server.server_address[1]}"
        yield script
        server.shutdown()
        thread.join()


def shipment(count: int, headers: Mapping[str, str] | None = None) -> Shipment:
    rung = RungSettings(model="claude-haiku-4-5", max_tokens=100)
    return Shipment(label="batchpipe-test", rung=rung, count=count, headers=headers or {})


def submit(client: Calls, timeout_seconds: float = 2.0, **headers: str) -> Any:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.submit(b'{"requests":[]}', shipment(1, named), input_id=None, timeout_seconds=timeout_seconds)


CALLS: dict[str, Callable[[Calls, Path], Any]] = {
    "poll": lambda client, _: client.poll("msgbatch_1"),
    "cancel": lambda client, _: client.cancel("msgbatch_1"),
    "list": lambda client, _: client.list_batches(lambda states: False),
    "account": lambda client, _: client.account(),
    "collect": lambda client, path: client.collect("msgbatch_1", path / "r.jsonl"),
}


def test_a_submit_sends_the_bytes_once_and_believes_a_batch() -> None:
    answer = reply(request_id="req_1", anthropic_workspace_id="wrk", anthropic_organization_id="org")
    with scripted(answer) as server:
        client = server.client()
        state = submit(client, anthropic_version="2023-06-01")
        client.close()
        ((method, path, headers, body),) = server.requests
    assert (method, path, body) == ("POST", "/v1/messages/batches", b'{"requests":[]}')
    assert headers["anthropic-version"] == "2023-06-01"
    assert headers["authorization"] == f"Bearer {KEY}"
    assert headers["content-type"] == "application/json"
    assert "x-api-key" not in headers
    assert (state.batch_id, state.ended, state.total) == ("msgbatch_1", None, 2)
    assert state.created_at == datetime(2026, 11, 22, 8, 0, 0, 500_000)  # noqa: DTZ001
    assert state.expires_at == datetime(2026, 11, 23, 8)  # noqa: DTZ001
    assert (state.request_id, state.workspace, state.organization) == ("req_1", "wrk", "org")


def test_betas_travel_with_the_batch() -> None:
    with scripted(reply()) as server:
        submit(server.client(), anthropic_version="2026-10-21", anthropic_beta="a-1,b-2")
        ((_, path, headers, _),) = server.requests
    assert path == "/v1/messages/batches?beta=true"
    assert headers["anthropic-beta"] == "a-1,b-2"


def test_the_key_may_go_as_x_api_key() -> None:
    with scripted(reply()) as server:
        submit(server.client(auth_header="x-api-key"))
        token = {"ANTHROPIC_AUTH_TOKEN": "token"}
        submit(provider(token, base_url=server.url, auth_header="x-api-key"))
        (_, _, first, _), (_, _, second, _) = server.requests
    assert (first["x-api-key"], "authorization" in first) == (KEY, False)
    assert (second["authorization"], "x-api-key" in second) == ("Bearer token", False)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (reply(413, b"<html>too large</html>"), "too_large"),
        (reply(413, error("request_too_large")), "too_large"),
        (reply(400, error("invalid_request_error", "requests.0.custom_id: bad")), "invalid"),
        (reply(400, error("invalid_request_error", "reached your specified API usage limits.")), "account"),
        (reply(400, error("invalid_request_error", "Your credit balance is too low")), "account"),
        (reply(401, error("authentication_error")), "account"),
        (reply(402, error("billing_error")), "account"),
        (reply(403, error("permission_error")), "account"),
        (reply(404, error("not_found_error")), "no_batch_endpoint"),
        (reply(429, error("rate_limit_error", "Too many requests")), "rate_limit"),
        (reply(429, error("rate_limit_error", "x", error_code="ramp_limit_exceeded")), "rate_limit"),
        (reply(429, error("rate_limit_error", "x", error_code="enforced_spend_limit_reached")), "account"),
        (reply(429, error("rate_limit_error", "x", error_code="contract_spend_limit_reached")), "account"),
        (reply(429, error("rate_limit_error", "batch requests in the processing queue")), "queue_full"),
    ],
)  # fmt: skip
def test_clear_refusals_of_a_submit(answer: bytes, kind: str) -> None:
    with scripted(answer) as server:
        with pytest.raises(RefusedError) as caught:
            submit(server.client())
        assert len(server.requests) == 1
    assert caught.value.kind == kind
    assert str(caught.value.status) in caught.value.message


@pytest.mark.parametrize(
    "answer",
    [
        *(reply(status, error()) for status in (408, 409, 422, 500, 502, 503, 504, 529)),
        *(reply(status, b"<html>proxy</html>") for status in (400, 401, 402, 403, 404, 405, 429, 500)),
        reply(429, {"error": "no type"}),
        reply(405, error("invalid_request_error")),
        reply(307, b"", location="http://127.0.0.1:1/elsewhere"),
        reply(200, b""),
        reply(200, b"<html>hello</html>"),
        reply(200, {}),
        reply(200, []),
        reply(200, {**BATCH, "id": None}),
        reply(200, {**BATCH, "id": ""}),
        reply(200, {**BATCH, "id": ["msgbatch_1"]}),
        reply(200, b'{"id": "msgbatch_1"', length=500),
        b"",
        b"late",
        b"not http at all\r\n\r\n",
    ],
)
def test_everything_else_leaves_the_outcome_of_a_submit_unknown(answer: bytes) -> None:
    with scripted(answer) as server:
        with pytest.raises(UnknownOutcomeError):
            submit(server.client(), timeout_seconds=0.3)
        assert len(server.requests) == 1


def closed_port() -> str:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{held.getsockname()[1]}"


def test_no_connection_means_that_nothing_was_sent(tmp_path: Path) -> None:
    for base_url in (f"http://{closed_port()}", "http://no-such-name.invalid"):
        client = provider({"ANTHROPIC_API_KEY": KEY}, base_url=base_url, timeout_seconds=5)
        with pytest.raises(NotSentError):
            submit(client)
        for call in CALLS.values():
            with pytest.raises(NotSentError):
                call(client, tmp_path)


def test_a_failed_tls_handshake_means_that_nothing_was_sent() -> None:
    with scripted(b"HTTP/1.1 400 Bad Request\r\n\r\n") as server:
        client = server.client(base_url=server.url.replace("http:", "https:"))
        with pytest.raises(NotSentError):
            submit(client)


def test_retry_after_is_read_as_seconds_and_as_a_date() -> None:
    soon = datetime.now().astimezone() + timedelta(seconds=90)
    for value, low, high in (
        ("12", 12, 12),
        ("0.5", 0.5, 0.5),
        (soon.strftime("%a, %d %b %Y %H:%M:%S %z"), 60, 91),
    ):
        with scripted(reply(429, error("rate_limit_error"), retry_after=value)) as server:
            with pytest.raises(RefusedError) as caught:
                submit(server.client())
            assert caught.value.retry_after_seconds is not None
            assert low <= caught.value.retry_after_seconds <= high
    with scripted(reply(429, error("rate_limit_error"), retry_after="soon")) as server:
        with pytest.raises(RefusedError) as caught:
            submit(server.client())
        assert caught.value.retry_after_seconds is None


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    "answer",
    [
        *(reply(status, error()) for status in (408, 409, 429, 500, 503, 529)),
        reply(502, b"<html>proxy</html>"),
        reply(200, b"<html>hello</html>"),
        reply(200, b""),
        reply(200, b'{"id": "msg', length=500),
        reply(503, b"short", length=500),
        b"",
        b"late",
    ],
)
def test_calls_that_failed_for_now(answer: bytes, call: str, tmp_path: Path) -> None:
    with scripted(answer) as server:
        with pytest.raises(UnavailableError):
            CALLS[call](server.client(timeout_seconds=0.3), tmp_path)
        assert len(server.requests) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (reply(401, error("authentication_error")), "account"),
        (reply(403, b"<html>no</html>"), "account"),
        (reply(400, error("invalid_request_error")), "invalid"),
        (reply(404, error("not_found_error")), "not_found"),
        (reply(404, b"<html>no</html>"), "not_found"),
        (reply(307, b"", location="http://127.0.0.1:1/"), "foreign"),
        (reply(400, b"<html>no</html>"), "foreign"),
        (reply(429, error("rate_limit_error", "x", error_code="enforced_spend_limit_reached")), "account"),
    ],
)
def test_calls_that_were_refused(answer: bytes, kind: str, call: str, tmp_path: Path) -> None:
    with scripted(answer) as server:
        with pytest.raises(RefusedError) as caught:
            CALLS[call](server.client(), tmp_path)
        assert len(server.requests) == 1
    expected = "no_batch_endpoint" if call in ("list", "account") and kind == "not_found" else kind
    assert caught.value.kind == expected


def test_a_list_that_is_not_allowed_means_no_batch_endpoint() -> None:
    with scripted(reply(405, b"")) as server:
        with pytest.raises(RefusedError) as caught:
            server.client().list_batches(lambda states: False)
        assert caught.value.kind == "no_batch_endpoint"


LINES = b'{"custom_id":"a","result":{"type":"expired"}}\n{"custom_id":"b","result":{"type":"expired"}}\n'


@pytest.mark.parametrize(
    "answer",
    [
        reply(200, LINES),
        reply(200, LINES, length=-1),
        reply(200, gzip.compress(LINES), content_encoding="gzip"),
        reply(200, gzip.compress(LINES[:20]) + gzip.compress(LINES[20:]), content_encoding="gzip"),
        reply(200, b"%x\r\n%s\r\n0\r\n\r\n" % (len(LINES), LINES), transfer_encoding="chunked"),
    ],
)
def test_results_are_saved_whole(answer: bytes, tmp_path: Path) -> None:
    with scripted(answer) as server:
        server.client().collect("msgbatch_1", tmp_path / "r.jsonl")
        ((_, path, headers, _),) = server.requests
    assert path == "/v1/messages/batches/msgbatch_1/results"
    assert headers["accept-encoding"] == "gzip"
    assert (tmp_path / "r.jsonl").read_bytes() == LINES
    assert [each.name for each in tmp_path.iterdir()] == ["r.jsonl"]


@pytest.mark.parametrize(
    "answer",
    [
        reply(200, LINES, length=len(LINES) + 10),
        reply(200, b"%x\r\n%s\r\n" % (len(LINES), LINES), transfer_encoding="chunked"),
        reply(200, gzip.compress(LINES)[:-12], content_encoding="gzip"),
        reply(200, gzip.compress(LINES)[:-2], content_encoding="gzip"),
        reply(200, b"\x1f\x8bgarbage", content_encoding="gzip"),
        reply(200, LINES, content_encoding="br"),
        reply(200, b""),
        reply(200, b"<html>busy</html>"),
    ],
)
def test_results_that_are_not_whole_leave_no_file(answer: bytes, tmp_path: Path) -> None:
    kept = tmp_path / "r.jsonl"
    kept.write_text("an earlier download")
    with scripted(answer) as server, pytest.raises(UnavailableError):
        server.client().collect("msgbatch_1", kept)
    assert kept.read_text() == "an earlier download"
    assert [each.name for each in tmp_path.iterdir()] == ["r.jsonl"]


def test_the_key_goes_to_no_other_host(tmp_path: Path) -> None:
    with scripted(reply()) as other:
        ended = {**BATCH, "processing_status": "ended", "results_url": f"{other.url}/r"}
        with scripted(reply(200, ended)) as server:
            assert server.client().poll("msgbatch_1").ended
        for status in (301, 302, 307, 308):
            with scripted(reply(status, b"", location=f"{other.url}/v1/messages/batches")) as server:
                for call in CALLS.values():
                    with pytest.raises(RefusedError, match="redirected"):
                        call(server.client(), tmp_path)
                with pytest.raises(UnknownOutcomeError):
                    submit(server.client())
        assert other.requests == []


def page(*ids: str, more: bool, day: int = 20) -> bytes:
    batches = [{**BATCH, "id": each, "created_at": f"2026-11-{day}T00:00:00Z"} for each in ids]
    return reply(200, {"data": batches, "has_more": more, "first_id": ids[0], "last_id": ids[-1]})


def everything(states: Sequence[BatchState]) -> bool:
    return False


def test_the_list_is_read_over_all_pages_in_whatever_order_they_come() -> None:
    pages = [page("a", "b", more=True, day=1), page("c", more=True, day=19), page("d", more=False, day=10)]
    with scripted(*pages) as server:
        found = server.client().list_batches(everything)
        paths = [path for _, path, _, _ in server.requests]
    assert ([each.batch_id for each in found.states], found.whole) == (["a", "b", "c", "d"], True)
    assert paths == [
        "/v1/messages/batches?limit=100",
        "/v1/messages/batches?limit=100&after_id=b",
        "/v1/messages/batches?limit=100&after_id=c",
    ]
    with scripted(*pages) as server:
        found = server.client().list_batches(lambda states: len(states) >= 3)
    assert ([each.batch_id for each in found.states], found.whole) == (["a", "b", "c"], False)


def test_a_list_that_cannot_be_read_whole_is_not_believed_whole() -> None:
    batch, nothing = {**BATCH, "id": "a"}, reply(503, error())
    odd: dict[str, list[bytes]] = {
        "repeats itself": [page("a", more=True)],
        "a page fails": [page("a", more=True), nothing],
        "a page is forbidden": [page("a", more=True), reply(404, error("not_found_error"))],
        "no batch among the batches": [reply(200, {"data": [batch, {"id": None}, 7, None], "has_more": False})],
        "it does not say whether there is more": [reply(200, {"data": [batch]})],
        "more is a text": [reply(200, {"data": [batch], "has_more": "yes"})],
    }
    for what, pages in odd.items():
        with scripted(*pages) as server:
            found = server.client().list_batches(everything)
        assert ([each.batch_id for each in found.states], found.whole) == (["a"], False), what
    no_pages: list[Any] = [{"data": None}, [], {"data": {"id": "a"}}, 7]
    for answer in no_pages:
        with scripted(reply(200, answer)) as server, pytest.raises(UnavailableError):
            server.client().list_batches(everything)


def test_one_call_says_whose_key_it_is_and_what_time_it_is_there() -> None:
    date = "Sun, 22 Nov 2026 10:00:00 GMT"
    answer = reply(
        200, {"data": [], "has_more": False}, date=date, anthropic_organization_id="org", anthropic_workspace_id="wrk"
    )
    with scripted(answer) as server:
        found = server.client().account()
        ((_, path, _, _),) = server.requests
    assert path == "/v1/messages/batches?limit=1"
    assert (found.organization, found.workspace) == ("org", "wrk")
    assert found.answered_at == datetime(2026, 11, 22, 10)  # noqa: DTZ001
    with scripted(reply(200, {"data": [], "has_more": False}, date="soon")) as server:
        found = server.client().account()
    assert (found.organization, found.workspace, found.answered_at) == (None, None, None)


def test_a_base_url_with_a_path_is_kept(tmp_path: Path) -> None:
    with scripted(reply(200, {**BATCH, "id": "msg/../1"}), reply(200, LINES)) as server:
        client = server.client(base_url=f"{server.url}/gateway/")
        client.poll("msg/../1")
        client.collect("msgbatch_1", tmp_path / "r.jsonl")
        paths = [path for _, path, _, _ in server.requests]
    assert paths == [
        "/gateway/v1/messages/batches/msg%2F..%2F1",
        "/gateway/v1/messages/batches/msgbatch_1/results",
    ]
    assert client.base_url == f"{server.url}/gateway"


def test_the_key_is_shown_nowhere() -> None:
    with scripted(reply(401, error("authentication_error", f"invalid key {KEY}"))) as server:
        client = server.client()
        with pytest.raises(RefusedError) as caught:
            submit(client)
    assert KEY not in repr(client) + "".join(traceback.format_exception(caught.value))
    assert client.key_hash == hashlib.sha256(KEY.encode()).hexdigest()[:8]
    assert client.key_hash in repr(client)


def test_credentials() -> None:
    with pytest.raises(CredentialsError, match="--emulator") as caught:
        provider({}, base_url=None)
    assert (caught.value.where, caught.value.exit_code) == ("ANTHROPIC_API_KEY", 3)
    for key in ("a b", "a\nb", "é"):
        with pytest.raises(CredentialsError) as caught:
            provider({"ANTHROPIC_API_KEY": key}, base_url=None)
        assert key not in str(caught.value)
    for url in ("gateway.example", "ftp://x", "https://user:secret@x", "https://x?y=1", "https://"):
        with pytest.raises(CredentialsError) as caught:
            provider({"ANTHROPIC_API_KEY": "k", "ANTHROPIC_BASE_URL": url}, base_url=None)
        assert "secret" not in str(caught.value)
    assert provider({"ANTHROPIC_API_KEY": "k"}, base_url=None).base_url == "https://api.anthropic.com"
    both = {"ANTHROPIC_API_KEY": "k", "ANTHROPIC_BASE_URL": "http://a"}
    assert provider(both, base_url="http://b").base_url == "http://b"
    assert provider(both, base_url=None).base_url == "http://a"


def test_only_the_mapping_counts_and_not_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "API_KEY": "other",
        "AUTH_TOKEN": "other",
        "BASE_URL": "http://other.invalid",
    }.items():
        monkeypatch.setenv(f"ANTHROPIC_{name}", value)
    with scripted(reply()) as server:
        submit(server.client())
        ((_, _, headers, _),) = server.requests
    assert headers["authorization"] == f"Bearer {KEY}"
    assert "other" not in headers.values()


def subclasses(of: type[Any]) -> Iterator[type[Any]]:
    for each in of.__subclasses__():
        yield each
        yield from subclasses(each)


MAPPED = (anthropic.APIStatusError, anthropic.APIConnectionError)
# Never raised by a plain request; they would leave a submit unknown.
ELSEWHERE = {
    "APIError",
    "APIResponseValidationError",
    "APIWebhookValidationError",
    "CredentialsError",
    "IdentityTokenFileError",
    "RetryableError",
}


def test_every_exception_of_the_sdk_is_mapped() -> None:
    """Check that every error class of the SDK is known here: a new one needs a decision in failures.py."""
    own = [each for each in subclasses(anthropic.AnthropicError) if each.__module__ == "anthropic"]
    assert {each.__name__ for each in own if not issubclass(each, MAPPED)} == ELSEWHERE


def test_every_status_of_the_sdk_has_an_outcome() -> None:
    """Check that only an error with the provider's own JSON is a refusal, whatever class the SDK gives it."""
    request = httpx2.Request("POST", "http://x")
    classes: set[Any] = {anthropic.APIStatusError, *subclasses(anthropic.APIStatusError)}
    for cls in classes:
        status = getattr(cls, "status_code", 418)
        status = status if isinstance(status, int) else 500
        for body in (error(), "<html>"):
            response = httpx2.Response(status, request=request, json=body)
            found = failures.submit_error(cls("words", response=response, body=body), str)
            clear = status == 413 or (status in (400, 401, 402, 403, 404, 429) and body != "<html>")
            assert isinstance(found, RefusedError if clear else UnknownOutcomeError), cls
            again = failures.repeatable_error(cls("words", response=response, body=body), str)
            assert isinstance(again, RefusedError | UnavailableError)


def test_every_transport_error_has_an_outcome() -> None:
    """Check that only a connection that was never made counts as having sent nothing."""
    request = httpx2.Request("POST", "http://x")
    unsent = {"ConnectError", "ConnectTimeout", "PoolTimeout", "ProxyError", "UnsupportedProtocol"}
    for cls in subclasses(httpx2.HTTPError):
        if cls is httpx2.HTTPStatusError or cls.__module__.startswith("httpcore"):
            continue
        failed = anthropic.APIConnectionError(request=request)
        failed.__cause__ = cls("words")
        expected = NotSentError if cls.__name__ in unsent else UnknownOutcomeError
        assert isinstance(failures.submit_error(failed, str), expected), cls
    assert isinstance(failures.submit_error(anthropic.RetryableError("x"), str), UnknownOutcomeError)


def requests(number: int, output_format: str = "text", **settings: Any) -> bytes:
    rung = RungSettings(model=settings.pop("model", "claude-haiku-4-5"), max_tokens=100, settings=settings)
    encoder = RULES.encoder(rung, output_format=output_format, sent_schema=None)
    rows = [(f"id-{each}", Message(system="s", user=f"row {each}")) for each in range(number)]
    return RULES.assemble([(custom_id, encoder(message, max_tokens=100)) for custom_id, message in rows])


def emulated(folder: Path, faults: dict[str, Any] | None = None) -> Emulator:
    path = folder / "faults.json"
    path.write_text(json.dumps(faults or {}))
    return Emulator(folder / "emulator", faults=path)


def ended(client: Calls, batch_id: str) -> Any:
    for _ in range(200):
        state = client.poll(batch_id)
        if state.ended:
            return state
        time.sleep(0.02)
    raise AssertionError("the batch did not end")


def test_the_way_of_a_batch_through_the_emulator(tmp_path: Path) -> None:
    with emulated(tmp_path) as emulator:
        client = provider({"ANTHROPIC_API_KEY": "k"}, base_url=emulator.base_url)
        first = client.submit(requests(3), shipment(3), input_id=None, timeout_seconds=5)
        second = client.submit(requests(1), shipment(1), input_id=None, timeout_seconds=5)
        assert (first.total, second.total) == (3, 1)
        assert ended(client, first.batch_id).counts["succeeded"] == 3
        client.collect(first.batch_id, tmp_path / "r.jsonl")
        assert {each.batch_id for each in client.list_batches(everything).states} == {first.batch_id, second.batch_id}
        with pytest.raises(RefusedError) as caught:
            client.poll("msgbatch_unknown")
        assert caught.value.kind == "not_found"
    lines = [json.loads(line) for line in (tmp_path / "r.jsonl").read_text().splitlines()]
    assert {line["custom_id"] for line in lines} == {"id-0", "id-1", "id-2"}


@pytest.mark.parametrize(
    "fault", ["accepted_then_reset", "accepted_then_status:529", "accepted_then_empty", "accepted_then_html"]
)
def test_a_batch_that_was_made_without_an_answer_is_made_once(tmp_path: Path, fault: str) -> None:
    with emulated(tmp_path, {"calls": [{"call": "create", "fault": fault}]}) as emulator:
        client = provider({"ANTHROPIC_API_KEY": "k"}, base_url=emulator.base_url)
        with pytest.raises(UnknownOutcomeError):
            client.submit(requests(2), shipment(2), input_id=None, timeout_seconds=5)
        (found,) = client.list_batches(everything).states
        assert found.total == 2


@pytest.mark.parametrize("fault", ["results_cut_length", "results_cut_chunk"])
def test_results_cut_off_are_fetched_again(tmp_path: Path, fault: str) -> None:
    with emulated(tmp_path, {"calls": [{"call": "results", "fault": fault}]}) as emulator:
        client = provider({"ANTHROPIC_API_KEY": "k"}, base_url=emulator.base_url)
        batch_id = client.submit(requests(3), shipment(3), input_id=None, timeout_seconds=5).batch_id
        ended(client, batch_id)
        with pytest.raises(UnavailableError):
            client.collect(batch_id, tmp_path / "r.jsonl")
        client.collect(batch_id, tmp_path / "r.jsonl")
    assert len((tmp_path / "r.jsonl").read_text().splitlines()) == 3


def test_cancel_in_the_emulator(tmp_path: Path) -> None:
    with emulated(tmp_path, {"delay_seconds": 60}) as emulator:
        client = provider({"ANTHROPIC_API_KEY": "k"}, base_url=emulator.base_url)
        batch_id = client.submit(requests(3), shipment(3), input_id=None, timeout_seconds=5).batch_id
        state = client.cancel(batch_id)
        assert state.batch_id == batch_id
        assert ended(client, batch_id).counts["canceled"] == 3


def test_the_sdk_is_loaded_by_a_call_and_by_nothing_before() -> None:
    program = (
        "import sys\n"
        "from batchpipe.providers import get_provider_module, RungSettings\n"
        "module = get_provider_module('anthropic')\n"
        "rung = RungSettings(model='claude-haiku-4-5', max_tokens=10)\n"
        "module.RULES.problems(rung, output_format='text', sent_schema=None)\n"
        "module.RULES.encoder(rung, output_format='text', sent_schema=None)\n"
        "module.RULES.lines_sql(text=True)\n"
        "module.provider({'ANTHROPIC_API_KEY': 'k'}, base_url=None)\n"
        "assert not {'anthropic', 'httpx2', 'genai_prices'} & set(sys.modules)\n"
    )
    root = str(Path(__file__).parents[2])
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
