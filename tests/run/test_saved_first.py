"""Tests that results are saved before anything else is needed: the input, the files of the pipeline, the pipeline."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from calls import ask
from projects import BASIC, Project, numbered

from batchpipe.commands.call.options import RunRequest
from batchpipe.commands.run.run import run
from batchpipe.common.errors import InputError, PipelineError, UsageError


def saved(project: Project) -> list[Path]:
    return sorted((project.root / ".batchpipe" / "raw").glob("*.jsonl"))


def in_flight(project: Project, name: str = "demo") -> None:
    """Send one batch, and wait until it has ended at the provider."""
    file = project.pipeline(name=name)
    project.rows(numbered(4))
    project.run(name, no_wait=True)
    provider = project.context().providers_of(file).named("anthropic")
    while not all(provider.poll(batch_id).ended for batch_id in project.log()["batches"]):
        time.sleep(0.02)


@pytest.mark.parametrize("fault", ["source", "key", "prompt"])
def test_an_input_or_a_prompt_that_is_broken_leaves_no_results_at_the_provider(project: Project, fault: str) -> None:
    in_flight(project)
    good = project.root / "rows.csv"
    text = good.read_text()
    if fault == "source":
        good.unlink()
    elif fault == "key":
        project.rows([*numbered(4), *numbered(1)])
    else:
        project.pipeline(BASIC.replace("{{ body }}", "{{ nothing }}"))
    with pytest.raises(InputError if fault == "key" else PipelineError):
        project.run()
    assert len(saved(project)) == 1
    assert any("the results of 1 are saved" in each for each in project.said)
    assert project.sql("SELECT count(*) FROM ledger.results") == [(0,)]
    good.write_text(text)
    project.pipeline()
    assert (project.run().submitted, project.sql("SELECT count(*) FROM demo")) == (0, [(4,)])
    paths = [each["path"] for each in project.log()["calls"]]
    assert sum(each.endswith("/results") for each in paths) == 1


def test_a_file_that_is_broken_or_gone_leaves_no_results_at_the_provider(project: Project) -> None:
    in_flight(project, "gone")
    in_flight(project, "mended")
    project.pipeline(name="good")
    folder = project.root / "pipelines"
    broken = (folder / "mended.toml").read_text()
    (folder / "gone.toml").unlink()
    (folder / "mended.toml").write_text('name = "mended"\n[input')
    with pytest.raises(PipelineError, match=r"mended\.toml"):
        ask(project, run, RunRequest(pipelines=["mended"]))
    assert len(saved(project)) == 2  # a batch of 3 and one of 1: open batches have different sizes
    found = ask(project, run, RunRequest(all=True, no_wait=True, pending_ok=True))
    assert "gone cannot run now and has 1 batch open: the results of 1 are saved" in found.talk
    assert "mended cannot run now" in found.talk
    assert "good cannot run" not in found.talk
    assert len(saved(project)) == 3
    with pytest.raises(UsageError, match="there is no pipeline 'gone'"):
        ask(project, run, RunRequest(pipelines=["gone"]))
    (folder / "gone.toml").write_text(broken)
    (folder / "mended.toml").write_text(broken)
    for name in ("gone", "mended"):
        assert (project.run(name).submitted, project.run(name).rows["accepted"]) == (0, 4)
