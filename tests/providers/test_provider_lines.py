"""Tests of the SQL that reads the lines of a results file."""

from __future__ import annotations

import json
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest

from batchpipe.providers.anthropic import RULES

USAGE = {"input_tokens": 10, "output_tokens": 5, "service_tier": "batch"}
TEXT = [{"type": "text", "text": "hi"}]


def succeeded(content: Any = TEXT, stop_reason: str | None = "end_turn", **message: Any) -> dict[str, Any]:
    base = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-haiku-4-5-20251001"}
    own = {"content": content, "stop_reason": stop_reason, "usage": USAGE}
    return {"type": "succeeded", "message": {**base, **own, **message}}


def errored(kind: str, message: str = "words", **error: Any) -> dict[str, Any]:
    inner = {"type": kind, "message": message, **error}
    return {"type": "errored", "error": {"type": "error", "error": inner, "request_id": "req_1"}}


def read(folder: Path, *lines: Any) -> list[dict[str, Any]]:
    """Return the rows that the SQL makes of lines, which are given as results or as bytes."""
    path = folder / "results.jsonl"
    with path.open("wb") as file:
        for number, line in enumerate(lines):
            whole = {"custom_id": f"id-{number}", "result": line}
            file.write(line if isinstance(line, bytes) else json.dumps(whole).encode())
            file.write(b"\n")
    mended = folder / "mended.jsonl"
    with path.open("rb") as source:
        mended.write_bytes(b"".join(RULES.mended_lines(source, exact_inputs=False)))
    typed, rows = _rows(path, text=False), _rows(mended, text=True)
    assert {row.pop("filename") for row in rows} <= {str(mended)}
    assert {row.pop("filename") for row in typed} <= {str(path)}
    # What is not read as text is either the same, or it says that it has to be.
    assert typed == rows or any(row["oddity"] is not None for row in typed)
    return rows


def _rows(path: Path, *, text: bool) -> list[dict[str, Any]]:
    parameters = {"paths": [str(path)], "maximum_object_size": 40_000_000}
    with duckdb.connect() as connection:
        relation = connection.execute(RULES.lines_sql(text=text), parameters)
        names = [each[0] for each in relation.description or ()]
        rows = [dict(zip(names, row, strict=True)) for row in relation.fetchall()]
    return sorted(rows, key=lambda row: (row["custom_id"] is None, row["custom_id"] or ""))


@pytest.mark.parametrize("text", [False, True])
def test_the_columns_and_their_types(tmp_path: Path, text: bool) -> None:
    (tmp_path / "empty.jsonl").touch()
    parameters = {"paths": [str(tmp_path / "empty.jsonl")], "maximum_object_size": 1_000_000}
    with duckdb.connect() as connection:
        found = connection.execute("DESCRIBE " + RULES.lines_sql(text=text), parameters).fetchall()
    assert [(name, kind) for name, kind, *_ in found] == [
        ("filename", "VARCHAR"),
        ("custom_id", "VARCHAR"),
        ("outcome", "VARCHAR"),
        ("model", "VARCHAR"),
        ("stop_reason", "VARCHAR"),
        ("answer", "VARCHAR"),
        ("error_type", "VARCHAR"),
        ("error_message", "VARCHAR"),
        ("input_tokens", "BIGINT"),
        ("cache_write_5m_tokens", "BIGINT"),
        ("cache_write_1h_tokens", "BIGINT"),
        ("cache_read_tokens", "BIGINT"),
        ("output_tokens", "BIGINT"),
        ("thinking_tokens", "BIGINT"),
        ("web_searches", "BIGINT"),
        ("service_tier", "VARCHAR"),
        ("processing", "VARCHAR"),
        ("billed", "BOOLEAN"),
        ("cost_known", "BOOLEAN"),
        ("reported_usd", "DECIMAL(38,15)"),
        ("oddity", "VARCHAR"),
        ("damaged", "BOOLEAN"),
        ("raw", "VARCHAR"),
        ("price_factor", "DECIMAL(9,6)"),
    ]


