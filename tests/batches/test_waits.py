"""Tests of waits for the provider: each ends with a result, a gate with a command, or exit 3, and `status` shows it.

None is busy: a run that waits asks neither the provider nor the ledger all the time.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from calls import Printed, ask
from clocked import Clock
from projects import BASIC, Project, numbered

from batchpipe.commands.recover import recover
from batchpipe.commands.status.status import status
from batchpipe.engine.run.runner import RunOutcome

BUDGET = BASIC + "[budget]\nmax_usd = 0.02\n"
MOST = 9999


@dataclass(slots=True, kw_only=True)
class WatchedClock(Clock):
    """A clock that keeps the seconds of each sleep that it was asked for."""

    asked: list[float] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        self.asked.append(seconds)
        assert len(self.asked) < 2_000, "the run does not end"
        Clock.sleep(self, seconds)


def begin(project: Project, text: str = BASIC, rows: int = 4) -> None:
    project.settings["reconcile_wait"] = 0.1
    project.pipeline(text)
    project.rows(numbered(rows))


def outcome(project: Project, faults: dict[str, Any], **options: Any) -> RunOutcome:
    project.faults(faults)
    (found,) = project.outcomes(wait_seconds=180.0, **options)
    return found


def gate(project: Project, faults: dict[str, Any]) -> str:
    """Run, and return the gate that stops the run."""
    found = outcome(project, faults)
    assert (found.error, found.result.status) == (None, "gate")
    assert found.result.gate is not None
    return found.result.gate


def shown(project: Project) -> str:
    return ask(project, status, ["demo"]).out


def abandon(project: Project) -> Printed:
    return ask(project, recover, "demo", None, abandon=True, from_raw=False)


def states(project: Project) -> list[str]:
    return [state for (state,) in project.sql("SELECT state FROM ledger.batches ORDER BY prepared_at")]


def changed(call: str, *removes: str, times: int = MOST, after: int = 0, **changes: Any) -> dict[str, Any]:
    fields = {name.replace("__", "."): value for name, value in changes.items()}
    rule = {"call": call, "fault": "changed", "times": times, "after": after, "changes": fields}
    return {**rule, "removes": list(removes)}


def test_results_that_are_gone_too_early_are_asked_about_once_and_paid(project: Project) -> None:
    begin(project, BUDGET + "[retry]\nattempts = 2\n")
    early = {"results_kept_seconds": 0}
    reason = gate(project, early)
    assert "which it should still keep" in reason
    assert states(project) == ["in_flight"]
    assert "no longer has the results" in shown(project)
    assert "4 requests given up" in abandon(project).out
    (most,) = project.sql("SELECT max_usd FROM ledger.batches")[0]
    assert ask(project, status, ["demo"], as_json=True).value["booked_usd"] == most
    # The rows have one attempt less; the next batch that is gone is only booked.
    assert project.plan().rows_by_reason["retry"] == 4
    found = outcome(project, early)
    assert (found.error, found.result.status, found.result.rows["failed"]) == (None, "failed_rows", 4)
    assert states(project) == ["abandoned", "gone"]
    assert project.requests_sent() == 8
    assert project.sql("SELECT DISTINCT attempts, error FROM ledger.row_state") == [
        (2, "the provider no longer has its results")
    ]


def test_a_budget_holds_against_batches_whose_results_are_gone(project: Project) -> None:
    begin(project, BUDGET + "[retry]\nattempts = 99\n")
    early = {"results_kept_seconds": 0}
    gate(project, early)
    abandon(project)
    assert "[budget] max_usd of $0.02 is reached" in gate(project, early)
    (booked,) = project.sql("SELECT sum(max_usd) FROM ledger.batches WHERE state IN ('gone', 'abandoned')")[0]
    assert 0 < booked <= 0.02


@pytest.mark.parametrize(
    ("faults", "words"),
    [
        ({"calls": [{"call": "results", "fault": "no_lines", "times": MOST}]}, "cannot be read"),
        ({"calls": [{"call": "results", "fault": "status:404", "times": MOST}]}, "cannot be read"),
        ({"calls": [{"call": "results", "fault": "foreign_lines", "times": MOST}]}, "only custom ids that were not"),
    ],
    ids=["empty", "not there", "foreign"],
)
def test_results_that_are_no_use_are_given_up_by_a_person(project: Project, faults: dict[str, Any], words: str) -> None:
    begin(project)
    assert words in gate(project, faults)
    assert len(project.log()["batches"]) == 1
    said = shown(project)
    assert words.split(" that")[0] in said
    assert "recover demo --abandon" in said
    assert "4 requests given up" in abandon(project).out
    found = outcome(project, {})
    assert (found.error, found.result.status, found.result.rows["accepted"]) == (None, "done", 4)
    assert project.requests_sent() == 8


def test_results_that_come_after_all_are_collected_and_not_given_up(project: Project) -> None:
    begin(project)
    gate(project, {"calls": [{"call": "results", "fault": "no_lines", "times": MOST}]})
    project.faults({})
    assert "its results can be collected" in abandon(project).out
    assert outcome(project, {}).result.rows["accepted"] == 4
    assert project.requests_sent() == 4


def test_a_batch_that_never_ends_is_said_and_may_be_given_up(project: Project) -> None:
    begin(project)
    clock = Clock(project=project)
    project.faults({"never_ends": True})
    assert clock.run(no_wait=True).result.status == "pending"
    assert "being processed" in abandon(project).out
    clock.advance(timedelta(days=3))
    found = clock.run()
    assert (found.error, found.result.status) == (None, "gate")
    assert "should have ended more than a day ago" in str(found.result.gate)
    assert any("expired at" in each for each in project.said)
    assert project.requests_sent() == 4


def test_a_state_that_is_not_known_is_said_and_waited_for(project: Project) -> None:
    begin(project)
    rule = changed("retrieve", times=3, processing_status="pausing\u202e")
    found = outcome(project, {"calls": [rule]})
    assert (found.error, found.result.rows["accepted"]) == (None, 4)
    assert sum("in a state that is not known, `pausing`" in each for each in project.said) == 1


def test_polls_that_are_never_answered_end_the_run(project: Project) -> None:
    begin(project)
    reason = gate(project, {"calls": [{"call": "retrieve", "fault": "status:500", "times": MOST}]})
    assert "does not answer when it is asked about" in reason
    assert "the provider does not answer" in shown(project)
    assert outcome(project, {}).result.rows["accepted"] == 4
    assert project.requests_sent() == 4


def test_one_id_for_two_batches_is_believed_for_neither(project: Project) -> None:
    begin(project, BASIC + "[chunking]\nmax_requests = 3\n", rows=5)
    found = outcome(project, {"calls": [{"call": "create", "fault": "earlier_id", "after": 1}]})
    assert (found.error, found.result.status, found.result.rows["accepted"]) == (None, "done", 5)
    assert sorted(each["total"] for each in project.log()["batches"].values()) == [2, 3]


def test_submits_that_are_redirected_again_and_again_stop_the_run(project: Project) -> None:
    begin(project)
    found = outcome(project, {"calls": [{"call": "create", "fault": "redirect", "times": MOST}]})
    assert found.error is not None
    assert found.error.exit_code == 3
    assert "redirected to http://results.invalid" in found.error.what
    assert "have made no batch" in found.error.what
    assert project.log()["batches"] == {}
    assert outcome(project, {}).result.rows["accepted"] == 4


def test_a_reply_that_lacks_parts_is_a_batch_where_it_has_an_id(project: Project) -> None:
    begin(project)
    lacks = changed("create", "expires_at", request_counts=None, created_at=None, processing_status=None)
    found = outcome(project, {"calls": [lacks, changed("retrieve", request_counts=None, created_at=None)]})
    assert (found.error, found.result.status, found.result.rows["accepted"]) == (None, "done", 4)
    assert project.requests_sent() == 4
    assert project.sql("SELECT count(*) FROM ledger.results WHERE cost_usd > 0") == [(4,)]


ODD: list[Any] = [
    None,
    [],
    {},
    "",
    "soon",
    -1,
    10**30,
    1e300,
    True,
    "9999-12-31T23:59:59-23:59",
    "0001-01-01T00:00:00Z",
]
FIELDS = ("processing_status", "request_counts", "created_at", "expires_at", "ended_at", "archived_at",
          "cancel_initiated_at", "results_url", "type")  # fmt: skip


def test_no_field_of_any_reply_can_end_a_run(project: Project) -> None:
    begin(project)
    told = [{name: value} for name in FIELDS for value in ODD if (name, value) != ("processing_status", "ended")]
    told += [{f"request_counts.{name}": value} for name in ("processing", "succeeded") for value in ODD]
    told += [{"id": value} for value in ODD]
    polls = [
        {"call": "retrieve", "fault": "changed", "changes": each, "removes": [], "after": place}
        for place, each in enumerate(told)
    ]
    lists = [{"call": "list", "fault": "changed", "after": place,
              "changes": {f"data.*.{name}": value for name, value in each.items()}}
             for place, each in enumerate(told, start=1)]  # fmt: skip
    lists += [{"call": "list", "fault": "changed", "after": len(told) + 1 + place, "changes": {name: value}}
              for place, (name, value) in enumerate((name, value) for name in ("data", "has_more", "last_id")
                                                    for value in ODD)]  # fmt: skip
    project.settings["reconcile_wait"] = 60.0
    faults = {"calls": [{"call": "create", "fault": "accepted_then_empty"}, *lists], "never_ends": True}
    project.settings["poll_interval"] = 0.001
    found = outcome(project, faults, no_wait=True)
    assert (found.error, found.result.status) == (None, "pending")
    project.faults({"calls": [*lists[:40], *polls], "delay_seconds": 2})
    (found,) = project.outcomes(wait_seconds=180.0)
    assert (found.error, found.result.status, found.result.rows["accepted"]) == (None, "done", 4)
    assert project.requests_sent() == 4


@pytest.mark.parametrize("value", ["nan", "-5", "1e400", "Sun, 99 Foo 99999 10:00:00 GMT", ""])
def test_a_pause_that_cannot_be_is_no_pause(project: Project, value: str) -> None:
    begin(project)
    wait = {"call": "create", "fault": "status:429", "retry_after": value}
    project.faults({"calls": [wait]})
    (found,) = project.outcomes(wait_seconds=1.0 if value == "1e400" else 180.0)
    expected = ("pending", 0) if value == "1e400" else ("done", 4)
    assert (found.error, found.result.status, found.result.rows["accepted"]) == (None, *expected)
    if value == "1e400":
        assert "the provider asked to wait until" in shown(project)


def test_a_pause_is_an_hour_at_most_and_a_day_in_all(project: Project) -> None:
    begin(project)
    clock = Clock(project=project, step=600.0)
    wait = {"call": "create", "fault": "status:429", "retry_after": 86_400.0, "times": MOST}
    project.faults({"calls": [wait]})
    found = clock.run()
    assert found.error is not None
    assert found.error.exit_code == 3
    assert "has asked to wait since" in found.error.what
    assert 20 <= sum("sending again at" in each for each in project.said) <= 26
    assert project.requests_sent() == 0


def pause_one_of_seven(clock: Clock, delay_seconds: float) -> None:
    """Let the one row pause after an error, and add six; batches take `delay_seconds` from then on."""
    project = clock.project
    project.faults({"requests": [{"match": "number 1", "outcome": "errored_overloaded", "times": 1}]})
    clock.run(no_wait=True)
    while not project.sql("SELECT 1 FROM ledger.decisions"):
        clock.run(no_wait=True, wait=timedelta(seconds=1))
    project.rows(numbered(7))
    project.faults({"delay_seconds": delay_seconds})


def test_a_pause_that_ends_while_other_batches_are_in_flight_is_waited_for_once(project: Project) -> None:
    begin(project, BASIC + "[chunking]\nmax_requests = 2\nmax_in_flight = 1\n", rows=1)
    clock = WatchedClock(project=project)
    pause_one_of_seven(clock, delay_seconds=1800)
    clock.asked.clear()

    assert clock.run().result.rows["accepted"] == 7
    assert project.requests_sent() == 8
    assert sum(seconds < 0.5 for seconds in clock.asked) < 20


def test_a_pause_that_ends_while_the_rest_waits_for_room_in_a_budget_keeps_no_run_going(project: Project) -> None:
    first = BASIC.replace("max_tokens = 200", 'max_tokens = 8000\naccept = "score >= 0.5"')
    top = '[[models]]\nmodel = "claude-sonnet-4-6"\nmax_tokens = 8000\nmode = "realtime"\n'
    begin(project, first + top + '[budget]\nmax_usd = 0.05\nreserve = "most"\n', rows=1)
    clock = WatchedClock(project=project, step=0.0)
    pause_one_of_seven(clock, delay_seconds=36_000)

    found = clock.run(no_wait=True)

    assert (found.error, found.result.status, found.result.submitted) == (None, "pending", 2)
