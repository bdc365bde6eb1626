"""Renamed pipelines: the link is recorded, and no later rename or edit of the file cuts a history off."""

from __future__ import annotations

import re

import pytest
from calls import ask
from commandline import CommandLine
from helpers.gold import GOLD
from projects import BASIC, Project, numbered

from batchpipe.commands.call.options import PlanRequest
from batchpipe.commands.plan.plan import plan

OTHER = BASIC.replace("{{ body }}", "Quite another task: {{ body }}")


@pytest.fixture
def typed(project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    found = CommandLine(monkeypatch=monkeypatch, capsys=capsys)
    found.provide(project)
    return found


def renamed(project: Project, old: str, new: str, head: str) -> None:
    """Move the pipeline file `old` to `new`, with `head` before its text."""
    (project.root / "pipelines" / f"{old}.toml").unlink()
    project.pipeline(head + BASIC, name=new)


def test_a_chain_of_renames_and_a_link_that_left_the_file_keep_the_history(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(4))
    project.run()
    renamed(project, "demo", "better", 'renamed_from = "demo"\n')
    project.rows(numbered(5))
    assert project.run("better").submitted == 1
    renamed(project, "better", "best", 'renamed_from = "better"\n')
    assert project.plan("best").rows_by_reason["unchanged"] == 5
    assert project.run("best").submitted == 0
    project.pipeline(BASIC, name="best")
    assert project.plan("best").rows_by_reason["unchanged"] == 5
    assert project.run("best").submitted == 0
    links = "SELECT pipeline, data ->> 'renamed_from' FROM ledger.events WHERE kind = 'renamed' ORDER BY ALL"
    assert project.sql(links) == [("best", "better"), ("better", "demo")]
    assert project.sql("SELECT count(*) FROM best WHERE _current") == [(5,)]


def gate(project: Project, name: str) -> str:
    """Run a pipeline that stops at a gate before it sends anything; return what the gate says."""
    sent = project.requests_sent()
    (outcome,) = project.outcomes([name])
    assert outcome.result.status == "gate"
    assert project.requests_sent() == sent
    return outcome.result.gate or ""


def test_a_renamed_file_stops_at_a_gate_that_names_both_ways_out(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(4))
    project.run(no_wait=True)
    renamed(project, "demo", "better", "")
    printed = ask(project, plan, PlanRequest(pipelines=["better"]))
    assert printed.code == 6
    assert 'renamed_from = "demo"' in printed.out
    assert "renamed_from = false" in printed.out
    assert "demo has no file any more" in gate(project, "better")
    project.pipeline('renamed_from = "demo"\n' + BASIC, name="better")
    assert project.run("better").rows["accepted"] == 4
    assert project.requests_sent() == 4
    assert project.sql("SELECT count(*) FROM better WHERE _current") == [(4,)]
    # Another prompt over the same keys is a rename too; a name that went on under a new one is none of its own.
    renamed(project, "better", "task", "")
    project.pipeline(OTHER, name="task")
    assert "has 4 of its keys in 4 rows" in gate(project, "task")
    project.pipeline("renamed_from = false\n" + OTHER, name="task")
    assert project.run("task").submitted == 4
    project.pipeline(BASIC, name="copy")
    assert "better has no file any more" in gate(project, "copy")


@pytest.mark.parametrize(("way_out", "sent"), [('renamed_from = "better"', 0), ("renamed_from = false", 2)])
def test_a_file_that_gets_its_older_name_back_stops_at_the_gate_too(project: Project, way_out: str, sent: int) -> None:
    project.pipeline()
    project.rows(numbered(2))
    project.run()
    renamed(project, "demo", "better", 'renamed_from = "demo"')
    project.rows(numbered(4))
    project.run("better")
    renamed(project, "better", "demo", "")
    assert "better has no file any more, and demo has its prompt" in gate(project, "demo")
    project.pipeline(f"{way_out}\n{BASIC}")
    assert (project.plan().requests, project.run().submitted) == (sent, sent)
    assert project.run().rows["accepted"] == 4


def test_what_a_linked_pipeline_has_answered_is_left_to_it_with_a_word_as_the_plan_says(
    project: Project, typed: CommandLine
) -> None:
    project.pipeline()
    project.rows(numbered(2))
    project.run()
    renamed(project, "demo", "better", 'renamed_from = "demo"\n')
    project.rows(numbered(4))
    project.run("better")
    project.pipeline()
    said = "2 requests are not sent: better has the answers"
    planned = typed("plan", "demo", "-C", str(project.root))
    assert (planned.code, "nothing to send" in planned.out, said in planned.out) == (0, True, True)
    sent = project.requests_sent()
    assert said in typed("run", "demo", "--yes", "-C", str(project.root)).talk
    assert project.requests_sent() == sent
    project.pipeline("renamed_from = false\n" + BASIC)
    assert (project.plan().requests, project.run().submitted) == (2, 2)


def test_a_name_that_came_back_and_was_left_again_stops_at_the_gate(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(2))
    project.run()
    renamed(project, "demo", "better", 'renamed_from = "demo"\n')
    project.run("better")
    renamed(project, "better", "demo", 'renamed_from = "better"\n')
    project.run()
    renamed(project, "demo", "best", "")
    assert "has its prompt" in gate(project, "best")
    project.pipeline('renamed_from = "demo"\n' + BASIC, name="best")
    assert project.run("best").submitted == 0
    # A name that another file continues is none that vanished.
    project.pipeline(BASIC.replace("{{ body }}", "{{ body }}?"), name="beside")
    assert project.run("beside").submitted == 2


def test_a_name_that_never_ran_and_came_back_stops_at_the_gate(project: Project) -> None:
    """Such as where the database was lost, or made anew, while the file had its other name."""
    project.rows(numbered(4))
    project.pipeline('renamed_from = "demo"\n' + BASIC, name="better")
    assert project.run("better").rows["accepted"] == 4
    renamed(project, "better", "demo", "")
    assert "better has no file any more, and demo has its prompt" in gate(project, "demo")
    project.pipeline('renamed_from = "better"\n' + BASIC)
    assert (project.run().rows["accepted"], project.requests_sent()) == (4, 4)


def test_what_is_in_flight_under_an_older_name_is_not_said_to_have_no_file(
    project: Project, typed: CommandLine
) -> None:
    project.rows(numbered(4))
    project.pipeline()
    project.faults({"delay_seconds": 3600})
    assert project.run(no_wait=True).status == "pending"
    renamed(project, "demo", "better", 'renamed_from = "demo"\n')
    assert typed("run", "better", "--no-wait", "--yes").code == 5
    project.pipeline(BASIC, name="better")
    found = typed("run", "--all", "--no-wait", "--yes")
    assert (found.code, "demo" in found.talk) == (5, False), found


def test_try_and_eval_buy_nothing_under_a_new_name_either(project: Project, typed: CommandLine) -> None:
    rows = numbered(4)
    project.rows(rows)
    project.rows([{**each, "category": "bug"} for each in rows], "gold.csv")
    project.pipeline(BASIC + GOLD)
    project.run()
    (project.root / "pipelines" / "demo.toml").unlink()
    project.pipeline(BASIC + GOLD, name="better")
    sent = project.requests_sent()
    for command in (["try", "better", "--rows", "2"], ["eval", "better"]):
        found = typed(*command)
        assert found.code == 6, found
        assert 'renamed_from = "demo"' in found.talk + found.out
    assert project.requests_sent() == sent


def test_what_was_bought_for_an_evaluation_alone_is_not_bought_again_under_a_new_name(
    project: Project, typed: CommandLine
) -> None:
    rows = numbered(4)
    project.rows(rows)
    project.rows([{**each, "category": "bug"} for each in rows], "gold.csv")
    project.pipeline(BASIC + GOLD)
    assert typed("eval", "demo").code == 0
    (project.root / "pipelines" / "demo.toml").unlink()
    project.pipeline(BASIC + GOLD, name="better")
    sent = project.requests_sent()
    for command in (["eval", "better"], ["run", "better", "--yes"]):
        found = typed(*command)
        assert (found.code, 'renamed_from = "demo"' in found.talk + found.out) == (6, True), found
    project.pipeline('renamed_from = "demo"\n' + BASIC + GOLD, name="better")
    assert typed("eval", "better").code == typed("run", "better", "--yes").code == 0
    assert project.requests_sent() == sent

    # A pipeline that was evaluated beside another one is no new name of that one.
    project.pipeline(OTHER + GOLD, name="task")
    assert typed("eval", "task").code == 0
    (project.root / "pipelines" / "better.toml").unlink()
    assert typed("run", "task", "--yes").code == 0


def test_every_command_knows_the_history_after_renamed_from_has_left_the_file(
    project: Project, typed: CommandLine
) -> None:
    rows = numbered(4)
    project.rows(rows)
    project.rows([{**each, "category": "bug"} for each in rows], "gold.csv")
    project.pipeline(BASIC + GOLD + '[review]\nwhere = "true"\n')
    project.run()
    assert typed("eval", "demo").code == 0
    renamed(project, "demo", "better", 'renamed_from = "demo"\n')
    project.run("better")
    project.pipeline(BASIC + GOLD + '[review]\nwhere = "true"\n', name="better")
    sent = project.requests_sent()
    assert typed("status", "better", "--json").value["rows"]["accepted"] == 4
    assert [each["pipeline"] for each in typed("status", "--json").value] == ["better"]
    assert typed("report", "better", "--json").value["total"]["requests"] == 4
    assert typed("show", "better", "1", "--json").value["state"] == "accepted"
    assert "4 rows to" in typed("review", "better", "--export", str(project.root / "r.csv")).talk
    assert "answered before" in typed("try", "better", "--rows", "1").out
    assert typed("eval", "better", "--history", "--json").value != []
    assert typed("eval", "better").code == 0
    assert project.requests_sent() == sent


def test_what_an_evaluation_has_in_flight_under_an_older_name_is_not_bought_again(
    project: Project, typed: CommandLine
) -> None:
    rows = numbered(4)
    project.rows(rows)
    project.rows([{**each, "category": "bug"} for each in rows], "gold.csv")
    project.pipeline(BASIC + GOLD)
    project.control("faults", {"delay_seconds": 1})
    assert typed("eval", "demo", "--no-wait").code == 5
    (project.root / "pipelines" / "demo.toml").unlink()
    project.pipeline('renamed_from = "demo"\n' + BASIC + GOLD, name="better")
    assert typed("eval", "better").code == 0
    assert project.requests_sent() == 4


def test_a_pipeline_of_another_project_in_the_same_database_stops_before_its_table_is_changed(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(4))
    project.run()
    before = project.sql("FROM demo ORDER BY id")
    project.pipeline(OTHER.replace("score", "points"))
    project.rows([{**row, "id": row["id"] + 1000} for row in numbered(4)])
    assert "with another prompt and other keys" in gate(project, "demo")
    assert "with another prompt and other keys" in gate(project, "demo")
    assert project.sql("FROM demo ORDER BY id") == before
    assert project.run(approve=True).submitted == 4
    assert project.run().submitted == 0


def test_lost_keys_cost_nothing_and_stop_a_run_only_where_others_are_paid_for_or_none_is_left(project: Project) -> None:
    def rows(first: int, body: str = "") -> None:
        project.rows([{**row, "id": row["id"] + first, "body": body or row["body"]} for row in numbered(4)])

    project.pipeline(BASIC.replace("[input]", "[input]\nwindow = true"))
    rows(0)
    project.run()
    rows(100, "the same")
    assert project.run().submitted == 1
    project.pipeline()
    rows(200, "the same")
    assert project.run().submitted == 0
    rows(300)
    assert project.run().submitted == 0
    rows(400, "quite another")
    assert re.search("known keys left the input and 4 appeared", gate(project, "demo"))
    (project.root / "rows.csv").write_text("id,body,lang,amount\n")
    assert re.search("the input is empty: all 16 known keys left it", gate(project, "demo"))
    assert project.run(approve=True).rows["removed"] == 16
    project.pipeline(BASIC.replace("[input]", "[input]\nwindow = true"))
    assert project.run().rows["input"] == 0


def test_what_was_tried_alone_is_not_bought_again_under_a_new_name(project: Project, typed: CommandLine) -> None:
    project.rows(numbered(4))
    project.pipeline()
    assert typed("try", "demo", "--rows", "2").code == 0
    renamed(project, "demo", "better", "")
    for command in (["try", "better", "--rows", "2"], ["run", "better", "--yes"], ["run", "--all", "--yes"]):
        found = typed(*command)
        assert (found.code, 'renamed_from = "demo"' in found.talk + found.out) == (6, True), found
    project.pipeline('renamed_from = "demo"\n' + BASIC, name="better")
    assert (project.run("better").rows["accepted"], project.requests_sent()) == (4, 2)


@pytest.mark.parametrize("first", [["run", "better", "--yes"], ["try", "better"], ["recover", "better", "--from-raw"]])
@pytest.mark.parametrize("backup", [False, True])
def test_a_lost_or_older_database_learns_the_links_of_renames_from_the_raw_folder(
    project: Project, typed: CommandLine, first: list[str], backup: bool
) -> None:
    database, copy = project.root / "batchpipe.duckdb", project.root / "backup"
    project.rows(numbered(4))
    project.pipeline()
    project.run()
    copy.write_bytes(database.read_bytes())
    renamed(project, "demo", "better", 'renamed_from = "demo"\n')
    project.rows(numbered(5))
    project.run("better")
    project.pipeline(BASIC, name="better")
    database.unlink()
    if backup:
        database.write_bytes(copy.read_bytes())
    copy.unlink()
    assert typed(*first).code == 0
    assert project.run("better").rows["accepted"] == 5
    calls = [each["path"] for each in project.log()["calls"]]
    assert (project.requests_sent(), calls.count("/v1/messages")) == (5, 0)


def test_a_lost_database_knows_a_name_that_came_back(project: Project) -> None:
    project.rows(numbered(4))
    project.pipeline()
    project.run()
    renamed(project, "demo", "better", 'renamed_from = "demo"\n')
    project.rows(numbered(5))
    project.run("better")
    renamed(project, "better", "demo", 'renamed_from = "better"\n')
    project.run()
    project.pipeline()
    (project.root / "batchpipe.duckdb").unlink()
    assert "better has no file any more, and demo has its prompt" in gate(project, "demo")
    project.pipeline('renamed_from = "better"\n' + BASIC)
    assert (project.run().rows["accepted"], project.requests_sent()) == (5, 5)


def test_show_says_what_was_decided_last_under_whichever_name(project: Project, typed: CommandLine) -> None:
    rows = numbered(2)
    project.rows(rows)
    project.pipeline()
    project.run()
    renamed(project, "demo", "better", 'renamed_from = "demo"\n')
    rows[0]["body"] = "a text that cannot be answered"
    project.rows(rows)
    project.faults({"requests": [{"match": "cannot be answered", "outcome": "errored_invalid"}]})
    project.run("better")
    renamed(project, "better", "demo", 'renamed_from = "better"\n')
    found = typed("show", "demo", "1", "--json").value
    assert found["state"] == "failed", found


def test_a_rename_ends_no_pause(project: Project, typed: CommandLine) -> None:
    project.rows(numbered(4))
    project.pipeline()
    project.run()
    project.rows(numbered(5))
    renamed(project, "demo", "better", 'renamed_from = "demo"\n')
    assert typed("cancel", "better").code == 0
    renamed(project, "better", "best", "")
    assert "better has no file any more" in gate(project, "best")
    project.pipeline('renamed_from = "better"\n' + BASIC, name="best")
    for command in (["plan", "best"], ["status", "best"]):
        assert "paused" in typed(*command).out, command
    sent = project.requests_sent()
    assert "paused" in str(project.outcomes(["best"])[0].result.gate)
    assert project.requests_sent() == sent
    assert project.run("best", resume=True).rows["accepted"] == 5
    assert project.run("best").status == "done"


@pytest.mark.parametrize("command", ["try", "eval", "review"])
def test_a_name_under_which_nothing_ran_is_a_link_of_the_chain(
    project: Project, typed: CommandLine, command: str
) -> None:
    rows = numbered(4)
    project.rows(rows)
    project.rows([{**each, "category": "bug"} for each in rows], "gold.csv")
    text = BASIC + GOLD + '[review]\nwhere = "true"\n'
    project.pipeline(text)
    project.run()
    (project.root / "pipelines" / "demo.toml").unlink()
    project.rows(numbered(5))
    project.pipeline('renamed_from = "demo"\n' + text, name="better")
    if command == "review":
        assert typed("review", "better", "--export", "sheet.csv").code == 0
        sheet = project.root / "sheet.csv"
        sheet.write_text(sheet.read_text(encoding="utf-8").replace(',"",', ",ok,"), encoding="utf-8")
        assert typed("review", "better", "--import", "sheet.csv").code == 0
        assert project.sql("SELECT count(*) > 0 FROM ledger.reviews WHERE pipeline = 'better'") == [(True,)]
    else:
        assert typed(command, "better", *(["5"] if command == "try" else [])).code == 0
    (project.root / "pipelines" / "better.toml").unlink()
    project.pipeline(text, name="best")
    assert "better has no file any more, and best has its prompt" in gate(project, "best")
    project.pipeline('renamed_from = "better"\n' + text, name="best")
    assert project.run("best").rows["accepted"] == 5
    assert len(project.sql("SELECT 1 FROM best WHERE _current")) == 5
    assert project.sql("SELECT count(*) FROM ledger.reviews") == project.sql(
        "SELECT count(*) FROM best WHERE _reviewed_by IS NOT NULL"
    )


def test_an_older_name_that_never_ran_hides_no_older_one(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(8))
    project.run()
    (project.root / "pipelines" / "demo.toml").unlink()
    project.pipeline('renamed_from = "between"\n' + BASIC, name="newest")
    stopped = project.run("newest")
    assert (stopped.status, stopped.submitted) == ("gate", 0)
    assert "demo has no file any more" in str(stopped.gate)
    project.pipeline('renamed_from = "demo"\n' + BASIC, name="newest")
    result = project.run("newest")
    assert (result.submitted, result.rows["accepted"], project.requests_sent()) == (0, 8, 8)


def test_a_table_that_is_behind_after_a_rename_and_back_is_written_again(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(4))
    project.run()
    renamed(project, "demo", "better", 'renamed_from = "demo"\n')
    project.rows([*numbered(3), {**numbered(4)[3], "body": "an edited text"}])
    assert project.run("better").submitted == 1
    renamed(project, "better", "demo", 'renamed_from = "better"\n')
    assert project.run().submitted == 0
    columns = "id, label, score, _custom_id, _current"
    rows = project.sql(f"SELECT {columns} FROM demo ORDER BY id")
    assert rows == project.sql(f"SELECT {columns} FROM better ORDER BY id")
    assert [each[-1] for each in rows] == [True] * 4


def test_a_table_that_is_behind_after_another_table_and_back_is_written_again(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(4))
    project.run()
    project.pipeline(BASIC.replace("[output.fields.label]", '[output]\ntable = "elsewhere"\n[output.fields.label]'))
    project.rows(numbered(5))
    assert project.run().submitted == 1
    project.pipeline()
    assert project.run().submitted == 0
    assert project.sql("SELECT count(*) FROM demo WHERE _current") == [(5,)]


@pytest.mark.parametrize(("option", "lost"), [("--from-raw", False), ("--from-raw", True), ("--repair", False)])
def test_what_recovers_a_renamed_pipeline_records_the_link(
    project: Project, typed: CommandLine, option: str, lost: bool
) -> None:
    project.pipeline()
    project.rows(numbered(4))
    project.run()
    renamed(project, "demo", "better", 'renamed_from = "demo"\n')
    if lost:
        (project.root / "batchpipe.duckdb").unlink()
    assert typed("recover", "better", option).code == 0
    renamed(project, "better", "best", "")
    assert "better has no file any more" in gate(project, "best")
    project.pipeline('renamed_from = "better"\n' + BASIC, name="best")
    assert project.run("best").submitted == 0
    assert project.sql("SELECT count(*) FROM best WHERE _current") == [(4,)]


@pytest.mark.parametrize("first", ["recovered", "answered"])
def test_a_table_that_was_there_before_the_link_has_the_older_names_rows(
    project: Project, typed: CommandLine, first: str
) -> None:
    project.pipeline()
    project.rows(numbered(4))
    project.run()
    renamed(project, "demo", "better", "renamed_from = false\n")
    if first == "recovered":
        assert typed("recover", "better", "--from-raw").code == 0
    else:
        project.rows([{**row, "body": "an edited text"} for row in numbered(2)])
        assert project.run("better").submitted == 1
    project.pipeline('renamed_from = "demo"\n' + BASIC, name="better")
    project.rows(numbered(4))
    assert project.run("better").submitted == 0
    assert project.sql("SELECT id, _current FROM better ORDER BY id") == [(key, True) for key in range(1, 5)]
    columns = "id, label, score, _custom_id"
    assert project.sql(f"SELECT {columns} FROM better ORDER BY id") == project.sql(
        f"SELECT {columns} FROM demo ORDER BY id"
    )
    written = "SELECT count(*) FROM ledger.events WHERE kind = 'output_written'"
    before = project.sql(written)
    assert project.run("better").submitted == 0
    assert project.sql(written) == before
