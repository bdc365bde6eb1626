"""Tests of `batchpipe run` without a terminal: its JSON, exit codes, messages and interrupts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from decimal import Decimal
from pathlib import Path

import pytest
from commandline import COMMAND, CommandLine, in_process_of_its_own, interrupted, surroundings
from projects import BASIC, Project, numbered

from batchpipe.common.machine import utc_now
from batchpipe.engine.ledger.locks import pipeline_lock

FIELDS = [
    "pipeline",
    "run_id",
    "prompt_version",
    "status",
    "gate",
    "rows",
    "submitted",
    "batches",
    "attempts",
    "tokens",
    "unpriced",
    "cost_usd",
    "realtime_usd",
    "error",
]
ROWS = [
    "input",
    "accepted",
    "review",
    "failed",
    "pending",
    "due",
    "unchanged",
    "carried_over",
    "kept",
    "removed",
]
LONG = {"delay_seconds": 3600}


@pytest.fixture
def typed(project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    """Return the command line in a project of ten rows, whose emulator is the provider."""
    project.rows(numbered(10))
    project.pipeline()
    line = CommandLine(monkeypatch=monkeypatch, capsys=capsys)
    line.provide(project)
    return line


class TestObject:
    def test_its_fields(self, typed: CommandLine, project: Project) -> None:
        found = typed("run", "demo", "--json")
        assert found.code == 0
        value = found.value
        assert list(value) == FIELDS
        assert list(value["rows"]) == ROWS
        assert list(value["tokens"]) == ["input", "output", "cache_read", "cache_write"]
        assert (value["pipeline"], value["prompt_version"], value["status"]) == ("demo", "v1", "done")
        assert (value["rows"]["input"], value["rows"]["accepted"]) == (10, 10)
        assert (value["submitted"], value["batches"], value["attempts"]) == (10, 1, 10)
        assert (value["gate"], value["error"]) == (None, None)
        assert project.sql("SELECT cost_usd FROM ledger.spend") == [(value["cost_usd"],)]
        assert isinstance(value["cost_usd"], Decimal)
        assert value["realtime_usd"] == 2 * value["cost_usd"]
        assert found.out.count("\n") == 1

    def test_a_second_run_sends_nothing(self, typed: CommandLine) -> None:
        typed("run", "demo", "--json")
        value = typed("run", "demo", "--json").value
        assert (value["status"], value["submitted"], value["rows"]["unchanged"]) == ("done", 0, 10)

    def test_one_by_name_or_file_is_an_object_and_the_rest_a_list(self, typed: CommandLine, project: Project) -> None:
        project.pipeline(name="other")
        assert typed("run", "pipelines/demo.toml", "--json").value["pipeline"] == "demo"
        for words in (["--all"], ["pipelines"], ["demo", "other"]):
            found = typed("run", *words, "--json")
            assert [each["pipeline"] for each in found.value] == ["demo", "other"]

    def test_before_it_has_begun_there_is_only_the_error(self, typed: CommandLine, project: Project) -> None:
        with pipeline_lock(project.root / ".batchpipe" / "locks", "demo", utc_now()):
            found = typed("run", "demo", "--json")
        assert (found.code, list(found.value)) == (4, ["error"])
        assert found.value["error"]["code"] == "locked"
        assert "demo is being run by process" in found.value["error"]["message"]

    def test_after_it_has_begun_the_object_has_the_error(
        self, typed: CommandLine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("ANTHROPIC_API_KEY")
        found = typed("run", "demo", "--json")
        assert (found.code, found.value["status"]) == (3, "error")
        assert found.value["error"]["code"] == "credentials"
        assert found.value["rows"]["due"] == 10

    def test_its_stdout_is_pure(self, typed: CommandLine, project: Project) -> None:
        found = in_process_of_its_own(project.root, "run", "demo", "--json", environment=surroundings(project))
        assert found.code == 0
        assert json.loads(found.out)["status"] == "done"
        assert "demo: submitted 10 requests" in found.talk
        assert "\x1b" not in found.out + found.talk


class TestExitCodes:
    def test_in_flight(self, typed: CommandLine, project: Project) -> None:
        project.faults(LONG)
        found = typed("run", "demo", "--no-wait")
        assert found.code == 5
        assert "10 rows in flight" in found.out
        assert "to go on: batchpipe run demo --no-wait" in found.out
        assert typed("run", "demo", "--no-wait", "--pending-ok").code == 0
        assert typed("run", "demo", "--no-wait", "--json").value["status"] == "pending"
        assert project.requests_sent() == 10

    def test_a_wait_that_is_over(self, typed: CommandLine, project: Project) -> None:
        project.faults(LONG)
        assert typed("run", "demo", "--wait", "0.2s").code == 5

    def test_rows_that_failed(self, typed: CommandLine, project: Project) -> None:
        project.faults({"requests": [{"match": "number 3", "outcome": "errored_invalid"}]})
        found = typed("run", "demo")
        assert found.code == 1
        assert "9 accepted, 1 failed" in found.out
        assert "1 row, such as 3: messages.0.content:" in found.out
        assert "batchpipe show demo 3\n" in found.out
        assert "batchpipe run demo --retry-failed" in found.out
        assert typed("run", "demo", "--json").value["status"] == "done"

    def test_a_budget(self, typed: CommandLine) -> None:
        found = typed("run", "demo", "--max-usd", "0")
        assert found.code == 6
        assert "stopped: --max-usd of $0 is reached" in found.out
        assert typed("run", "demo", "--max-usd", "0", "--json").value["status"] == "gate"

    def test_a_pause(self, typed: CommandLine) -> None:
        assert typed("cancel", "demo").code == 0
        found = typed("run", "demo", "--json")
        assert (found.code, found.value["status"]) == (6, "gate")
        assert "batchpipe run demo --resume" in typed("run", "demo").out
        assert typed("run", "demo", "--resume").code == 0

    def test_a_pipeline_that_is_wrong(self, typed: CommandLine, project: Project) -> None:
        project.pipeline(BASIC.replace("{{ body }}", "{{ bdy }}"))
        found = typed("run", "demo")
        assert found.code == 2
        assert "`bdy`" in found.talk
        assert "Did you mean `body`?" in found.talk

    def test_one_that_is_wrong_does_not_stop_the_others(self, typed: CommandLine, project: Project) -> None:
        (project.root / "pipelines" / "broken.toml").write_text("nonsense", encoding="utf-8")
        found = typed("run", "--all", "--json")
        assert found.code == 2
        assert [(each["pipeline"], each["status"]) for each in found.value] == [
            ("broken", "error"),
            ("demo", "done"),
        ]
        assert found.value[0]["error"]["code"] == "pipeline"
        assert list(found.value[0]) == FIELDS

    def test_no_provider(self, typed: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("ANTHROPIC_API_KEY")
        found = typed("run", "demo")
        assert found.code == 3
        assert "ANTHROPIC_API_KEY" in found.talk
        assert "--emulator" in found.talk

    def test_a_broken_database(self, typed: CommandLine, project: Project) -> None:
        (project.root / "batchpipe.duckdb").write_bytes(b"this is no database" * 1000)
        assert typed("run", "demo", "--json").code == 4


class TestMistakes:
    @pytest.mark.parametrize(
        ("words", "expected"),
        [
            ([], ["no pipeline is named", "--all"]),
            (["dmeo"], ["there is no pipeline 'dmeo'", "Did you mean demo?"]),
            (["demo", "--all"], ["--all cannot be combined with 'demo'"]),
            (["demo", "--wait", "1h", "--no-wait"], ["--wait and --no-wait exclude each other"]),
            (["demo", "--wait", "soon"], ["'soon' is not a duration", "45m"]),
            (["demo", "--wait", "1e9h"], ["'1e9h' is not a duration"]),
            (["demo", "--wait", "99999999999d"], ["'99999999999d' is not a duration"]),
            (["demo", "--wait", "-5m"], ["'-5m' is not a duration"]),
            (["demo", "--wait", "inf"], ["'inf' is not a duration"]),
            (["demo", "--max-usd", "lots"], ["'lots' is not an amount of money", "--max-usd 2.50"]),
            (["demo", "--max-usd", "nan"], ["'nan' is not an amount of money"]),
            (["demo", "--param", "since"], ["'since' is not a parameter", "since=2026-01-01"]),
            (["demo", "--param", "since=1"], ["there is no parameter 'since'"]),
            (["demo", "--where", "scroe > 1"], ["'scroe'", "Did you mean 'score'?"]),
            (["demo", "--redo", "accept"], ["`--redo accept` needs an `accept`"]),
        ],
        ids=lambda value: " ".join(value) or "nothing",
    )
    def test_nothing_is_sent(self, typed: CommandLine, project: Project, words: list[str], expected: list[str]) -> None:
        found = typed("run", *words)
        assert found.code == 2
        assert all(each in found.talk for each in expected), found.talk
        assert project.requests_sent() == 0

    def test_two_files_of_one_name(self, typed: CommandLine, project: Project) -> None:
        project.pipeline('name = "demo"\n' + BASIC, name="again")
        found = typed("run", "--all")
        assert found.code == 2
        assert 'the pipeline name "demo" is also that of' in found.talk


class TestOptions:
    def test_params_in_the_files_types(self, typed: CommandLine, project: Project) -> None:
        text = BASIC.replace("FROM read_csv(", "FROM (FROM read_csv(").replace(
            "'INTEGER'})\"", "'INTEGER'}) WHERE id <= $top)\""
        )
        project.pipeline(text.replace('key = "id"', 'key = "id"\nparams = { top = 4 }'))
        assert typed("run", "demo", "--json").value["rows"]["input"] == 4
        assert typed("run", "demo", "--json", "--param", "top=6").value["rows"]["input"] == 6
        found = typed("run", "demo", "--param", "top=many")
        assert found.code == 2
        assert "write a whole number" in found.talk

    def test_limit_where_and_orders(self, typed: CommandLine) -> None:
        assert typed("run", "demo", "--limit", "3", "--json").value["submitted"] == 3
        assert typed("run", "demo", "--where", "id <= 5", "--json").value["rows"]["input"] <= 5
        assert typed("run", "demo", "--json").value["rows"]["accepted"] == 10
        assert typed("run", "demo", "--redo", "id = 1", "--json").value["submitted"] == 1

    def test_the_emulator_has_a_database_of_its_own(self, typed: CommandLine, project: Project) -> None:
        found = typed("run", "demo", "--emulator")
        assert found.code == 0
        assert "demo in .batchpipe/emulator/batchpipe.duckdb" in found.out
        assert "batchpipe results demo --emulator" in found.out
        assert not (project.root / "batchpipe.duckdb").exists()
        assert "10 accepted" in typed("status", "demo", "--emulator").out
        assert "10 accepted" not in typed("status", "demo").out

    def test_answers_and_faults_from_where_one_is(
        self, typed: CommandLine, project: Project, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        answer = {"match": "number", "output": {"label": "bug", "score": 0.25}}
        folder = project.root / "sub"
        folder.mkdir()
        (folder / "answers.jsonl").write_text(json.dumps(answer) + "\n", encoding="utf-8")
        (folder / "faults.json").write_text('{"requests": [{"match": "number 3", "outcome": "refused"}]}')
        monkeypatch.chdir(folder)
        words = ("--emulator", "--answers", "answers.jsonl", "--faults", "faults.json")
        found = typed("run", "demo", *words, "--json")
        assert (found.code, found.value["rows"]["failed"]) == (1, 1)
        shown = typed("results", "demo", "--emulator", "--json").out
        assert '"label": "bug", "score": 0.25' in shown

    def test_relative_paths_in_sql_start_at_the_root(
        self, typed: CommandLine, project: Project, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        after = "after = [\"COPY (SELECT id, label FROM demo) TO 'out.csv'\"]\n"
        project.pipeline(BASIC.replace("[output.fields.label]", f"[output]\n{after}[output.fields.label]", 1))
        (project.root / "sub").mkdir()
        monkeypatch.chdir(project.root / "sub")
        assert typed("run", "demo").code == 0
        assert (project.root / "out.csv").is_file()


class TestTalk:
    def test_each_event_is_a_line(self, typed: CommandLine) -> None:
        found = typed("run", "demo")
        assert found.code == 0
        submitted, collected = found.talk.splitlines()
        assert submitted.endswith(" demo: submitted 10 requests")
        assert " demo: collected msgbatch_" in collected
        assert collected.endswith(": 10 accepted")
        assert found.out.startswith("demo (prompt v1): done\n  rows ")
        assert "saved against realtime calls" in found.out
        assert "demo in batchpipe.duckdb" in found.out

    def test_events_as_json(self, typed: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("BATCHPIPE_LOG_FORMAT", "json")
        events = [json.loads(line) for line in typed("run", "demo").talk.splitlines()]
        assert {each["pipeline"] for each in events} == {"demo"}
        assert [each["event"] for each in events] == ["run_started", "submitted", "collected", "run_ended"]
        assert events[1]["message"] == "submitted 10 requests"

    def test_nobody_is_asked_without_a_terminal(self, typed: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("BATCHPIPE_CONFIRM_ABOVE_USD", "0")
        found = typed("run", "demo")
        assert found.code == 0
        assert "[y/N]" not in found.talk

    def test_a_name_that_no_file_can_have_is_told(self, typed: CommandLine) -> None:
        typed("run", "demo")
        long = "x" * 300
        for command in (
            ["run", long],
            ["results", "demo", "--to", f"{long}.csv"],
            ["review", "demo", "--export", f"{long}.csv"],
            ["report", "demo", "--html", f"{long}.html"],
            ["new", "more", "--input", f"{long}.csv"],
            ["--database", long, "status"],
            ["-C", long, "status"],
        ):
            found = typed(*command)
            assert (found.code, "xxxx" in found.talk) == (2, True), (command[0], found.talk)

    def test_more_rows_than_there_can_be_are_all_rows(self, typed: CommandLine) -> None:
        for command in (["plan", "demo", "--limit"], ["try", "demo", "--rows"], ["run", "demo", "--limit"]):
            found = typed(*command, "9" * 20)
            assert found.code == 0, found.talk
            assert typed("results", "demo", "--limit", "9" * 20).code in (0, 2)

    def test_a_second_run_says_that_nothing_was_due(self, typed: CommandLine) -> None:
        typed("run", "demo")
        found = typed("run", "demo")
        assert found.talk == ""
        assert found.out.startswith("demo (prompt v1): nothing was due\n")


class TestInterrupts:
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
    def test_nothing_is_lost_and_nothing_paid_twice(self, typed: CommandLine, project: Project, number: int) -> None:
        project.faults(LONG)
        environment = surroundings(project)
        found = interrupted(project.root, "run", "demo", after="submitted", number=number, environment=environment)
        assert found.code == 130
        assert "interrupted: nothing is lost" in found.talk
        assert "1 batch goes on at the provider" in found.talk
        assert "run the same command again: batchpipe run demo" in found.talk
        assert "batchpipe cancel demo" in found.talk
        assert "Traceback" not in found.talk
        project.faults({"delay_seconds": 0})
        value = typed("run", "demo", "--json").value
        assert (value["rows"]["accepted"], value["submitted"]) == (10, 0)
        assert project.requests_sent() == 10

    def test_with_json_its_object_is_printed(self, typed: CommandLine, project: Project) -> None:
        project.faults(LONG)
        words = ("run", "demo", "--json")
        found = interrupted(project.root, *words, after="submitted", environment=surroundings(project))
        assert found.code == 130
        value = found.value
        assert (value["status"], value["rows"]["pending"], value["submitted"]) == ("pending", 10, 10)
        assert value["error"]["code"] == "interrupted"
        assert "batchpipe run demo --json" in value["error"]["hint"]

    def test_the_emulators_batches_go_on_too(self, typed: CommandLine, project: Project) -> None:
        slow = {"BATCHPIPE_EMULATOR_DELAY": "3600"}
        words = ("run", "demo", "--emulator")
        assert interrupted(project.root, *words, after="submitted", environment=slow).code == 130
        again = typed(*words, "--json")
        assert again.code in (0, 5)
        assert again.value["submitted"] == 0

    def test_a_slow_input_query_is_stopped(self, project: Project) -> None:
        """The query would take hours: Python runs no handler of a signal before a statement of DuckDB has ended."""
        rows = "FROM range(10_000_000) a, range(10_000_000) b"
        slow = f"SELECT max(sqrt(a.range * b.range)) AS id, 'x' AS body, 'en' AS lang, 1 AS amount {rows}"
        project.pipeline(BASIC.replace(BASIC[BASIC.index("SELECT id") : BASIC.index('"\nkey')], slow))
        process = subprocess.Popen(
            [*COMMAND, "run", "demo"],
            cwd=project.root,
            env={**os.environ, **surroundings(project)},
            stderr=subprocess.PIPE,
            text=True,
        )
        spill = project.root / ".batchpipe" / "work" / "demo"
        while not list(spill.glob("*/*.parquet")):
            assert process.poll() is None
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
        assert process.returncode == 130, said
        assert "Traceback" not in said
        assert project.sql("SELECT status, submitted FROM ledger.runs") == [("interrupted", 0)]
        assert project.log()["calls"] == []


def test_the_run_ends_with_its_folder_clean(typed: CommandLine, project: Project) -> None:
    typed("run", "demo")
    typed("plan", "demo")
    assert [path.name for path in (project.root / ".batchpipe" / "work").glob("plan-*")] == []
    assert Path.cwd() == project.root
