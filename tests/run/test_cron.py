"""Tests of `run` as cron calls it: many short calls, within a budget, and at the same time."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from helpers.costly import GOOD, LONG, costly, used_usd
from projects import BASIC, Project, numbered

from batchpipe.common.errors import PipelineError
from batchpipe.engine.run.options import RunOptions
from batchpipe.engine.run.pipeline_run import PipelineRun
from batchpipe.engine.run.result import RunResult
from batchpipe.engine.run.runner import run_pipelines


def once(project: Project, **options: Any) -> RunResult:
    """Make one call with --no-wait."""
    (outcome,) = project.outcomes(no_wait=True, **options)
    assert outcome.error is None
    return outcome.result


def until_quiet(call: Callable[[], RunResult], calls: int) -> list[RunResult]:
    results = [call() for _ in range(calls)]
    assert len({each.run_id for each in results}) == calls
    return results


def test_three_calls_submit_then_wait_then_collect(project: Project) -> None:
    project.pipeline()
    project.rows([*numbered(4), {"id": 5, "body": "bad", "lang": "en", "amount": 1}])
    project.faults({"requests": [{"match": "bad", "outcome": "errored_invalid"}]})
    first, second, third, fourth = until_quiet(lambda: once(project), 4)
    assert (first.status, first.submitted, first.batches) == ("pending", 5, 1)
    assert first.rows | {"input": 5, "pending": 5, "accepted": 0, "due": 0} == first.rows
    assert (second.status, second.submitted, second.rows["pending"]) == ("pending", 0, 5)
    assert (third.status, third.submitted) == ("failed_rows", 0)
    assert third.rows | {"accepted": 4, "failed": 1, "pending": 0, "due": 0} == third.rows
    assert (third.attempts, third.cost_usd) == (5, used_usd(project))
    # The row that failed makes no later call fail.
    assert (fourth.status, fourth.submitted, fourth.rows["failed"]) == ("done", 0, 1)
    assert first.cost_usd == second.cost_usd == fourth.cost_usd == 0
    assert project.requests_sent() == 5
    assert project.sql("SELECT status FROM ledger.runs ORDER BY started_at") == [
        ("pending",), ("pending",), ("failed_rows",), ("done",)
    ]  # fmt: skip


def test_a_retry_is_sent_by_the_call_that_collects(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(3))
    project.faults({"requests": [{"outcome": "invalid_json", "times": 1}]})
    results = until_quiet(lambda: once(project), 6)
    assert [each.submitted for each in results] == [3, 0, 3, 0, 0, 0]
    assert [each.status for each in results] == ["pending"] * 4 + ["done"] * 2
    assert results[-1].rows["accepted"] == 3


def test_ten_calls_never_pass_the_budget_and_stop_at_the_gate(project: Project) -> None:
    project.pipeline(costly("max_usd = 0.06"))
    project.rows(numbered(20))
    project.faults(LONG)
    results = []
    for _ in range(10):
        results.append(once(project))
        assert used_usd(project) <= Decimal("0.06")
        assert sum(each.cost_usd for each in results) == used_usd(project)
    accepted = results[-1].rows["accepted"]
    assert {each.status for each in results[-3:]} == {"gate"}
    assert "[budget] max_usd of $0.06 is reached" in (results[-1].gate or "")
    assert results[-1].rows | {"due": 20 - accepted, "pending": 0, "failed": 0} == results[-1].rows
    assert accepted == project.requests_sent() == sum(each.submitted for each in results)
    assert used_usd(project) > Decimal("0.05")  # what may be spent is used, not held back
    project.pipeline(costly("max_usd = 1"))
    assert project.plan().requests == 20 - accepted > 0
    result = project.run()
    assert (result.status, result.submitted) == ("done", 20 - accepted)
    assert project.requests_sent() == 20


@pytest.mark.parametrize("name", ["max_usd_per_day", "max_usd_per_month"])
def test_a_day_and_a_month_have_budgets_of_their_own(project: Project, name: str) -> None:
    project.pipeline(costly(f"max_usd = 5\n{name} = 0.02"))
    project.rows(numbered(6))
    project.faults(LONG)
    result = project.run()
    assert (result.status, result.submitted) == ("gate", 3)
    assert f"[budget] {name} of $0.02 is reached" in (result.gate or "")
    assert 0 < result.cost_usd == used_usd(project) <= Decimal("0.02")


def test_max_usd_bounds_one_call(project: Project) -> None:
    project.pipeline(costly("max_usd = 5"))
    project.rows(numbered(8))
    project.faults(LONG)
    for call in (1, 2):
        before = used_usd(project)
        result = project.run(max_usd=Decimal("0.02"))
        assert (result.status, result.submitted) == ("gate", 3)
        assert "--max-usd of $0.02" in (result.gate or "")
        assert 0 < result.cost_usd == used_usd(project) - before <= Decimal("0.02")
        assert project.requests_sent() == 3 * call


def test_retries_are_paid_from_the_same_budget(project: Project) -> None:
    project.pipeline(costly("max_usd = 0.02"))
    project.rows(numbered(1))
    project.faults({"requests": [{"outcome": "truncated"}]})  # each fills its room: 2,000, 4,000, never 8,000
    result = project.run()
    assert (result.status, result.submitted, result.rows["due"]) == ("gate", 2, 1)
    assert Decimal("0.015") < used_usd(project) <= Decimal("0.02")
    project.pipeline(costly("max_usd = 0.05"))
    assert project.run().submitted == 1
    assert project.sql("SELECT max_tokens, attempt FROM ledger.requests ORDER BY seq") == [
        (2000, 1), (4000, 2), (8000, 3)
    ]  # fmt: skip


def test_a_budget_without_a_price_sends_nothing(project: Project) -> None:
    project.pipeline(costly("max_usd = 5").replace("claude-haiku-4-5", "claude-never-heard-of"))
    project.rows(numbered(2))
    (outcome,) = project.outcomes()
    assert isinstance(outcome.error, PipelineError)
    assert "no price is known" in outcome.error.what
    assert project.requests_sent() == 0


def test_one_pipelines_error_does_not_stop_the_others(project: Project) -> None:
    project.rows(numbered(4))
    project.pipeline(BASIC, "good")
    project.pipeline(BASIC.replace("{{ body }}", "{{ boody }}"), "misspelt")
    project.pipeline(BASIC.replace("FROM read_csv", "FROM (VALUES (1)), read_csv") + "[retry]\nattempts = 1\n", "also")
    project.pipeline(BASIC + "[budget]\nmax_usd = 0\n", "poor")
    project.faults({"requests": [{"match": "number 3", "outcome": "errored_invalid"}]})
    good, misspelt, also, poor = project.outcomes(["good", "misspelt", "also", "poor"])
    assert (good.error, good.result.status, good.result.rows["accepted"]) == (None, "failed_rows", 3)
    assert isinstance(misspelt.error, PipelineError)
    assert "Did you mean `body`?" in str(misspelt.error)
    assert misspelt.result.status == "error"
    assert (also.error, also.result.rows["accepted"], also.result.submitted) == (None, 3, 4)
    assert (poor.error, poor.result.status, poor.result.submitted) == (None, "gate", 0)
    assert project.sql("SELECT pipeline, status FROM ledger.runs ORDER BY ALL") == [
        ("also", "failed_rows"), ("good", "failed_rows"), ("misspelt", "error"), ("poor", "gate")
    ]  # fmt: skip


def test_a_wait_that_is_over_leaves_what_is_pending(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(3))
    project.faults({"delay_seconds": 3600})
    (outcome,) = project.outcomes(wait_seconds=0.2)
    assert (outcome.error, outcome.result.status) == (None, "pending")
    assert outcome.result.rows | {"pending": 3, "due": 0} == outcome.result.rows
    project.control("clock", {"advance_seconds": 3600})
    result = project.run()
    assert (result.status, result.submitted, result.rows["accepted"]) == ("done", 0, 3)
    assert project.requests_sent() == 3


NEW = {"label": "new", "why": "x"}


@pytest.mark.parametrize("within_one_call", [False, True], ids=["calls", "one call"])
def test_an_edit_while_a_batch_is_in_flight_judges_it_as_it_was_sent(project: Project, within_one_call: bool) -> None:
    project.pipeline()
    project.rows(numbered(4))
    project.faults({"requests": [{"match": "Read:", "output": NEW}, {"output": GOOD}]})
    once(project)
    edited = BASIC.replace("{{ body }}", "Read: {{ body }}").replace('"other"]', '"new"]')
    edited = edited.replace("[output.fields.score]", "[output.fields.why]").replace('"number"', '"string"')
    project.pipeline(edited.replace("minimum = 0\nmaximum = 1\n", ""))
    if within_one_call:
        result = project.run()
        assert (result.status, result.submitted) == ("done", 4)
    else:
        assert [once(project).status for _ in range(4)] == ["pending", "pending", "pending", "done"]
    assert project.requests_sent() == 8
    outputs = project.sql("SELECT output, count(*) FROM ledger.results GROUP BY output ORDER BY max(seq)")
    assert [(json.loads(output), count) for output, count in outputs] == [(GOOD, 4), (NEW, 4)]
    reasons = project.sql("SELECT reason, state, count(*) FROM ledger.decisions GROUP BY ALL ORDER BY max(seq)")
    assert reasons == [("new", "accepted", 4), ("schema_changed", "accepted", 4)]
    assert project.sql("SELECT label, why, _prompt_version, _current, count(*) FROM demo GROUP BY ALL") == [
        ("new", "x", "v2", True, 4)
    ]  # fmt: skip


@pytest.mark.parametrize("within_one_call", [False, True], ids=["calls", "one call"])
def test_a_row_edited_while_it_is_in_flight_is_judged_as_sent_and_sent_again(
    project: Project, within_one_call: bool
) -> None:
    project.pipeline(BASIC + "[output.checks]\nas_sent = \"NOT (label = 'bug' AND amount = 99)\"\n")
    rows = numbered(4)
    project.rows(rows)
    project.faults({"requests": [{"output": {**GOOD, "label": "bug"}, "times": 1}, {"output": GOOD}]})
    once(project)
    rows[1]["amount"] = 99
    project.rows(rows)
    results = [project.run()] if within_one_call else [project.run(), project.run()]
    assert [each.status for each in results] == ["done"] * len(results)
    assert sum(each.submitted for each in results) == 1
    assert project.sql("SELECT label FROM demo ORDER BY id") == [("bug",), ("other",), ("bug",), ("bug",)]
    decided = project.sql("SELECT reason, state, count(*) FROM ledger.decisions GROUP BY ALL ORDER BY max(seq)")
    assert decided[0] == ("new", "accepted", 4)


def test_a_limit_holds_for_a_call_that_also_collects_what_an_earlier_one_sent(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(8))
    assert once(project, limit=3).submitted == 3
    result = project.run(limit=2)
    assert (result.status, result.submitted) == ("done", 2)
    assert result.rows | {"accepted": 5, "due": 3} == result.rows


def test_a_finished_selection_is_done(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(6))
    result = project.run(where="id <= 2")
    assert (result.status, result.rows["input"], result.rows["due"]) == ("done", 2, 0)


def test_keys_that_all_changed_are_a_gate_and_nothing_is_sent(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(3))
    rows = numbered(9)[3:]
    project.run()
    project.rows(rows)  # all known keys left, and more came
    (outcome,) = project.outcomes()
    assert (outcome.result.status, outcome.result.submitted) == ("gate", 0)
    assert "known keys left the input" in (outcome.result.gate or "")
    assert outcome.error is None
    assert project.run(approve=True).submitted == 6


def test_pipelines_that_share_the_queue_wait_without_spinning(project: Project) -> None:
    project.rows(numbered(4))
    names = ("first", "second")
    project.settings["poll_interval"] = 0.5
    files = [project.pipeline(BASIC + "[chunking]\nmax_queued = 4\n", name) for name in names]
    project.faults({"max_queued": 4, "delay_seconds": 1.4})
    context = project.context()
    runs = [
        PipelineRun(context=context, file=file, options=RunOptions(), tell=lambda *_: None, confirm=lambda *_: True)
        for file in files
    ]
    rounds: list[int] = []
    begun = time.monotonic()
    outcomes = run_pipelines(context, runs, wait_seconds=60, show=lambda runs: rounds.append(len(runs)))
    polls = (time.monotonic() - begun) / 0.5
    context.close()
    assert [each.result.status for each in outcomes] == ["done", "done"]
    assert len(rounds) <= 4 + 2 * len(runs) * polls, "each wakes once for a poll and once for what it submits"
    creates = [each for each in project.log()["calls"] if each["method"] == "POST"]
    assert [each["status"] for each in creates if each["path"].endswith("batches")] == [200, 200]
