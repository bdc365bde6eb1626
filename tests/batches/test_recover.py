"""Tests of `recover`: it lists, adopts and abandons held chunks, and rebuilds the ledger from the raw folder."""

from __future__ import annotations

import shutil
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from calls import Printed, ask, spawn
from projects import BASIC, Project, numbered

from batchpipe.commands.recover import recover
from batchpipe.common.errors import LockedError, ProviderError, UsageError

LADDER = BASIC.replace("max_tokens = 200", 'max_tokens = 200\naccept = "score > 0.6"') + (
    '[[models]]\nmodel = "claude-sonnet-4-6"\nmax_tokens = 400\n[chunking]\nmax_requests = 12\n'
)
OUTPUT = "SELECT * EXCLUDE (_batch_id, _completed_at) FROM demo ORDER BY id"
HELD = {"calls": [{"call": "create", "fault": "status:500"}]}
LANDED = {
    "calls": [
        {"call": "create", "fault": "accepted_then_status:500"},
        {"call": "list", "fault": "status:503", "times": 99},
    ]
}


def command(project: Project, adopt: str | None = None, **options: Any) -> Printed:
    given = {"abandon": False, "from_raw": False, **options}
    return ask(project, recover, "demo", adopt, **given)


def hold(project: Project, rows: int = 5, faults: dict[str, Any] = HELD) -> None:
    """A chunk whose outcome is unknown, held for an hour."""
    project.settings["reconcile_wait"] = 3600.0
    project.pipeline()
    project.rows(numbered(rows))
    project.faults(faults)
    assert project.run(no_wait=True).rows["pending"] == rows
    project.faults({})


def states(project: Project) -> dict[str, int]:
    return dict(project.sql("SELECT state, count(*) FROM ledger.batches GROUP BY state"))


def stranger(project: Project, size: int) -> str:
    """Make a batch of `size` requests that somebody else sends with the same key."""
    return str(project.control("stranger", {"requests": size})["id"])


def test_nothing_held_is_said_without_asking_anybody(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(3))
    project.run()
    asked = len(project.log()["calls"])
    assert "nothing is held" in command(project).out
    assert command(project, as_json=True).value == {"pipeline": "demo", "held": [], "candidates": None}
    assert len(project.log()["calls"]) == asked
    with pytest.raises(UsageError, match="nothing is held"):
        command(project, "msgbatch_x")
    assert "nothing to give up" in command(project, abandon=True).out


def test_held_chunks_and_unknown_batches_are_listed(project: Project) -> None:
    hold(project)
    other = stranger(project, 7)
    found = command(project, as_json=True).value
    (chunk,), (candidate,) = found["held"], found["candidates"]
    assert (chunk["state"], chunk["requests"], chunk["batch_id"]) == ("held", 5, None)
    assert chunk["held_until"] > chunk["since"]
    assert (candidate["batch_id"], candidate["requests"]) == (other, 7)
    text = command(project).out
    assert chunk["chunk_id"] in text
    assert other in text
    assert "recover demo --abandon" in text
    assert states(project) == {"held": 1}


def test_an_adopted_batch_is_collected_and_nothing_is_sent_again(project: Project) -> None:
    hold(project, faults=LANDED)
    (batch_id,) = project.log()["batches"]
    said = command(project, batch_id)
    assert batch_id in said.out
    result = project.run()
    assert (result.status, result.rows["accepted"], result.submitted) == ("done", 5, 0)
    assert project.requests_sent() == 5


def test_a_batch_of_another_size_is_refused(project: Project) -> None:
    hold(project)
    other = stranger(project, 7)
    with pytest.raises(UsageError, match="has 7 requests, the held chunks have 5"):
        command(project, other)
    with pytest.raises(ProviderError, match="does not find the batch msgbatch_none"):
        command(project, "msgbatch_none")
    assert states(project) == {"held": 1}


def test_a_strangers_batch_that_was_adopted_is_let_go_and_not_looked_at_again(project: Project) -> None:
    hold(project)
    other = stranger(project, 5)
    command(project, other)
    assert states(project) == {"in_flight": 1}
    project.settings["reconcile_wait"] = 0.0
    result = project.run()
    assert (result.status, result.rows["accepted"]) == ("done", 5)
    assert states(project) == {"not_found": 1, "collected": 1}
    assert project.requests_sent() == 10  # the stranger's five, and ours once
    assert project.sql("SELECT count(*) FROM demo") == [(5,)]
    with pytest.raises(UsageError):
        command(project, other)


