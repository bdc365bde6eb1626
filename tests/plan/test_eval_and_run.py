"""Tests of a pipeline beside its evaluations: what one has bought, or has in flight, the other leaves."""

from __future__ import annotations

import threading
import time
from decimal import Decimal

import pytest
from calls import ask, call_here, spawn
from helpers.gold import GOLD, LADDER, RIGHT, answer_by, answer_lines, gold_rows, report, run_eval
from projects import BASIC, Project

from batchpipe.commands.call.options import TryRequest
from batchpipe.commands.try_rows import try_rows
from batchpipe.common.errors import LockedError
from batchpipe.common.progress import Phase, Progress
from batchpipe.engine.ledger.locks import pipeline_lock
from batchpipe.engine.run.options import RunOptions
from batchpipe.engine.run.pipeline_run import PipelineRun
from batchpipe.engine.run.runner import run_pipelines
from batchpipe.pipeline.load import load


def given(project: Project, count: int, text: str = BASIC) -> None:
    """Give the project gold rows that are its input too."""
    project.pipeline(text + GOLD)
    rows = gold_rows(count)
    project.rows(rows)
    project.rows(rows, "gold.csv")


def bought_twice(project: Project) -> list[tuple[object, ...]]:
    """Return the requests that were answered more than once by one model."""
    return project.sql(
        "SELECT fingerprint, q.model, count(DISTINCT custom_id) FROM ledger.requests q "
        "JOIN ledger.results USING (chunk_id, custom_id) WHERE leads AND NOT judged_again "
        "GROUP BY ALL HAVING count(DISTINCT custom_id) > 1"
    )


def test_a_run_takes_what_an_evaluation_has_bought(project: Project) -> None:
    given(project, 20)
    report(project)
    planned = project.plan()
    assert (planned.requests, planned.rows_by_reason["carried_over"]) == (0, 20)
    assert project.run().rows["accepted"] == 20
    assert project.requests_sent() == 20
    assert project.sql("SELECT count(*) FROM demo WHERE _current") == [(20,)]
    # The evaluation has paid: its cost is counted once, and there.
    assert project.sql("SELECT sum(_cost_usd) FROM demo") == [(0,)]
    assert project.sql("SELECT count(*) FROM ledger.results WHERE cost_usd > 0") == [(20,)]


def test_a_ladder_takes_what_an_evaluation_of_every_rung_has_bought(project: Project) -> None:
    given(project, 30, LADDER)
    answer_by(project, answer_lines(gold_rows(30), RIGHT))
    report(project, models="all")
    assert project.requests_sent() == 60
    assert project.run().rows["accepted"] == 30
    assert project.requests_sent() == 60
    assert bought_twice(project) == []


def test_an_answer_of_a_higher_rung_that_is_not_valid_hides_no_valid_one_below(project: Project) -> None:
    given(project, 10, LADDER)
    sure = {"label": "bug", "score": 0.9}
    answers = {"claude-haiku-4-5": sure, "claude-sonnet-4-6": "no JSON"}
    answer_by(project, [{"model": model, "match": "question", "output": each} for model, each in answers.items()])
    report(project, models="all")
    sent = project.requests_sent()
    assert project.plan().rows_by_reason["carried_over"] == 10
    assert project.run().rows["accepted"] == 10
    assert project.requests_sent() == sent
    assert project.sql("SELECT _rung, count(*) FROM demo WHERE _current GROUP BY _rung") == [(1, 10)]


def test_a_row_that_goes_up_takes_the_answer_that_an_evaluation_has_got_since(project: Project) -> None:
    given(project, 4, LADDER)
    unsure, sure = ({"label": "bug", "score": score} for score in (0.25, 0.9))
    answers = {"claude-haiku-4-5": unsure, "claude-sonnet-4-6": sure}
    answer_by(project, [{"model": model, "match": "question", "output": each} for model, each in answers.items()])
    project.run(no_wait=True)
    while not project.sql("SELECT count(*) FROM ledger.decisions")[0][0]:
        project.outcomes(["demo"], max_usd=Decimal("0.0000001"))  # no room for what goes up
    assert project.sql("SELECT DISTINCT state FROM ledger.decisions") == [("escalated",)]
    report(project, models="all")
    sent = project.requests_sent()
    assert project.run().rows["accepted"] == 4
    assert project.requests_sent() == sent


def test_a_run_leaves_to_an_evaluation_what_it_has_in_flight(project: Project) -> None:
    given(project, 20)
    project.control("faults", {"delay_seconds": 3600})
    assert run_eval(project, no_wait=True).code == 5
    said = call_here(project, "run", "demo", "--yes")
    assert said.returncode == 5
    assert "20 requests are not sent: the same is in flight already, and batchpipe eval demo takes in" in said.stderr
    assert project.requests_sent() == 20
    project.control("clock", {"advance_seconds": 7200})
    # The batch has ended: the run takes it in by itself, and so does the evaluation afterwards.
    assert project.run().rows["accepted"] == 20
    assert report(project)["ladder"]["n"] == 20
    assert project.requests_sent() == 20


