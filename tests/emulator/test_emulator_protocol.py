"""Tests of the emulator's calls, which are those of the Message Batches API."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import anthropic
import pytest
from anthropic.types import ModelInfo
from helpers.emulator_desk import BATCH, HEADERS, MESSAGE, Desk, desk, ends, params, request, structured
from pydantic import TypeAdapter

import batchpipe.emulator

__all__ = ["desk"]
BATCHES = "/v1/messages/batches"


def test_submit_look_collect(desk: Desk) -> None:
    batch = desk.create(params("one"), params("two"))
    assert batch.processing_status == "in_progress"
    assert batch.request_counts.processing == 2
    assert (batch.expires_at - batch.created_at).total_seconds() == 86_400
    assert (batch.results_url, batch.ended_at, batch.archived_at) == (None, None, None)

    first = desk.sdk.messages.batches.retrieve(batch.id)
    assert (first.processing_status, first.results_url) == ("in_progress", None)

    second = desk.sdk.messages.batches.retrieve(batch.id)
    assert second.processing_status == "ended"
    assert second.ended_at is not None
    assert second.results_url == f"{desk.emulator.base_url}{BATCHES}/{batch.id}/results"
    assert second.request_counts.model_dump() == {
        "processing": 0, "succeeded": 2, "errored": 0, "canceled": 0, "expired": 0
    }  # fmt: skip

    lines = list(desk.sdk.messages.batches.results(batch.id))
    assert {line.custom_id for line in lines} == {"r-0", "r-1"}


def test_results_are_not_in_the_order_of_the_requests(desk: Desk) -> None:
    batch = desk.create(*[params(f"row {place}") for place in range(30)])
    desk.end(batch.id)
    ids = [line["custom_id"] for line in desk.raw_lines(batch.id)]
    assert ids != sorted(ids, key=lambda name: int(name[2:]))
    assert ids == [line["custom_id"] for line in desk.raw_lines(batch.id)]


def test_a_list_is_no_look(desk: Desk) -> None:
    batch = desk.create(params())
    for _ in range(3):
        (listed,) = desk.sdk.messages.batches.list().data
        assert listed.processing_status == "in_progress"
    assert desk.sdk.messages.batches.retrieve(batch.id).processing_status == "in_progress"


def test_no_end_before_the_delay(tmp_path: Path) -> None:
    with Desk(tmp_path, delay_seconds=3600) as desk:
        batch = desk.create(params())
        for _ in range(3):
            assert desk.sdk.messages.batches.retrieve(batch.id).processing_status == "in_progress"
        desk.advance(3601)
        assert desk.sdk.messages.batches.retrieve(batch.id).processing_status == "ended"


def test_results_before_the_end_are_not_found(desk: Desk) -> None:
    batch = desk.create(params())
    assert desk.error("GET", f"{BATCHES}/{batch.id}/results").startswith("404 not_found_error")
    assert desk.error("GET", f"{BATCHES}/msgbatch_none").startswith("404 not_found_error")


def test_pages_newest_first(desk: Desk) -> None:
    ids = [desk.create(params(f"batch {place}")).id for place in range(5)][::-1]
    page = desk.sdk.messages.batches.list(limit=2)
    assert [batch.id for batch in page.data] == ids[:2]
    assert (page.has_more, page.first_id, page.last_id) == (True, ids[0], ids[1])
    assert [batch.id for batch in page] == ids
    last = desk.sdk.messages.batches.list(limit=2, after_id=ids[3])
    assert ([batch.id for batch in last.data], last.has_more) == (ids[4:], False)
    before = desk.sdk.messages.batches.list(limit=2, before_id=ids[3])
    assert ([batch.id for batch in before.data], before.has_more) == (ids[1:3], True)
    assert desk.sdk.messages.batches.list(before_id=ids[0]).data == []
    for bad in ("limit=0", "limit=1001", "limit=x"):
        assert desk.error("GET", f"{BATCHES}?{bad}").startswith("400 invalid_request_error: limit")
    assert desk.error("GET", f"{BATCHES}?after_id=msgbatch_x").startswith("404")


def test_cancel(desk: Desk) -> None:
    batch = desk.create(params("one"), params("two"))
    canceling = desk.sdk.messages.batches.cancel(batch.id)
    assert canceling.processing_status == "canceling"
    assert canceling.cancel_initiated_at is not None
    assert desk.sdk.messages.batches.cancel(batch.id).processing_status == "canceling"
    ended = desk.sdk.messages.batches.retrieve(batch.id)
    assert (ended.processing_status, ended.request_counts.canceled) == ("ended", 2)
    assert {line["result"]["type"] for line in desk.raw_lines(batch.id)} == {"canceled"}
    assert desk.error("POST", f"{BATCHES}/{batch.id}/cancel").startswith("400 invalid_request_error")


def test_cancel_with_some_finished(desk: Desk) -> None:
    desk.faults(finished_before_cancel=0.5)
    batch = desk.create(*[params(f"row {place}") for place in range(40)])
    desk.sdk.messages.batches.cancel(batch.id)
    counts = desk.end(batch.id).request_counts
    assert counts.canceled > 5
    assert counts.succeeded > 5
    assert counts.canceled + counts.succeeded == 40


def test_delete_only_after_the_end(desk: Desk) -> None:
    batch = desk.create(params())
    with pytest.raises(anthropic.BadRequestError):
        desk.sdk.messages.batches.delete(batch.id)
    desk.end(batch.id)
    deleted = desk.sdk.messages.batches.delete(batch.id)
    assert (deleted.id, deleted.type) == (batch.id, "message_batch_deleted")
    assert desk.error("GET", f"{BATCHES}/{batch.id}").startswith("404")
    assert desk.sdk.messages.batches.list().data == []


def test_expiry_after_a_day(tmp_path: Path) -> None:
    with Desk(tmp_path, delay_seconds=100_000) as desk:
        batch = desk.create(params("one"), params("two"))
        desk.advance(86_401)
        (listed,) = desk.sdk.messages.batches.list().data
        assert listed.processing_status == "ended"
        ended = desk.end(batch.id)
        assert ended.request_counts.expired == 2
        assert ended.ended_at == ended.expires_at
        assert {line["result"]["type"] for line in desk.raw_lines(batch.id)} == {"expired"}


def test_results_are_gone_29_days_after_creation(desk: Desk) -> None:
    batch = desk.create(params())
    desk.end(batch.id)
    desk.advance(29 * 86_400 - 60)
    assert desk.end(batch.id).archived_at is None
    desk.advance(61)
    gone = desk.end(batch.id)
    assert gone.archived_at is not None
    assert (gone.archived_at - gone.created_at).days == 29
    assert gone.results_url is None
    assert desk.error("GET", f"{BATCHES}/{batch.id}/results").startswith("404 not_found_error")


def test_keys_and_workspaces(desk: Desk) -> None:
    version = {"anthropic-version": "2026-10-21"}
    assert desk.error("GET", BATCHES, headers=version).startswith("401 authentication_error")
    assert desk.error("GET", BATCHES, headers={**version, "x-api-key": "invalid-1"}).startswith("401")
    batch = desk.key("sk-a@red").messages.batches.create(requests=[request("r", params())])  # type: ignore[list-item]
    for key in ("sk-b", "sk-a@blue"):
        with pytest.raises(anthropic.NotFoundError):
            desk.key(key).messages.batches.retrieve(batch.id)
        assert desk.key(key).messages.batches.list().data == []
    assert desk.key("sk-other@red").messages.batches.retrieve(batch.id).id == batch.id
    both = {**HEADERS, "x-api-key": "sk@red"}
    status, headers, _ = desk.http("GET", f"{BATCHES}/{batch.id}?beta=true", headers=both)
    assert (status, headers["anthropic-workspace-id"]) == (200, "wrkspc_red")
    assert headers["request-id"].startswith("req_")
    assert headers["anthropic-organization-id"]
    other = {**HEADERS, "anthropic-workspace-id": "wrkspc_red"}
    assert desk.error("GET", BATCHES, headers=other).startswith("403 permission_error")


def test_versions(desk: Desk) -> None:
    key = {"x-api-key": "k"}
    assert desk.error("GET", BATCHES, headers=key) == (
        "400 invalid_request_error: anthropic-version: header is required"
    )
    unknown = {**key, "anthropic-version": "2024-01-01"}
    assert desk.error("GET", BATCHES, headers=unknown).startswith("400 invalid_request_error: anthropic-version")
    for version in ("2023-06-01", "2026-10-21"):
        assert desk.http("GET", BATCHES, headers={**key, "anthropic-version": version})[0] == 200


def test_unknown_paths(desk: Desk) -> None:
    assert desk.error("GET", "/v1/nothing").startswith("404 not_found_error")
    assert desk.error("PUT", BATCHES, {}).startswith("405 ")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "400 invalid_request_error: The request body is not valid JSON"),
        (b"{", "400 invalid_request_error: The request body is not valid JSON"),
        (b"[]", "400 invalid_request_error: Input should be a valid dictionary"),
        (b'{"requests": "x"}', "400 invalid_request_error: requests: Input should be a valid list"),
        ({}, "400 invalid_request_error: requests: Field required"),
        ({"requests": []}, "400 invalid_request_error: requests: List should have at least 1 item"),
        ({"requests": [], "metadata": {}}, "400 invalid_request_error: metadata: Extra inputs"),
        ({"requests": [7]}, "400 invalid_request_error: requests.0: Input should be a valid dictionary"),
        ({"requests": [{"params": {}}]}, "400 invalid_request_error: requests.0.custom_id: Field required"),
        (
            {"requests": [request("a b", {})]},
            "400 invalid_request_error: requests.0.custom_id: String should",
        ),
        (
            {"requests": [request("a\n", {})]},
            "400 invalid_request_error: requests.0.custom_id: String should",
        ),
        ({"requests": [request("a" * 65, {})]}, "400 invalid_request_error: requests.0.custom_id: String"),
        ({"requests": [{"custom_id": "a"}]}, "400 invalid_request_error: requests.0.params: Field required"),
        (
            {"requests": [{**request("a", {}), "betas": []}]},
            "400 invalid_request_error: requests.0.betas: Extra inputs",
        ),
        (
            {"requests": [request("a", {}), request("a", {})]},
            "400 invalid_request_error: requests.1.custom_id: custom_id must be unique",
        ),
    ],
)
def test_what_is_refused_at_once(desk: Desk, body: object, message: str) -> None:
    assert desk.error("POST", BATCHES, body).startswith(message)
    assert desk.log()["batches"] == {}


def test_limits_of_a_batch(desk: Desk) -> None:
    desk.faults(max_requests=2, max_bytes=1000, max_queued=3)
    three = {"requests": [request(f"r{place}", {}) for place in range(3)]}
    assert desk.error("POST", BATCHES, three).startswith("400 invalid_request_error: requests: List should have")
    large = {"requests": [request("r", params("x" * 1000))]}
    assert desk.error("POST", BATCHES, large).startswith("413 request_too_large")
    two = {"requests": three["requests"][:2]}
    assert desk.http("POST", BATCHES, two)[0] == 200
    assert desk.error("POST", BATCHES, two).startswith("429 rate_limit_error")
    assert len(desk.log()["batches"]) == 1


def test_more_than_100000_requests_are_refused(desk: Desk) -> None:
    lines = ",".join(f'{{"custom_id":"r{place}","params":{{}}}}' for place in range(100_001))
    body = f'{{"requests":[{lines}]}}'.encode()
    assert desk.error("POST", BATCHES, body).startswith("400 invalid_request_error: requests: List should have")


def test_large_bodies_in_any_layout(desk: Desk) -> None:
    trap = params('},{"custom_id":"x', metadata={"user_id": "u"})
    # A list inside params that looks like the border between two requests.
    trap["messages"] = [*trap["messages"], {"custom_id": "inner"}, {"custom_id": "inner"}]
    requests = [request(f"r{place}", params("x" * 900)) for place in range(1500)]
    for body in (
        json.dumps({"requests": requests}, separators=(",", ":")),
        json.dumps({"requests": requests}, indent=1),
        json.dumps({"requests": [*requests, request("trap", trap)]}, separators=(",", ":")),
        json.dumps({"requests": [{"params": one["params"], "custom_id": one["custom_id"]} for one in requests]}),
    ):
        status, _, text = desk.http("POST", BATCHES, body.encode())
        assert status == 200, text
        assert json.loads(text)["request_counts"]["processing"] >= 1500
    broken = json.dumps({"requests": requests})[:-30].encode()
    assert desk.error("POST", BATCHES, broken).startswith("400 invalid_request_error: The request body is not")


def test_a_body_in_chunks(desk: Desk) -> None:
    def pieces() -> Iterator[bytes]:
        yield b'{"requests":['
        yield json.dumps(request("r", params())).encode()
        yield b"]}"

    made = desk.sdk.post(
        BATCHES, cast_to=anthropic.types.messages.MessageBatch, content=pieces(),
        options={"headers": {"content-type": "application/json"}},
    )  # fmt: skip
    assert desk.end(made.id).request_counts.succeeded == 1


def test_betas_are_those_of_the_batch(desk: Desk) -> None:
    long = params(model="claude-opus-4-8", max_tokens=200_000)
    batch = desk.sdk.beta.messages.batches.create(
        requests=[request("r", long)],  # type: ignore[list-item]
        betas=["output-300k-2026-03-24"],
    )
    assert desk.end(batch.id).request_counts.succeeded == 1
    assert desk.complaint(long).startswith("invalid_request_error: max_tokens: 200000 > 128000")


def test_a_realtime_call_is_answered_like_a_batch(desk: Desk) -> None:
    asked = structured("the same question")
    status, headers, text = desk.http("POST", "/v1/messages", asked)
    assert (status, headers["content-type"]) == (200, "application/json")
    live = MESSAGE.validate_json(text)
    assert live.usage.service_tier == "standard"
    batched = desk.message(asked)
    assert batched["usage"]["service_tier"] == "batch"
    assert json.loads(text)["content"] == batched["content"]
    assert desk.error("POST", "/v1/messages", params(model="claude-9")).startswith("404 not_found_error")
    assert desk.error("POST", "/v1/messages", params(max_tokens=0)).startswith("400 invalid_request_error")
    answer = desk.sdk.messages.create(
        model="claude-sonnet-4-6", max_tokens=50, messages=[{"role": "user", "content": "Hi"}]
    )
    assert answer.stop_reason == "end_turn"


def test_models(desk: Desk) -> None:
    adapter = TypeAdapter(ModelInfo)
    status, _, text = desk.http("GET", "/v1/models?limit=1000")
    found = [adapter.validate_python(one) for one in json.loads(text)["data"]]
    assert status == 200
    assert {"claude-fable-5-2", "claude-haiku-4-5-20251001"} <= {model.id for model in found}
    haiku = desk.sdk.models.retrieve("claude-haiku-4-5")
    assert (haiku.id, haiku.max_tokens, haiku.max_input_tokens) == (
        "claude-haiku-4-5-20251001",
        64_000,
        200_000,
    )
    assert haiku.capabilities is not None
    assert not haiku.capabilities.effort.supported
    assert len(list(desk.sdk.models.list(limit=5))) == len(found)
    assert desk.error("GET", "/v1/models/claude-9").startswith("404 not_found_error")


def test_the_log_tells_of_calls_and_requests(desk: Desk) -> None:
    batch = desk.create(params("same"), params("same"), params("other"))
    desk.end(batch.id)
    log = desk.log()
    assert [(call["method"], call["status"]) for call in log["calls"]] == [
        ("POST", 200),
        ("GET", 200),
        ("GET", 200),
    ]
    logged = log["batches"][batch.id]
    assert logged["total"] == 3
    short = json.loads(desk.http("GET", "/emulator/log?requests=0", headers={})[2])
    assert "requests" not in short["batches"][batch.id]
    assert [one["custom_id"] for one in logged["requests"]] == ["r-0", "r-1", "r-2"]
    marks = [one["params_md5"] for one in logged["requests"]]
    assert marks[0] == marks[1] != marks[2]
    assert {one["result"] for one in logged["requests"]} == {"succeeded"}
    assert (logged["fault"], logged["stranger"], logged["workspace"]) == (None, False, "default")


def test_a_stranger_in_the_workspace(desk: Desk) -> None:
    made = desk.control("stranger", {"requests": 3})
    (listed,) = desk.sdk.messages.batches.list().data
    assert (listed.id, listed.request_counts.processing) == (made["id"], 3)
    desk.end(made["id"])
    assert all(line["custom_id"].startswith("stranger-") for line in desk.raw_lines(made["id"]))
    assert desk.log()["batches"][made["id"]]["stranger"] is True
    other = desk.control("stranger", {"requests": 1, "workspace": "red"})
    assert BATCH.validate_json(
        desk.http("GET", f"{BATCHES}/{other['id']}", headers={**HEADERS, "x-api-key": "k@red"})[2]
    ).request_counts.processing == 1  # fmt: skip


def test_stopping_is_quick_and_repeatable(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    with desk:
        desk.create(params())
        ends(desk.emulator.stop)
        ends(desk.emulator.stop)
        with pytest.raises(RuntimeError):
            _ = desk.emulator.base_url


def test_it_imports_nothing_of_the_rest_and_no_sdk() -> None:
    folder = Path(batchpipe.emulator.__file__).parent
    imported = {
        name
        for path in folder.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        )
    }  # fmt: skip
    ours = {name for name in imported if name.startswith("batchpipe")}
    assert all(name.startswith("batchpipe.emulator.") for name in ours)
    outside = {name.split(".")[0] for name in imported - ours} - set(sys.stdlib_module_names)
    assert outside <= {"orjson", "jsonschema_rs"}


def test_naming_the_class_loads_little() -> None:
    code = "import sys; from batchpipe.emulator import Emulator; print([m for m in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    for name in ("http.server", "sqlite3", "orjson", "jsonschema_rs", "anthropic", "duckdb"):
        assert f"'{name}'" not in loaded