def test_a_known_batch_is_not_adopted(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(5))
    project.run()
    (batch_id,) = project.log()["batches"]
    project.rows(numbered(9)[5:])
    project.settings["reconcile_wait"] = 3600.0
    project.faults(HELD)
    project.run(no_wait=True)
    with pytest.raises(UsageError, match="is known already"):
        command(project, batch_id)


def test_abandoning_makes_the_rows_due_and_says_what_may_be_paid(project: Project) -> None:
    hold(project, faults=LANDED)
    found = command(project, abandon=True, as_json=True).value["abandoned"]
    assert found["requests"] == 5
    assert Decimal(0) < found["max_usd"]
    assert states(project) == {"abandoned": 1}
    assert project.plan().rows_by_reason["new"] == 5
    result = project.run()
    assert (result.status, result.rows["accepted"], result.submitted) == ("done", 5, 5)
    ids = project.sql("SELECT count(DISTINCT custom_id), count(*) FROM ledger.requests")
    assert ids == [(10, 10)]


def test_a_killed_intent_is_abandoned_and_adopted_too(project: Project) -> None:
    hold(project, faults=LANDED)
    (batch_id,) = project.log()["batches"]
    facts = project.root / "intent.duckdb"
    shutil.copy(project.root / "batchpipe.duckdb", facts)
    forget_outcome(project)
    assert states(project) == {"prepared": 1}
    assert command(project, as_json=True).value["held"][0]["state"] == "prepared"
    command(project, batch_id)
    assert project.run().submitted == 0
    shutil.copy(facts, project.root / "batchpipe.duckdb")
    forget_outcome(project)
    assert "5 requests given up" in command(project, abandon=True).out
    assert states(project) == {"abandoned": 1}


def forget_outcome(project: Project) -> None:
    import duckdb

    with duckdb.connect(str(project.root / "batchpipe.duckdb")) as connection:
        connection.execute("DELETE FROM ledger.events WHERE kind = 'chunk_unknown'")


def test_a_batch_that_is_never_found_is_abandoned_one_that_works_is_kept(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(4))
    project.faults({"delay_seconds": 3600})
    project.run(no_wait=True)
    kept = command(project, abandon=True)
    assert "being processed" in kept.out
    assert states(project) == {"in_flight": 1}
    project.faults({"calls": [{"call": "retrieve", "fault": "status:404", "times": 2}], "delay_seconds": 3600})
    assert "being processed" in command(project, abandon=True).out
    project.faults({"calls": [{"call": "retrieve", "fault": "status:404", "times": 99}]})
    assert "4 requests given up" in command(project, abandon=True).out
    project.faults({})
    assert project.run().rows["accepted"] == 4


def test_a_presumed_batch_whose_results_are_gone_is_abandoned(project: Project) -> None:
    hold(project, faults={"calls": [{"call": "create", "fault": "accepted_then_status:500"}], "delay_seconds": 60})
    project.run(no_wait=True)
    assert states(project) == {"presumed": 1}
    project.control("clock", {"advance_seconds": 30 * 86_400})
    (outcome,) = project.outcomes()
    assert outcome.result.status == "gate"
    assert "5 requests given up" in command(project, abandon=True).out


def test_a_pipeline_that_is_being_run_is_left_alone(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(3))
    project.faults({"delay_seconds": 3600})
    running = spawn(project, "run", "demo")
    try:
        while not project.log()["batches"]:
            assert running.poll() is None
        with pytest.raises(LockedError, match="is being run by process"):
            command(project, abandon=True)
        assert command(project).code == 0
    finally:
        running.terminate()
        running.communicate()


def test_options_that_exclude_each_other(project: Project) -> None:
    project.pipeline()
    with pytest.raises(UsageError, match="--adopt and --abandon"):
        command(project, "msgbatch_x", abandon=True)


def worked(project: Project) -> list[tuple[Any, ...]]:
    """Run several chunks, retries and a second rung; return the output."""
    project.pipeline(LADDER)
    project.rows(numbered(40))
    project.faults({"requests": [{"match": "number 3", "outcome": "errored_overloaded", "times": 1}]})
    assert project.run().rows["accepted"] == 40
    return project.sql(OUTPUT)


def facts_of(project: Project) -> list[tuple[Any, ...]]:
    return [
        *project.sql(
            "SELECT q.key, q.custom_id, q.reason, q.rung, q.attempt, r.outcome, r.cost_usd, r.batch_id, r.run_id "
            "FROM ledger.requests q JOIN ledger.results r USING (custom_id, chunk_id) ORDER BY q.custom_id"
        ),
        *project.sql("SELECT chunk_id, batch_id, state, requests, prepared_at FROM ledger.batches ORDER BY chunk_id"),
        *project.sql("SELECT pipeline, model, requests, cost_usd FROM ledger.spend ORDER BY ALL"),
    ]


