"""Tests of prices that change on a date: an estimate goes by the expected time of the answers, a cost by their own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from clocked import Clock
from projects import BASIC, Project, numbered

from batchpipe.engine.cost.answer_days import prices_of_answers
from batchpipe.engine.cost.pricing import unit_price
from batchpipe.engine.realtime.closing import came_at

ARGON = BASIC.replace("claude-haiku-4-5", "gemini:gemini-4-argon")
# US dollars per million tokens of input and of output with thinking, in a batch; twice that from 2026-12-01 on.
BEFORE, AFTER = (Decimal(1), Decimal(5)), (Decimal(2), Decimal(10))
DOUBLES_AT = datetime(2026, 12, 1)  # noqa: DTZ001


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    monkeypatch.chdir(tmp_path)
    found = Project(tmp_path)
    yield found
    found.close()


@pytest.mark.parametrize(
    ("hours", "waves", "usual_seconds", "expected", "dearest"),
    [
        (-60, 1, 3_600, BEFORE, BEFORE),  # more than the longest wave before the day
        (-20, 1, 3_600, BEFORE, AFTER),  # expected in an hour, and perhaps a day later
        (-20, 1, 80_000, AFTER, AFTER),  # batches took 22 hours of late
        (-1.5, 1, 3_600, BEFORE, AFTER),
        (-1.5, 2, 3_600, AFTER, AFTER),  # the second rung's answers come a wave later
        (-40, 2, 3_600, BEFORE, AFTER),
        (-0.5, 0, 3_600, BEFORE, BEFORE),  # in realtime the answer comes now
        (0.5, 1, 3_600, AFTER, AFTER),
    ],
)
def test_the_price_of_the_time_at_which_answers_are_expected(
    hours: float, waves: int, usual_seconds: float, expected: tuple[Decimal, ...], dearest: tuple[Decimal, ...]
) -> None:
    now = DOUBLES_AT + timedelta(hours=hours)
    found = prices_of_answers(
        lambda day: unit_price("google", "gemini-4-argon", day), now, waves, lambda: usual_seconds
    )
    shown = []
    for price in found:
        assert price is not None
        shown.append((price.steps[0].input * 1_000_000, price.steps[0].output * 1_000_000))
    assert shown == [expected, dearest]


def test_a_model_without_a_price_has_none() -> None:
    assert prices_of_answers(lambda day: None, DOUBLES_AT, 1, lambda: 1.0) == (None, None)


def test_a_price_is_not_taken_for_that_of_another_model() -> None:
    day = DOUBLES_AT.date()
    for name in ("gemini-3.8-flash-lite", "gemini-3.6-flash-tts", "google/gemini-3.8-flash-lite"):
        assert unit_price("google", name, day) is None
    for name in ("gemini-2.5-flash-lite", "gemini-2.5-flash-preview-09-2025", "google/gemini-3.8-flash"):
        assert unit_price("google", name, day) is not None


def test_the_cost_goes_by_the_time_of_the_answers_and_the_estimate_by_when_they_are_expected(project: Project) -> None:
    """A batch is sent at 23:00 of the last day and answered two hours later, at the new price."""
    project.pipeline(ARGON.replace("max_tokens = 200", "max_tokens = 2_000"))
    project.rows(numbered(4))
    clock = Clock(project=project)
    clock.advance(DOUBLES_AT - timedelta(hours=1) - datetime.now(UTC).replace(tzinfo=None))
    project.faults({"delay_seconds": 7_200})
    result = clock.run().result
    assert (result.status, result.submitted) == ("done", 4)
    ((input_tokens, output_tokens, cost, submitted, ended),) = project.sql(
        "SELECT sum(input_tokens), sum(output_tokens), sum(cost_usd), any_value(b.submitted_at), any_value(b.ended_at) "
        "FROM ledger.results r JOIN ledger.batches b USING (batch_id)"
    )
    assert submitted < DOUBLES_AT < ended
    by_hand = (AFTER[0] * int(input_tokens) + AFTER[1] * int(output_tokens)) / 1_000_000
    assert cost == by_hand == result.cost_usd
    # The most that the batch could cost was reckoned at the new price, so that no limit is passed by the change.
    ((most,),) = project.sql("SELECT data ->> 'max_usd' FROM ledger.events WHERE kind = 'chunk_prepared'")
    assert Decimal(most) >= 4 * 2_000 * AFTER[1] / 1_000_000


def test_a_realtime_rung_above_batches_has_the_price_of_the_wave_after_them(project: Project) -> None:
    """Its answers come when the batches below are back: 20 hours before the day they may be dearer, 60 hours not."""
    higher = '\n\n[[models]]\nmodel = "gemini:gemini-4-argon"\nmax_tokens = 2_000\n'
    project.pipeline(BASIC + 'accept = "score > 0.5"' + higher + 'mode = "realtime"\n')
    project.rows(numbered(4))
    clock, most, usual = Clock(project=project), [], []
    for hours in (60, 20, 0.5, -1):
        clock.advance(DOUBLES_AT - timedelta(hours=hours) - clock.now())
        estimate = clock.plan().estimate
        most.append(estimate.max_usd or 0)
        usual.append(estimate.rungs[1].cost_usd)
    assert most[0] < most[1] == most[2] == most[3] < 2 * most[0]
    assert usual[0] == usual[1]
    assert usual[2] == usual[3] == 2 * (usual[0] or 0)


def test_answers_that_a_killed_process_has_left_came_when_they_were_written(tmp_path: Path) -> None:
    """The chunk is closed a day after its price has doubled."""
    path, prepared_at = tmp_path / "chunk.jsonl", DOUBLES_AT - timedelta(hours=2)
    path.touch()
    for minutes, at in ((30, 30), (-30, 0), (10_000, 1_560)):
        seconds = (prepared_at + timedelta(minutes=minutes)).replace(tzinfo=UTC).timestamp()
        os.utime(path, (seconds, seconds))
        found = came_at(path, prepared_at, prepared_at + timedelta(minutes=1_560))
        assert found == prepared_at + timedelta(minutes=at)
    assert came_at(None, prepared_at, DOUBLES_AT) == DOUBLES_AT
