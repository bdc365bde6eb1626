"""Tests of HTTP calls that fail in each way that the emulator knows."""

import json
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import pytest
from anthropic.types.messages import MessageBatch
from helpers.emulator_desk import SDK, Desk, desk, ends, params

from batchpipe.emulator import Emulator, EmulatorError

__all__ = ["desk"]
BATCHES = "/v1/messages/batches"


def call(desk: Desk, name: str, fault: str, **rule: Any) -> None:
    desk.faults(calls=[{"call": name, "fault": fault, **rule}])


def ids(desk: Desk) -> list[str]:
    return [batch.id for batch in desk.sdk.messages.batches.list().data]


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 408, 409, 413, 429, 500, 503, 504, 529])
def test_a_refused_create(desk: Desk, status: int) -> None:
    call(desk, "create", f"status:{status}")
    with pytest.raises(anthropic.APIStatusError) as caught:
        desk.create(params())
    assert caught.value.status_code == status
    body: Any = caught.value.body
    assert body["type"] == "error"
    assert body["error"]["type"].endswith("_error") or status == 413
    assert ids(desk) == []
    assert desk.create(params()).id


def test_a_rate_limit_says_when_and_why(desk: Desk) -> None:
    call(desk, "create", "status:429", retry_after=7, error_code="ramp_limit_exceeded", after=1, times=2)
    desk.create(params())
    for _ in range(2):
        with pytest.raises(anthropic.RateLimitError) as caught:
            desk.create(params())
        assert caught.value.response.headers["retry-after"] == "7"
        assert caught.value.body["error"]["details"] == {"error_code": "ramp_limit_exceeded"}  # type: ignore[index]
    desk.create(params())
    assert [one["fault"] for one in desk.log()["calls"]] == [None, "status:429", "status:429", None]


def test_html_from_a_proxy(desk: Desk) -> None:
    call(desk, "retrieve", "status_html:502")
    with pytest.raises(anthropic.InternalServerError) as caught:
        desk.sdk.messages.batches.retrieve("msgbatch_x")
    assert "<html>" in str(caught.value.body)


def test_a_reset_leaves_nothing(desk: Desk) -> None:
    call(desk, "create", "reset")
    with pytest.raises(anthropic.APIConnectionError):
        desk.create(params())
    assert ids(desk) == []
    assert desk.log()["calls"][0] | {"at": ""} == {
        "at": "", "method": "POST", "path": BATCHES, "status": 0, "fault": "reset"
    }  # fmt: skip


def test_accepted_and_then_lost(desk: Desk) -> None:
    call(desk, "create", "accepted_then_reset")
    with pytest.raises(anthropic.APIConnectionError):
        desk.create(params())
    call(desk, "create", "accepted_then_status:529")
    with pytest.raises(anthropic.APIStatusError):
        desk.create(params())
    call(desk, "create", "accepted_then_empty")
    assert desk.create(params()).id is None
    call(desk, "create", "accepted_then_html")
    answer: Any = desk.sdk.post(BATCHES, cast_to=MessageBatch, body={"requests": [{"custom_id": "r", "params": {}}]})
    assert isinstance(answer, str)
    assert "<html>" in answer
    assert len(ids(desk)) == 4
    faults = [batch["fault"] for batch in desk.log()["batches"].values()]
    assert faults == [
        "accepted_then_reset", "accepted_then_status:529", "accepted_then_empty", "accepted_then_html"
    ]  # fmt: skip


def test_what_the_defaults_of_the_sdk_do_with_that(desk: Desk) -> None:
    call(desk, "create", "accepted_then_status:500", times=2)
    eager = SDK.with_options(base_url=desk.emulator.base_url, max_retries=2)
    eager.messages.batches.create(requests=[{"custom_id": "r", "params": params()}])  # type: ignore[typeddict-item]
    logged = desk.log()["batches"].values()
    assert len(logged) == 3
    assert len({batch["requests"][0]["params_md5"] for batch in logged}) == 1


def test_an_answer_that_comes_too_late(desk: Desk) -> None:
    call(desk, "create", "accepted_late", seconds=3600)
    hasty = desk.sdk.with_options(timeout=0.3)
    with pytest.raises(anthropic.APITimeoutError):
        hasty.messages.batches.create(requests=[{"custom_id": "r", "params": params()}])  # type: ignore[typeddict-item]
    assert len(ids(desk)) == 1
    ends(desk.emulator.stop)


@pytest.mark.parametrize("answer", ["status:503", "reset"])
def test_a_batch_that_appears_later(desk: Desk, answer: str) -> None:
    call(desk, "create", "landed_later", seconds=120, answer=answer)
    with pytest.raises(anthropic.APIError):
        desk.create(params())
    assert ids(desk) == []
    desk.advance(121)
    (batch_id,) = ids(desk)
    assert desk.end(batch_id).request_counts.succeeded == 1


def test_a_list_that_lags(desk: Desk) -> None:
    call(desk, "list", "list_lag", seconds=60, times=100)
    batch = desk.create(params())
    assert ids(desk) == []
    assert desk.sdk.messages.batches.retrieve(batch.id).id == batch.id
    desk.advance(61)
    assert ids(desk) == [batch.id]


def test_a_404_right_after_the_create(desk: Desk) -> None:
    call(desk, "retrieve", "status:404", times=2)
    batch = desk.create(params())
    for _ in range(2):
        with pytest.raises(anthropic.NotFoundError):
            desk.sdk.messages.batches.retrieve(batch.id)
    assert desk.end(batch.id).request_counts.succeeded == 1


