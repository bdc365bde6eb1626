"""Tests of the pilot: a new prompt version answers a small sample first, and the rest only after an approval."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from calls import ask
from clocked import Clock
from helpers.sent import keys_sent
from projects import BASIC, Project, numbered

from batchpipe.commands.call.options import PlanRequest, RunRequest
from batchpipe.commands.plan.plan import plan
from batchpipe.commands.run.run import run
from batchpipe.commands.show.show import show
from batchpipe.commands.status.status import status
from batchpipe.common.errors import PipelineError, UsageError

PILOT = BASIC + "[retry]\nattempts = 2\n[pilot]\nrows = 10\n"
EDITED = PILOT.replace("{{ body }}", "Label this: {{ body }}")


BAD = {"requests": [{"match": "bad text", "outcome": "invalid_json"}]}


def with_bad_ones(count: int) -> list[dict[str, Any]]:
    """Return rows of which 40% have an invalid answer under `BAD`."""
    rows = numbered(count)
    for row in rows:
        if row["id"] % 5 < 2:
            row["body"] = f"bad {row['body']}"
    return rows


def test_a_pilot_sends_its_rows_and_not_one_more(project: Project) -> None:
    project.pipeline(PILOT)
    project.rows(numbered(50))
    plan = project.plan()
    assert plan.held is not None
    assert (plan.due, plan.requests, plan.held.rows, plan.held.requests) == (50, 10, 10, 50)
    first = project.run()
    assert (first.status, first.submitted, first.rows["accepted"], first.rows["due"]) == ("gate", 10, 10, 40)
    assert first.gate == "the pilot of 10 rows has come back: it waits for approval"
    # The gate stays closed, whoever calls and however often.
    assert project.plan().requests == 0
    for _ in range(2):
        again = project.run()
        assert (again.status, again.submitted) == ("gate", 0)
    waiting = sorted(set(map(str, range(1, 51))) - {json.loads(key)[0] for key in keys_sent(project)})[0]
    assert "waits for the approval of a pilot" in ask(project, show, "demo", [waiting]).out
    assert "it waits for approval" in ask(project, status, ["demo"]).out
    rest = project.run(approve=True)
    assert (rest.status, rest.submitted, rest.rows["accepted"]) == ("done", 40, 50)
    assert project.requests_sent() == 50
    assert len(set(keys_sent(project))) == 50
    who = project.sql("SELECT data ->> 'by' FROM ledger.events WHERE kind = 'pilot_approved'")
    assert len(who) == 1


def test_a_bad_prompt_stops_at_the_gate_and_retries_wait_for_approval(project: Project) -> None:
    project.pipeline(PILOT)
    project.rows(with_bad_ones(40))
    project.faults(BAD)
    first = project.run()
    assert (first.status, first.submitted) == ("gate", 10)
    bad = first.rows["input"] - first.rows["accepted"] - 30
    assert project.requests_sent() == 10
    assert bad > 0
    assert "min_valid is 95.0%" in str(first.gate)
    project.faults({})
    rest = project.run(approve=True)
    assert (rest.status, rest.rows["accepted"]) == ("done", 40)
    # What the pilot got right is not sent again, what it got wrong is tried once more.
    assert rest.submitted == 30 + bad


def test_an_edit_of_the_prompt_asks_for_a_new_pilot_and_keeps_the_old_answers(project: Project) -> None:
    project.pipeline(PILOT)
    project.rows(numbered(30))
    project.run()
    project.run(approve=True)
    project.pipeline(EDITED)
    assert project.plan().requests == 10
    second = project.run()
    assert (second.status, second.submitted) == ("gate", 10)
    # The first version is approved still: going back to it costs nothing.
    project.pipeline(PILOT)
    assert project.run().status == "done"
    assert project.requests_sent() == 40


def test_the_sample_is_the_same_for_everybody(project: Project) -> None:
    project.pipeline(PILOT)
    project.rows(numbered(40))
    project.run()
    sent = set(keys_sent(project))
    keys = "SELECT to_json([n::VARCHAR])::VARCHAR AS key FROM range(1, 41) t(n)"
    by_hash = project.sql(f"SELECT key FROM ({keys}) ORDER BY md5_number(key) LIMIT 10")
    assert sent == {key for (key,) in by_hash}


def test_strata_take_turns(project: Project) -> None:
    project.pipeline(PILOT + 'stratify = "lang"\n')
    project.rows(numbered(60, german=6))
    project.run()
    languages = project.sql("SELECT count(*) FILTER (id <= 6), count(*) FROM demo")
    assert languages == [(5, 10)]


def test_a_column_to_stratify_by_must_be_there(project: Project) -> None:
    project.pipeline(PILOT + 'stratify = "language"\n')
    project.rows(numbered(3))
    with pytest.raises(PipelineError, match="language"):
        project.plan()


def test_no_pilot_where_fewer_rows_are_due(project: Project) -> None:
    project.pipeline(PILOT)
    project.rows(numbered(9))
    assert project.run().status == "done"
    # The version is not in use yet: the first large lot is piloted, and then it is.
    project.rows(numbered(60))
    assert (project.run().status, project.requests_sent()) == ("gate", 19)


def test_a_version_in_use_needs_no_pilot(project: Project) -> None:
    project.pipeline(BASIC)
    project.rows(numbered(20))
    project.run()
    project.pipeline(PILOT.replace("[retry]\nattempts = 2\n", ""))
    project.rows(numbered(60))
    assert (project.run().status, project.requests_sent()) == ("done", 60)


def test_auto_goes_on_where_the_pilot_keeps_what_is_asked(project: Project) -> None:
    project.pipeline(PILOT + "auto = true\nmax_usd_per_row = 1.0\n")
    project.rows(numbered(30))
    first = project.run()
    assert (first.status, first.submitted, first.rows["accepted"]) == ("done", 30, 30)
    batches = project.sql("SELECT requests, pilot FROM ledger.batches ORDER BY prepared_at")
    assert batches == [(10, True), (20, False)]
    assert project.sql("SELECT data ->> 'by' FROM ledger.events WHERE kind = 'pilot_approved'") == [("auto",)]


@pytest.mark.parametrize(
    ("asked", "why"), [("max_usd_per_row = 0.0000001", "a row cost $"), ("min_valid = 1.0", "of its answers are valid")]
)
def test_auto_stops_where_it_does_not(project: Project, asked: str, why: str) -> None:
    project.pipeline(PILOT + f"auto = true\n{asked}\n")
    project.rows(with_bad_ones(30))
    project.faults(BAD)
    first = project.run()
    assert (first.status, first.submitted) == ("gate", 10)
    assert why in str(first.gate)
    assert project.plan().requests == 0
    project.faults({})
    assert project.run(approve=True).rows["accepted"] == 30


def test_from_cron_the_pilot_comes_and_waits(project: Project) -> None:
    project.pipeline(PILOT)
    project.rows(numbered(30))
    first = project.run(no_wait=True)
    assert (first.status, first.submitted) == ("pending", 10)
    # Nobody can have seen the answers yet.
    second = project.run(approve=True)
    assert (second.status, second.submitted) == ("gate", 0)
    assert any("the pilot is still in flight" in each for each in project.said)
    third = project.run(approve=True, no_wait=True)
    assert (third.status, third.submitted) == ("pending", 20)
    assert project.run().status == "done"
    assert project.requests_sent() == 30


def test_a_pilot_that_was_stopped_half_way_goes_on_to_its_rows(project: Project) -> None:
    project.pipeline(PILOT + "[chunking]\nmax_requests = 4\nmax_in_flight = 1\n")
    project.rows(numbered(30))
    project.run(no_wait=True)
    assert project.requests_sent() == 4
    plan = project.plan()
    assert plan.held is not None
    assert plan.requests == 6
    first = project.run()
    assert (first.status, project.requests_sent()) == ("gate", 10)


def test_pilot_on_the_command_line(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(30))
    first = project.run(pilot=5)
    assert (first.status, first.submitted) == ("gate", 5)
    # It holds until it is approved, also for a plain call.
    assert (project.run().status, project.requests_sent()) == ("gate", 5)
    assert project.run(approve=True).rows["accepted"] == 30
    project.rows(numbered(40))
    with pytest.raises(UsageError, match="approved already") as found:
        project.run(pilot=5)
    assert found.value.hint == "To send a few rows only: batchpipe run demo --limit 5"


def test_no_new_sends_nothing_of_an_open_pilot(project: Project) -> None:
    project.pipeline(PILOT)
    project.rows(with_bad_ones(30))
    project.faults(BAD)
    project.run()
    assert project.run(no_new=True).submitted == 0
    assert project.plan(no_new=True).requests == 0


def test_the_summary_for_people_and_programs(project: Project) -> None:
    project.pipeline(PILOT)
    rows = with_bad_ones(30)
    for row in rows:
        row["body"] += "\x1b[31m"
    project.rows(rows)
    project.faults(BAD)
    printed = ask(project, run, RunRequest(pipelines=["demo"]), as_json=True)
    assert printed.code == 6
    value = printed.value
    pilot = value["pilot"]
    assert (value["status"], value["submitted"], pilot["rows"], pilot["requests"]) == ("gate", 10, 10, 10)
    accepted = value["rows"]["accepted"]
    assert pilot["valid"] == accepted
    assert sum(each["rows"] for each in pilot["reasons"]) == 10 - accepted
    assert sum(pilot["values"]["label"].values()) == accepted
    assert sum(pilot["histograms"]["score"]["rows"]) == accepted
    assert pilot["cost_usd"] == value["cost_usd"] > 0
    assert pilot["rest_requests"] == 20
    assert pilot["rest"]["cost_usd"] > 0
    assert len(pilot["examples"]) == 10
    again = ask(project, run, RunRequest(pipelines=["demo"]))
    assert again.code == 6
    assert "min_valid is 95.0%" in again.out
    assert "To go on: batchpipe run demo --approve" in again.out
    assert "\x1b" not in again.out
    planned = ask(project, plan, PlanRequest(pipelines=["demo"]), as_json=True).value
    assert planned["pilot"]["rows"] == 0
    assert planned["pilot"]["whole"]["requests"] >= 20
    assert "not approved yet" in ask(project, plan, PlanRequest(pipelines=["demo"])).out


def test_an_expired_pilot_waits_too(project: Project) -> None:
    clock = Clock(project=project)
    project.pipeline(PILOT)
    project.rows(numbered(30))
    project.faults({"delay_seconds": 1e9, "finished_before_expiry": 0.0})
    assert clock.run(no_wait=True).result.submitted == 10
    clock.advance(timedelta(hours=25))
    outcome = clock.run()
    assert outcome.error is None
    assert (outcome.result.status, outcome.result.submitted) == ("gate", 0)
    assert "0.0% of its answers are valid" in str(outcome.result.gate)
    project.faults({})
    assert clock.run(approve=True).result.rows["accepted"] == 30


def test_meanwhile_new_rows_go_on_under_the_version_before(project: Project) -> None:
    waiting = 'meanwhile = "previous"\n'
    project.pipeline(PILOT + waiting)
    project.rows(numbered(30))
    project.run()
    assert project.run(approve=True).rows["accepted"] == 30
    # A new version, and five new rows beside it.
    project.pipeline(EDITED + waiting)
    project.rows(numbered(35))
    new_version = project.run()
    assert new_version.status == "gate"
    sent = project.sql(
        "SELECT v.version, b.pilot, count(*), count(*) FILTER (json_extract_string(q.key, '$[0]')::INTEGER > 30) "
        "FROM ledger.requests q JOIN ledger.batches b USING (chunk_id) "
        "JOIN ledger.prompt_versions v ON v.prompt_version = q.prompt_version WHERE q.run_id = $1 "
        "GROUP BY ALL ORDER BY ALL",
        [new_version.run_id],
    )
    in_pilot = sent[-1][3]
    assert sent == ([("v1", False, 5 - in_pilot, 5 - in_pilot)] if in_pilot < 5 else []) + [("v2", True, 10, in_pilot)]
    assert new_version.submitted == 15 - in_pilot
    assert project.sql("SELECT count(*) FROM demo") == [(35,)]
    # More rows tomorrow: they go on under the old one too, and nothing else does.
    project.rows(numbered(38))
    plan = project.preview()
    assert (plan.plan.requests, plan.meanwhile.requests if plan.meanwhile else 0) == (0, 3)
    tomorrow = project.run()
    assert (tomorrow.status, tomorrow.submitted) == ("gate", 3)
    assert project.run().submitted == 0
    # Once it is approved everything is asked again under the new one, the pilot's rows excepted.
    rest = project.run(approve=True)
    assert (rest.status, rest.submitted) == ("done", 28)
    assert project.sql("SELECT DISTINCT _prompt_version FROM demo") == [("v2",)]


def test_meanwhile_retries_under_the_version_before(project: Project) -> None:
    waiting = 'meanwhile = "previous"\n'
    project.pipeline(PILOT + waiting)
    project.rows(numbered(20))
    project.run()
    project.run(approve=True)
    project.pipeline(EDITED + waiting)
    project.run()
    rows = numbered(24)
    for row in rows[20:]:
        row["body"] = f"late {row['id']}"
    project.rows(rows)
    project.faults({"requests": [{"match": "late 22", "outcome": "invalid_json", "times": 1}]})
    found = project.run()
    assert (found.status, found.submitted) == ("gate", 5)
    assert project.sql("SELECT count(*) FROM demo WHERE id > 20 AND _prompt_version = 'v1'") == [(4,)]


def test_meanwhile_without_a_version_before_only_the_pilot_goes(project: Project) -> None:
    project.pipeline(PILOT + 'meanwhile = "previous"\n')
    project.rows(numbered(30))
    assert project.run().submitted == 10
    project.rows(numbered(34))
    assert project.run().submitted == 0
