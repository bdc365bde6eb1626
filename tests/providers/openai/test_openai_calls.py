"""Tests of the calls of the OpenAI protocol against the emulator: what only this protocol has. The SDK looks too."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from openai.types import Batch
from openai.types.chat import ChatCompletion
from openai.types.responses import Response
from pydantic import TypeAdapter

from batchpipe.common.errors import CredentialsError
from batchpipe.emulator import Emulator
from batchpipe.providers import BatchState, Message, RefusedError, RungSettings, Shipment, UnavailableError
from batchpipe.providers.openai import background, provider, rules
from batchpipe.providers.openai.calls import Calls
from batchpipe.providers.openai.encoding import CHAT
from batchpipe.providers.openai.failures import error_body, late_refusal
from batchpipe.providers.openai.realtime import body_of, room_of
from batchpipe.providers.openai.states import batch_state
from batchpipe.providers.shared.http import NotUnderstoodError

DAY = 86_400
RUNG = RungSettings(model="gpt-6-luna", max_tokens=2000)


class Service:
    """One emulator with a provider of each endpoint, and the SDK."""

    def __init__(self, emulator: Emulator) -> None:
        key = {"OPENAI_API_KEY": "sk-test@acme", "OPENAI_ORG_ID": "org-1", "OPENAI_PROJECT_ID": "proj_1"}
        self.url = emulator.base_url
        self.calls = provider(key, base_url=self.url, timeout_seconds=10)
        self.chat = provider(key, base_url=self.url, timeout_seconds=10, endpoint=CHAT)
        self.sdk = openai.OpenAI(api_key="sk-test@acme", base_url=f"{self.url}/v1", max_retries=0)
        self.http = httpx2.Client(base_url=self.url)
        self._made = 0

    def control(self, path: str, asked: Any) -> None:
        assert self.http.post(f"/emulator/{path}", json=asked).status_code == 200

    def faults(self, *calls: dict[str, Any], **rules: Any) -> None:
        self.control("faults", {"calls": list(calls), **rules})

    def send(self, count: int = 3, calls: Calls | None = None) -> BatchState:
        self._made += 1
        using = calls or self.calls
        shipment = Shipment(label=f"label-{self._made}", rung=RUNG, count=count, headers={})
        body = using.assemble((f"id-{each}", params(f"Row {each}", using)) for each in range(count))
        input_id = using.upload(body, shipment, timeout_seconds=10)
        return using.submit(body, shipment, input_id=input_id, timeout_seconds=10)


def params(text: str, calls: Calls, max_tokens: int = 2000, **settings: Any) -> bytes:
    rung = RungSettings(model="gpt-6-luna", max_tokens=max_tokens, settings=settings)
    encoder = rules(calls.endpoint).encoder(rung, output_format="text", sent_schema=None)
    return encoder(Message("You answer.", text), max_tokens=max_tokens)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Emulator(tmp_path_factory.mktemp("openai")) as emulator:
        found = Service(emulator)
        with found.http:
            yield found


@pytest.fixture
def service(shared: Service) -> Service:
    shared.faults()
    return shared


def test_a_batch_bears_its_label_and_the_sdk_reads_it(service: Service) -> None:
    state = service.send()
    listed = service.sdk.batches.retrieve(state.batch_id)
    assert listed.metadata == {"batchpipe": state.label}
    assert listed.input_file_id == state.input_id
    shown = service.http.get(f"/v1/batches/{state.batch_id}", headers={"authorization": "Bearer sk-test@acme"})
    TypeAdapter(Batch).validate_json(shown.content)
    file = service.sdk.files.retrieve(str(state.input_id))
    assert (file.purpose, file.filename) == ("batch", f"{state.label}.jsonl")
    assert file.expires_at is not None
    assert file.expires_at - file.created_at == 30 * DAY
    assert (state.organization, state.workspace) == ("org-emulator", "proj_acme")
    service.calls.discard(str(state.input_id))
    service.calls.discard(str(state.input_id))
    with pytest.raises(openai.NotFoundError):
        service.sdk.files.retrieve(str(state.input_id))


def test_the_sdk_takes_the_answers_of_the_emulator(service: Service, tmp_path: Path) -> None:
    for calls, kind in ((service.calls, TypeAdapter[Any](Response)), (service.chat, TypeAdapter[Any](ChatCompletion))):
        state = service.send(calls=calls)
        calls.poll(state.batch_id)
        assert calls.poll(state.batch_id).ended is not None
        path = tmp_path / "results.jsonl"
        calls.collect(state.batch_id, path)
        for line in path.read_text().splitlines():
            body = json.loads(line)["response"]["body"]
            body.setdefault("usage", {})
            kind.validate_python(body)
    parsed = service.sdk.responses.create(model="gpt-6-luna", input="hello", store=False)
    assert parsed.output_text


def test_counts_are_not_known_while_a_batch_is_validated(service: Service) -> None:
    service.faults(validating_seconds=3600)
    state = service.send()
    for _ in range(3):
        state = service.calls.poll(state.batch_id)
        assert (state.ended, state.total, state.counts) == (None, None, {})
    service.control("clock", {"advance_seconds": 3600})
    state = service.calls.poll(state.batch_id)
    assert state.ended is not None
    assert state.counts == {"processing": 0, "succeeded": 3, "errored": 0}


def test_a_batch_whose_answers_come_late_has_not_ended(service: Service, tmp_path: Path) -> None:
    service.faults({"call": "create", "fault": "output_late", "seconds": 600})
    state = service.send()
    for _ in range(3):
        assert service.calls.poll(state.batch_id).ended is None
    service.control("clock", {"advance_seconds": 600})
    assert service.calls.poll(state.batch_id).ended is not None
    service.faults({"call": "results", "fault": "status:404"})
    with pytest.raises(UnavailableError):
        service.calls.collect(state.batch_id, tmp_path / "late.jsonl")
    service.calls.collect(state.batch_id, tmp_path / "late.jsonl")


def test_a_batch_whose_requests_all_fail_has_one_file(service: Service, tmp_path: Path) -> None:
    service.faults({"call": "retrieve", "fault": "changed", "changes": {"error_file_id": ""}, "times": 9})
    state = service.send()
    service.calls.poll(state.batch_id)
    ended = service.calls.poll(state.batch_id).ended
    assert ended is not None
    assert ended.has_results
    service.faults(requests=[{"outcome": "errored_invalid"}])
    state = service.send()
    service.calls.poll(state.batch_id)
    state = service.calls.poll(state.batch_id)
    assert state.ended is not None
    assert state.counts["errored"] == 3
    service.calls.collect(state.batch_id, tmp_path / "results.jsonl")
    assert len((tmp_path / "results.jsonl").read_text().splitlines()) == 3


def test_one_file_is_enough_where_the_other_is_blank_or_does_not_come(service: Service, tmp_path: Path) -> None:
    """A blank error file is whole. A file that does not come is waited for: one with answers for a day, too."""
    path = tmp_path / "results.jsonl"

    def read(*calls: dict[str, Any], what_is_there: bool = False) -> set[str]:
        service.faults(*calls)
        service.calls.collect(state.batch_id, path, what_is_there=what_is_there)
        found = {json.loads(line)["custom_id"] for line in path.read_text().splitlines()}
        path.unlink()
        return found

    service.faults(requests=[{"outcome": "errored_invalid", "match": "Row 1"}])
    state = service.send()
    service.calls.poll(state.batch_id)
    service.calls.poll(state.batch_id)
    no_errors, no_output = (lost_files(name) for name in ("error_file_id", "output_file_id"))
    blank, page = ({"call": "results", "fault": fault, "times": 9} for fault in ("no_lines", "html"))
    assert read() == {"id-0", "id-1", "id-2"}
    assert read({**blank, "after": 1}) == {"id-0", "id-2"}
    for calls in ([no_errors], [{**page, "after": 1}], [no_output], [{**blank, "times": 1}]):
        with pytest.raises(UnavailableError):
            read(*calls)
    assert read(no_errors, what_is_there=True) == {"id-0", "id-2"}
    assert read({**page, "after": 1}, what_is_there=True) == {"id-0", "id-2"}
    for calls in ([no_output], [{**blank, "times": 1}]):
        with pytest.raises(UnavailableError):
            read(*calls, what_is_there=True)
    service.control("clock", {"advance_seconds": DAY + 60})
    assert read(no_output, what_is_there=True) == {"id-1"}
    assert read({**blank, "times": 1}, what_is_there=True) == {"id-1"}
    for calls in ([blank], [page]):
        with pytest.raises(UnavailableError):
            read(*calls, what_is_there=True)
    with pytest.raises(RefusedError):
        read(lost_files("output_file_id", "error_file_id"), what_is_there=True)
    with pytest.raises(RefusedError):
        read({"call": "results", "fault": "status:401", "after": 1}, what_is_there=True)
    assert list(tmp_path.iterdir()) == []


def lost_files(*names: str) -> dict[str, Any]:
    """Return a rule by which a batch names files that are not there."""
    return {"call": "retrieve", "fault": "changed", "changes": dict.fromkeys(names, "file-not-there"), "times": 9}


def test_a_file_without_a_length_is_held_against_its_size(service: Service, tmp_path: Path) -> None:
    state = service.send()
    service.calls.poll(state.batch_id)
    service.calls.poll(state.batch_id)
    service.faults({"call": "results", "fault": "results_cut_line_end"})
    with pytest.raises(UnavailableError, match="broke off"):
        service.calls.collect(state.batch_id, tmp_path / "cut.jsonl")
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_input_is_refused_with_its_line(service: Service) -> None:
    line = {"custom_id": "a", "method": "POST", "url": "/v1/responses", "body": {"model": "gpt-6-luna", "input": "x"}}
    wrong: dict[str, list[dict[str, Any]]] = {
        "duplicate_custom_id": [line, line],
        "mismatched_model": [line, {**line, "custom_id": "b", "body": {"model": "gpt-6-sol", "input": "x"}}],
        "invalid_url": [line, {**line, "custom_id": "b", "url": CHAT}],
        "missing_required_parameter": [line, {"custom_id": "b"}],
    }
    shipment = Shipment(label="wrong", rung=RUNG, count=2, headers={})
    for code, lines in wrong.items():
        body = b"".join(json.dumps(each).encode() + b"\n" for each in lines)
        input_id = service.calls.upload(body, shipment, timeout_seconds=10)
        state = service.calls.submit(body, shipment, input_id=input_id, timeout_seconds=10)
        ended = service.calls.poll(state.batch_id).ended
        assert ended is not None
        assert ended.refused is not None
        assert (ended.refused.kind, ended.line) == ("invalid", 2)
        assert code in ended.refused.message


def test_a_full_queue_shows_as_a_late_refusal(service: Service) -> None:
    service.faults(max_queued_tokens=10)
    ended = service.calls.poll(service.send().batch_id).ended
    assert ended is not None
    assert ended.refused is not None
    assert ended.refused.kind == "queue_full"
    assert "Enqueued token limit" in ended.refused.message


def test_late_refusals_by_their_codes() -> None:
    for errors, kind, line in (
        ({"data": [{"code": "model_not_found", "message": "m", "line": 1}]}, "account", 1),
        ({"data": [{"code": "too_many_tasks", "message": "m", "line": None}]}, "queue_full", None),
        ({"data": [{"code": "x", "message": "m", "line": 9}, {"code": "x", "message": "m", "line": 4}]}, "invalid", 4),
        ({"data": [{"code": 7, "message": None, "line": "two"}]}, "invalid", None),
        ({"data": "x"}, "invalid", None),
        (None, "invalid", None),
        ({"data": [{"message": "You exceeded your current quota"}]}, "account", None),
    ):
        refused, found = late_refusal(errors)
        assert (refused.kind, found) == (kind, line), errors


def test_odd_states_raise_nothing() -> None:
    now = datetime(2026, 11, 29, tzinfo=UTC)
    good = {"id": "batch_1", "status": "completed", "completed_at": int(now.timestamp()), "output_file_id": "file-1"}
    for name in (*good, "errors", "request_counts", "metadata", "created_at", "expires_at", "model", "input_file_id"):
        odds: tuple[Any, ...] = (None, 7, -1, 1e300, True, "x" * 9000, [1], {"a": [1]}, "\ud800")
        for odd in odds:
            if name != "id":
                assert batch_state({**good, name: odd}, {}).batch_id == "batch_1"
    nothing: tuple[Any, ...] = (None, [], {}, {"id": 7}, {"id": ""}, "x")
    for odd in nothing:
        with pytest.raises(NotUnderstoodError):
            batch_state(odd, {})
    new = batch_state({"id": "batch_1", "status": "dreaming"}, {})
    assert (new.ended, new.unknown_state) == (None, "dreaming")
    assert batch_state({**good, "status": "dreaming"}, {}).ended is not None
    late = {**good, "output_file_id": None, "request_counts": {"total": 2, "completed": 2, "failed": 0}}
    soon = {"date": (now + timedelta(hours=1)).strftime("%a, %d %b %Y %H:%M:%S GMT")}
    days = {"date": (now + timedelta(days=3)).strftime("%a, %d %b %Y %H:%M:%S GMT")}
    assert batch_state(late, soon).ended is None
    given_up = batch_state(late, days).ended
    assert given_up is not None
    assert not given_up.has_results


def test_long_answers_are_streamed(service: Service) -> None:
    for calls in (service.calls, service.chat):
        short, long = params("same", calls), params("same", calls, max_tokens=9000)
        answers = [calls.answer("id-1", each, headers={}, timeout_seconds=10) for each in (short, long)]
        bodies = [json.loads(answer.line)["response"]["body"] for answer in answers]
        texts = [
            body["choices"][0]["message"]["content"] if "choices" in body else body["output"][-1]["content"][0]["text"]
            for body in bodies
        ]
        assert texts[0] == texts[1]
        assert bodies[0]["usage"] == bodies[1]["usage"]
        assert (answers[0].room.requests, answers[0].room.seconds) == (9999, 0.006)


def test_a_stream_that_breaks_off_is_no_answer() -> None:
    begun = ['data: {"type":"response.created"}']
    with pytest.raises(UnavailableError) as caught:
        body_of("/v1/responses", begun)
    assert caught.value.status is None
    with pytest.raises(UnavailableError):
        body_of(CHAT, ['data: {"choices":[{"delta":{"content":"x"}}]}', "data: [DONE]", "data: {"])


def test_a_call_in_the_background_is_fetched_and_deleted(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may take its window, which is longer than any other call may take."""
    asked = params("slow", service.calls, background="8h")
    line = json.loads(service.calls.answer("id-1", asked, headers={}, timeout_seconds=10).line)
    assert (line["window"], line["response"]["body"]["status"]) == ("8h", "completed")
    with pytest.raises(openai.NotFoundError):
        service.sdk.responses.retrieve(line["response"]["body"]["id"])
    service.faults(delay_seconds=1.5)
    late = json.loads(service.calls.answer("id-2", asked, headers={}, timeout_seconds=0.5).line)
    assert late["response"]["body"]["status"] == "completed"
    assert [background.window_seconds(each) for each in ("2h", "8h", "auto")] == [9_000, 36_000, 0]
    service.faults(delay_seconds=3600)
    monkeypatch.setattr(background, "HOUR_SECONDS", 0.01)
    with pytest.raises(UnavailableError, match="in time"):
        service.calls.answer("id-1", asked, headers={}, timeout_seconds=0.5)


