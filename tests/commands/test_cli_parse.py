"""Tests of wrong command lines, help, the modules that are loaded, and the handling of every error."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from commandline import COMMAND, CommandLine, in_process_of_its_own
from projects import Project, numbered

from batchpipe import __version__
from batchpipe.cli.main import hoisted
from batchpipe.commands.call.exits import PRECEDENCE, worst
from batchpipe.common.errors import InternalError, UsageError

COMMANDS = (
    "init",
    "new",
    "check",
    "plan",
    "run",
    "status",
    "show",
    "results",
    "report",
    "diff",
    "cancel",
    "emulator",
    "schema",
)


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(monkeypatch=monkeypatch, capsys=capsys)


@pytest.mark.parametrize("words", [["--help"], ["-h"], *([name, "--help"] for name in COMMANDS)])
def test_help(typed: CommandLine, words: list[str]) -> None:
    found = typed(*words)
    assert (found.code, found.talk) == (0, "")
    assert "Usage: batchpipe" in found.out


def test_help_names_every_command(typed: CommandLine) -> None:
    shown = typed("--help").out.split()
    assert [name for name in COMMANDS if name not in shown] == []


@pytest.mark.parametrize("words", [["--help"], ["--version"]], ids=" ".join)
def test_help_loads_nothing_heavy(words: list[str], tmp_path: Path) -> None:
    assert loaded(words, tmp_path) == []


@pytest.mark.parametrize("words", [["run", "--help"], ["run", "--nonsense"]], ids=" ".join)
def test_the_parser_loads_nothing_of_a_run(words: list[str], tmp_path: Path) -> None:
    assert set(loaded(words, tmp_path)) <= {"pydantic"}  # the parser's own, for the types of options


def loaded(words: list[str], folder: Path) -> list[str]:
    """Return the heavy modules that a call has loaded."""
    heavy = ("duckdb", "pydantic", "pyarrow", "anthropic", "httpx2", "jinja2", "genai_prices")
    program = (
        "import json, sys; from batchpipe.cli.main import main; main(sys.argv[1:]); "
        f"print(json.dumps([name for name in {heavy!r} if name in sys.modules]), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *words], capture_output=True, text=True, cwd=folder, check=True
    )
    found: list[str] = json.loads(done.stderr.splitlines()[-1])
    return found


def test_help_shows_no_type_beside_a_flag(typed: CommandLine) -> None:
    line = next(line for line in typed("run", "--help").out.splitlines() if "--no-wait" in line)
    assert "bool" not in line


@pytest.mark.parametrize("flag", ["--version", "-V"])
def test_the_version(flag: str, typed: CommandLine) -> None:
    assert typed(flag).out == f"batchpipe {__version__}\n"


def test_no_command_is_a_mistake(typed: CommandLine) -> None:
    found = typed()
    assert (found.code, found.out) == (2, "")
    assert "Usage:" in found.talk
    assert "batchpipe init" in found.talk


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["stauts"], ["No such command 'stauts'", "Did you mean status"]),
        (["run", "x", "--limti", "3"], ["there is no option --limti", "Did you mean --limit"]),
        (
            ["run", "x", "--limit", "0"],
            [
                "--limit takes a whole number from 1 up, and '0' was given\n  Such as: --limit 10. To send no new",
                "To send no new rows: --no-new. See: batchpipe run --help",
            ],
        ),
        (["run", "x", "--limit", "-3"], ["from 1 up, and '-3' was given\n  Such as: --limit 10. See"]),
        (["run", "x", "--limit", "many"], ["--limit takes a whole number from 1 up, and 'many' was given"]),
        (["run", "x", "--limit", "9" * 5_000], [f"and '{'9' * 40}...' was given"]),
        (["try", "x", "--rung", "0"], ["--rung takes a whole number from 1 up, and '0' was given", "--rung 2"]),
        (["plan", "x", "--withdraw", "one"], ["--withdraw takes a whole number, and 'one' was given", "--withdraw 1"]),
        (["eval", "x", "--target", "x"], ["--target takes a number, and 'x' was given", "Such as: --target 0.9"]),
        (["eval", "x", "--max-drop", "nan"], ["--max-drop takes a number from 0 to 1, and 'nan' was given"]),
        (["ui", "--port", "70000"], ["--port takes a whole number from 0 to 65535, and '70000' was given"]),
        (["results", "x", "--limit", ""], ["--limit takes a whole number from 0 up, and '' was given"]),
        (["run", "x", "--emulater"], ["there is no option --emulater", "Did you mean --emulator"]),
        (["run", "x", "-C"], ["-C needs a value"]),
        (["run", "x", "--wait"], ["--wait", "requires an argument"]),
        (["show"], ["Missing argument 'PIPELINE'"]),
        (["init", "a", "b"], ["unexpected extra argument", "b"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_is_not_understood(typed: CommandLine, words: list[str], expected: list[str]) -> None:
    found = typed(*words)
    assert (found.code, found.out) == (2, "")
    assert all(each in found.talk for each in expected), found.talk
    assert found.talk.startswith("error: the command line: ")


def test_a_mistake_with_json_is_one_object(typed: CommandLine) -> None:
    for words in (["stauts", "--json"], ["--json", "run", "x", "--limti"], ["plan", "--json", "--nope"]):
        found = typed(*words)
        assert found.talk == ""
        assert list(found.value) == ["error"]
        assert list(found.value["error"]) == ["code", "message", "where", "hint"]
        assert found.value["error"]["code"] == "usage"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["run", "x", "--emulator"], ["--emulator", "run", "x"]),
        (["run", "-C", "d", "x", "--env=prod"], ["-C", "d", "--env=prod", "run", "x"]),
        (["--json", "run", "x"], ["run", "--json", "x"]),
        (["show", "x", "--", "--emulator", "-C"], ["show", "x", "--", "--emulator", "-C"]),
        (["run", "--answers", "a", "--faults", "b"], ["--answers", "a", "--faults", "b", "run"]),
        ([], []),
    ],
)
def test_global_options_may_stand_anywhere(given: list[str], expected: list[str]) -> None:
    assert hoisted(given) == expected


def test_a_global_option_without_its_value() -> None:
    with pytest.raises(UsageError, match="--env needs a value"):
        hoisted(["run", "x", "--env"])


def test_which_exit_code_counts() -> None:
    assert PRECEDENCE == (130, 70, 4, 3, 2, 6, 5, 1, 0)
    assert worst([]) == 0
    assert worst([0, 1, 5, 6]) == 6
    assert worst([1, 5]) == 5
    assert worst([2, 3, 4]) == 4
    assert worst([70, 4]) == 70


class TestErrors:
    def test_a_bug_is_reported_in_a_file(
        self, typed: CommandLine, project: Project, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("batchpipe.commands.status.status.status", lambda *_, **__: 1 // 0)
        found = typed("status")
        assert (found.code, found.out) == (70, "")
        assert "Traceback" not in found.talk
        (report,) = (project.root / ".batchpipe" / "logs").glob("bug-*.md")
        assert str(report) in found.talk
        text = report.read_text(encoding="utf-8")
        assert "ZeroDivisionError" in text
        assert "batchpipe status" in text
        assert __version__ in text

    def test_a_bug_with_json(self, typed: CommandLine, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("batchpipe.commands.status.status.status", lambda *_, **__: 1 // 0)
        found = typed("status", "--json")
        assert (found.code, found.talk) == (70, "")
        assert found.value["error"]["code"] == "bug"
        assert found.value["error"]["where"].endswith(".md")

    def test_a_bug_where_nothing_can_be_written(
        self, typed: CommandLine, project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        (project.root / ".batchpipe").write_text("in the way")
        elsewhere = tmp_path / "elsewhere"
        monkeypatch.setattr("tempfile.tempdir", str(elsewhere))
        monkeypatch.setattr("batchpipe.commands.status.status.status", lambda *_, **__: 1 // 0)
        assert typed("status").code == 70
        assert len(list(elsewhere.rglob("bug-*.md"))) == 1

    def test_debug_shows_the_traceback(self, typed: CommandLine, project: Project) -> None:
        assert "Traceback" not in typed("plan", "nothing").talk
        found = typed("plan", "nothing", "--debug")
        assert found.code == 2
        assert "Traceback" in found.talk
        assert "there is no pipeline 'nothing'" in found.talk

    def test_an_interrupt_says_how_to_go_on(
        self, typed: CommandLine, project: Project, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def stop(*_: object, **__: object) -> int:
            raise KeyboardInterrupt

        monkeypatch.setattr("batchpipe.commands.status.status.status", stop)
        found = typed("status", "demo")
        assert (found.code, found.out) == (130, "")
        assert "nothing is lost; run the same command again: batchpipe status demo" in found.talk
        assert typed("status", "--json").value["error"]["code"] == "interrupted"

    def test_a_libraries_error_after_an_interrupt_is_the_interrupt(
        self, typed: CommandLine, project: Project, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def stop(*_: object, **__: object) -> int:
            with contextlib.suppress(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGINT)
            raise RuntimeError("Query interrupted")

        monkeypatch.setattr("batchpipe.commands.status.status.status", stop)
        assert typed("status").code == 130

    def test_our_own_broken_invariant_is_a_bug(
        self, typed: CommandLine, project: Project, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def break_it(*_: object, **__: object) -> int:
            raise InternalError("a row was lost", hint="Please report this.")

        monkeypatch.setattr("batchpipe.commands.status.status.status", break_it)
        assert typed("status").code == 70
        assert len(list((project.root / ".batchpipe" / "logs").glob("bug-*.md"))) == 1

    def test_all_problems_of_a_file_at_once(self, typed: CommandLine, project: Project) -> None:
        (project.root / "pipelines" / "demo.toml").write_text("[input]\nkye = 'id'\n", encoding="utf-8")
        found = typed("run", "demo")
        assert found.code == 2
        assert "problems:" in found.talk
        assert "pipelines/demo.toml:2 [input] kye" in found.talk
        value = typed("run", "demo", "--json").value
        assert list(value) == ["error"]
        assert value["error"]["code"] == "pipeline"
        assert "kye" in value["error"]["message"]

    def test_control_characters_of_data_do_not_reach_the_terminal(self, typed: CommandLine, project: Project) -> None:
        (project.root / "pipelines" / "demo.toml").write_text(
            '"\\u001b[31mred" = 1\n[input]\nkey = "id"\n', encoding="utf-8"
        )
        found = typed("check")
        assert found.code == 2
        assert "\x1b" not in found.talk + found.out

    def test_a_reader_that_has_gone_is_no_error(self, project: Project) -> None:
        project.rows(numbered(2))
        project.pipeline()
        process = subprocess.Popen(
            [*COMMAND, "status", "--json"],
            cwd=project.root,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
        process.stderr.close()
        assert process.wait(30) == 0

    def test_a_letter_that_the_terminal_lacks(self, project: Project) -> None:
        project.pipeline().path.rename(project.root / "pipelines" / "größe.toml")
        found = in_process_of_its_own(
            project.root, "check", environment={"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
        )
        assert found.code == 2
        assert "gr\\xf6\\xdfe" in found.out


class TestPlaces:
    def test_the_root_is_that_of_the_pipeline(
        self, typed: CommandLine, project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        project.rows(numbered(3))
        path = project.pipeline().path
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        found = typed("plan", str(path), "--json")
        assert (found.code, found.value["rows"]["input"]) == (0, 3)
        assert Path.cwd() == tmp_path / "elsewhere"

    def test_a_relative_path_starts_where_one_is(
        self, typed: CommandLine, project: Project, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        project.rows(numbered(3))
        project.pipeline()
        monkeypatch.chdir(project.root / "pipelines")
        assert typed("plan", "./demo.toml", "--json").value["rows"]["input"] == 3
        assert typed("plan", "demo", "--json").value["rows"]["input"] == 3

    def test_the_root_by_hand(
        self, typed: CommandLine, project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        project.rows(numbered(3))
        project.pipeline()
        monkeypatch.chdir(tmp_path.parent)
        found = typed("-C", tmp_path.name, "plan", "demo", "--json")
        assert (found.code, found.value["rows"]["input"]) == (0, 3)
        found = typed("-C", "nowhere", "plan", "demo")
        assert found.code == 2
        assert "there is no folder nowhere" in found.talk

    def test_pipelines_of_several_projects(self, typed: CommandLine, project: Project, tmp_path: Path) -> None:
        one = project.pipeline().path
        other = tmp_path / "other" / "pipelines"
        other.mkdir(parents=True)
        (tmp_path / "other" / "batchpipe.toml").touch()
        (other / "x.toml").write_text(one.read_text(encoding="utf-8"), encoding="utf-8")
        found = typed("plan", str(one), str(other / "x.toml"))
        assert found.code == 2
        assert "several projects" in found.talk

    def test_settings_of_an_environment(self, typed: CommandLine, project: Project) -> None:
        (project.root / "batchpipe.toml").write_text("[env.prod]\ndatabase = 'prod.duckdb'\n", encoding="utf-8")
        assert "prod.duckdb" in typed("status", "--env", "prod").talk
        found = typed("status", "--env", "prd")
        assert found.code == 2
        assert "there is no environment 'prd'" in found.talk

    def test_another_database_from_where_one_is(
        self, typed: CommandLine, project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        (tmp_path / "sub").mkdir()
        monkeypatch.chdir(tmp_path / "sub")
        assert "other.duckdb" in typed("status", "--database", "other.duckdb").talk
        assert "ledger.duckdb" in typed("status", "--database", "ledger.duckdb").talk

    def test_answers_without_the_emulator(self, typed: CommandLine, project: Project) -> None:
        found = typed("run", "demo", "--answers", "a.jsonl")
        assert found.code == 2
        assert "--answers is for the emulator" in found.talk


class TestBeginning:
    def test_a_new_project_runs(self, typed: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        found = typed("init", "mine")
        assert found.code == 0
        assert "batchpipe run" in found.out
        monkeypatch.chdir(tmp_path / "mine")
        assert typed("check").code == 0
        done = typed("run", "--all", "--emulator", "--json")
        assert (done.code, [each["status"] for each in done.value]) == (0, ["done"])

    def test_a_project_that_is_there_is_not_touched(
        self, typed: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        files = typed("init", ".", "--json").value["files"]
        assert "batchpipe.toml" in files
        found = typed("init")
        assert found.code == 2
        assert "exist already" in found.talk

    def test_one_more_pipeline(self, typed: CommandLine, project: Project) -> None:
        project.rows(numbered(4))
        made = typed("new", "mine", "--input", "rows.csv", "--labels", "a,b", "--json")
        assert made.code == 0
        assert "pipelines/mine.toml" in made.value["files"]
        done = typed("run", "mine", "--emulator", "--json")
        assert (done.code, done.value["rows"]["accepted"]) == (0, 4)
        found = typed("new", "My Rows")
        assert found.code == 2
        assert "batchpipe new my_rows" in found.talk

    def test_the_schema_is_json(self, typed: CommandLine, tmp_path: Path) -> None:
        found = typed("schema")
        assert found.code == 0
        assert json.loads(found.out)["title"] == "batchpipe pipeline"
        assert typed("schema", "--json").value == found.value
