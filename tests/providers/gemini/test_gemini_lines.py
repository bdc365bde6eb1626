"""Tests of the SQL that reads the lines of Gemini's results files."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest

from batchpipe.providers.anthropic import RULES as OTHER_RULES
from batchpipe.providers.gemini import RULES

USAGE = {"promptTokenCount": 100, "candidatesTokenCount": 10, "totalTokenCount": 110}


def answered(
    *parts: dict[str, Any], finish: str | None = "STOP", usage: Any = USAGE, model: str | None = "gemini-3.8-flash"
) -> dict[str, Any]:
    """Return the line of a response with one candidate, without its key; None leaves a member out."""
    candidate = {"content": {"role": "model", "parts": list(parts)}, "finishReason": finish}
    response = {"candidates": [candidate], "usageMetadata": usage, "modelVersion": model, "responseId": "r"}
    return {"response": _without_none(response)}


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_none(each) for name, each in value.items() if each is not None}
    return [_without_none(each) for each in value] if isinstance(value, list) else value


def read(folder: Path, *lines: dict[str, Any] | bytes) -> list[dict[str, Any]]:
    """Return the rows that the SQL makes of lines, in their order; those that could not be read come last."""
    path, mended = folder / "results.jsonl", folder / "mended.jsonl"
    with path.open("wb") as file:
        for number, line in enumerate(lines):
            whole = line if isinstance(line, bytes) else json.dumps({"key": f"id-{number:03}", **line}).encode()
            file.write(whole + b"\n")
    with path.open("rb") as source:
        mended.write_bytes(b"".join(RULES.mended_lines(source, exact_inputs=False)))
    typed, rows = _rows(path, text=False), _rows(mended, text=True)
    # What is not read as text is either the same, or it says that it has to be.
    assert typed == rows or any(row["oddity"] is not None for row in typed)
    return rows


def _rows(path: Path, *, text: bool) -> list[dict[str, Any]]:
    parameters = {"paths": [str(path)], "maximum_object_size": 40_000_000}
    with duckdb.connect() as connection:
        relation = connection.execute(RULES.lines_sql(text=text), parameters)
        names = [each[0] for each in relation.description or ()]
        rows = [dict(zip(names, row, strict=True)) for row in relation.fetchall()]
    for row in rows:
        assert row.pop("filename") == str(path)
    return sorted(rows, key=lambda row: (row["custom_id"] is None, row["custom_id"] or ""))


def test_every_protocol_has_the_same_columns(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").touch()
    parameters = {"paths": [str(tmp_path / "empty.jsonl")], "maximum_object_size": 1_000_000}
    for text in (False, True):
        with duckdb.connect() as connection:
            ours, others = (
                {name: kind for name, kind, *_ in connection.execute("DESCRIBE " + each, parameters).fetchall()}
                for each in (RULES.lines_sql(text=text), OTHER_RULES.lines_sql(text=text))
            )
        assert {"processing": "VARCHAR"} | others == ours


def test_tokens_are_disjoint_and_thoughts_are_output(tmp_path: Path) -> None:
    """100 tokens of the prompt with 40 cached and 20 of tools; 10 of the answer, and 5 of thinking beside them."""
    usage = {
        "promptTokenCount": 100,
        "toolUsePromptTokenCount": 20,
        "cachedContentTokenCount": 40,
        "candidatesTokenCount": 10,
        "thoughtsTokenCount": 5,
        "totalTokenCount": 135,
        "serviceTier": "FLEX",
    }
    thought = {"text": "Let me think.", "thought": True}
    (row,) = read(tmp_path, answered(thought, {"text": "a"}, {"text": "b"}, usage=usage, model="models/gemini-x"))
    tokens = ("input_tokens", "cache_read_tokens", "output_tokens", "thinking_tokens", "cache_write_5m_tokens")
    assert [row[each] for each in tokens] == [80, 40, 15, 5, 0]
    assert (row["answer"], row["model"], row["outcome"], row["processing"]) == ("ab", "gemini-x", "answered", "flex")
    assert row["billed"]
    assert row["cost_known"]
    assert row["oddity"] is None
    assert row["raw"] is None


@pytest.mark.parametrize(
    ("tier", "processing", "factor"),
    [
        ("flex", "flex", "1"),
        ("PRIORITY", "priority", "1.8"),
        ("SERVICE_TIER_PRIORITY", "priority", "1.8"),
        ("standard", None, "1"),
        (None, None, "1"),
    ],
)
def test_the_tier_of_an_answer_has_its_price(
    tmp_path: Path, tier: str | None, processing: str | None, factor: str
) -> None:
    (row,) = read(tmp_path, answered({"text": "a"}, usage={**USAGE, "serviceTier": tier}))
    assert (row["processing"], row["price_factor"], row["oddity"]) == (processing, Decimal(factor), None)


FINISHES = {
    "STOP": "answered",
    "MAX_TOKENS": "truncated",
    "CONTINUATION": "truncated",
    "SAFETY": "refused",
    "RECITATION": "refused",
    "SPII": "refused",
    "PROHIBITED_CONTENT": "refused",
    "MALFORMED_FUNCTION_CALL": "answered",
    "OTHER": "unfinished",
    "IMAGE_OTHER": "unfinished",
}


def test_reasons_to_finish(tmp_path: Path) -> None:
    rows = read(tmp_path, *(answered({"text": "half"}, finish=each) for each in FINISHES))
    assert [row["outcome"] for row in rows] == list(FINISHES.values())
    assert [row["stop_reason"] for row in rows] == list(FINISHES)
    assert all(row["billed"] and row["cost_known"] and row["answer"] == "half" for row in rows)
    assert [row["stop_reason"] for row in rows if row["oddity"] is not None] == ["OTHER", "IMAGE_OTHER"]
    assert {row["error_type"] for row in rows if row["outcome"] == "refused"} == {
        each for each, outcome in FINISHES.items() if outcome == "refused"
    }


def test_responses_without_an_answer(tmp_path: Path) -> None:
    prompt = {"promptTokenCount": 7, "totalTokenCount": 7}
    known = {"usageMetadata": prompt, "modelVersion": "gemini-3.8-flash"}
    rows = read(
        tmp_path,
        {"response": {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, **known}},
        {"response": known},
        answered({"text": ""}, usage=prompt),
        answered(finish="MAX_TOKENS", usage={**prompt, "thoughtsTokenCount": 9, "totalTokenCount": 16}),
        answered({"inlineData": {"mimeType": "image/png", "data": ""}}),
        answered(finish="OTHER", usage=prompt),
    )
    outcomes = ["refused", "transient", "transient", "truncated", "unknown", "transient"]
    assert [row["outcome"] for row in rows] == outcomes
    assert [row["input_tokens"] for row in rows] == [7, 7, 7, 7, 100, 7]
    assert rows[0]["error_type"] == "PROHIBITED_CONTENT"
    assert rows[3]["output_tokens"] == rows[3]["thinking_tokens"] == 9
    assert [row["cost_known"] for row in rows] == [True, True, True, True, False, True]


ERRORS: list[tuple[dict[str, Any], str]] = [
    ({"error": {"code": 3, "message": "Invalid value"}}, "permanent"),
    ({"error": {"code": 400, "status": "INVALID_ARGUMENT", "message": "Invalid value"}}, "permanent"),
    ({"error": {"status": "INVALID_ARGUMENT", "message": "Invalid value"}}, "permanent"),
    ({"status": {"code": 13, "message": "Internal error"}}, "transient"),
    ({"status": {"code": 8, "message": "You exceeded your quota, please check your plan and billing"}}, "transient"),
    ({"error": {"code": 503, "message": "The model is overloaded", "status": "UNAVAILABLE"}}, "transient"),
    ({"error": {"code": 1, "message": "The batch was cancelled"}}, "canceled"),
    ({"error": {"code": 7, "message": "The caller does not have permission"}}, "account"),
    ({"error": {"code": 9, "message": "User location is not supported for the API use"}}, "account"),
    ({"error": {"code": 8, "message": "Your prepayment credits are depleted."}}, "account"),
    ({"error": {"code": 3, "message": "The input token count (9) exceeds the maximum number (8)"}}, "context_window"),
    ({"error": {"code": 99, "message": "?"}}, "unknown"),
    ({"error": None, "status": {}, "response": None}, "unknown"),
    ({}, "unknown"),
]


def test_failed_lines_have_an_error_or_a_status(tmp_path: Path) -> None:
    rows = read(tmp_path, *(line for line, _ in ERRORS))
    assert [row["outcome"] for row in rows] == [outcome for _, outcome in ERRORS]
    assert not any(row["billed"] for row in rows)
    assert rows[0]["error_message"] == "Invalid value"
    assert rows[1]["error_type"] == "INVALID_ARGUMENT"
    assert all((row["oddity"] is not None) == (row["outcome"] == "unknown") for row in rows)


def test_a_status_of_success_beside_a_response_is_no_failure(tmp_path: Path) -> None:
    rows = read(tmp_path, {**answered({"text": "a"}), "status": {}, "error": None})
    assert [(row["outcome"], row["answer"], row["oddity"]) for row in rows] == [("answered", "a", None)]


ODD: list[dict[str, Any] | bytes] = [
    b'{"key": "id-000", "respon',
    b"null",
    b"[1, 2]",
    b'"text"',
    {"response": "a text"},
    {"response": []},
    {"response": {"candidates": {"content": 1}}},
    {"response": {"candidates": [None]}},
    {"response": {"candidates": [{"content": {"parts": "x"}, "finishReason": 1}]}},
    {"error": "a text"},
    {"error": {"code": {"a": 1}, "message": ["b"]}},
    {"status": "OK"},
    {**answered({"text": "a"}), "key": None},
    answered({"text": "a"}, usage={"promptTokenCount": "many"}),
    answered({"text": "a"}, usage={"promptTokenCount": -1}),
    answered({"text": "a"}, usage={"promptTokenCount": 1e300}),
    answered({"text": "a"}, usage={"promptTokenCount": 5, "cachedContentTokenCount": 6, "totalTokenCount": 5}),
    answered({"text": "a"}, usage={**USAGE, "totalTokenCount": 111}),
    answered({"text": "a"}, usage=None),
    answered({"text": "a"}, model=None),
    answered({"text": "a"}, finish=None),
    answered({"text": "a"}, finish="BRAND_NEW"),
    answered({"executableCode": {}}, {"text": "a"}),
    b'{"key": "id-x", "response": {"candidates": [{"content": {"parts": [{"text": "\xff\xfe"}]}}]}}',
]


def test_odd_and_damaged_lines_never_raise_and_say_so(tmp_path: Path) -> None:
    rows = read(tmp_path, *ODD)
    assert len(rows) == len(ODD)
    assert [row for row in rows if row["oddity"] is None] == []
    assert all(row["raw"] is not None for row in rows)
    assert [row["custom_id"] for row in rows if row["damaged"]] == [None] * 4


NO_COUNTS = {"promptTokenCount": 0, "candidatesTokenCount": 0}


@pytest.mark.parametrize("usage", [NO_COUNTS, {**NO_COUNTS, "promptTokenCount": 9}])
def test_counts_of_nothing_beside_an_answer_are_not_known(tmp_path: Path, usage: dict[str, int]) -> None:
    (row,) = read(tmp_path, answered({"text": "a"}, usage=usage))
    assert (row["outcome"], row["answer"], row["billed"], row["cost_known"]) == ("answered", "a", True, False)
    assert (row["input_tokens"], row["output_tokens"]) == (None, None)


def test_an_answer_that_is_there_and_cannot_be_read_is_not_a_passing_error(tmp_path: Path) -> None:
    """Nothing at all is the provider's own error. What was counted, or has another form, was paid for."""
    part, counts, finish = {"text": "a"}, {"promptTokenCount": 9}, {"finishReason": "STOP"}
    paid = {**counts, "candidatesTokenCount": 2}
    cases: list[tuple[Any, dict[str, int], str]] = [
        (None, counts, "transient"),
        ([], counts, "transient"),
        ([finish], counts, "transient"),
        ([{"content": None, **finish}], counts, "transient"),
        ([{"content": {"parts": []}, **finish}], counts, "transient"),
        (None, paid, "unknown"),
        ([{"content": None, **finish}], paid, "unknown"),
        ({"content": {"parts": [part]}, **finish}, counts, "unknown"),
        ("a", counts, "unknown"),
        ([{"content": [part], **finish}], counts, "unknown"),
        ([{"content": {"parts": part}, **finish}], counts, "unknown"),
    ]
    found = read(
        tmp_path,
        *({"response": {"candidates": each, "usageMetadata": used, "modelVersion": "g"}} for each, used, _ in cases),
    )
    assert [row["outcome"] for row in found] == [outcome for *_, outcome in cases]
    assert all(row["billed"] for row in found)
    assert [row["cost_known"] for row in found] == [outcome == "transient" for *_, outcome in cases]


