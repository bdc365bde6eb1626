"""Tests that results are saved before anything else is needed: the input, the files of the pipeline, the pipeline."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from projects import BASIC, Project, numbered

from batchpipe.common.errors import InputError, PipelineError


def saved(project: Project) -> list[Path]:
    return sorted((project.root / ".batchpipe" / "raw").glob("*.jsonl"))


def in_flight(project: Project, name: str = "demo") -> None:
    """Send one batch, and wait until it has ended at the provider."""
    file = project.pipeline(name=name)
    project.rows(numbered(4))
    project.run(name, no_wait=True)
    provider = project.context().provider(file)
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
