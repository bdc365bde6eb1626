"""Tests that the intent decides: whoever commits later sees what others have committed since the plan."""

from __future__ import annotations

import json
import shutil
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import duckdb
import pytest
from calls import ask, call_here, spawn
from helpers.gold import SONNET
from helpers.reviewed import desk_of
from projects import BASIC, Project, numbered

from batchpipe.commands.report.report import report
from batchpipe.common.errors import GateError, ProviderError
from batchpipe.common.logs import Event
from batchpipe.common.machine import THIS_MACHINE, utc_now
from batchpipe.engine.context import Context
from batchpipe.engine.ledger.events import CALL_SECONDS
from batchpipe.engine.ledger.raw_folder import RawFolder, open_results
from batchpipe.engine.quality.review import RowReview
from batchpipe.engine.run.options import RunOptions
from batchpipe.engine.run.pipeline_run import PipelineRun
from batchpipe.engine.run.result import RunResult
from batchpipe.engine.run.runner import run_pipelines
from batchpipe.pipeline.load import load


def run_with(project: Project, name: str, between: Callable[[], Any], **options: Any) -> RunResult:
    """Run `name`; `between` happens once its plan is made and nothing is sent yet."""
    context = project.context()

    def confirm(*_: Any) -> bool:
        shutil.rmtree(project.root / ".batchpipe" / "locks")  # as `git clean` does
        between()
        return True

    def told(name: str, event: Event) -> None:
        project.said.append(f"{name}: {event}")

    return finished(project, context, name, RunOptions(**options), told, confirm)


def finished(
    project: Project,
    context: Context,
    name: str,
    options: RunOptions,
    told: Callable[[str, Event], None],
    confirm: Callable[..., bool],
) -> RunResult:
    file = load(project.root / "pipelines" / f"{name}.toml", project.root)
    run = PipelineRun(context=context, file=file, options=options, tell=told, confirm=confirm)
    try:
        (outcome,) = run_pipelines(context, [run], wait_seconds=60.0, show=lambda runs: None)
    finally:
        context.close()
    assert outcome.error is None, outcome.error
    return outcome.result


def test_two_runs_without_a_common_lock_buy_nothing_twice(project: Project) -> None:
    project.pipeline()
    project.rows([*numbered(6), {"id": 7, "body": "text number 1", "lang": "en", "amount": 3}])
    found = run_with(project, "demo", lambda: project.run(limit=3))
    assert project.requests_sent() == 6  # two rows ask the same
    assert found.rows["accepted"] == 7
    assert any("somebody else has asked for some of these rows" in each for each in project.said)
    # A leader that falls away, and what is still in flight elsewhere: its followers take that answer.
    project.rows([*numbered(9), {"id": 10, "body": "text number 8", "lang": "en", "amount": 3}])
    run_with(project, "demo", lambda: project.run(where="id = 8", no_wait=True))
    assert project.requests_sent() == 9
    assert project.sql("SELECT count(*) FROM demo WHERE _current") == [(10,)]


def test_a_pipeline_whose_older_name_still_runs_buys_nothing_twice(project: Project) -> None:
    project.pipeline(name="p")
    project.pipeline(f'renamed_from = "p"\n{BASIC}', name="q")
    project.rows(numbered(5))
    found = run_with(project, "p", lambda: project.run("q"))
    assert (found.submitted, found.rows["due"]) == (0, 5)
    assert project.requests_sent() == 5
    assert project.run("p").submitted == 0  # and later neither
    project.rows(numbered(6))
    run_with(project, "q", lambda: project.run("p"))
    assert project.requests_sent() == 6


def test_two_linked_runs_do_not_both_let_a_row_follow_a_request_in_flight(project: Project) -> None:
    project.pipeline(name="p")
    project.pipeline(f'renamed_from = "p"\n{BASIC}', name="q")
    rows = [row | {"body": "the same"} for row in numbered(3)]
    project.rows(rows[:1])
    project.faults({"delay_seconds": 2})
    project.run("p", no_wait=True)
    project.rows(rows)
    found = run_with(project, "q", lambda: project.run("p", no_wait=True))
    assert (found.rows["accepted"], project.requests_sent()) == (3, 1)
    assert project.sql("SELECT count(*), count(DISTINCT key_id) FROM ledger.requests") == [(3, 3)]
    assert project.sql("SELECT count(*), count(DISTINCT key_id) FROM ledger.decisions") == [(3, 3)]


def test_a_machine_that_slept_after_its_intent_posts_nothing(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(4))
    moments = iter([0.0, 61.0])
    machine = replace(THIS_MACHINE, monotonic=lambda: next(moments, 61.0))
    context = project.context
    project.context = lambda: _on(context(), machine)  # type: ignore[method-assign]
    result = project.run()
    assert (result.rows["accepted"], project.requests_sent()) == (4, 4)
    states = project.sql("SELECT state FROM ledger.batches ORDER BY prepared_at")
    assert states == [("not_sent",), ("collected",)]
    assert any("60 s have passed since it was prepared" in each for each in project.said)


