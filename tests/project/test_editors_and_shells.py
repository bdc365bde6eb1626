"""What editors and shells are given: the schema's line and file, completion, short options; and how CI installs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from checkout import ROOT, batchpipe, copy_examples

from batchpipe import __version__
from batchpipe.pipeline.files import pipeline_files
from batchpipe.pipeline.load import load

LINE = "#:schema schemas/batchpipe.schema.json"
SCHEMA = Path("pipelines") / "schemas" / "batchpipe.schema.json"


def completed(words: str, cwd: Path) -> list[str]:
    """What bash is offered for the last of `words`, by a process of its own."""
    ended = subprocess.run(
        [sys.executable, "-m", "batchpipe"],
        cwd=cwd,
        env=os.environ
        | {
            "PYTHONPATH": str(ROOT),
            "_BATCHPIPE_COMPLETE": "complete_bash",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split(" ")) - 1),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    return ended.stdout.split()


class TestCompletion:
    def test_commands_options_and_pipelines_are_completed(self, tmp_path: Path) -> None:
        root = copy_examples(tmp_path)
        assert sorted(completed("batchpipe re", root)) == ["recover", "report", "results", "review"]
        assert "--retry-failed" in completed("batchpipe run --re", root)
        assert completed("batchpipe run ti", root) == ["ticket_queue", "ticket_refunds", "ticket_triage"]
        assert completed("batchpipe show ", root / "prompts") == sorted(
            path.stem for path in pipeline_files(root / "pipelines")
        )
        assert completed("batchpipe run t", tmp_path.parent) == []
        assert completed(f"batchpipe -C {root} run ticket_t", tmp_path.parent) == ["ticket_triage"]
        assert completed("batchpipe run ticket_queue ticket_", root) == ["ticket_refunds", "ticket_triage"]
        assert completed("batchpipe docs rev", root) == ["review"]
        assert completed("batchpipe docs guides/rev", root) == ["guides/review"]

    def test_the_script_for_a_shell_is_shown_and_installed(self, tmp_path: Path) -> None:
        for option in ("--show-completion", "--install-completion"):
            ended = subprocess.run(
                ["bash", "-c", f"{sys.executable} -m batchpipe {option}; exit $?"],
                env=os.environ | {"PYTHONPATH": str(ROOT), "HOME": str(tmp_path)},
                capture_output=True,
                text=True,
                check=False,
            )
            assert ended.returncode == 0, ended.stderr
            assert "Traceback" not in ended.stderr
            shown = ended.stdout + "".join(path.read_text() for path in tmp_path.rglob("*") if path.is_file())
            assert "_BATCHPIPE_COMPLETE" in shown


BASH = """
for words in "$@"; do
  COMP_WORDS=($words); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); COMPREPLY=()
  _batchpipe_completion batchpipe
  echo "${COMPREPLY[@]}"
done
"""
FISH = "for words in $argv; complete -C $words; end"
# zsh completes at a terminal only: a second zsh has one, and is sent the words and a tab.
ZSH = r"""
zmodload zsh/zpty
zpty shell zsh -f -i
zpty -w shell "PS1=; autoload -U compinit; compinit -u -D; source $1; print rea''dy"
zpty -r shell answer '*ready*'
shift
for words wanted in $argv; do
  zpty -w -n shell "$words"$'\t'
  zpty -r shell answer "*$wanted*"
  print -r -- "$answer"
  zpty -w -n shell $'\C-u'
done
"""


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_real_shell_completes(shell: str, tmp_path: Path) -> None:
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not installed")
    root, programs = copy_examples(tmp_path), tmp_path / "programs"
    programs.mkdir()
    (programs / "batchpipe").write_text(f'#!/bin/sh\nexec {sys.executable} -m batchpipe "$@"\n', encoding="utf-8")
    (programs / "batchpipe").chmod(0o755)

    def shown(script: str, *arguments: str) -> str:
        ended = subprocess.run(
            [program, *{"bash": ["--norc"], "zsh": ["-f"], "fish": ["--no-config"]}[shell], "-c", script, *arguments],
            cwd=root,
            env=os.environ
            | {"PYTHONPATH": str(ROOT), "HOME": str(tmp_path), "PATH": f"{programs}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ended.stderr == ""
        return ended.stdout

    given = tmp_path / "given"
    given.write_text(shown("batchpipe --show-completion; true"), encoding="utf-8")
    typed = ["batchpipe recov", "batchpipe run --retry", "batchpipe run ticket_tri"]
    wanted = ["recover", "--retry-failed", "ticket_triage"]
    pairs = [word for pair in zip(typed, wanted, strict=True) for word in pair]
    found = {
        "bash": lambda: shown(f". {given}\n{BASH}", "bash", *typed),
        "zsh": lambda: shown(ZSH, "zsh", str(given), *pairs),
        "fish": lambda: shown(f". {given}\n{FISH}", *typed),
    }[shell]()
    for word in wanted:
        assert word in found


def test_the_version_has_a_short_option(tmp_path: Path) -> None:
    assert batchpipe("-V", cwd=tmp_path).stdout == batchpipe("--version", cwd=tmp_path).stdout
    assert batchpipe("-V", cwd=tmp_path).stdout == f"batchpipe {__version__}\n"


class TestTheSchemaOfAPipelineFile:
    def test_the_examples_name_the_schema_that_there_is(self, tmp_path: Path) -> None:
        printed = batchpipe("schema", cwd=tmp_path).stdout
        assert (ROOT / SCHEMA).read_text(encoding="utf-8") == printed, f"batchpipe schema > {SCHEMA}"
        for path in pipeline_files(ROOT / "pipelines"):
            upward = "../" * (len(path.relative_to(ROOT / "pipelines").parts) - 1)
            line = LINE.replace("schemas/", f"{upward}schemas/")
            assert path.read_text(encoding="utf-8").splitlines()[0] == line

    def test_init_and_new_write_the_line_and_the_file(self, tmp_path: Path) -> None:
        printed = batchpipe("schema", cwd=tmp_path).stdout
        assert batchpipe("init", "there", cwd=tmp_path).returncode == 0
        root = tmp_path / "there"
        assert batchpipe("new", "second", cwd=root).returncode == 0
        for name in ("feedback", "second"):
            path = root / "pipelines" / f"{name}.toml"
            assert path.read_text(encoding="utf-8").splitlines()[0] == LINE
            load(path, root)
        assert (root / SCHEMA).read_text(encoding="utf-8") == printed

    def test_new_writes_the_file_where_it_is_missing_and_leaves_one_that_is_there(self, tmp_path: Path) -> None:
        (tmp_path / "batchpipe.toml").touch()
        assert batchpipe("new", "first", cwd=tmp_path).returncode == 0
        assert json.loads((tmp_path / SCHEMA).read_text(encoding="utf-8"))["properties"]
        (tmp_path / SCHEMA).write_text("{}", encoding="utf-8")
        assert batchpipe("new", "second", cwd=tmp_path).returncode == 0
        assert (tmp_path / SCHEMA).read_text(encoding="utf-8") == "{}"


def test_the_variable_that_ci_installs_from_is_no_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BATCHPIPE_WHEEL", "dist/batchpipe.whl")
    root = copy_examples(tmp_path)
    ended = batchpipe("check", "ticket_triage", cwd=root)
    assert ended.returncode == 0, ended.stderr
