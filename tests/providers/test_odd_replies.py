"""Tests of replies with values that cannot be: nothing of them raises, and what can be stored and shown is kept."""

from __future__ import annotations

import itertools
import json
from datetime import datetime, timedelta
from typing import Any

import anthropic
import duckdb
import httpx2
import pytest

from batchpipe.decide.waits import LOOKS, clock_offset, is_overdue, lasts, life
from batchpipe.providers.anthropic import failures
from batchpipe.providers.anthropic.calls import batch_state
from batchpipe.providers.shared import values
from batchpipe.providers.shared.http import NotUnderstoodError

BATCH: dict[str, Any] = {
    "id": "msgbatch_1",
    "type": "message_batch",
    "processing_status": "in_progress",
    "request_counts": {"processing": 2, "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0},
    "created_at": "2026-11-22T10:00:00Z",
    "expires_at": "2026-11-23T10:00:00Z",
    "ended_at": None,
    "archived_at": None,
    "cancel_initiated_at": None,
    "results_url": None,
}
NOON = datetime(2026, 11, 22, 12)  # noqa: DTZ001
HOUR = timedelta(hours=1)
TIMES = ("9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59", "1600-01-01", "2026-02-30T00:00:00Z")
ODD: tuple[Any, ...] = (None, [], {}, [[]], {"a": None}, "", "soon", "\ud83d", "a\x00b", "x" * 10_000, -1, 0, 2**63,
                        10**400, 1e308, True, False, *TIMES)  # fmt: skip


def test_a_batch_is_one_where_it_has_an_id_whatever_else_it_holds() -> None:
    for name, value in itertools.product(BATCH, ODD):
        for odd in ({**BATCH, name: value}, {each: BATCH[each] for each in BATCH if each != name}):
            if name == "id":
                continue
            state = batch_state(odd, {"date": str(value), "anthropic-workspace-id": str(value)})
            assert state.batch_id == "msgbatch_1"
            assert (name == "request_counts") == (state.total != 2)
            stored = {"state": state.unknown_state, "workspace": state.workspace, "at": str(state.created_at)}
            duckdb.execute("SELECT $1::JSON ->> 'state', $1::JSON ->> 'workspace'", [json.dumps(stored)]).fetchall()
            if name.endswith("_at"):
                assert getattr(state, name, None) in (None, values.utc_moment(BATCH[name]))
    for value in ODD:
        for odd in (value, {**BATCH, "id": value} if value not in ("soon", *TIMES) else {}):
            with pytest.raises(NotUnderstoodError):
                batch_state(odd, {})


def test_counts_that_are_no_numbers_leave_the_size_unknown() -> None:
    for value in ODD:
        good = isinstance(value, int) and not isinstance(value, bool) and value == 0
        state = batch_state({**BATCH, "request_counts": {**BATCH["request_counts"], "errored": value}}, {})
        assert state.total == (2 if good else None)
    assert batch_state({**BATCH, "request_counts": dict.fromkeys("abc", 0)}, {}).total is None


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("12", 12.0),
        ("-12", 0.0),
        ("1e400", 3600.0),
        ("86400", 3600.0),
        ("nan", None),
        ("", None),
        ("Sun, 22 Nov 2026 12:01:30 GMT", 90.0),
        ("Sun, 22 Nov 2020 12:00:00 GMT", 0.0),
        ("Sun, 22 Nov 2026 12:01:30 -9999", None),
        ("Sun, 99 Foo 99999 12:00:00 GMT", None),
    ],
)
def test_a_pause_is_an_hour_at_most_and_a_date_counts_by_the_same_clock(value: str, seconds: float | None) -> None:
    headers = {"retry-after": value, "date": "Sun, 22 Nov 2026 12:00:00 GMT"}
    assert values.retry_after_seconds(headers) == seconds


def test_words_of_an_error_can_be_stored_and_shown() -> None:
    request = httpx2.Request("POST", "http://x")
    for word, status in itertools.product(ODD, (302, 400, 404, 413, 429, 500)):
        body = {"type": "error", "error": {"type": "api_error", "message": word, "details": word}}
        headers = {"request-id": "a\x1b[2J", "retry-after": "x", "location": "\x07/"}
        response = httpx2.Response(status, request=request, headers=headers)
        error = anthropic.APIStatusError("words\x00", response=response, body=body)
        for translate in (failures.submit_error, failures.repeatable_error, failures.list_error):
            said = str(translate(error, str))
            assert said.isprintable()
            assert len(said) < 1000
            duckdb.execute("SELECT $1::JSON ->> 'message'", [json.dumps({"message": said})]).fetchall()


def test_what_lasts_is_seen_often_and_for_long() -> None:
    assert not lasts(LOOKS - 1, NOON - 9 * HOUR, NOON, 60.0)
    assert not lasts(LOOKS, NOON, NOON, 60.0)
    assert lasts(LOOKS, NOON - HOUR, NOON, 3600.0)


def test_a_batch_lives_two_days_at_most_and_is_overdue_a_day_later() -> None:
    day = timedelta(days=1)
    assert life(NOON, NOON + 9 * HOUR) == 9 * HOUR
    assert life(NOON, NOON + 900 * day) == 2 * day
    assert life(NOON, NOON - HOUR) == life(None, NOON) == life(NOON, None) == day
    assert is_overdue(2 * day, day)
    assert not is_overdue(2 * day - HOUR, day)


def test_the_offset_of_a_clock_is_taken_in_the_middle_of_the_call() -> None:
    assert clock_offset(NOON, NOON + timedelta(seconds=4), NOON + HOUR) == 3598.0
    assert clock_offset(NOON, NOON, None) is None


@pytest.mark.parametrize(
    ("thousandths", "seconds"), [("1500", 1.5), ("0", 0.0), ("99999999999", 3600.0), ("-1", 7.0), ("soon", 7.0)]
)
def test_thousandths_of_a_second_count_before_seconds(thousandths: str, seconds: float) -> None:
    assert values.retry_after_seconds({"retry-after-ms": thousandths, "retry-after": "7"}) == seconds
