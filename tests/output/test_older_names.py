"""Several pipelines that get other names, or become one, at once: the gate names all whose answers would be bought."""

from __future__ import annotations

import re

import pytest
from calls import ask
from commandline import CommandLine
from projects import BASIC, Project, numbered

from batchpipe.commands.call.options import PlanRequest
from batchpipe.commands.plan.plan import plan
from batchpipe.common.errors import PipelineError

TOPIC = BASIC.replace("{{ body }}", "The topic of: {{ body }}")
# An input of the rows up to 3, and of those after them.
FIRST = BASIC.replace("'INTEGER'})", "'INTEGER'}) WHERE id <= 3")
LAST = BASIC.replace("'INTEGER'})", "'INTEGER'}) WHERE id > 3")


def remove(project: Project, *names: str) -> None:
    for name in names:
        (project.root / "pipelines" / f"{name}.toml").unlink()


def bought_by_the_gate(project: Project, name: str, text: str, say: str = "fits as well") -> int:
    """Write what the gate of `name` proposes for all that fit, and run; return how many requests were sent."""
    before = project.requests_sent()
    (stopped,) = project.outcomes([name])
    assert stopped.result.status == "gate"
    assert say in str(stopped.result.gate)
    printed = ask(project, plan, PlanRequest(pipelines=[name])).out
    line = re.findall(r'renamed_from = (?:"\w+"|\[[^]]*\])', printed)[-1]
    project.pipeline(f"{line}\n{text}", name=name)
    (done,) = project.outcomes([name])
    assert (done.result.status, done.result.gate) == ("done", None)
    assert project.sql(f"SELECT count(*) FROM {name} WHERE _current") == [(project.plan(name).snapshot.rows,)]
    return project.requests_sent() - before


def test_of_two_pipelines_over_one_input_the_gate_names_the_one_with_this_prompt(project: Project) -> None:
    project.rows(numbered(4))
    project.pipeline(BASIC, name="feeling")
    project.pipeline(TOPIC, name="topic")
    project.outcomes(["feeling", "topic"])
    remove(project, "feeling", "topic")
    project.pipeline(BASIC, name="of_feeling")
    project.pipeline(TOPIC, name="of_topic")
    assert (
        bought_by_the_gate(project, "of_topic", TOPIC, "topic has no file any more, and of_topic has its prompt") == 0
    )
    assert bought_by_the_gate(project, "of_feeling", BASIC, "feeling has no file any more") == 0


def test_where_the_prompt_is_another_too_every_pipeline_with_these_keys_is_named(project: Project) -> None:
    project.rows(numbered(4))
    project.pipeline(BASIC, name="feeling")
    project.pipeline(TOPIC, name="topic")
    project.outcomes(["feeling", "topic"])
    remove(project, "feeling", "topic")
    project.pipeline(BASIC.replace("{{ body }}", "Say of {{ body }}"), name="said")
    printed = ask(project, plan, PlanRequest(pipelines=["said"])).out
    assert "said has 4 of its keys in 4 rows; so has topic none, and it fits as well" in printed
    assert 'write renamed_from = "feeling" or renamed_from = "topic" in the file' in printed


def test_pipelines_that_become_one_bring_all_their_answers(project: Project) -> None:
    project.rows(numbered(6))
    project.pipeline(FIRST, name="a")
    project.pipeline(LAST, name="b")
    project.outcomes(["a", "b"])
    remove(project, "a", "b")
    project.pipeline(BASIC, name="whole")
    assert bought_by_the_gate(project, "whole", BASIC) == 0
    links = "SELECT pipeline, data ->> 'renamed_from' FROM ledger.events WHERE kind = 'renamed' ORDER BY ALL"
    assert project.sql(links) == [("whole", "a"), ("whole", "b")]
    project.pipeline(BASIC, name="whole")
    assert project.run("whole").submitted == 0


def test_a_pipeline_that_was_split_and_made_one_again_comes_past_the_gate(project: Project) -> None:
    project.rows(numbered(6))
    project.pipeline(BASIC, name="p")
    project.outcomes(["p"])
    remove(project, "p")
    project.pipeline('renamed_from = "p"\n' + FIRST, name="a")
    project.pipeline('renamed_from = "p"\n' + LAST, name="b")
    project.outcomes(["a", "b"])
    assert project.requests_sent() == 6
    remove(project, "a", "b")
    project.pipeline('renamed_from = "a"\n' + BASIC, name="whole")
    assert bought_by_the_gate(project, "whole", BASIC, "b has no file any more") == 0
    assert 'renamed_from = ["a", "b"]' in (project.root / "pipelines" / "whole.toml").read_text()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('renamed_from = ["older", "whole"]', "renamed_from is the pipeline's own name"),
        ("renamed_from = [3]", r"whole.toml:2 renamed_from\[0\]: cannot be 3"),
    ],
)
def test_a_mistake_in_a_list_of_older_names_is_told(project: Project, line: str, words: str) -> None:
    with pytest.raises(PipelineError, match=words):
        project.pipeline(f'name = "whole"\n{line}\n{BASIC}', name="whole")


def test_an_older_name_in_a_list_that_has_a_file_is_told(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    call = CommandLine(monkeypatch=monkeypatch, capsys=capsys)
    call.provide(project)
    project.rows(numbered(1))
    project.pipeline()
    project.pipeline(f'renamed_from = ["older", "demo"]\n{BASIC}', name="whole")
    checked = call("check")
    assert checked.code == 2
    assert 'renamed_from is "demo", a pipeline that is still there' in checked.out + checked.talk