def messages(project: Project) -> int:
    """Return how many realtime calls the provider has had."""
    return sum(each["path"] == "/v1/messages" for each in project.log()["calls"])


def test_four_tries_at_once_on_the_same_rows_make_one_call_for_each(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(5))
    running = [spawn(project, "try", "demo", "--json") for _ in range(4)]
    found = []
    for each in running:
        out, talk = each.communicate()
        assert each.returncode == 0, talk
        found.append(json.loads(out, parse_float=Decimal))
    assert messages(project) == 5
    assert sum(not row["known"] for value in found for row in value["rows"]) == 5
    assert all(row["verdict"] == "accepted" for value in found for row in value["rows"])
    assert sum(value["cost_usd"] for value in found) == project.sql("SELECT sum(cost_usd) FROM ledger.results")[0][0]
    # A database that is lost finds these answers in the raw folder.
    (project.root / "batchpipe.duckdb").unlink()
    assert (project.run().submitted, messages(project)) == (0, 5)
    assert project.sql("SELECT count(*), count(cost_usd) FROM ledger.results") == [(5, 5)]


def test_a_lost_reply_of_a_try_is_in_the_report_and_in_the_budget(project: Project) -> None:
    project.pipeline(BASIC + "[budget]\nmax_usd = 0.01\n")
    project.rows(numbered(3))
    project.faults({"calls": [{"call": "message", "fault": "accepted_then_reset", "times": 1}]})
    with pytest.raises(ProviderError, match="did not answer"):
        project.attempt(rows=1)
    booked = ask(project, report, ["demo"], as_json=True).value["booked_usd"]
    assert booked > 0
    assert "brought no answer" in ask(project, report, ["demo"]).out
    assert project.preview().spent_usd == booked
    project.faults({"calls": [{"call": "message", "fault": "status:529", "times": 1}]})
    with pytest.raises(ProviderError):
        project.attempt(rows=1)  # a refusal costs nothing
    assert project.preview().spent_usd == booked
    project.faults({"calls": [{"call": "message", "fault": "accepted_then_reset", "times": 9}]})
    while project.preview().spent_usd + booked <= Decimal("0.01"):
        with suppress(ProviderError):
            project.attempt(rows=1)
    with pytest.raises(GateError, match=r"max_usd of \$0.01"):
        project.attempt(rows=1)


def test_a_row_in_flight_with_a_batch_is_not_asked_again_by_try(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(2))
    project.faults({"delay_seconds": 3600})
    project.run(no_wait=True)
    assert [each.verdict for each in project.attempt()] == ["in_flight", "in_flight"]
    assert messages(project) == 0


def test_rows_that_ask_the_same_as_one_in_flight_with_a_batch_are_not_asked_by_try(project: Project) -> None:
    project.pipeline()
    project.rows([row | {"body": "the same"} for row in numbered(3)])
    project.faults({"delay_seconds": 3600})
    project.run(no_wait=True)
    assert [each.verdict for each in project.attempt()] == ["in_flight"] * 3
    assert messages(project) == 0


def test_a_run_leaves_rows_that_ask_what_a_try_asks_now(project: Project) -> None:
    project.pipeline()
    project.rows([row | {"body": "the same"} for row in numbered(3)])
    project.faults({"calls": [{"call": "message", "fault": "accepted_late", "seconds": 3, "times": 1}]})
    trying = spawn(project, "try", "demo", "2", "--json")
    while not messages(project):
        assert trying.poll() is None, trying.communicate()
        time.sleep(0.1)
    said = call_here(project, "run", "demo", "--yes", "--no-wait")
    assert "1 request is not sent: the same is in flight already" in said.stderr
    _, talk = trying.communicate()
    assert trying.returncode == 0, talk
    assert project.run().rows["accepted"] == 3
    assert (messages(project), project.requests_sent()) == (1, 0)


def kill_try(project: Project, *words: str) -> None:
    """Kill a `try` while it waits for the answer to its call."""
    project.faults({"calls": [{"call": "message", "fault": "accepted_late", "seconds": 3, "times": 1}]})
    before = messages(project)
    trying = spawn(project, "try", "demo", *words)
    while messages(project) == before:
        assert trying.poll() is None, trying.communicate()
        time.sleep(0.1)
    trying.kill()
    trying.communicate()


def test_a_run_is_not_done_while_a_killed_try_may_still_have_its_answer(project: Project) -> None:
    project.pipeline()
    rows = numbered(3)
    project.rows(rows)
    assert project.run().status == "done"
    kill_try(project, "1", "--model", SONNET)
    assert project.run().status == "done"  # what is answered waits for no try of it
    rows[1]["body"] = "other words"
    project.rows(rows)
    kill_try(project, "2")
    result = project.run()
    assert (result.status, result.rows["pending"]) == ("pending", 1)