@pytest.mark.parametrize(
    ("line", "outcome", "billed"),
    [
        (succeeded(), "answered", True),
        (succeeded(stop_reason="stop_sequence"), "answered", True),
        (succeeded(stop_reason="tool_use"), "answered", True),
        (succeeded(stop_reason="max_tokens"), "truncated", True),
        (succeeded(stop_reason="model_context_window_exceeded"), "context_window", True),
        (succeeded(stop_reason="refusal"), "refused", True),
        (succeeded([], stop_reason="refusal"), "refused", False),
        (succeeded(stop_reason="pause_turn"), "unfinished", True),
        (succeeded(stop_reason="something_new"), "answered", True),
        (succeeded(stop_reason=None), "answered", True),
        (succeeded([]), "answered", True),
        (succeeded("no list"), "unknown", True),
        (succeeded(usage={"input_tokens": 10, "output_tokens": "many"}), "answered", True),
        (succeeded(usage=None), "answered", True),
        (errored("invalid_request_error"), "permanent", False),
        (errored("request_too_large"), "permanent", False),
        (errored("not_found_error"), "permanent", False),
        (errored("api_error"), "transient", False),
        (errored("overloaded_error"), "transient", False),
        (errored("rate_limit_error"), "transient", False),
        (errored("timeout_error"), "transient", False),
        (errored("conflict_error"), "transient", False),
        (errored("billing_error"), "account", False),
        (errored("permission_error"), "account", False),
        (errored("authentication_error"), "account", False),
        (
            errored("invalid_request_error", "Your credit balance is too low to access the API."),
            "account",
            False,
        ),
        (
            errored("invalid_request_error", "You have reached your specified workspace API usage limits."),
            "account",
            False,
        ),
        (
            errored("rate_limit_error", "x", details={"error_code": "enforced_spend_limit_reached"}),
            "account",
            False,
        ),
        (errored("brand_new_error"), "unknown", False),
        ({"type": "errored", "error": {"type": "api_error", "message": "one level"}}, "transient", False),
        ({"type": "errored", "error": "just words"}, "unknown", False),
        ({"type": "expired"}, "expired", False),
        ({"type": "canceled"}, "canceled", False),
        ({"type": "weird"}, "unknown", False),
        ({**succeeded(), "type": "weird"}, "answered", True),
        ({**succeeded(), "type": None}, "answered", True),
        ({**succeeded(), "type": "expired"}, "answered", True),
        ({**succeeded(stop_reason="max_tokens"), "type": "weird"}, "truncated", True),
        ({**errored("api_error"), "message": succeeded()["message"]}, "answered", True),
        ({**succeeded(usage=None), "type": "weird"}, "unknown", False),
        ("a string", "unknown", False),
        (None, "unknown", False),
    ],
)
def test_outcomes(tmp_path: Path, line: Any, outcome: str, billed: bool) -> None:
    (row,) = read(tmp_path, line)
    assert (row["custom_id"], row["outcome"], row["billed"]) == ("id-0", outcome, billed)
    assert (row["oddity"] is None) <= row["cost_known"]
    if row["oddity"] is not None:
        assert json.loads(row["raw"]) == {"custom_id": "id-0", "result": line}
    else:
        assert row["raw"] is None


def test_every_error_type_of_the_sdk_has_an_outcome(tmp_path: Path) -> None:
    from typing import get_args

    from anthropic.types.shared.error_type import ErrorType

    kinds = [each for each in get_args(ErrorType) if not each.startswith("memory_")]
    assert kinds
    rows = read(tmp_path, *(errored(kind) for kind in kinds))
    assert "unknown" not in {row["outcome"] for row in rows}


