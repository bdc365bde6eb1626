"""Tests that `status` looks at each pipeline of a project once, however many pipelines read it."""

from __future__ import annotations

from contextlib import closing

from projects import BASIC, Project

from batchpipe.engine.upstream.completeness import Completenesses
from batchpipe.pipeline.model import PipelineFile

LAYERS = 4


def write_layers(project: Project) -> list[PipelineFile]:
    """Write pipelines each of which reads the two before it: there are as many ways to the first as Fibonacci says."""
    end = BASIC[BASIC.index("[output") :]
    files = []
    for number in range(LAYERS):
        query = "SELECT 1 AS id, 'x' AS body"
        if number:
            joined = "".join(f" JOIN p{each} USING (id)" for each in range(max(number - 2, 0), number - 1))
            query = f"SELECT id, p{number - 1}._model AS body FROM p{number - 1}{joined}"
        text = f'[input]\nquery = "{query}"\nkey = "id"\n[prompt]\nuser_text = "{{{{ body }}}}"\n{end}'
        files.append(project.pipeline(text, name=f"p{number}"))
    return files


def test_a_pipeline_that_several_read_is_looked_at_once(project: Project) -> None:
    files = write_layers(project)
    for number in range(LAYERS):
        project.run(f"p{number}")
    context = project.context()
    context.chain.ordered(files)
    with closing(context.work()) as work, context.database.reading(work) as session:
        others = Completenesses(session=session, chain=context.chain)
        found = [others.of(each, reviewed=False) for each in context.chain.reads(files[-1]).upstream]
        looked = dict(others.known)
        again = [others.of(each, reviewed=False) for file in files for each in context.chain.reads(file).upstream]
    assert [each.wait for each in found] == ["none", "none"]
    assert sorted(looked) == [(f"p{number}", False) for number in range(LAYERS - 1)]
    assert {id(each) for each in again} == {id(each) for each in looked.values()}
