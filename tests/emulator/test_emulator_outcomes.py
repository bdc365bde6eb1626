"""Tests of the outcomes of single requests that rules of the emulator set."""

import json
from pathlib import Path
from typing import Any

import pytest
from helpers.emulator_desk import SCHEMA, Desk, desk, params, structured

__all__ = ["desk"]
TOOL: dict[str, Any] = {
    "tools": [{"name": "t", "input_schema": SCHEMA}],
    "tool_choice": {"type": "tool", "name": "t"},
}


def outcome(desk: Desk, name: str, wanted: dict[str, Any] | None = None, **rule: Any) -> dict[str, Any]:
    desk.faults(requests=[{"outcome": name, **rule}])
    (result,) = desk.results(structured() if wanted is None else wanted)
    return result


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("errored_invalid", "invalid_request_error", ""),
        ("errored_credit", "invalid_request_error", "Your credit balance is too low"),
        ("errored_overloaded", "overloaded_error", "Overloaded"),
        ("errored_api", "api_error", "Internal server error"),
        ("errored_rate_limit", "rate_limit_error", ""),
        ("errored_permission", "permission_error", ""),
    ],
)
def test_errored_lines(desk: Desk, name: str, kind: str, words: str) -> None:
    result = outcome(desk, name)
    assert (result["type"], result["error"]["error"]["type"]) == ("errored", kind)
    assert result["error"]["error"]["message"].startswith(words)
    status, _, _ = desk.http("POST", "/v1/messages", params())
    assert status >= 400


@pytest.mark.parametrize("name", ["expired", "canceled"])
def test_lines_without_an_answer(desk: Desk, name: str) -> None:
    desk.faults(requests=[{"outcome": name, "match": "row 1"}])
    batch = desk.create(params("row 1"), params("row 2"))
    counts = desk.end(batch.id).request_counts.model_dump()
    assert (counts[name], counts["succeeded"]) == (1, 1)
    found = {line["custom_id"]: line["result"] for line in desk.raw_lines(batch.id)}
    assert found["r-0"] == {"type": name}


def test_refusals(desk: Desk) -> None:
    message = outcome(desk, "refused")["message"]
    assert (message["stop_reason"], message["content"]) == ("refusal", [])
    assert message["stop_details"]["type"] == "refusal"
    assert message["usage"]["input_tokens"] > 0
    message = outcome(desk, "refused_midway")["message"]
    assert message["stop_reason"] == "refusal"
    assert message["content"][0]["text"]


@pytest.mark.parametrize(
    ("name", "stop_reason"),
    [
        ("truncated", "max_tokens"),
        ("context_window", "model_context_window_exceeded"),
        ("pause_turn", "pause_turn"),
        ("invalid_json", "end_turn"),
    ],
)
def test_answers_that_are_no_json(desk: Desk, name: str, stop_reason: str) -> None:
    message = outcome(desk, name)["message"]
    assert message["stop_reason"] == stop_reason
    with pytest.raises(json.JSONDecodeError):
        json.loads(message["content"][0]["text"])
    called = outcome(desk, name, params(**TOOL))["message"]
    assert called["content"][0]["input"] == {}
    if name == "truncated":
        assert message["usage"]["output_tokens"] == 200


def test_answers_that_break_their_schema(desk: Desk) -> None:
    def value(name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(outcome(desk, name)["message"]["content"][0]["text"])
        return found

    assert value("wrong_enum")["label"].startswith("not_")
    assert value("enum_case")["label"] in ("BILLING", "BUG", "OTHER")
    assert value("out_of_range")["confidence"] >= 1_000_000_000
    assert set(value("extra_field")) == {"label", "confidence", "reason", "unexpected_field"}
    assert set(value("missing_field")) == {"confidence", "reason"}
    tool = outcome(desk, "wrong_enum", params(**TOOL))["message"]["content"][0]
    assert tool["input"]["label"].startswith("not_")


def test_nested_fields_are_spoiled_too(desk: Desk) -> None:
    inner = {"$ref": "#/$defs/part"}
    part = {
        "type": "object",
        "properties": {"kind": {"enum": ["a", "b"]}},
        "required": ["kind"],
        "additionalProperties": False,
    }
    schema = {
        "type": "object",
        "properties": {"parts": {"type": "array", "items": inner, "minItems": 1}},
        "required": ["parts"],
        "additionalProperties": False,
        "$defs": {"part": part},
    }
    text = outcome(desk, "wrong_enum", structured(schema=schema))["message"]["content"][0]["text"]
    assert json.loads(text)["parts"][0]["kind"].startswith("not_")


def test_other_shapes(desk: Desk) -> None:
    assert outcome(desk, "empty_content")["message"]["content"] == []
    split = outcome(desk, "split_text")["message"]["content"]
    assert len(split) == 2
    json.loads(split[0]["text"] + split[1]["text"])
    assert outcome(desk, "not_batch_tier")["message"]["usage"]["service_tier"] == "standard"
    desk.faults(requests=[{"output": "exactly this"}])
    assert desk.text(structured()) == "exactly this"
    desk.faults(requests=[{"outcome": "unknown_type"}])
    batch = desk.create(params())
    assert desk.end(batch.id).request_counts.succeeded == 1
    assert desk.raw_lines(batch.id)[0]["result"] == {"type": "weird"}


def test_which_requests_a_rule_is_for(desk: Desk) -> None:
    desk.faults(requests=[{"outcome": "errored_api", "match": "row 1", "model": "claude-haiku-4-5", "times": 1}])
    sonnet = params("row 1", model="claude-sonnet-4-6")
    first = [result["type"] for result in desk.results(params("row 2"), sonnet, params("row 1"))]
    assert first == ["succeeded", "succeeded", "errored"]
    assert desk.complaint(params("row 1 once more")) == ""


def test_a_share_is_chosen_by_content(desk: Desk) -> None:
    desk.faults(requests=[{"outcome": "expired", "share": 0.3}])
    wanted = [params(f"row {place}") for place in range(200)]
    first = [result["type"] for result in desk.results(*wanted)]
    assert 30 < first.count("expired") < 90
    assert [result["type"] for result in desk.results(*wanted)] == first


def test_times_count_a_row_through_its_retries(desk: Desk) -> None:
    desk.faults(requests=[{"outcome": "invalid_json", "times": 2}])

    def retry(place: int) -> dict[str, Any]:
        text = [{"type": "text", "text": f"row {place}"}, {"type": "text", "text": "That was not JSON."}]
        return structured(messages=[{"role": "user", "content": text}])

    def valid(*wanted: dict[str, Any]) -> list[bool]:
        texts = [result["message"]["content"][0]["text"] for result in desk.results(*wanted)]
        return [text.endswith("}") for text in texts]

    assert valid(*[structured(f"row {place}") for place in range(3)]) == [False] * 3
    assert valid(*[retry(place) for place in range(3)]) == [False] * 3
    assert valid(*[retry(place) for place in range(3)]) == [True] * 3


def test_answers_of_a_file_are_spoiled_too(tmp_path: Path) -> None:
    answers = tmp_path / "answers.jsonl"
    answers.write_text('{"match": "row", "output": {"label": "bug", "confidence": 1, "reason": "r"}}\n')
    with Desk(tmp_path / "state", answers=answers) as desk:
        message = outcome(desk, "enum_case", structured("row"))["message"]
        assert json.loads(message["content"][0]["text"])["label"] == "BUG"