def test_results_on_another_host(desk: Desk) -> None:
    batch = desk.create(params())
    desk.end(batch.id)
    call(desk, "retrieve", "results_url_other_host", host="http://evil.example")
    url = desk.sdk.messages.batches.retrieve(batch.id).results_url
    assert url == f"http://evil.example{BATCHES}/{batch.id}/results"


def test_other_calls_fail_too(desk: Desk) -> None:
    batch = desk.create(params())
    call(desk, "cancel", "accepted_then_status:500")
    with pytest.raises(anthropic.InternalServerError):
        desk.sdk.messages.batches.cancel(batch.id)
    assert desk.sdk.messages.batches.retrieve(batch.id).processing_status == "ended"
    call(desk, "results", "status:404")
    assert desk.http("GET", f"{BATCHES}/{batch.id}/results")[0] == 404
    call(desk, "retrieve", "empty")
    assert desk.http("GET", f"{BATCHES}/{batch.id}")[2] == b"{}"
    call(desk, "list", "html")
    assert b"<html>" in desk.http("GET", BATCHES)[2]
    call(desk, "message", "late", seconds=0.1)
    assert desk.http("POST", "/v1/messages", params())[0] == 200


def spoiled(desk: Desk, fault: str) -> tuple[bytes, bytes]:
    """Return (the results as they are, the results as the fault sends them)."""
    batch = desk.create(*[params(f"row {place}") for place in range(6)])
    desk.end(batch.id)
    path = f"{BATCHES}/{batch.id}/results"
    whole = desk.http("GET", path)[2]
    call(desk, "results", fault)
    broken = desk.http("GET", path)[2]
    assert desk.http("GET", path)[2] == whole
    return whole, broken


def test_results_cut_at_a_line_end(desk: Desk) -> None:
    whole, broken = spoiled(desk, "results_cut_line_end")
    assert whole.startswith(broken)
    assert broken.count(b"\n") == 3
    assert broken.endswith(b"\n")


def test_results_cut_within_a_line(desk: Desk) -> None:
    whole, broken = spoiled(desk, "results_cut_mid_line")
    assert whole.startswith(broken)
    assert not broken.endswith(b"\n")


@pytest.mark.parametrize("fault", ["results_cut_length", "results_cut_chunk"])
def test_results_whose_connection_breaks(desk: Desk, fault: str) -> None:
    batch = desk.create(params("a"), params("b"))
    desk.end(batch.id)
    call(desk, "results", fault)
    with pytest.raises(httpx2.RemoteProtocolError):
        list(desk.sdk.messages.batches.results(batch.id))


def test_results_with_spoiled_lines(desk: Desk) -> None:
    def lines(fault: str) -> tuple[list[bytes], list[bytes]]:
        whole, broken = spoiled(desk, fault)
        return whole.splitlines(), broken.splitlines()

    whole, broken = lines("doubled_line")
    assert (len(broken), set(broken)) == (7, set(whole))
    whole, broken = lines("differing_double")
    found = [json.loads(line)["custom_id"] for line in broken]
    assert (len(broken), len(set(found)), len(set(broken))) == (7, 6, 7)
    whole, broken = lines("foreign_line")
    assert len(broken) == 7
    assert "somebody-elses-row" in [json.loads(line)["custom_id"] for line in broken]
    whole, broken = lines("missing_line")
    assert len(set(whole) - set(broken)) == 1
    whole, broken = lines("blank_line")
    assert [line for line in broken if line] == whole
    assert b"" in broken
    whole, broken = lines("bad_json_line")
    (bad,) = [line for line in broken if line not in whole]
    with pytest.raises(json.JSONDecodeError):
        json.loads(bad)


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ("{", "not JSON"),
        ([], "expected an object"),
        ({"request": []}, "request: unknown key"),
        ({"requests": {}}, "requests: expected a list"),
        ({"requests": [{"outcome": "explode"}]}, r"requests\[0\].outcome: unknown outcome 'explode'"),
        ({"requests": [{"outcome": "expired", "per": "day"}]}, r"requests\[0\].per: expected"),
        ({"requests": [{"outcome": "expired", "share": "x"}]}, r"requests\[0\].share: expected a number"),
        ({"calls": [{"call": "post", "fault": "reset"}]}, r"calls\[0\].call: unknown call 'post'"),
        ({"calls": [{"call": "list", "fault": "status:200"}]}, r"calls\[0\].fault: unknown fault"),
        ({"calls": [{"call": "list", "fault": "blank_line"}]}, "blank_line is a fault of the call 'results'"),
        ({"calls": [{"call": "create", "fault": "landed_later", "answer": "no"}]}, "answer: expected"),
        ({"max_queued": -1}, "max_queued: expected a whole number"),
    ],
)
def test_bad_rules_name_the_place(tmp_path: Path, rules: Any, words: str) -> None:
    path = tmp_path / "faults.json"
    path.write_text(rules if isinstance(rules, str) else json.dumps(rules))
    with pytest.raises(EmulatorError, match=f"faults.json: .*{words}"):
        Emulator(tmp_path / "state", faults=path).start()


def test_bad_control_calls(desk: Desk) -> None:
    def refused(path: str, value: Any) -> str:
        status, _, text = desk.http("POST", f"/emulator/{path}", value, {})
        assert status == 400
        return str(json.loads(text)["error"]["message"])

    assert refused("faults", {"calls": [{"call": "x"}]}).startswith("faults: calls[0].call: unknown call")
    assert refused("clock", {"seconds": 1}) == "advance_seconds: expected a number"
    assert refused("clock", b"{").startswith("not JSON")
    assert refused("stranger", {"requests": 0}).startswith("expected")
    assert refused("nothing", {}).endswith("there is no such control endpoint")
