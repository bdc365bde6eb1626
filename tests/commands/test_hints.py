"""Tests that a printed hint can be typed as it is, and that what is missing is found before anything is sent."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest
from commandline import CommandLine
from projects import BASIC, Project, numbered

from batchpipe.common.hints import typed_again, use_options


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(monkeypatch=monkeypatch, capsys=capsys)


def printed_command(text: str) -> list[str]:
    """Return the words of the last command that `text` names, without the program's own name."""
    return shlex.split(re.findall(r"batchpipe ([^\n`;]+)", text)[-1])


def test_a_printed_command_works_where_it_was_printed(tmp_path: Path, call: CommandLine) -> None:
    root = tmp_path / "a project of mine"
    for folder in (root / "pipelines", tmp_path / "elsewhere"):
        folder.mkdir(parents=True)
    (root / "batchpipe.toml").touch()
    (root / "pipelines" / "demo.toml").write_text(BASIC)
    lines = [",".join(str(value) for value in row.values()) for row in numbered(2)]
    (root / "rows.csv").write_text("\n".join(["id,body,lang,amount", *lines]) + "\n")
    call.monkeypatch.chdir(tmp_path / "elsewhere")
    for arguments in (
        ["try", "demo", "99", "-C", "../a project of mine", "--emulator"],
        ["--emulator", "try", "../a project of mine/pipelines/demo.toml", "99"],
    ):
        ended = call(*arguments)
        assert ended.code == 2, ended.talk
        again = printed_command(ended.talk)
        assert again[:3] == ["plan", "demo", "--rows"]
        assert again[-1] == "--emulator"
        ended = call(*again)
        assert ended.code == 0, ended.talk
    ended = call("results", "demo", "-C", "../a project of mine", "--emulator", "--json")
    assert printed_command(ended.value["error"]["hint"]) == ["run", "demo", "-C", "../a project of mine", "--emulator"]
    ended = call("plan", "My Rows", "-C", "../a project of mine")
    assert printed_command(ended.talk) == ["new", "my_rows", "-C", "../a project of mine"]


def test_options_are_named_once_and_only_in_commands() -> None:
    use_options("-C 'a b' --emulator")
    said = "-C 'a b' --emulator"
    assert typed_again("Run batchpipe run x.") == f"Run batchpipe run x {said}."
    assert typed_again(f"batchpipe run x {said}") == f"batchpipe run x {said}"
    two = "adopt: batchpipe recover x --adopt b_1; else (batchpipe recover x --abandon), or `batchpipe status`"
    assert typed_again(two).count(said) == 3
    assert typed_again("batchpipe plan x --where 'a = 1; b'") == f"batchpipe plan x --where 'a = 1; b' {said}"
    apostrophe = "-C " + shlex.quote('it\'s "a" b') + " --emulator"
    use_options(apostrophe)
    assert typed_again("see (batchpipe plan x --diff), now") == f"see (batchpipe plan x --diff {apostrophe}), now"
    assert typed_again(f"see (batchpipe plan x {apostrophe}), now") == f"see (batchpipe plan x {apostrophe}), now"
    for text in ("batchpipe init DIR", "batchpipe docs x", "this batchpipe reads version 2", "batchpipe.toml"):
        assert typed_again(text) == text


def test_an_evaluation_without_its_package_sends_nothing(
    project: Project, call: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    call.provide(project)
    gold = "[eval]\ngold = \"SELECT id, label FROM (VALUES (1, 'bug')) t(id, label)\"\n"
    project.pipeline(BASIC + gold)
    project.rows(numbered(2))
    monkeypatch.setitem(sys.modules, "scipy", None)
    for options in ([], ["--no-wait"], ["--models", "all"]):
        ended = call("eval", "demo", "--yes", *options)
        assert ended.code == 2, ended.talk
        assert "pip install 'batchpipe[eval]'" in ended.talk
    assert project.log()["calls"] == []
