"""Without scikit-learn every command that has rows answered says what to install, and sends nothing."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from local_project import PIPELINE, LocalProject

import batchpipe

COMMANDS = (
    ("check", "triage"),
    ("check", "triage", "--offline"),
    ("try", "triage", "1"),
    ("plan", "triage"),
    ("eval", "triage", "--yes"),
    ("eval", "triage", "--tune", "--yes"),
    ("run", "triage", "--yes"),
    ("review", "triage", "--export", "review.csv"),
    ("eval", "triage", "--tune", "--as-good-as", "claude-opus-4-8", "--target", "0.9", "--labels", "20", "--yes"),
)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalProject:
    project = LocalProject(tmp_path, PIPELINE + '\n[eval]\ngold = "gold.csv"\n')
    (tmp_path / "gold.csv").write_text("id,body,label\n7,the app fails,bug\n", encoding="utf-8")
    project.rows(range(10))
    monkeypatch.setitem(sys.modules, "sklearn", None)
    return project


def test_each_command_names_the_extra_before_anything_is_sent(project: LocalProject) -> None:
    for arguments in COMMANDS:
        ended = project.command(*arguments, code=2)
        said = ended.stdout + ended.stderr
        assert "needs the package scikit-learn" in said, arguments
        assert "pip install 'batchpipe[local]'" in said, arguments
        assert "[[models]]" in said, arguments
    assert not list((project.root / ".batchpipe").rglob("raw/*/*"))


def test_what_only_reads_the_ledger_needs_no_packages(project: LocalProject) -> None:
    for arguments in (("status", "triage"), ("report", "triage"), ("recover", "triage"), ("show", "triage", "1")):
        assert "scikit-learn" not in project.command(*arguments).stderr, arguments


def test_python_names_the_extra_too(project: LocalProject) -> None:
    triage = batchpipe.Project(project.root, emulator=True).pipeline("triage")
    for call in (triage.plan, triage.run):
        with pytest.raises(batchpipe.BatchpipeError, match="scikit-learn"):
            call()