def lose(project: Project, backup: Path | None = None) -> None:
    path = project.root / "batchpipe.duckdb"
    path.unlink()
    if backup is not None:
        shutil.copy(backup, path)


def test_an_empty_database_gets_everything_back_and_nothing_is_paid_again(project: Project) -> None:
    output, sent = worked(project), project.requests_sent()
    before = facts_of(project)
    lose(project)
    asked = len(project.log()["calls"])
    found = command(project, from_raw=True, as_json=True).value["rebuilt"]
    assert len(project.log()["calls"]) == asked
    assert found["chunks"] == found["batches"] == len(list((project.root / ".batchpipe/raw").glob("*.json")))
    assert found["in_flight"] == 0
    assert project.sql(OUTPUT) == output
    assert facts_of(project) == before
    result = project.run()
    assert (result.status, result.submitted) == ("done", 0)
    assert result.rows["accepted"] == result.rows["unchanged"] == 40
    again = command(project, from_raw=True, as_json=True).value["rebuilt"]
    assert (again["chunks"], again["batches"]) == (0, 0)
    assert facts_of(project) == before
    assert project.requests_sent() == sent
    redone = project.run(redo="all")
    assert redone.rows["accepted"] == 40
    assert redone.submitted >= 40
    assert project.sql("SELECT count(*) - count(DISTINCT custom_id) FROM ledger.requests") == [(0,)]


def test_an_older_backup_gets_back_what_came_after_it(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(10))
    project.run()
    backup = project.root / "backup.duckdb"
    shutil.copy(project.root / "batchpipe.duckdb", backup)
    project.rows(numbered(25, german=4))
    project.run()
    output, before, sent = project.sql(OUTPUT), facts_of(project), project.requests_sent()
    lose(project, backup)
    found = command(project, from_raw=True, as_json=True).value["rebuilt"]
    assert (found["chunks"], found["batches"], found["accepted"]) == (1, 1, 19)
    assert project.sql(OUTPUT) == output
    assert facts_of(project) == before
    assert project.run().submitted == 0
    assert project.requests_sent() == sent


def test_results_that_came_after_the_backup_do_not_undo_later_ones(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(6))
    project.run()
    backup = project.root / "backup.duckdb"
    shutil.copy(project.root / "batchpipe.duckdb", backup)
    project.pipeline(BASIC.replace("{{ body }}", "Read: {{ body }}"))
    project.run()
    lose(project, backup)
    project.pipeline(BASIC.replace("{{ body }}", "Look at: {{ body }}"))
    project.run()
    output = project.sql(OUTPUT)
    command(project, from_raw=True)
    assert project.sql(OUTPUT) == output
    assert project.run().submitted == 0
    assert project.sql("SELECT count(*) FROM ledger.results") == [(18,)]
    assert project.sql("SELECT list(version ORDER BY version) FROM ledger.prompt_versions") == [(["v1", "v2", "v3"],)]


def test_a_batch_in_flight_is_known_again_and_collected(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(5))
    project.faults({"delay_seconds": 1})
    project.run(no_wait=True)
    lose(project)
    found = command(project, from_raw=True, as_json=True).value["rebuilt"]
    assert (found["chunks"], found["batches"], found["in_flight"]) == (1, 0, 1)
    result = project.run()
    assert (result.status, result.rows["accepted"], result.submitted) == ("done", 5, 0)
    assert project.requests_sent() == 5


def test_what_cannot_be_read_is_said_and_the_rest_comes_back(project: Project) -> None:
    worked(project)
    raw = project.root / ".batchpipe" / "raw"
    lost = sorted(raw.glob("*.requests.parquet"))[0]
    lost.unlink()
    lose(project)
    found = command(project, from_raw=True, as_json=True).value["rebuilt"]
    assert found["damaged"] == [lost.name.removesuffix(".requests.parquet")]
    assert found["chunks"] == len(list(raw.glob("*.requests.parquet")))
    assert "1 chunk cannot be read" in (project.run().gate or "")
    assert command(project, from_raw=False, leave=True, as_json=True).value["given_up"] == found["damaged"]
    assert project.run().rows["accepted"] == 40


def test_a_renamed_pipeline_brings_back_its_older_name(project: Project) -> None:
    worked(project)
    (project.root / "pipelines" / "demo.toml").unlink()
    project.pipeline(f'renamed_from = "demo"\n{LADDER}', name="newer")
    lose(project)
    ask(project, recover, "newer", None, abandon=False, from_raw=True)
    result = project.run("newer")
    assert (result.status, result.submitted, result.rows["accepted"]) == ("done", 0, 40)
