"""Tests of the calls to Gemini, over HTTP against the emulator, and of what its replies mean."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest

from batchpipe.emulator import Emulator
from batchpipe.providers import (
    BatchState,
    Message,
    NotSentError,
    RefusedError,
    RungSettings,
    Shipment,
    UnavailableError,
)
from batchpipe.providers.gemini import RULES, provider
from batchpipe.providers.gemini.calls import Calls, file_name
from batchpipe.providers.gemini.failures import late_refusal, read
from batchpipe.providers.gemini.states import batch_state

RUNG = RungSettings(model="gemini-3.8-flash", max_tokens=100)
SCHEMA = {"type": "object", "properties": {"label": {"enum": ["a", "b"], "type": "string"}}, "required": ["label"]}
DAY = 86_400


class Service:
    """One emulator, with a way to tell it what goes wrong."""

    def __init__(self, emulator: Emulator) -> None:
        self.base_url = emulator.base_url
        self.calls = provider({"GEMINI_API_KEY": "test-key"}, base_url=emulator.base_url, timeout_seconds=20)
        self.http = httpx2.Client(base_url=emulator.base_url)
        self._made = 0

    def control(self, path: str, asked: Any) -> Any:
        return self.http.post(f"/emulator/{path}", json=asked).json()

    def faults(self, *calls: dict[str, Any], requests: Any = (), **rules: Any) -> None:
        rule = {"calls": [{"protocol": "gemini", **each} for each in calls], "requests": list(requests), **rules}
        assert self.control("faults", rule) == {"ok": True}

    def send(self, count: int = 4, body: bytes | None = None) -> BatchState:
        """Upload and submit a batch of `count` requests under a label of its own."""
        self._made += 1
        shipment = Shipment(label=f"test-{self._made}", rung=RUNG, count=count, headers={})
        lines = body or self.calls.assemble((f"id-{each}", encoded(f"Row {each}")) for each in range(count))
        input_id = self.calls.upload(lines, shipment, timeout_seconds=10)
        return self.calls.submit(lines, shipment, input_id=input_id, timeout_seconds=10)

    def ended(self, batch_id: str) -> BatchState:
        """Look twice, after which a batch has ended."""
        self.calls.poll(batch_id)
        return self.calls.poll(batch_id)

    def lines(self, batch_id: str, folder: Path) -> dict[str, dict[str, Any]]:
        path = folder / "results.jsonl"
        self.calls.collect(batch_id, path)
        return {line["key"]: line for line in map(json.loads, path.read_text().splitlines())}


def encoded(text: str, max_tokens: int = 100, **settings: Any) -> bytes:
    rung = RungSettings(model=RUNG.model, max_tokens=max_tokens, settings=settings)
    encoder = RULES.encoder(rung, output_format="json_schema", sent_schema=SCHEMA)
    return encoder(Message("You sort.", text), max_tokens=max_tokens)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Emulator(tmp_path_factory.mktemp("gemini")) as emulator:
        found = Service(emulator)
        with found.http:
            yield found


@pytest.fixture(autouse=True)
def no_faults(service: Service) -> None:
    service.faults()


def test_a_batch_has_a_label_an_input_and_results(service: Service, tmp_path: Path) -> None:
    state = service.send()
    assert (state.label, state.input_id, state.model) == ("test-1", "files/test-1", "gemini-3.8-flash")
    assert state.ended is None
    state = service.ended(state.batch_id)
    assert state.ended is not None
    assert state.ended.has_results
    assert (state.total, dict(state.counts)) == (4, {"succeeded": 4})
    assert set(service.lines(state.batch_id, tmp_path)) == {"id-0", "id-1", "id-2", "id-3"}
    found = service.calls.list_batches(lambda states: False)
    assert found.whole
    assert [each.label for each in found.states] == ["test-1"]


def test_an_upload_may_be_repeated_and_replaces_what_is_not_the_same(service: Service) -> None:
    shipment = Shipment(label="chunk-" + "a" * 54, rung=RUNG, count=1, headers={})
    names = {service.calls.upload(body, shipment, timeout_seconds=5) for body in (b"{}\n", b"{}\n", b"{ }\n")}
    assert names == {file_name(shipment.label)}
    (name,) = names
    assert name is not None
    assert len(name) <= 46
    service.calls.discard(name)
    with pytest.raises(RefusedError) as error:
        service.calls.discard(name)
    assert error.value.kind == "account"


def test_a_batch_that_fails_late_is_refused_as_if_the_create_had_been(service: Service) -> None:
    told = [
        ("RESOURCE_EXHAUSTED", "Too many enqueued tokens", "queue_full", "not_taken", None),
        ("INVALID_ARGUMENT", "Bad request in line 3", "invalid", "not_taken", 3),
        ("NOT_FOUND", "The model is not found", "not_found", "not_taken", None),
        ("PERMISSION_DENIED", "No billing", "account", "not_taken", None),
        ("NOT_FOUND", "The input file files/x was not found", None, "not_taken", None),
        ("INTERNAL", "Internal error", None, "missing", None),
    ]
    for code, message, kind, without_line, line in told:
        service.faults({"call": "create", "fault": "fails_late", "error_code": code, "message": message})
        ended = service.ended(service.send().batch_id).ended
        assert ended is not None
        assert not ended.has_results
        assert (ended.refused and ended.refused.kind, ended.without_line, ended.line) == (kind, without_line, line)
    broken = service.ended(service.send(body=b'{"key":"a","request":{}}\n{"key":\n').batch_id).ended
    assert broken is not None
    assert broken.refused is not None
    assert (broken.refused.kind, broken.line) == ("invalid", 2)


def test_a_batch_may_succeed_in_part_with_every_request_failed_or_before_its_results_are_there(
    service: Service, tmp_path: Path
) -> None:
    service.faults({"call": "create", "fault": "partial"})
    partly = service.ended(service.send(30).batch_id)
    assert partly.ended is not None
    assert (partly.ended.has_results, partly.ended.without_line) == (True, "missing")
    assert 0 < len(service.lines(partly.batch_id, tmp_path)) < 30
    service.faults({"call": "create", "fault": "counts_lie"}, requests=[{"outcome": "errored_invalid"}])
    failed = service.ended(service.send(30).batch_id)
    assert dict(failed.counts) == {"succeeded": 30}
    lines = service.lines(failed.batch_id, tmp_path).values()
    assert {next(name for name in ("error", "status") if name in line) for line in lines} == {"error", "status"}
    service.faults({"call": "create", "fault": "output_late", "seconds": 90})
    late = service.ended(service.send().batch_id)
    assert late.ended is None
    with pytest.raises(UnavailableError, match="no results yet"):
        service.calls.collect(late.batch_id, tmp_path / "late.jsonl")
    service.control("clock", {"advance_seconds": 91})
    assert service.calls.poll(late.batch_id).ended is not None


def test_expired_and_cancelled_batches(service: Service, tmp_path: Path) -> None:
    service.faults(delay_seconds=3 * DAY)
    expired, cancelled = service.send(), service.send()
    assert service.calls.cancel(cancelled.batch_id).ended is not None
    state = service.calls.cancel(cancelled.batch_id)
    assert state.ended is not None
    assert (state.ended.has_results, state.ended.without_line) == (False, "canceled")
    service.control("clock", {"advance_seconds": 2 * DAY + 1})
    state = service.ended(expired.batch_id)
    assert state.ended is not None
    assert (state.ended.has_results, state.ended.without_line) == (False, "expired")
    assert state.ended.at == expired.expires_at
    service.faults(finished_before_cancel=0.5, delay_seconds=DAY)
    partly = service.send(30)
    state = service.calls.cancel(partly.batch_id)
    assert state.ended is not None
    assert (state.ended.has_results, state.ended.without_line) == (True, "canceled")
    assert 0 < len(service.lines(partly.batch_id, tmp_path)) < 30
    # Counts that promise results are waited for: what was answered is paid.
    late = {"call": "create", "fault": "output_late", "seconds": 90}
    service.faults(late, finished_before_cancel=0.5, delay_seconds=DAY)
    partly = service.send(30)
    assert service.calls.cancel(partly.batch_id).ended is None
    service.control("clock", {"advance_seconds": 91})
    ended = service.calls.poll(partly.batch_id).ended
    assert ended is not None
    assert (ended.has_results, ended.without_line) == (True, "canceled")


def test_a_full_queue_is_refused_at_the_create(service: Service) -> None:
    service.faults(max_queued_tokens=100, delay_seconds=DAY)
    for rules in ({"max_queued_tokens": 100}, {"max_batches": 0}):
        service.faults(delay_seconds=DAY, **rules)
        with pytest.raises(RefusedError) as error:
            service.send()
        assert error.value.kind == "queue_full"


def test_the_list_is_read_page_after_page_and_may_lag(service: Service) -> None:
    service.faults()
    made = [service.control("stranger", {"requests": 1, "protocol": "gemini"})["id"] for _ in range(105)]
    found = service.calls.list_batches(lambda states: False)
    assert found.whole
    assert [each.batch_id for each in found.states][:105] == made[::-1]
    assert not service.calls.list_batches(lambda states: len(states) > 10).whole
    assert len(service.calls.account().states) == 1
    service.faults({"call": "list", "fault": "list_lag", "seconds": 3_600})
    lagging = service.calls.list_batches(lambda states: False)
    assert not set(made) & {each.batch_id for each in lagging.states}


def test_realtime_answers_are_lines_of_results_streamed_where_they_may_be_long(service: Service) -> None:
    short = json.loads(service.calls.answer("id-1", encoded("Hello"), headers={}, timeout_seconds=10).line)
    long = json.loads(service.calls.answer("id-1", encoded("Hello", 9_000), headers={}, timeout_seconds=10).line)
    texts = [
        "".join(part.get("text", "") for part in each["response"]["candidates"][0]["content"]["parts"])
        for each in (short, long)
    ]
    assert texts[0] == texts[1]
    assert short["response"]["usageMetadata"] == long["response"]["usageMetadata"]
    paths = [call["path"] for call in service.http.get("/emulator/log?requests=0").json()["calls"]]
    assert [path.rpartition(":")[2] for path in paths[-2:]] == ["generateContent", "streamGenerateContent?alt=sse"]
    with pytest.raises(RefusedError) as error:
        service.calls.answer("id-2", encoded("Hello", 65_537), headers={}, timeout_seconds=10)
    assert json.loads(error.value.line or b"")["error"]["status"] == "INVALID_ARGUMENT"


@pytest.mark.parametrize("kind", ["refused", "overloaded", "cut", "half"])
def test_a_stream_that_breaks_off_is_no_answer(kind: str) -> None:
    event = {"candidates": [{"content": {"parts": [{"text": "ha"}]}}]}
    refused = {"error": {"code": 503, "status": "UNAVAILABLE", "message": "overloaded"}}
    events: dict[str, list[Any]] = {
        "refused": [refused],
        "overloaded": [event, refused],
        "cut": [event],
        "half": [],
    }
    body = b"".join(b"data: " + json.dumps(each).encode() + b"\n\n" for each in events[kind])
    calls = talking(lambda request: httpx2.Response(200, content=body, headers={"content-type": "text/event-stream"}))
    with pytest.raises(UnavailableError) as error:
        calls.answer("id", encoded("Hello", 9_000), headers={}, timeout_seconds=5)
    assert error.value.status == (503 if kind == "refused" else None)
    assert error.value.turned_away == (kind == "refused")


def talking(answer: Callable[[httpx2.Request], httpx2.Response], **settings: Any) -> Calls:
    transport = httpx2.MockTransport(answer)
    return provider({"GOOGLE_API_KEY": "secret-key"}, base_url="https://g.example/x", transport=transport, **settings)


def test_the_key_goes_to_the_base_url_alone_whatever_address_a_reply_names() -> None:
    asked: list[httpx2.Request] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        asked.append(request)
        if len(asked) == 1:
            headers = {"x-goog-upload-url": "https://elsewhere.example/upload/here?upload_id=1"}
            return httpx2.Response(200, json={}, headers=headers)
        return httpx2.Response(200, json={"file": {"name": "files/mine", "state": "ACTIVE"}})

    shipment = Shipment(label="mine", rung=RUNG, count=1, headers={})
    assert talking(answer).upload(b"{}", shipment, timeout_seconds=5) == "files/mine"
    assert [str(each.url) for each in asked] == [
        "https://g.example/x/upload/v1beta/files",
        "https://g.example/upload/here?upload_id=1",
    ]
    assert {each.headers["x-goog-api-key"] for each in asked} == {"secret-key"}
    talking(answer, auth_header="bearer").discard("files/mine")
    assert asked[-1].headers["authorization"] == "Bearer secret-key"
    assert "x-goog-api-key" not in asked[-1].headers
    with pytest.raises(UnavailableError) as error:
        talking(lambda request: httpx2.Response(500, text="your key: secret-key")).account()
    assert "secret-key" not in f"{error.value} {error.value.__cause__}"
    with pytest.raises(NotSentError):
        talking(answer).submit(b"", shipment, input_id=None, timeout_seconds=5)


QUOTA = {"@type": "type.googleapis.com/google.rpc.QuotaFailure"}
RETRY = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.5s"}
USED_UP = "You exceeded your current quota, please check your plan and billing details."


def error(status: int, message: str, name: str = "", *details: Any) -> tuple[int, Any]:
    return status, {"error": {"code": status, "message": message, "status": name, "details": list(details)}}


@pytest.mark.parametrize(
    ("reply", "kind", "seconds"),
    [
        (error(429, USED_UP, "RESOURCE_EXHAUSTED"), "queue_full", None),
        (
            error(
                429,
                USED_UP,
                "RESOURCE_EXHAUSTED",
                QUOTA | {"violations": [{"quotaId": "GenerateRequestsPerMinutePerProjectPerModel"}]},
                RETRY,
            ),
            "rate_limit",
            34.5,
        ),
        (error(429, USED_UP, "RESOURCE_EXHAUSTED", QUOTA | {"violations": ["odd", {}]}, RETRY), "queue_full", 34.5),
        (error(429, "Your prepayment credits are depleted.", "RESOURCE_EXHAUSTED"), "account", None),
        (error(429, "Your project has exceeded its monthly spending cap."), "account", None),
        (error(400, "API key not valid. Please pass a valid API key.", "INVALID_ARGUMENT"), "account", None),
        (error(400, "Invalid value at 'contents'", "INVALID_ARGUMENT"), "invalid", None),
        (error(403, "The caller does not have permission", "PERMISSION_DENIED"), "account", None),
        ((400, [{"error": {"code": 400, "message": "in a list"}}]), "invalid", None),
    ],
)
def test_what_a_refusal_means(reply: tuple[int, Any], kind: str, seconds: float | None) -> None:
    found = read(*reply)
    assert found is not None
    assert (found.kind, found.retry_after_seconds) == (kind, seconds)


@pytest.mark.parametrize("body", [None, "text", {}, {"error": "no"}, {"error": {"message": 1}}, {"error": {}}, [], [1]])
def test_somebody_elses_error_is_not_believed(body: Any) -> None:
    assert read(400, body) is None
    assert late_refusal("odd") is None


def operation(state: Any, **members: Any) -> dict[str, Any]:
    metadata = {"state": state, "createTime": "2026-11-28T10:00:00.123456789Z", **members.pop("metadata", {})}
    return {"name": "batches/abc", "metadata": metadata, **members}


DATE = {"date": "Sun, 29 Nov 2026 12:00:00 GMT"}


@pytest.mark.parametrize("prefix", ["BATCH_STATE_", "JOB_STATE_"])
def test_states_that_run_and_that_nobody_knows(prefix: str) -> None:
    words = ("UNSPECIFIED", "PENDING", "RUNNING", "QUEUED", "CANCELLING", "PAUSED")
    running = [batch_state(operation(prefix + state), DATE) for state in words]
    assert {(each.ended, each.unknown_state) for each in running} == {(None, None)}
    found = running[0]
    assert found.created_at == datetime(2026, 11, 28, 10, 0, 0, 123456)  # noqa: DTZ001
    assert found.expires_at == found.created_at + timedelta(hours=48)
    new = batch_state(operation(prefix + "DREAMING"), DATE)
    assert (new.ended, new.unknown_state) == (None, "DREAMING")
    files = {"response": {"responsesFile": "files/batch-1"}, "done": True}
    done = batch_state(operation(prefix + "DREAMING", **files), DATE).ended
    assert done is not None
    assert done.has_results


def test_results_that_never_come_are_missing_after_a_day() -> None:
    times = {"endTime": "2026-11-29T11:00:00Z"}
    assert batch_state(operation("BATCH_STATE_SUCCEEDED", done=True, metadata=times), DATE).ended is None
    times = {"endTime": "2026-11-28T11:00:00Z"}
    ended = batch_state(operation("BATCH_STATE_SUCCEEDED", done=True, metadata=times), DATE).ended
    assert ended is not None
    assert (ended.has_results, ended.without_line) == (False, "missing")


@pytest.mark.parametrize(
    "odd",
    [
        operation(None),
        operation(7, metadata={"batchStats": "many", "output": ["files/x"], "inputConfig": 1, "displayName": 5}),
        operation("BATCH_STATE_FAILED", error="a text"),
        operation("BATCH_STATE_FAILED", error={"code": True, "message": ["x"], "details": "y"}),
        operation("BATCH_STATE_SUCCEEDED", response={"responsesFile": "../../etc/passwd"}),
        operation("BATCH_STATE_RUNNING", metadata={"batchStats": {"requestCount": "-1", "pendingRequestCount": "1e9"}}),
        {"name": "batches/abc", "metadata": "text", "done": "yes"},
        {"name": "batches/abc"},
    ],
)
def test_odd_operations_never_raise(odd: dict[str, Any]) -> None:
    state = batch_state(odd, {})
    assert (state.batch_id, state.total) == ("batches/abc", None)
    assert state.ended is None or not state.ended.has_results


def test_a_list_that_names_one_next_page_again_and_again_is_not_whole(service: Service) -> None:
    changes = {"operations": [], "nextPageToken": "same"}
    service.faults({"call": "list", "fault": "changed", "changes": changes, "times": 99})
    before = len(service.http.get("/emulator/log?requests=0").json()["calls"])
    assert not service.calls.list_batches(lambda states: False).whole
    assert len(service.http.get("/emulator/log?requests=0").json()["calls"]) - before == 2
