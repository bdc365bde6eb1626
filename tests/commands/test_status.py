"""Tests of `status`, which needs neither input nor provider and works beside a run that waits."""

from __future__ import annotations

import time
from datetime import datetime, timedelta

import duckdb
import pytest
from calls import ask, spawn
from projects import BASIC, Project, numbered

from batchpipe.commands.status.status import status
from batchpipe.common.errors import UsageError

LADDER = BASIC.replace("max_tokens = 200", 'max_tokens = 200\naccept = "score < 0"') + (
    '[[models]]\nmodel = "claude-sonnet-4-6"\nmax_tokens = 200\naccept = "score < 0"\n'
)


def plain_reader(project: Project) -> list[tuple[int]]:
    """Return the rows that any user of DuckDB reads, with another try if the run is writing at that moment."""
    deadline = time.monotonic() + 5
    while True:
        try:
            return project.sql("SELECT count(*) FROM ledger.row_state WHERE state = 'pending'")
        except duckdb.IOException:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def mixed(project: Project) -> None:
    """A run whose 30 rows end accepted, marked for review, or failed."""
    project.pipeline(LADDER + "[retry]\nattempts = 1\nmax_failed = 1\n")
    project.rows(numbered(30))
    project.faults({"requests": [{"match": "number 7", "outcome": "wrong_enum"}]})
    project.run()


def test_rows_are_counted_as_the_view_has_them(project: Project) -> None:
    mixed(project)
    found = ask(project, status, ["demo"], as_json=True).value
    expected = dict(project.sql("SELECT state, count(*) FROM ledger.row_state WHERE pipeline = 'demo' GROUP BY state"))
    assert {name: number for name, number in found["rows"].items() if number and name != "review"} == expected
    assert expected == {"accepted": 29, "failed": 1}
    assert found["rows"]["review"] == 29
    ((cost,),) = project.sql("SELECT sum(cost_usd) FROM ledger.results")
    assert found["cost_usd"] == cost
    assert found["runs"][0]["cost_usd"] == cost
    assert found["runs"][0]["status"] == "done"
    assert found["raw"] == {
        "files": 2,
        "bytes": sum(path.stat().st_size for path in (project.root / ".batchpipe" / "raw").iterdir()),
    }
    text = ask(project, status, ["demo"]).out
    assert "29 accepted (29 to review), 1 failed" in text
    assert "nothing" in text.split("in flight", 1)[1].split("\n")[0]


def test_batches_in_flight_are_told_without_input_and_provider(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(12))
    project.faults({"delay_seconds": 3600})
    project.run(no_wait=True)
    ((batch_id, created, expires),) = project.sql(
        "SELECT batch_id, created_at, expires_at FROM ledger.batches WHERE is_open"
    )
    (project.root / "rows.csv").unlink()
    project.emulator.stop()
    found = ask(project, status, [], as_json=True, keyless=True).value
    assert isinstance(found, list)
    (batch,) = found[0]["batches"]
    assert batch["batch_id"] == batch_id
    assert (batch["state"], batch["requests"], batch["rung"]) == ("in_flight", 12, 1)
    assert found[0]["rows"]["pending"] == 12
    assert 0 <= float(batch["age_seconds"]) < 60
    assert expires - created == timedelta(hours=24)
    assert 86_300 < float(batch["expires_in_seconds"]) <= 86_400
    text = ask(project, status, ["demo"], keyless=True).out
    assert batch_id in text
    assert "1 batch with 12 requests" in text
    assert "23 h 59 min" in text or "1 d" in text