def test_what_headers_say_of_the_limits() -> None:
    headers = {
        "x-ratelimit-remaining-requests": "3",
        "x-ratelimit-reset-requests": "1m30s",
        "x-ratelimit-reset-tokens": "500ms",
    }
    room = room_of(headers)
    assert (room.requests, room.tokens, room.seconds) == (3, None, 90.0)
    odd = room_of({"x-ratelimit-remaining-requests": "many", "x-ratelimit-reset-requests": "soon"})
    assert (odd.requests, odd.seconds) == (None, None)


def test_only_the_providers_own_errors_are_read() -> None:
    found = error_body(429, {"error": {"message": "m", "type": "t", "code": "insufficient_quota"}})
    assert found is not None
    assert found.kind == "account"
    others: tuple[Any, ...] = (None, [], {}, {"error": "text"}, {"error": {"message": 7}}, {"detail": "x"})
    for odd in others:
        assert error_body(400, odd) is None


def test_keys_and_addresses_that_cannot_be_are_refused() -> None:
    for credentials in ({}, {"OPENAI_API_KEY": " "}, {"OPENAI_API_KEY": "a b"}):
        with pytest.raises(CredentialsError):
            provider(credentials, base_url=None)
    with pytest.raises(CredentialsError):
        provider({"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": "no url"}, base_url=None)
    with pytest.raises(CredentialsError):
        provider({"OPENAI_API_KEY": "k"}, base_url=None, endpoint="/v1/embeddings")
    found = provider({"OPENAI_API_KEY": "k"}, base_url="http://127.0.0.1:1/")
    assert found.base_url == "http://127.0.0.1:1/v1"
    assert provider({"OPENAI_API_KEY": "k"}, base_url="https://a.example/openai/v1").base_url.endswith("/openai/v1")