def test_a_forced_function_call_keeps_every_digit(tmp_path: Path) -> None:
    line = b'{"key":"a","response":{"candidates":[{"content":{"parts":[{"functionCall":{"name":"answer","args":%s}}]},'
    line += b'"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":4,"candidatesTokenCount":1},'
    line += b'"modelVersion":"g"}}\n'
    inputs = b'{"x": 12345678901234567890.10, "y": [1.50, {"z": 0.1000}]}'
    path = tmp_path / "mended.jsonl"
    path.write_bytes(b"".join(RULES.mended_lines([line % inputs], exact_inputs=True)))
    (row,) = _rows(path, text=True)
    assert row["answer"].replace(" ", "") == inputs.decode().replace(" ", "")
    assert (row["outcome"], row["oddity"]) == ("answered", None)


@pytest.mark.parametrize("text", [False, True])
def test_a_line_that_is_cut_between_two_lines_is_put_together(tmp_path: Path, text: bool) -> None:
    whole = json.dumps({"key": "a", **answered({"text": "one\ntwo"})}).replace("\\n", "\n").encode()
    path = tmp_path / "results.jsonl"
    path.write_bytes(b"".join(RULES.mended_lines([each + b"\n" for each in whole.split(b"\n")], exact_inputs=False)))
    assert [row["answer"] for row in _rows(path, text=text)] == ["one\ntwo"]