@dataclass(slots=True)
class Later:
    """A machine whose clock is `seconds` ahead, and where a second of sleep lasts a minute."""

    seconds: float = 0.0
    slept: float = 0.0

    def of(self, project: Project) -> Context:
        context = project.context()
        context.machine = replace(
            THIS_MACHINE,
            clock=lambda: utc_now() + timedelta(seconds=self.seconds),
            monotonic=lambda: time.monotonic() + self.slept,
            sleep=self._sleep,
        )
        return context

    def _sleep(self, seconds: float) -> None:
        self.slept += 59 * seconds
        time.sleep(seconds)


def run_telling(project: Project, context: Context, told: Callable[[str, Event], None]) -> RunResult:
    return finished(project, context, "demo", RunOptions(), told, lambda *_: True)


def save_answer(project: Project) -> None:
    """Save the answer to the call of a `try` that was killed, as that process would have done next."""
    [(custom_id, chunk_id)] = project.sql("SELECT custom_id, chunk_id FROM ledger.requests WHERE reason = 'try'")
    raw = RawFolder(path=project.root / ".batchpipe" / "raw")
    with open_results(next(raw.path.glob("*.jsonl.zst"))) as file:
        line = json.loads(file.read().splitlines()[0])
    raw.write_results(str(chunk_id), json.dumps({**line, "custom_id": custom_id}).encode() + b"\n")


def edited_row_of_a_killed_try(project: Project) -> list[dict[str, Any]]:
    """Answer three rows, edit the second, and kill a `try` of it; return the rows."""
    project.pipeline()
    rows = numbered(3)
    project.rows(rows)
    assert project.run().status == "done"
    rows[1]["body"] = "other words"
    project.rows(rows)
    kill_try(project, "2")
    return rows


def test_a_try_does_not_ask_again_what_is_saved_while_a_run_holds_the_lock(project: Project) -> None:
    edited_row_of_a_killed_try(project)
    save_answer(project)
    context = Later(CALL_SECONDS + 1).of(project)
    project.context = lambda: context  # type: ignore[method-assign]
    with pytest.raises(ProviderError, match="the answer to this row is saved"):
        project.attempt(keys=['["2"]'])
    del project.context
    assert messages(project) == 1
    assert (project.run().rows["accepted"], messages(project), project.requests_sent()) == (3, 1, 3)


def test_a_run_records_what_a_try_has_saved_since_it_began(project: Project) -> None:
    rows = edited_row_of_a_killed_try(project)
    project.rows([*rows, {"id": 9, "body": "new", "lang": "en", "amount": 1}])
    project.faults({"delay_seconds": 2})
    assert project.run(no_wait=True).submitted == 1
    later = Later()

    def told(_: str, event: Event) -> None:
        if event.kind == "collected":
            save_answer(project)
            later.seconds = CALL_SECONDS + 1

    result = run_telling(project, later.of(project), told)
    assert (result.rows["accepted"], messages(project), project.requests_sent()) == (4, 1, 4)


def test_an_answer_that_a_run_has_taken_in_is_recorded_once(project: Project) -> None:
    """The `try` has saved the answer, and stands still before it records it."""
    project.pipeline()
    rows = numbered(3)
    project.rows(rows)
    assert project.run().status == "done"
    rows[1]["body"] = "other words"
    project.rows(rows)
    project.faults({"calls": [{"call": "message", "fault": "accepted_late", "seconds": 3, "times": 1}]})
    trying = spawn(project, "try", "demo", "2")
    while not messages(project):
        assert trying.poll() is None, trying.communicate()
        time.sleep(0.1)
    with duckdb.connect(str(project.root / "batchpipe.duckdb")):  # nobody else can record anything
        while not list((project.root / ".batchpipe" / "raw").glob("*.jsonl")):
            assert trying.poll() is None, trying.communicate()
            time.sleep(0.01)
        trying.send_signal(signal.SIGSTOP)
    assert project.run().rows["accepted"] == 3
    trying.send_signal(signal.SIGCONT)
    _, talk = trying.communicate()
    assert (trying.returncode, messages(project), project.requests_sent()) == (0, 1, 3), talk
    assert project.sql("SELECT count(*), count(DISTINCT (chunk_id, custom_id)) FROM ledger.results") == [(4, 4)]


def _on(context: Any, machine: Any) -> Any:
    context.machine = machine
    return context


def test_a_review_of_a_row_that_was_sent_before_makes_no_new_plan(project: Project) -> None:
    """Of what a desk says beside a run, only the rows that go up next count."""
    chunks = "[chunking]\nmax_requests = 2\nmax_in_flight = 1\n\n[review]\nsample = 0.99\n\n[[models]]"
    project.pipeline(BASIC.replace("[[models]]", chunks))
    project.rows(numbered(8))
    said: list[str] = []

    def told(_: str, event: Event) -> None:
        said.append(event.kind)
        if said.count("collected") == 1 and event.kind == "collected":
            with desk_of(project, "every") as desk:
                row = next(desk.all_rows())
                assert desk.record([RowReview(number=row.number, document=row.answer, accepted=True)]) == []

    result = run_telling(project, project.context(), told)
    assert result.rows["accepted"] == project.requests_sent() == 8
    assert project.sql("SELECT count(*) FROM ledger.reviews") == [(1,)]
    assert "overtaken" not in said