def test_text_can_be_split_over_blocks_and_follow_thinking(tmp_path: Path) -> None:
    blocks = [
        {"type": "thinking", "thinking": "hm", "signature": "s"},
        {"type": "text", "text": '{"a":'},
        {"type": "text", "text": " 1}"},
        {"type": "server_tool_use", "id": "x", "name": "web_search", "input": {"query": "q"}},
    ]
    (row,) = read(tmp_path, succeeded(blocks))
    assert row["answer"] == '{"a": 1}'


def test_a_tool_call_is_the_answer(tmp_path: Path) -> None:
    blocks = [
        {"type": "text", "text": "Let me answer."},
        {"type": "tool_use", "id": "t", "name": "answer", "input": {"a": 1, "b": {"c": [None]}}},
    ]
    (row,) = read(tmp_path, succeeded(blocks, "tool_use"))
    assert json.loads(row["answer"]) == {"a": 1, "b": {"c": [None]}}


def test_an_empty_answer_is_not_a_missing_one(tmp_path: Path) -> None:
    empty, error = read(tmp_path, succeeded([]), errored("api_error"))
    assert (empty["answer"], error["answer"]) == ("", None)


def test_refusals_say_why(tmp_path: Path) -> None:
    details = {"type": "refusal", "category": "cyber", "explanation": "It is about locks."}
    (row,) = read(tmp_path, succeeded([], "refusal", stop_details=details))
    assert (row["error_type"], row["error_message"]) == ("cyber", "It is about locks.")


def test_all_tokens_are_read(tmp_path: Path) -> None:
    usage = {
        "input_tokens": 100,
        "output_tokens": 20,
        "cache_creation_input_tokens": 70,
        "cache_read_input_tokens": 30,
        "cache_creation": {"ephemeral_5m_input_tokens": 40, "ephemeral_1h_input_tokens": 30},
        "output_tokens_details": {"thinking_tokens": 7},
        "server_tool_use": {"web_search_requests": 2, "web_fetch_requests": 0},
        "service_tier": "standard",
        "inference_geo": "us",
    }
    row, plain = read(tmp_path, succeeded(usage=usage), succeeded(usage={**usage, "cache_creation": None}))
    assert (row["input_tokens"], row["output_tokens"], row["thinking_tokens"]) == (100, 20, 7)
    assert (row["cache_write_5m_tokens"], row["cache_write_1h_tokens"], row["cache_read_tokens"]) == (
        40,
        30,
        30,
    )
    assert (row["web_searches"], row["service_tier"], row["price_factor"]) == (2, "standard", Decimal("1.1"))
    assert (plain["cache_write_5m_tokens"], plain["cache_write_1h_tokens"]) == (70, 0)


def test_one_bad_line_costs_no_other(tmp_path: Path) -> None:
    rows = read(
        tmp_path,
        succeeded(),
        b'{"custom_id":"cut","result":{"type":"succ',
        b"",
        b"<html>busy</html>",
        b'{"custom_id":"half","result":{"type":"x\\ud83d"}}',
        b'{"custom_id":"bytes\xff\xfe"}',
        b'"text"',
        b"[1]",
        b"null",
        b'{"custom_id":"windows","result":{"type":"expired"}}\r',
        succeeded(),
    )
    known = [row for row in rows if row["custom_id"] is not None]
    assert [(row["custom_id"], row["outcome"]) for row in known] == [
        ("bytes\ufffd\ufffd", "unknown"),
        ("half", "unknown"),
        ("id-0", "answered"),
        ("id-10", "answered"),
        ("windows", "expired"),
    ]
    assert {row["outcome"] for row in rows if row["custom_id"] is None} == {"unknown"}


def test_a_line_of_many_megabytes_is_read(tmp_path: Path) -> None:
    text = "x" * 20_000_000
    row, after = read(tmp_path, succeeded([{"type": "text", "text": text}]), succeeded())
    assert (len(row["answer"]), after["outcome"]) == (20_000_000, "answered")


