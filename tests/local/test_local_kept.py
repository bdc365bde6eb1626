"""What the local model answered is in the raw folder like any other answer, and comes back from there."""

from __future__ import annotations

from pathlib import Path
from unittest import mock

import pytest
from local_project import LocalProject

from batchpipe.engine.ledger import raw_folder
from batchpipe.engine.realtime import local_chunk


@pytest.fixture
def project(tmp_path: Path) -> LocalProject:
    """A project whose second night was answered by the local model in part."""
    project = LocalProject(tmp_path)
    project.rows(range(300))
    project.command("run", "triage", "--yes")
    project.rows(range(300, 400))
    return project


ROWS = "SELECT id, label, _model, _rung, _confidence, _cost_usd, _batch_id FROM triage ORDER BY id"


def test_a_lost_database_gets_the_local_answers_back(project: LocalProject) -> None:
    project.command("run", "triage", "--yes")
    before = project.query(ROWS)
    for path in (project.root / ".batchpipe/emulator").glob("batchpipe.duckdb*"):
        path.unlink()
    project.command("recover", "triage", "--from-raw")
    assert project.query(ROWS) == before
    assert sum(row[3] == 0 for row in before) > 50
    again = project.json("run", "triage", "--yes")
    assert (again["submitted"], again["local"]["answered"]) == (0, 0)


def test_a_kill_before_the_commit_loses_nothing_and_pays_nothing_twice(project: LocalProject) -> None:
    planned = project.json("plan", "triage")
    with mock.patch.object(local_chunk, "_record", side_effect=KeyboardInterrupt):
        project.command("run", "triage", "--yes", code=130)
    assert project.query("SELECT count(*) FROM triage WHERE _rung = 0") == [(0,)]
    again = project.json("run", "triage", "--yes")
    answered = project.query("SELECT count(*) FROM triage WHERE _rung = 0")[0][0]
    assert (again["rows"]["accepted"], again["submitted"]) == (100, planned["requests"])
    assert answered == planned["local"]["answered"] > 50
    assert project.query("SELECT count(*) FROM ledger.batches WHERE is_open") == [(0,)]


def test_a_kill_while_the_raw_file_is_written_leaves_the_rows_due(project: LocalProject) -> None:
    with mock.patch.object(raw_folder.RawFolder, "write_requests", side_effect=KeyboardInterrupt):
        project.command("run", "triage", "--yes", code=130)
    again = project.json("run", "triage", "--yes")
    assert again["rows"]["accepted"] == 100
    assert again["local"]["answered"] > 50
