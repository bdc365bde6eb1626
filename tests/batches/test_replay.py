"""Tests of the raw folder as a log: a restored, lost or moved database takes in what it does not know, free of cost."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from calls import ask
from helpers.gold import GOLD, gold_rows, report
from projects import BASIC, Project, numbered

from batchpipe.commands.call.options import PlanRequest, TryRequest
from batchpipe.commands.cancel import cancel
from batchpipe.commands.plan.plan import plan
from batchpipe.commands.recover import recover
from batchpipe.commands.status.status import status
from batchpipe.commands.try_rows import try_rows

OUTPUT = "SELECT * EXCLUDE (_batch_id, _completed_at) FROM demo ORDER BY id"
LADDER = BASIC.replace("max_tokens = 200", 'max_tokens = 200\naccept = "score > 0.6"') + (
    '[[models]]\nmodel = "claude-sonnet-4-6"\nmax_tokens = 400\n[chunking]\nmax_requests = 12\n'
)


def database(project: Project) -> Path:
    return project.root / str(project.settings.get("database", "batchpipe.duckdb"))


def spent(project: Project) -> Any:
    return project.sql("SELECT sum(cost_usd), count(*) FROM ledger.results WHERE NOT judged_again")


def planned(project: Project, name: str = "demo") -> dict[str, Any]:
    found: dict[str, Any] = ask(project, plan, PlanRequest(pipelines=[name]), as_json=True).value
    return found


def test_a_lost_database_is_taken_in_before_anything_is_bought(project: Project) -> None:
    project.pipeline(LADDER)
    project.rows(numbered(40))
    project.run()
    output, money, sent = project.sql(OUTPUT), spent(project), project.requests_sent()
    database(project).unlink()
    taken = planned(project)["to_take_in"]
    assert (taken["requests"], taken["damaged"]) == (sent, [])
    assert ask(project, status, ["demo"], as_json=True).value["to_take_in"]["chunks"] == taken["chunks"]
    assert "`run` takes them in first" in ask(project, status, ["demo"]).out
    assert not database(project).exists()  # both have only looked
    result = project.run()
    assert (result.status, result.submitted, result.rows["accepted"]) == ("done", 0, 40)
    assert project.requests_sent() == sent
    assert (project.sql(OUTPUT), spent(project)) == (output, money)
    assert any("Orders, approvals, pauses and reviews are not in the raw files" in each for each in project.said)
    project.said.clear()
    assert project.run().submitted == 0
    assert not any("raw folder" in each for each in project.said)
    assert "to_take_in" not in planned(project)


def test_yesterdays_backup_beside_todays_raw_folder(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(10))
    project.run()
    backup = project.root / "backup"
    shutil.copy(database(project), backup)
    project.rows(numbered(25, german=4))
    project.run()
    project.pipeline(BASIC.replace("{{ body }}", "Read: {{ body }}"))
    project.run()
    output, money, sent = project.sql(OUTPUT), spent(project), project.requests_sent()
    shutil.copy(backup, database(project))
    result = project.run()
    assert (result.status, result.submitted, result.rows["accepted"]) == ("done", 0, 25)
    assert (project.sql(OUTPUT), spent(project), project.requests_sent()) == (output, money, sent)
    assert project.sql("SELECT list(DISTINCT version ORDER BY version) FROM ledger.prompt_versions") == [
        (["v1", "v2"],)
    ]


@pytest.mark.parametrize("command", ["run", "cancel", "recover"])
def test_a_database_that_is_lost_in_mid_flight_finds_its_batches_by_their_intents(
    project: Project, command: str
) -> None:
    project.pipeline()
    project.rows(numbered(6))
    project.faults({"delay_seconds": 1.5})
    project.run(no_wait=True)
    database(project).unlink()
    if command == "cancel":
        found = ask(project, cancel, ["demo"], as_json=True).value
        assert [each["requests"] for each in found["batches"]] == [6]
        project.faults({})
        assert project.run(resume=True, no_new=True).submitted == 0
    elif command == "recover":
        assert "nothing is held" in ask(project, recover, "demo", None, abandon=False, from_raw=False).out
        assert project.sql("SELECT state FROM ledger.batches") == [("in_flight",)]
    else:
        result = project.run()
        assert (result.submitted, result.rows["accepted"]) == (0, 6)
    assert project.requests_sent() == 6


def test_an_outcome_that_only_the_raw_folder_knows_is_recorded(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(5))
    project.settings["reconcile_wait"] = 3600.0
    project.faults({"calls": [{"call": "create", "fault": "status:500"}]})
    project.run(no_wait=True)
    backup = project.root / "backup"
    shutil.copy(database(project), backup)  # with a chunk of unknown outcome
    project.faults({})
    ask(project, recover, "demo", None, abandon=True, from_raw=False)
    assert project.run().rows["accepted"] == 5
    sent = project.requests_sent()
    shutil.copy(backup, database(project))
    assert (project.run().submitted, project.requests_sent()) == (0, sent)
    assert dict(project.sql("SELECT state, count(*) FROM ledger.batches GROUP BY state")) == {
        "abandoned": 1,
        "collected": 1,
    }


def test_another_database_setting_asks_once_and_remembers(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(8))
    project.run()
    sent = project.requests_sent()
    project.settings["database"] = "dev.duckdb"
    assert planned(project)["to_take_in"]["asks_about"] == 1
    (outcome,) = project.outcomes()
    assert (outcome.result.status, project.requests_sent()) == ("gate", sent)
    assert "recover demo --from-raw" in str(outcome.error or outcome.result.gate) or outcome.result.gate
    found = ask(project, recover, "demo", None, abandon=False, from_raw=True, as_json=True).value["rebuilt"]
    assert (found["chunks"], found["accepted"]) == (1, 8)
    assert (project.run().submitted, project.requests_sent()) == (0, sent)
    # What the other database buys from now on is its own.
    project.settings["database"] = "batchpipe.duckdb"
    project.rows(numbered(11))
    assert project.run().submitted == 3
    project.settings["database"] = "dev.duckdb"
    assert "to_take_in" not in planned(project)
    assert project.run().submitted == 3
    # The database is lost, and with it what was said: its own chunks do not answer the question.
    (project.root / "dev.duckdb").unlink()
    assert planned(project)["to_take_in"]["asks_about"] == 2
    (outcome,) = project.outcomes()
    assert (outcome.result.status, project.requests_sent()) == ("gate", sent + 6)
    ask(project, recover, "demo", None, abandon=False, from_raw=True)
    assert (project.run().submitted, project.requests_sent()) == (0, sent + 6)
    assert project.sql("SELECT count(*) FROM demo WHERE _current") == [(11,)]


def test_what_another_database_bought_is_left_where_a_person_says_so(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(3))
    project.run()
    project.settings["database"] = "dev.duckdb"
    said = ask(project, recover, "demo", None, abandon=False, from_raw=False, leave=True)
    assert "1 chunk of another database in the raw folder left alone" in said.out
    assert project.run().submitted == 3
    # Where the other file is gone, nobody else has its chunks.
    (project.root / "batchpipe.duckdb").unlink()
    project.settings["database"] = "third.duckdb"
    (project.root / "dev.duckdb").unlink()
    assert project.run().submitted == 0


def test_a_database_in_another_folder_finds_the_raw_folder_of_the_root(project: Project) -> None:
    project.pipeline(name="demo")
    project.rows(numbered(4))
    project.run()
    database(project).unlink()
    (project.root / "data").mkdir()
    project.settings["database"] = "data/moved.duckdb"
    assert project.run().submitted == 0
    (project.root / "data" / "moved.duckdb").unlink()
    shutil.rmtree(project.root / ".batchpipe")
    project.settings["database"] = "batchpipe.duckdb"
    assert (project.run().submitted, project.requests_sent()) == (0, 4)
    assert project.sql("SELECT count(*) FROM demo") == [(4,)]


def test_the_emulators_chunks_and_a_providers_never_mix(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(3))
    project.settings |= {"emulator": True, "emulator_delay": 0.0}
    project.run()
    inner = project.root / ".batchpipe" / "emulator"
    shutil.copytree(inner / ".batchpipe" / "raw", project.root / ".batchpipe" / "raw")
    project.settings["emulator"] = False
    assert "to_take_in" not in planned(project)
    assert project.run().submitted == 3
    shutil.copytree(project.root / ".batchpipe" / "raw", inner / ".batchpipe" / "raw", dirs_exist_ok=True)
    project.settings["emulator"] = True
    assert "to_take_in" not in planned(project)


def test_eval_and_try_take_in_what_was_lost_and_pay_for_nothing_again(project: Project) -> None:
    project.pipeline(BASIC + GOLD)
    project.rows(gold_rows(12), "gold.csv")
    project.rows(gold_rows(12))
    first = report(project)
    project.run(limit=4)
    sent, money = project.requests_sent(), spent(project)
    database(project).unlink()
    assert report(project) == first
    assert (project.requests_sent(), spent(project)) == (sent, money)
    database(project).unlink()
    tried = ask(project, try_rows, TryRequest(pipeline="demo", rows=12), as_json=True).value["rows"]
    # Every row has an answer that the evaluation has bought; the run took four of them, and bought none.
    assert [each["known"] for each in tried] == [True] * 12
    assert project.requests_sent() == sent
    # The evaluation's money is known too: the budget covers it.
    assert project.sql("SELECT count(*) FROM ledger.results WHERE pipeline LIKE 'demo:eval:%'") == [(12,)]


def test_what_cannot_be_read_is_said_and_the_rest_is_taken_in(project: Project) -> None:
    project.pipeline(LADDER)
    project.rows(numbered(20))
    project.run()
    raw = project.root / ".batchpipe" / "raw"
    cut, gone, *_ = sorted(raw.glob("*.requests.parquet"))
    cut.write_bytes(cut.read_bytes()[:100])
    gone.unlink()
    (raw / "notes.json").write_text("not a chunk")
    database(project).unlink()
    stopped = project.run()
    for each in (cut, gone):
        assert each.name.partition(".")[0] in (stopped.gate or "")
    ask(project, recover, "demo", None, abandon=False, from_raw=False, leave=True)
    assert project.run().rows["accepted"] == 20
    facts = json.loads(next(raw.glob("*-*.json")).read_text())
    assert facts["file"] == "batchpipe.duckdb"


@pytest.mark.parametrize("restored", [False, True])
def test_a_file_renamed_in_silence_beside_an_older_database_buys_nothing_again(
    project: Project, restored: bool
) -> None:
    backup = project.root / "backup"
    project.pipeline(BASIC.replace("{{ body }}", "Something else: {{ body }}"), name="other")
    project.rows(numbered(12))
    project.run("other")
    shutil.copy(database(project), backup)
    project.pipeline()
    project.run()
    sent = project.requests_sent()
    (project.root / "pipelines" / "demo.toml").unlink()
    project.pipeline(name="renamed")
    database(project).unlink()
    if restored:
        shutil.copy(backup, database(project))
    assert planned(project, "renamed")["to_take_in"]["vanished"] == ["demo"]
    assert ask(project, status, ["renamed"], as_json=True).value["to_take_in"]["vanished"] == ["demo"]
    stopped = project.run("renamed")
    assert (stopped.status, stopped.submitted, project.requests_sent()) == ("gate", 0, sent)
    assert "demo has no file any more, and renamed has its prompt" in str(stopped.gate)
    project.pipeline('renamed_from = "demo"\n' + BASIC, name="renamed")
    result = project.run("renamed")
    assert (result.submitted, result.rows["accepted"], project.requests_sent()) == (0, 12, sent)
