"""Names, options and variables that are no UTF-8 text are told, and files that may not be read: no traceback."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import duckdb
import pytest
from commandline import CommandLine
from projects import BASIC, Project, numbered

from batchpipe.commands.docs.html import write_site
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


def test_a_folder_that_may_not_be_read_is_told(project: Project, typed: CommandLine) -> None:
    def refused(self: Path, *_: Any) -> bool:
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    with typed.monkeypatch.context() as patched:  # as for a user without rights; root may read everything
        patched.setattr(Path, "is_file", refused)
        found = typed("plan", "demo")
    assert (found.code, "permission denied" in found.talk, "Let this user read it" in found.talk) == (2, True, True)


def test_a_template_that_may_not_be_read_is_not_called_missing(project: Project, typed: CommandLine) -> None:
    def refused(self: Path) -> bytes:
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    project.pipeline(BASIC.replace("user_text = ", 'user = "demo/user.md.j2"\n# '))
    with typed.monkeypatch.context() as patched:
        patched.setattr(Path, "read_bytes", refused)
        found = typed("check", "demo")
    assert (found.code, "prompts/demo/user.md.j2 cannot be read: permission denied" in found.out) == (2, True), found


@pytest.mark.parametrize(
    "statement", ["CREATE TABLE ledger.meta (i INT)", "CREATE TABLE ledger.meta (name TEXT, value TEXT)"]
)
def test_a_ledger_of_somebody_else_is_told(project: Project, typed: CommandLine, statement: str) -> None:
    with duckdb.connect(str(project.root / "batchpipe.duckdb")) as connection:
        connection.execute(f"CREATE SCHEMA ledger; {statement}")
        if "value" in statement:
            connection.execute("INSERT INTO ledger.meta VALUES ('schema_version', 'of another program')")
    found = typed("status")
    assert (found.code, "has a schema `ledger` that batchpipe did not make" in found.talk) == (4, True), found.talk


def test_pages_that_are_written_again_are_whole_at_every_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "site"
    write_site(folder)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    write = Path.write_text

    def torn(self: Path, data: str, *given: Any, **named: Any) -> int:
        write(self, data[:10], *given, **named)
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_text", torn)
    with pytest.raises(KeyboardInterrupt):
        write_site(folder)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
