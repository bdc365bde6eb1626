"""Tests of the lock that lets one run of a pipeline at a time."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from commandline import Typed, in_process_of_its_own, surroundings
from projects import BASIC, Project, numbered

from batchpipe.common.errors import LockedError
from batchpipe.common.progress import Phase, Progress
from batchpipe.engine.ledger.locks import own_folder, pipeline_lock
from batchpipe.engine.run.options import RunOptions
from batchpipe.engine.run.pipeline_run import PipelineRun
from batchpipe.engine.run.runner import run_pipelines
from batchpipe.pipeline.load import load

NOW = datetime(2026, 11, 29, tzinfo=UTC).replace(tzinfo=None)


def test_a_lock_is_let_go_although_its_holders_name_cannot_be_removed(tmp_path: Path) -> None:
    with pipeline_lock(tmp_path, "demo", NOW):
        with pytest.raises(LockedError), pipeline_lock(tmp_path, "demo", NOW):
            pass
        holder = tmp_path / "demo.holder.json"
        holder.unlink()
        holder.mkdir()
    holder.rmdir()
    with pipeline_lock(tmp_path, "demo", NOW):
        assert holder.is_file()


def test_a_folder_is_left_while_it_is_held_and_removed_afterwards(tmp_path: Path) -> None:
    def make(name: str) -> Path:
        (tmp_path / name).mkdir(exist_ok=True)
        return tmp_path / name

    (tmp_path / "input.parquet").touch()
    with own_folder(lambda: make("first")):
        (tmp_path / "first" / "input.parquet").touch()
        with own_folder(lambda: make("second")):
            assert sorted(path.name for path in tmp_path.iterdir()) == ["first", "second"]
            assert (tmp_path / "first" / "input.parquet").exists()
    with own_folder(lambda: make("third")):
        assert [path.name for path in tmp_path.iterdir()] == ["third"]


def test_two_runs_whose_lock_file_was_removed_do_not_mix_their_inputs_and_prompts(project: Project) -> None:
    project.pipeline(BASIC.replace("{{ body }}", "The first: {{ body }}"))
    project.rows(numbered(6))
    context, others = project.context(), list[Typed]()

    def watch(_: str, progress: Progress) -> None:
        if isinstance(progress, Phase) and progress.name == "rendering" and not others:
            for each in (project.root / ".batchpipe" / "locks").iterdir():
                each.unlink()
            project.pipeline(BASIC.replace("{{ body }}", "The second: {{ body }}"))
            project.rows(numbered(4))
            others.append(
                in_process_of_its_own(project.root, "run", "demo", "--yes", environment=surroundings(project))
            )

    context.watch = watch
    run = PipelineRun(
        context=context,
        file=load(project.root / "pipelines" / "demo.toml", project.root),
        options=RunOptions(),
        tell=lambda name, text: project.said.append(f"{name}: {text}"),
        confirm=project.confirm,
    )
    (outcome,) = run_pipelines(context, [run], wait_seconds=60.0, show=lambda runs: None)
    context.close()
    assert [each.code for each in others] == [0], others[0].talk
    assert outcome.error is None
    assert outcome.result.rows["input"] == 6
    statement = "SELECT version, count(*) FROM ledger.requests JOIN ledger.prompt_versions USING (prompt_version)"
    assert project.sql(f"{statement} GROUP BY ALL ORDER BY ALL") == [("v1", 6), ("v2", 4)]
    assert project.requests_sent() == 10
