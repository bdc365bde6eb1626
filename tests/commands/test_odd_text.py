"""Names, options and variables that are no UTF-8 text are told, and so is a home that is not there: no traceback."""

from __future__ import annotations

from pathlib import Path

import pytest
from commandline import CommandLine
from projects import BASIC, Project, numbered

from batchpipe.common.errors import UsageError
from batchpipe.common.secrets import redacted, remember
from batchpipe.library.project import Project as PythonProject

BYTES = "\udcff"  # as Python hands over the byte FF of a command line, a variable or a file's name


@pytest.fixture
def typed(project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    found = CommandLine(monkeypatch=monkeypatch, capsys=capsys)
    found.provide(project)
    project.pipeline()
    project.rows(numbered(2))
    return found


@pytest.mark.parametrize(
    "command",
    [
        ["plan", "demo", "--where", f"body = '{BYTES}'"],
        ["plan", "demo", "--redo", f"label = '{BYTES}'"],
        ["--database", f"{BYTES}.duckdb", "status"],
        ["results", "demo", "--to", "~nobody_here/rows.csv"],
        ["-C", "~nobody_here", "status"],
        ["--database", "~nobody_here/x.duckdb", "status"],
        ["docs", "--html", "~nobody_here"],
        ["init", "~nobody_here/x"],
    ],
    ids=" ".join,
)
def test_options_that_are_no_text_or_name_no_home_are_told(typed: CommandLine, command: list[str]) -> None:
    found = typed(*command)
    assert found.code == 2, found.talk
    assert "is not UTF-8 text" in found.talk or "there is no home folder ~nobody_here" in found.talk


def test_settings_and_files_that_are_no_text_are_told(project: Project, typed: CommandLine) -> None:
    dotenv = project.root / ".env"
    dotenv.write_bytes(b"A=\xff\n")
    assert (typed("status").code, ".env: the file is not UTF-8 text" in typed("status").talk) == (2, True)
    dotenv.unlink()
    settings = project.root / "batchpipe.toml"
    settings.write_text('database = "a\\u0000b"\n')
    assert "is no name of a file: it has a NUL" in typed("status").talk
    settings.write_text("")
    odd = BASIC.replace("[output.fields.label]", '[output]\nschema_file = "a\\u0000"\n[output.fields.label]')
    for name in ("odd", f"caf{BYTES}"):
        (project.root / "pipelines" / f"{name}.toml").write_text(odd)
    found = typed("status")
    assert (found.code, "'a\\x00' is no name of a file" in found.talk) == (0, True), found.talk
    assert typed("report").code == 0


def test_variables_that_are_no_text_are_told(project: Project, typed: CommandLine) -> None:
    typed.monkeypatch.setenv("ODD", f"{BYTES}secret")
    project.pipeline(BASIC.replace('key = "id"', 'key = "id"\nsetup = ["SELECT \'${ODD}\'"]'))
    assert "the environment variable ODD is not UTF-8 text" in typed("plan", "demo").talk
    project.pipeline()
    typed.monkeypatch.setenv("ANTHROPIC_API_KEY", f"{BYTES}abcd")
    found = typed("run", "demo")
    assert (found.code, "holds characters that a header cannot hold" in found.talk) == (3, True), found.talk


def test_a_value_that_is_no_text_is_taken_out_all_the_same() -> None:
    remember(f"{BYTES}secret", "${ODD}")
    assert redacted(f"see {BYTES}secret, %FFsecret") == "see ${ODD}, ${ODD}"


def test_an_error_that_quotes_bytes_is_recorded(project: Project, typed: CommandLine) -> None:
    (project.root / BYTES).mkdir()
    found = typed("run", "demo", "--emulator", "--answers", BYTES)
    assert (found.code, "Is a directory" in found.talk) == (3, True), found.talk
    assert "stopped by an error" in typed("status", "demo", "--emulator").out + found.out


def test_a_home_that_is_not_there_is_told_in_python(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no home folder ~nobody_here"):
        PythonProject.create("~nobody_here/x")