def test_an_evaluation_leaves_to_a_run_what_it_has_in_flight(project: Project) -> None:
    given(project, 20)
    project.control("faults", {"delay_seconds": 3600})
    assert project.run(no_wait=True).status == "pending"
    printed = run_eval(project, as_json=False)
    assert printed.code == 5
    assert "20 requests are not sent: the same is in flight already, and batchpipe run demo takes in" in printed.talk
    assert project.requests_sent() == 20
    project.control("clock", {"advance_seconds": 7200})
    assert project.run().rows["accepted"] == 20
    assert report(project)["ladder"]["n"] == 20
    assert project.requests_sent() == 20


def test_a_run_records_what_an_evaluation_asked_of_a_panel_that_is_no_more(project: Project) -> None:
    voting = BASIC.replace("max_tokens = 200", "max_tokens = 200\nsamples = 2")
    given(project, 4, voting)
    project.control("faults", {"delay_seconds": 3600})
    report(project, code=5, no_wait=True)
    assert project.requests_sent() == 8
    project.control("clock", {"advance_seconds": 7200})
    given(project, 4)
    project.run(no_wait=True)  # the batch ends when it is asked about
    assert project.run().rows["accepted"] == 4
    assert project.sql("SELECT 1 FROM ledger.batches WHERE is_open") == []
    assert project.sql("SELECT count(*) FROM ledger.results WHERE NOT judged_again") == [(8,)]
    assert project.requests_sent() == 8
    given(project, 4, voting)
    assert report(project)["models"]
    assert project.requests_sent() == 8


def test_a_try_takes_what_an_evaluation_has_bought_or_has_in_flight(project: Project) -> None:
    given(project, 10)
    project.control("faults", {"delay_seconds": 3600})
    assert run_eval(project, no_wait=True).code == 5
    asked = ask(project, try_rows, TryRequest(pipeline="demo", keys=("1", "2")), as_json=True)
    assert project.requests_sent() == 10, asked.talk
    project.control("clock", {"advance_seconds": 7200})
    report(project)
    tried = ask(project, try_rows, TryRequest(pipeline="demo", keys=("1", "2")), as_json=True).value
    assert len(tried["rows"]) == 2
    assert project.requests_sent() == 10


@pytest.mark.parametrize("first", ["run", "eval"])
def test_a_run_and_an_evaluation_at_once_buy_nothing_twice(project: Project, first: str) -> None:
    given(project, 12)
    words = {"run": ("run", "demo", "--yes"), "eval": ("eval", "demo")}
    ordered = [words[first], *(each for name, each in words.items() if name != first)]
    for process in [spawn(project, *each) for each in ordered]:
        process.communicate(timeout=120)
    assert bought_twice(project) == []
    project.run()
    report(project)
    assert project.requests_sent() == 12
    assert bought_twice(project) == []


def test_an_answer_that_comes_while_a_run_plans_is_not_bought_again(project: Project) -> None:
    """A plan looks for answers first, and for what is in flight later: here an evaluation's answers come in between."""
    given(project, 12)
    project.control("faults", {"delay_seconds": 3600})
    assert run_eval(project, no_wait=True).code == 5
    context, phases = project.context(), list[str]()

    def watch(_: str, progress: Progress) -> None:
        if isinstance(progress, Phase) and progress.name == "rendering" and not phases:
            phases.append(progress.name)
            project.control("clock", {"advance_seconds": 7200})
            report(project)

    context.watch = watch
    run = PipelineRun(
        context=context,
        file=load(project.root / "pipelines" / "demo.toml", project.root),
        options=RunOptions(),
        tell=lambda name, text: project.said.append(f"{name}: {text}"),
        confirm=project.confirm,
    )
    (outcome,) = run_pipelines(context, [run], wait_seconds=60.0, show=lambda runs: None)
    context.close()
    assert (outcome.error, outcome.result.rows["accepted"], phases) == (None, 12, ["rendering"])
    assert project.requests_sent() == 12


def test_a_second_evaluation_says_at_once_who_is_at_it_and_sends_nothing(project: Project) -> None:
    given(project, 20, LADDER)
    answer_by(project, answer_lines(gold_rows(20), RIGHT))
    project.control("faults", {"delay_seconds": 3600})
    first = spawn(project, "eval", "demo", "--models", "all")
    assert first.stderr is not None
    assert any("submitted" in line for line in first.stderr)
    with pytest.raises(LockedError, match=f"demo is being evaluated by process {first.pid}") as caught:
        run_eval(project, models="all")
    assert "batchpipe status demo" in str(caught.value.hint)
    assert "demo:" not in str(caught.value)
    project.control("faults", {})
    project.control("clock", {"advance_seconds": 7200})
    first.communicate(timeout=120)
    assert first.returncode == 0
    report(project, models="all")
    assert project.requests_sent() == 40


def test_an_evaluation_waits_for_a_run_that_records_what_is_its_own(project: Project) -> None:
    given(project, 6)
    report(project)
    locks = project.root / ".batchpipe" / "locks"
    [own] = {each.stem for each in locks.glob("demo:eval:*.lock")}
    taken = threading.Event()

    def hold() -> None:
        with pipeline_lock(locks, own, project.context().clock()):
            taken.set()
            time.sleep(3)

    holder = threading.Thread(target=hold)
    holder.start()
    taken.wait()
    assert report(project)["ladder"]["n"] == 6
    holder.join()
