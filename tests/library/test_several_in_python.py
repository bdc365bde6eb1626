"""Tests of several pipelines of a project in one call of a Python program: chains, errors, event loops."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal
from pathlib import Path

import pytest
from commandline import in_process_of_its_own
from projects import BASIC, Project, numbered

import batchpipe

DIGEST = """
[input]
query = "SELECT label, list(body ORDER BY id) AS bodies FROM demo JOIN read_csv('rows.csv') USING (id) GROUP BY label"
key = "label"

[prompt]
user_text = "{{ bodies | join(', ') }}"

[output]
format = "text"
[output.fields.digest]
type = "string"

[[models]]
model = "claude-haiku-4-5"
max_tokens = 200
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project with a pipeline `a_digest` that reads the table of the pipeline `demo`, and one of neither."""
    project = Project(tmp_path)
    project.close()
    project.rows(numbered(4))
    project.pipeline()
    project.pipeline(DIGEST, "a_digest")
    project.pipeline(BASIC, "other")
    return tmp_path


def test_a_chain_is_planned_and_run_in_its_order(root: Path) -> None:
    opened = batchpipe.Project(root, emulator=True)
    plans = opened.plan()
    assert list(plans) == ["demo", "a_digest", "other"]
    assert (plans["demo"].due, plans["a_digest"].due) == (4, None)
    assert isinstance(plans["other"].cost_usd, Decimal)
    results = opened.run(["a_digest", root / "pipelines" / "demo.toml"], max_usd=1)
    assert [(name, each.status) for name, each in results.items()] == [("demo", "done"), ("a_digest", "done")]
    assert results["demo"].submitted == 4
    assert (results["a_digest"].rows["accepted"] or 0) > 0
    assert "other" not in results
    with pytest.raises(KeyError):
        results["other"]
    assert results._repr_html_().count("<table>") == 2
    rest = opened.run("a_digest", with_upstream=True)
    assert (list(rest), rest["demo"].submitted) == (["demo", "a_digest"], 0)
    printed = json.loads(in_process_of_its_own(root, "run", "--all", "--json", "--emulator").out)
    whole = opened.run()
    assert [each["pipeline"] for each in printed] == list(whole)
    assert set(printed[0]) == set(whole["demo"].as_dict())
    assert [each.submitted for each in whole.values()] == [0, 0, 0]


def test_the_error_of_one_does_not_stop_the_others(root: Path) -> None:
    (root / "pipelines" / "other.toml").write_text("[input]\nquery = 1\n", encoding="utf-8")
    opened = batchpipe.Project(root, emulator=True)
    with pytest.raises(batchpipe.PipelineError) as caught:
        opened.run(progress=False)
    assert caught.value.__notes__ == ["demo: done", "a_digest: done"]
    found = opened.run(raises=False)
    assert ({*found}, {*found.errors}) == ({"demo", "a_digest"}, {"other"})
    assert found["demo"].submitted == 0  # the call before has asked for all of them
    with pytest.raises(batchpipe.PipelineError):
        found["other"]
    assert "<p>other: " in found._repr_html_()
    plans = opened.plan(raises=False)
    assert ({*plans}, {*plans.errors}) == ({"demo", "a_digest"}, {"other"})
    with pytest.raises(batchpipe.PipelineError):
        opened.plan()
    for wrong, words in ((["nothing"], "nothing"), ([], "no pipeline is named")):
        with pytest.raises(batchpipe.UsageError, match=words):
            opened.run(wrong)
    with pytest.raises(batchpipe.UsageError, match="no parameter 'since'"):
        opened.plan(["demo"], params={"since": 1})


def test_an_event_loop_goes_on_beside_several_pipelines(root: Path) -> None:
    opened = batchpipe.Project(root, emulator=True)

    async def both() -> tuple[list[str], int]:
        task, ticks = asyncio.create_task(opened.run_async(["demo", "other"])), 0
        while not task.done():
            await asyncio.sleep(0.01)
            ticks += 1
        return [each.status for each in (await task).values()], ticks

    states, ticks = asyncio.run(both())
    assert states == ["done", "done"]
    assert ticks > 1
