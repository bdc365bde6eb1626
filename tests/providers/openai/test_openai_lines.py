"""Tests of the SQL that reads result lines of the OpenAI protocol, typed and as text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
import pytest

from batchpipe.providers.openai import RULES

TOKENS = (
    "input_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens", "cache_read_tokens", "output_tokens",
    "thinking_tokens",
)  # fmt: skip


def usage(**changes: Any) -> dict[str, Any]:
    return {
        "input_tokens": 100,
        "input_tokens_details": {"cached_tokens": 20, "cache_write_tokens": 30},
        "output_tokens": 50,
        "output_tokens_details": {"reasoning_tokens": 10},
        "total_tokens": 150,
        **changes,
    }


def said(text: str, **more: Any) -> dict[str, Any]:
    return {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}], **more}


def response(**changes: Any) -> dict[str, Any]:
    return {
        "id": "resp_1",
        "object": "response",
        "status": "completed",
        "model": "gpt-6-luna",
        "service_tier": "default",
        "output": [{"type": "reasoning", "id": "rs_1", "summary": []}, said('{"a":1}')],
        "usage": usage(),
        "error": None,
        "incomplete_details": None,
        **changes,
    }


def chat(message: dict[str, Any], reason: str | None = "stop", **changes: Any) -> dict[str, Any]:
    return {
        "object": "chat.completion",
        "model": "gpt-5.4",
        "choices": [{"index": 0, "message": message, "finish_reason": reason}],
        "usage": {
            "prompt_tokens": 10,
            "prompt_tokens_details": {"cached_tokens": 4},
            "completion_tokens": 3,
            "completion_tokens_details": {"reasoning_tokens": 1},
        },
        **changes,
    }


def line(body: Any, status: Any = 200, error: Any = None, **more: Any) -> dict[str, Any]:
    reply = {"status_code": status, "request_id": "req_1", "body": body}
    return {"id": "batch_req_1", "response": reply, "error": error, **more}


def failed(
    status: int, code: str | None, message: str = "words", kind: str = "invalid_request_error"
) -> dict[str, Any]:
    return line({"error": {"message": message, "type": kind, "param": None, "code": code}}, status)


def unanswered(code: str | None) -> dict[str, Any]:
    return {"id": "batch_req_1", "response": None, "error": code and {"code": code, "message": "words"}}


# For each line: its outcome, and the columns that it has beside the usual ones.
ANSWERED = ("answered", {"answer": '{"a":1}', "billed": True, "oddity": None})
# An answer beside which something is not understood: it was paid for, and its cost is not known.
PAID = ("answered", {"answer": '{"a":1}', "billed": True, "cost_known": False})
FREE = {"billed": False, "oddity": None, "cost_known": True}
CASES: dict[str, tuple[dict[str, Any], tuple[str, dict[str, Any]]]] = {
    "answer": (line(response()), ANSWERED),
    "final answer": (
        line(response(output=[said("let me see", phase="commentary"), said("yes", phase="final_answer")])),
        ("answered", {"answer": "yes"}),
    ),
    "two messages": (line(response(output=[said("a"), said("b")])), ("answered", {"answer": "ab"})),
    "refusal": (
        line(response(output=[{"type": "message", "content": [{"type": "refusal", "refusal": "no"}]}])),
        ("refused", {"error_message": "no", "billed": True}),
    ),
    "cut": (
        line(response(status="incomplete", incomplete_details={"reason": "max_output_tokens"}, output=[])),
        ("truncated", {"stop_reason": "max_output_tokens", "billed": True, "oddity": None}),
    ),
    "filtered": (
        line(response(status="incomplete", incomplete_details={"reason": "content_filter"})),
        ("refused", {"error_type": "content_filter", "billed": True}),
    ),
    "steered": (
        line(response(status="incomplete", incomplete_details={"reason": "steered"})),
        ("unfinished", {"billed": True}),
    ),
    "another reason": (
        line(response(status="incomplete", incomplete_details={"reason": "tired"})),
        ("unfinished", {"cost_known": False, "answer": '{"a":1}'}),
    ),
    "another reason and nothing said": (
        line(response(status="incomplete", incomplete_details=None, output=[])),
        ("unknown", {"cost_known": False}),
    ),
    "tool": (
        line(response(output=[{"type": "function_call", "name": "answer", "arguments": '{"x":1.10}'}])),
        ("answered", {"answer": '{"x":1.10}'}),
    ),
    "failed body": (
        line(response(status="failed", error={"code": "server_error", "message": "x"}, usage=None, output=[])),
        ("transient", FREE),
    ),
    "policy": (
        line(response(status="failed", error={"code": "bio_policy", "message": "x"}, usage=None, output=[])),
        ("refused", FREE),
    ),
    "queued": (line(response(status="queued", output=[], usage=None)), ("unknown", {"cost_known": False})),
    "queued with a text": (line(response(status="queued")), ("unfinished", {"cost_known": False})),
    "another state": (line(response(status="archived")), PAID),
    "no state": (line(response(status=None)), PAID),
    "another phase": (
        line(response(output=[said("hm", phase="commentary"), said("yes", phase="brand_new")])),
        ("answered", {"answer": "yes"}),
    ),
    "another part": (
        line(response(output=[{"type": "message", "content": [{"type": "hologram", "text": "yes"}]}])),
        ("answered", {"answer": "yes"}),
    ),
    "new item beside a message": (
        line(response(output=[{"type": "weird_call"}, said("t")])),
        ("answered", {"answer": "t", "cost_known": False}),
    ),
    "new item alone": (line(response(output=[{"type": "weird_call"}])), ("unknown", {"cost_known": False})),
    "without usage": (line(response(usage=None)), ("answered", {"cost_known": False, "input_tokens": None})),
    "odd usage": (line(response(usage=usage(input_tokens="many"))), ("answered", {"cost_known": False})),
    "more cached than there are": (line(response(usage=usage(input_tokens=10))), ("answered", {"cost_known": False})),
    "another sum": (line(response(usage=usage(total_tokens=151))), ("answered", {"cost_known": False})),
    "no sum": (line(response(usage=usage(total_tokens=None))), ("answered", {"cost_known": True, "output_tokens": 50})),
    "a sum that is none": (line(response(usage=usage(total_tokens="150"))), ("answered", {"cost_known": False})),
    "thought beside the output": (
        line(response(usage=usage(total_tokens=160))),
        ("answered", {"cost_known": True, "output_tokens": 60, "thinking_tokens": 10}),
    ),
    "more thought than written": (line(response(usage=usage(output_tokens=5))), ("answered", {"cost_known": False})),
    "output is no list": (line(response(output="text")), ("unknown", {"cost_known": False})),
    "body is missing": (line(None), ("unknown", {"cost_known": False})),
    "body is a list": (line([1]), ("unknown", {"cost_known": False})),
    "bad request": (failed(400, "invalid_value"), ("permanent", {**FREE, "error_type": "invalid_value"})),
    "too long": (failed(400, "context_length_exceeded"), ("context_window", FREE)),
    "too long by its words": (
        failed(400, None, "This model's maximum context length is 10"),
        ("context_window", FREE),
    ),
    "quota": (failed(429, "insufficient_quota"), ("account", FREE)),
    "key": (failed(401, None), ("account", FREE)),
    "rate": (failed(429, "rate_limit_exceeded"), ("transient", FREE)),
    "server": (failed(500, None, kind="server_error"), ("transient", FREE)),
    "policy of a request": (failed(400, "content_policy_violation"), ("refused", FREE)),
    "never answered": (line(None, 0), ("transient", FREE)),
    "odd status": (line(response(), "ok"), PAID),
    "no status": (line(response(), None), PAID),
    "another good status": (line(response(), 203), PAID),
    "no status and an error": (line({"error": {"code": "server_error"}}, None), ("unknown", {"billed": False})),
    "an answer with another status": (line(response(), 302), PAID),
    "an answer with the status of an error": (line(response(), 500), PAID),
    "an answer with the status 0": (line(response(), 0), PAID),
    "a chat with the status 0": (line(chat({"content": '{"a":1}'}), 0), PAID),
    "another status without usage": (line(response(usage=None), 302), ("unknown", {"cost_known": False})),
    "a failed body with a text": (
        line(response(status="failed", error={"code": "server_error", "message": "x"})),
        ("unfinished", {"answer": '{"a":1}', "billed": True, "cost_known": True}),
    ),
    "a policy after a text": (
        line(response(status="failed", error={"code": "bio_policy", "message": "x"})),
        ("refused", {"billed": True}),
    ),
    "a cancelled body with a text": (
        line(response(status="cancelled")),
        ("unfinished", {"answer": '{"a":1}', "billed": True, "cost_known": True}),
    ),
    "a cancelled body": (line(response(status="cancelled", output=[], usage=None)), ("canceled", FREE)),
    "a cancelled body that was paid for": (
        line(response(status="cancelled", output=[])),
        ("unfinished", {"answer": "", "billed": True, "cost_known": True}),
    ),
    "a cancelled realtime call": (
        {**line(response(status="cancelled", output=[], usage=None)), "id": "realtime"},
        ("transient", {**FREE, "processing": "realtime"}),
    ),
    "expired": (unanswered("batch_expired"), ("expired", FREE)),
    "cancelled": (unanswered("batch_cancelled"), ("canceled", FREE)),
    "new code": (unanswered("strange_code"), ("unknown", {"billed": False})),
    "no response and no error": (unanswered(None), ("unknown", {"cost_known": False})),
    "an error beside an answer": (line(response(), error={"code": "x", "message": "y"}), PAID),
    "an empty error beside an answer": (line(response(), error={}), ANSWERED),
    "an error beside no answer": (line({}, error={"code": "x"}), ("unknown", {"cost_known": False})),
    "chat": (line(chat({"content": "hi", "refusal": None})), ("answered", {"answer": "hi", "stop_reason": "stop"})),
    "chat in parts": (
        line(chat({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]})),
        ("answered", {"answer": "ab"}),
    ),
    "chat refusal": (line(chat({"content": None, "refusal": "no"})), ("refused", {"error_message": "no"})),
    "chat cut": (line(chat({"content": "h"}, "length")), ("truncated", {"billed": True})),
    "chat filtered": (line(chat({"content": ""}, "content_filter")), ("refused", {"error_type": "content_filter"})),
    "chat tool": (
        line(
            chat({"content": None, "tool_calls": [{"type": "function", "function": {"arguments": "{}"}}]}, "tool_calls")
        ),
        ("answered", {"answer": "{}"}),
    ),
    "chat of another reason": (
        line(chat({"content": "h"}, "bored")),
        ("answered", {"answer": "h", "cost_known": False}),
    ),
    "chat without a reason": (line(chat({"content": "h"}, None)), ("answered", {"answer": "h", "cost_known": False})),
    "chat of another reason and nothing said": (line(chat({"content": " "}, "bored")), ("unknown", {})),
    "no counts": (
        line(
            response(
                usage=usage(
                    input_tokens=0, input_tokens_details={}, output_tokens=0, output_tokens_details={}, total_tokens=0
                )
            )
        ),
        PAID,
    ),
    "no output": (line(response(usage=usage(output_tokens=0, output_tokens_details={}, total_tokens=100))), PAID),
    "no counts of a chat": (
        line(chat({"content": '{"a":1}'}, usage={"prompt_tokens": 0, "completion_tokens": 0})),
        PAID,
    ),
    "no counts of a failure": (
        line(
            response(
                status="failed",
                output=[],
                error={"code": "server_error", "message": "words"},
                usage=usage(
                    input_tokens=0, input_tokens_details={}, output_tokens=0, output_tokens_details={}, total_tokens=0
                ),
            )
        ),
        ("transient", {"cost_known": True}),
    ),
    **{
        f"content that is {name}": (
            line(response(output=[{"type": "message", "content": content}])),
            ("unknown", {"billed": True, "cost_known": False, "oddity": "a message without content that can be read"}),
        )
        for name, content in (("no list", {"type": "output_text", "text": "a"}), ("no part", ["a"]), ("null", None))
    },
    "flex": (line(response(service_tier="flex"), id="realtime"), ("answered", {"processing": "flex"})),
    "priority": (
        line(response(service_tier="priority"), id="realtime"),
        ("answered", {"processing": "priority", "price_factor": 2}),
    ),
    "realtime": (line(response(), id="realtime"), ("answered", {"processing": "realtime"})),
    "background": (
        line(response(), id="realtime", window="8h"),
        ("answered", {"processing": "background", "price_factor": 0.6}),
    ),
}
NOT_LINES = ["{broken", "[1]", '"text"', "null", "{}", '{"custom_id": 7.5, "response": 3}']


def read(path: Path, *, text: bool) -> list[dict[str, Any]]:
    with duckdb.connect() as connection:
        given = {"paths": [str(path)], "maximum_object_size": 1 << 24}
        cursor = connection.execute(str(RULES.lines_sql(text=text)), given)
        names = [each[0] for each in cursor.description or ()]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, dict[str, dict[str, Any]]]:
    """Return the rows of all cases by `text` and custom id."""
    folder = tmp_path_factory.mktemp("lines")
    path, mended = folder / "results.jsonl", folder / "mended.jsonl"
    path.write_text("".join(json.dumps({**each, "custom_id": name}) + "\n" for name, (each, _) in CASES.items()))
    with path.open("rb") as lines:
        mended.write_bytes(b"".join(RULES.mended_lines(lines, exact_inputs=True)))
    by_text = {}
    for text, source in ((False, path), (True, mended)):
        by_text[text] = {str(row["custom_id"]): row for row in read(source, text=text)}
    return by_text


@pytest.mark.parametrize("name", CASES)
def test_a_line_is_read_for_what_it_is(found: dict[bool, dict[str, dict[str, Any]]], name: str) -> None:
    outcome, columns = CASES[name][1]
    for text in (False, True):
        row = found[text].get(name)
        if row is None:
            # A typed read leaves out what has another shape; the caller then reads the lines as text.
            assert not text
            continue
        seen = {column: row[column] for column in columns}
        assert (row["outcome"], seen) == (outcome, columns if "price_factor" not in columns else seen)
        assert row["filename"]
        assert (row["raw"] is not None) == (
            text and (row["oddity"] is not None or outcome in ("unknown", "unfinished"))
        )
    assert found[True][name]["processing"] == columns.get("processing", "batch")


def test_tokens_are_disjoint_and_sum_to_what_is_paid(found: dict[bool, dict[str, dict[str, Any]]]) -> None:
    for text in (False, True):
        row = found[text]["answer"]
        assert [row[column] for column in TOKENS] == [50, 30, 0, 20, 50, 10]
        row = found[text]["chat"]
        assert [row[column] for column in TOKENS] == [6, 0, 0, 4, 3, 1]
    assert found[True]["background"]["price_factor"] * 10 == 6


def test_writes_of_both_lifetimes_stand_apart(tmp_path: Path) -> None:
    details = {"cached_tokens": 0, "cache_write_tokens": 30}
    split = {**details, "cache_write_tokens_details": {"ttl_30m_tokens": 10, "ttl_12h_tokens": 20}}
    wrong = {**details, "cache_write_tokens_details": {"ttl_30m_tokens": 10, "ttl_12h_tokens": 10}}
    path = tmp_path / "results.jsonl"
    lines = [line(response(usage=usage(input_tokens_details=each)), custom_id="x") for each in (split, wrong)]
    path.write_text("".join(json.dumps(each) + "\n" for each in lines))
    first, second = read(path, text=False)
    assert [first[column] for column in TOKENS] == [70, 10, 20, 0, 50, 10]
    assert (second["input_tokens"], second["cost_known"]) == (None, False)


def test_what_is_no_line_is_damaged_and_raises_nothing(tmp_path: Path) -> None:
    path, mended = tmp_path / "results.jsonl", tmp_path / "mended.jsonl"
    path.write_text("\n".join([*NOT_LINES, json.dumps({**line(response()), "custom_id": "good"})]) + "\n")
    with path.open("rb") as lines:
        mended.write_bytes(b"".join(RULES.mended_lines(lines, exact_inputs=True)))
    for text, source in ((False, path), (True, mended)):
        rows = read(source, text=text)
        good = [row for row in rows if row["custom_id"] == "good"]
        assert [row["outcome"] for row in good] == ["answered"]
        assert {row["outcome"] for row in rows if row["custom_id"] != "good"} == {"unknown"}
        assert len(rows) == len(NOT_LINES) + 1