def test_works_while_a_run_waits_and_so_does_a_plain_reader(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(5))
    project.faults({"delay_seconds": 4})
    project.settings["poll_interval"] = 0.1
    running = spawn(project, "run", "demo", "--json")
    try:
        seen = {}
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and running.poll() is None:
            seen = ask(project, status, ["demo"], as_json=True).value
            if seen["batches"] and seen["batches"][0]["state"] == "in_flight":
                break
            time.sleep(0.05)
        assert running.poll() is None, running.communicate()
        assert seen["rows"]["pending"] == 5
        assert seen["runs"][0]["status"] == "open"
        assert str(running.pid) in seen["holder"]
        assert plain_reader(project) == [(5,)]
        _, talk = running.communicate(timeout=60)
    finally:
        running.kill()
    assert running.returncode == 0, talk
    after = ask(project, status, ["demo"], as_json=True).value
    assert after["rows"]["accepted"] == 5
    assert after["batches"] == []
    assert after["holder"] is None


def test_a_submit_of_unknown_outcome_says_until_when_it_is_held(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(3))
    project.settings["reconcile_wait"] = 600
    project.faults({"calls": [{"call": "create", "fault": "reset"}]})
    project.run(no_wait=True)
    found = ask(project, status, ["demo"], as_json=True).value
    (chunk,) = found["batches"]
    ((unknown_at,),) = project.sql("SELECT unknown_at FROM ledger.batches")
    assert (chunk["state"], chunk["batch_id"], chunk["requests"]) == ("held", None, 3)
    assert datetime.fromisoformat(chunk["held_until"]).replace(tzinfo=None) == unknown_at + timedelta(seconds=600)
    assert "outcome of the submit unknown, held until" in ask(project, status, ["demo"]).out


def test_open_orders_are_shown_and_steer_no_terminal(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(4))
    project.run()
    project.faults({"delay_seconds": 3600})
    project.run(no_wait=True, redo="label <> '\x1b[31m[red]'")
    found = ask(project, status, ["demo"], as_json=True).value
    (order,) = found["orders"]
    assert (order["kind"], order["argument"]) == ("redo", "label <> '\x1b[31m[red]'")
    for terminal in (False, True):
        line = next(
            each for each in ask(project, status, ["demo"], terminal=terminal).out.splitlines() if "--redo" in each
        )
        assert "\x1b" not in line
        assert "[red]" in line


def test_every_pipeline_of_project_and_ledger_is_listed_without_arguments(project: Project) -> None:
    project.pipeline()
    project.pipeline(name="second")
    project.rows(numbered(2))
    project.run()
    (project.root / "pipelines" / "demo.toml").unlink()
    found = ask(project, status, [], as_json=True).value
    assert [each["pipeline"] for each in found] == ["second", "demo"]
    assert [each["rows"]["accepted"] for each in found] == [0, 2]


def test_a_renamed_pipeline_is_one_and_each_row_counts_once(project: Project) -> None:
    project.pipeline(name="older")
    project.rows(numbered(6))
    project.run("older")
    (project.root / "pipelines" / "older.toml").unlink()
    project.pipeline('renamed_from = "older"\n' + BASIC)
    rows = numbered(6)
    rows[0]["body"] = "another text"
    project.rows([*rows, {"id": 7, "body": "seven", "lang": "en", "amount": 1}])
    assert project.run().submitted == 2
    found = ask(project, status, [], as_json=True).value
    assert [each["pipeline"] for each in found] == ["demo"]
    assert found[0]["rows"]["accepted"] == 7
    assert len(found[0]["runs"]) == 2


def test_a_broken_file_keeps_its_history_in_view(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(2))
    project.run()
    (project.root / "pipelines" / "demo.toml").write_text("nonsense = [", encoding="utf-8")
    found = ask(project, status, ["demo"], as_json=True)
    assert found.value["rows"]["accepted"] == 2
    assert "warning: pipelines/demo.toml:1" in found.talk


def test_before_the_first_run_nothing_is_made(project: Project) -> None:
    project.pipeline()
    found = ask(project, status, ["demo"], as_json=True).value
    assert set(found["rows"].values()) == {0}
    assert "none yet" in ask(project, status, ["demo"]).out
    assert not (project.root / "batchpipe.duckdb").exists()


def test_a_name_that_is_not_there_is_refused(project: Project) -> None:
    project.pipeline()
    with pytest.raises(UsageError, match="there is no pipeline"):
        ask(project, status, ["dmo"])