@pytest.mark.parametrize(("missing", "answered"), [(2, True), (99, False)])
def test_a_response_that_is_not_found_was_not_refused(
    monkeypatch: pytest.MonkeyPatch, missing: int, answered: bool
) -> None:
    """It has begun, and may have been paid for: where it cannot be asked for, it has no status."""
    monkeypatch.setattr(background, "_FIRST_PAUSE_SECONDS", 0.0)
    looks = iter(range(1000))

    def answer(request: httpx2.Request) -> httpx2.Response:
        if request.method == "GET" and next(looks) < missing:
            return httpx2.Response(404, json={"error": {"message": "not there", "type": "x", "code": None}})
        status = "completed" if request.method == "GET" else "queued"
        return httpx2.Response(200, json={"id": "resp_1", "status": status, "output": []})

    calls = provider({"OPENAI_API_KEY": "k"}, base_url="https://o.example/v1", transport=httpx2.MockTransport(answer))
    asked = params("slow", calls, background="2h")
    if answered:
        found = json.loads(calls.answer("id-1", asked, headers={}, timeout_seconds=5).line)
        assert found["response"]["body"]["status"] == "completed"
        return
    with pytest.raises(UnavailableError, match="cannot be asked for") as lost:
        calls.answer("id-1", asked, headers={}, timeout_seconds=5)
    assert lost.value.status is None