ANSWER = {"custom_id": "id-0", "result": succeeded([{"type": "text", "text": "(text)"}])}
LINE = json.dumps(ANSWER).encode()


@pytest.mark.parametrize(
    ("file", "answer"),
    [
        (b"\xef\xbb\xbf" + LINE, "(text)"),
        (b"\r\n\n \n" + LINE + b"\r\n\r\n", "(text)"),
        (LINE.replace(b"(text)", b"a\\ud83db"), "a\ufffdb"),
        (LINE.replace(b"(text)", b"a\\udc00\\ud83d\\ude00b"), "a\ufffd\U0001f600b"),
        (LINE.replace(b"(text)", b"a\xff\xfeb"), "a\ufffd\ufffdb"),
        (LINE.replace(b"(text)", b"a\x00\x01\tb"), "a\x00\x01\tb"),
        (LINE.replace(b"(text)", b"a\n\nb"), "a\n\nb"),
        (LINE.replace(b"(text)", b"a\\u0000b"), "a\x00b"),
        (LINE.replace(b'"role"', b'"new_field": {"of": [1, NaN, Infinity]}, "role"'), "(text)"),
        (json.dumps(ANSWER, indent=2).encode(), "(text)"),
    ],
    ids=[
        "mark",
        "blank lines",
        "half a pair",
        "wrong half",
        "no UTF-8",
        "control",
        "line break",
        "NUL",
        "NaN",
        "indented",
    ],
)
def test_what_a_strict_reader_refuses_is_read(tmp_path: Path, file: bytes, answer: str) -> None:
    first, last = LINE.replace(b"id-0", b"first"), LINE.replace(b"id-0", b"last")
    for whole in (file, first + b"\n" + file + b"\n" + last, first + b"\n" + file + last):
        rows = {row["custom_id"]: row for row in read(tmp_path, whole)}
        found = rows["id-0"]
        assert (found["outcome"], found["answer"], found["cost_known"]) == ("answered", answer, True)
        assert {row["outcome"] for row in rows.values()} == {"answered"}
        assert len(rows) == (1 if whole == file else 3)


def test_a_damaged_line_keeps_its_text_and_costs_no_other(tmp_path: Path) -> None:
    damaged = [LINE[:40], b"\xff\x00" + LINE[20:60], b"<html>", b"{", LINE.replace(b'"role"', b'"role')]
    rows = read(tmp_path, succeeded(), *damaged, succeeded())
    assert [row["answer"] for row in rows if not row["damaged"]] == ["hi", "hi"]
    lost = [row for row in rows if row["damaged"]]
    assert [(row["custom_id"], row["outcome"], row["cost_known"]) for row in lost] == [(None, "unknown", False)] * 5
    assert {row["raw"] for row in lost} == {each.decode("utf-8", "replace") for each in damaged}


def test_the_input_of_a_tool_keeps_its_digits_where_that_is_asked(tmp_path: Path) -> None:
    given = b'{"a": 123456789012345678.91, "b": [0.10, -1E+2, 12345678901234567890123], "c": "1.10"}'
    block = b'{"type": "tool_use", "id": "t", "name": "answer", "input": ' + given + b"}"
    line = LINE.replace(b'{"type": "text", "text": "(text)"}', block)
    path = tmp_path / "mended.jsonl"
    path.write_bytes(b"".join(RULES.mended_lines([line + b"\n"], exact_inputs=True)))
    (row,) = _rows(path, text=True)
    assert row["answer"] == given.decode().replace(" ", "")


def test_lines_without_breaks_are_read_in_the_time_of_as_many_lines() -> None:
    line = json.dumps({"custom_id": "a", "text": "x" * 1_500}).encode()
    begun = time.process_time()
    assert sum(1 for _ in RULES.mended_lines([line * 8_000 + b"\n"], exact_inputs=False)) == 8_000
    assert time.process_time() - begun < 3
