"""Tests of realtime calls: streamed where the answer may be long, refused with a line, told what room is left."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from helpers.emulator_desk import Desk, params, structured

from batchpipe.providers import RateRoom, RefusedError, UnavailableError
from batchpipe.providers.anthropic import provider
from batchpipe.providers.anthropic.calls import Calls
from batchpipe.providers.anthropic.realtime import message_of, room_of

USAGE = {"input_tokens": 3, "output_tokens": 1}
START = {"type": "message_start", "message": {"model": "m", "content": [], "stop_reason": None, "usage": USAGE}}


def ask(client: Calls, wanted: dict[str, Any]) -> dict[str, Any]:
    headers = {"anthropic-version": "2026-10-21"}
    answer = client.answer("r-1", json.dumps(wanted).encode(), headers=headers, timeout_seconds=20)
    found = json.loads(answer.line)
    assert found["custom_id"] == "r-1"
    result: dict[str, Any] = found["result"]
    return result


def lines(*events: dict[str, Any]) -> list[str]:
    return [line for event in events for line in (f"event: {event['type']}", f"data: {json.dumps(event)}", "")]


def test_a_streamed_answer_is_the_plain_one(tmp_path: Path) -> None:
    """The SDK's own reading of a stream agrees with ours; a request at fault has a line of results."""
    with Desk(tmp_path) as desk:
        client = provider({"ANTHROPIC_API_KEY": "k"}, base_url=desk.emulator.base_url)
        for wanted in (structured("a ticket"), params("a ticket", thinking={"type": "enabled", "budget_tokens": 1024})):
            plain = ask(client, {**wanted, "max_tokens": 4_000})["message"]
            streamed = ask(client, {**wanted, "max_tokens": 9_000})["message"]
            assert all(
                each.pop("signature") for each in (*streamed["content"], *plain["content"]) if "signature" in each
            )
            assert streamed["content"] == plain["content"]
            assert streamed["stop_reason"] == plain["stop_reason"]
            assert streamed["usage"].keys() == plain["usage"].keys()
            assert streamed["usage"]["output_tokens"] == plain["usage"]["output_tokens"] > 1
            with desk.sdk.messages.stream(**{**wanted, "max_tokens": 9_000}) as stream:
                assert stream.get_final_message().usage.output_tokens == streamed["usage"]["output_tokens"]
        assert ask(client, params(max_tokens=10))["message"]["usage"]["service_tier"] == "standard"
        with pytest.raises(RefusedError) as refused:
            ask(client, params(temperature=5))
        assert refused.value.line is not None
        error = json.loads(refused.value.line)["result"]
        assert (error["type"], error["error"]["error"]["type"]) == ("errored", "invalid_request_error")
        with pytest.raises(RefusedError) as unknown:
            ask(client, params(model="claude-nosuch"))
        assert unknown.value.line is None


def test_a_stream_keeps_what_a_tool_was_given_as_it_came() -> None:
    block = {"type": "tool_use", "id": "t", "name": "answer", "input": {}}
    deltas: list[dict[str, Any]] = [
        {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": part}}
        for part in ('{"amount": 123456789012', "345678.910}")
    ]
    end: dict[str, Any] = {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 9}}
    whole: list[dict[str, Any]] = [
        START,
        {"type": "content_block_start", "index": 0, "content_block": block},
        *deltas,
        end,
    ]
    found = message_of(["", ": a comment", "data: no json", *lines(*whole, {"type": "message_stop"})])
    assert b"123456789012345678.910" in found
    assert json.loads(found)["usage"] == {"input_tokens": 3, "output_tokens": 9}
    half: list[dict[str, Any]] = [
        {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": '{"a'}}
    ]
    cut = message_of(lines(START, {"type": "content_block_start", "index": 0, "content_block": block}, *half, end,
                           {"type": "message_stop"}))  # fmt: skip
    assert json.loads(cut)["content"][0]["input"] == '{"a'


def test_a_tool_is_given_its_input_also_beside_a_character_that_came_in_halves() -> None:
    texts: list[dict[str, Any]] = [
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": half}}
        for half in ("Sure \ud83d", "\ude00")
    ]
    block = {"type": "tool_use", "id": "t", "name": "answer", "input": {}}
    given = {"type": "input_json_delta", "partial_json": '{"amount": 1.10}'}
    found = message_of(lines(
        START,
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        *texts,
        {"type": "content_block_start", "index": 1, "content_block": block},
        {"type": "content_block_delta", "index": 1, "delta": given},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 9}},
    ))  # fmt: skip
    assert b'"input":{"amount": 1.10}' in found
    assert [each.get("text") for each in json.loads(found)["content"]] == ["Sure 😀", None]


def test_a_null_count_at_the_end_of_a_stream_is_the_count_of_its_start() -> None:
    start = {**START, "message": {"content": [], "usage": {**USAGE, "cache_read_input_tokens": 7}}}
    usage = {"output_tokens": 9, "input_tokens": None, "cache_read_input_tokens": None}
    found = message_of(lines(start, {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": usage}))
    assert json.loads(found)["usage"] == {"input_tokens": 3, "output_tokens": 9, "cache_read_input_tokens": 7}


@pytest.mark.parametrize("events", [[], [START]])
def test_a_broken_stream_is_no_answer(events: list[dict[str, Any]]) -> None:
    with pytest.raises(UnavailableError) as broken:
        message_of(lines(*events))
    assert broken.value.status is None


def test_the_room_that_headers_tell() -> None:
    headers = {
        "date": "Sun, 29 Nov 2026 10:00:00 GMT",
        "anthropic-ratelimit-requests-remaining": "7",
        "anthropic-ratelimit-requests-reset": "2026-11-29T10:00:12Z",
        "anthropic-ratelimit-input-tokens-remaining": "9000",
        "anthropic-ratelimit-output-tokens-remaining": "400",
        "anthropic-ratelimit-output-tokens-reset": "2026-11-29T10:00:30Z",
    }
    assert room_of(headers) == RateRoom(requests=7, tokens=400, seconds=30.0)
    assert room_of({"anthropic-ratelimit-requests-remaining": "-1e9", "date": "x"}) == RateRoom()