@pytest.mark.parametrize("odd", [{"id": "resp_2", "status": "completed"}, {"id": "resp_1", "status": None}])
@pytest.mark.parametrize("times", [3, 1000])
def test_what_is_not_said_of_a_response_in_the_background_is_no_answer_to_it(
    monkeypatch: pytest.MonkeyPatch, odd: dict[str, Any], times: int
) -> None:
    """The state of another response, or none: it is asked for again, and not for ever."""
    monkeypatch.setattr(background, "_FIRST_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(background, "HOUR_SECONDS", 0.01)
    looks = iter(range(100_000))

    def answer(request: httpx2.Request) -> httpx2.Response:
        status = "completed" if request.method == "GET" else "queued"
        body: dict[str, Any] = {"id": "resp_1", "status": status, "output": []}
        if request.method == "GET" and next(looks) < times:
            body = {**body, **odd}
        return httpx2.Response(200, json=body)

    calls = provider({"OPENAI_API_KEY": "k"}, base_url="https://o.example/v1", transport=httpx2.MockTransport(answer))
    asked = params("slow", calls, background="2h")
    if times < 5:
        found = json.loads(calls.answer("id-1", asked, headers={}, timeout_seconds=5).line)
        assert (found["response"]["body"]["id"], found["response"]["body"]["status"]) == ("resp_1", "completed")
        return
    with pytest.raises(UnavailableError, match=r"about another response|in time"):
        calls.answer("id-1", asked, headers={}, timeout_seconds=0.1)
