"""Turns: rows of a query that stand as a conversation before the row's own message, in every protocol."""

from __future__ import annotations

from typing import Any

import pytest
from commandline import CommandLine
from projects import BASIC, Project, numbered

from batchpipe.common.errors import PipelineError

EXAMPLES = """
[prompt.queries]
examples = "SELECT * FROM (VALUES (1, 'My card was charged twice', '{\\"label\\": \\"billing\\", \\"score\\": 1}'), \
(2, 'It crashes', '{\\"label\\": \\"bug\\", \\"score\\": 1}')) e (n, user, assistant) ORDER BY n"
"""
TURNS = BASIC.replace("[output.fields.label]", f'turns = "examples"\n{EXAMPLES}\n[output.fields.label]', 1)
FIRST = '{"label": "billing", "score": 1}'


@pytest.fixture
def typed(project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    for name, value in project.environment.items():
        monkeypatch.setenv(name, value)
    return CommandLine(monkeypatch=monkeypatch, capsys=capsys)


def conversation(params: dict[str, Any]) -> list[tuple[str, str]]:
    """Return who says what, whichever protocol the params are of."""
    messages = params.get("messages") or params.get("input") or params["contents"]
    said = []
    for message in messages:
        content = message.get("content", message.get("parts"))
        text = content if isinstance(content, str) else "".join(part["text"] for part in content)
        said.append((message["role"].replace("model", "assistant"), text))
    return said


@pytest.mark.parametrize("model", ["claude-haiku-4-5", "openai:gpt-5.4-mini", "gemini:gemini-3.5-flash"])
def test_the_rows_of_the_query_are_turns_before_the_message(project: Project, typed: CommandLine, model: str) -> None:
    project.pipeline(TURNS.replace("claude-haiku-4-5", model))
    project.rows(numbered(3))
    params = typed("show", "demo", "1", "--json").value["now"]["params"]
    assert conversation(params) == [
        ("user", "My card was charged twice"),
        ("assistant", FIRST),
        ("user", "It crashes"),
        ("assistant", '{"label": "bug", "score": 1}'),
        ("user", "text number 1"),
    ]
    assert "user: It crashes" in typed("show", "demo", "1").out
    result = project.run()
    assert (result.status, result.rows["accepted"]) == ("done", 3)
    # Each row has an answer of its own, by its own message.
    assert project.sql("SELECT count(DISTINCT fingerprint) FROM ledger.requests") == [(3,)]


def test_another_example_is_another_prompt_version(project: Project) -> None:
    project.pipeline(BASIC)
    project.rows(numbered(2))
    project.run()
    project.pipeline(TURNS)
    assert project.plan().rows_by_reason["prompt_changed"] == 2
    assert project.run().submitted == 2
    assert project.run().submitted == 0
    project.pipeline(TURNS.replace("It crashes", "It hangs"))
    preview = project.preview()
    assert (preview.version, preview.plan.rows_by_reason["prompt_changed"]) == ("v3", 2)
    # The first prompt has answers already: going back to it costs nothing.
    project.pipeline(BASIC)
    assert project.run().submitted == 0


def test_the_change_of_the_turns_is_shown(project: Project, typed: CommandLine) -> None:
    project.pipeline(BASIC)
    project.rows(numbered(2))
    project.run()
    project.pipeline(TURNS)
    found = typed("plan", "demo", "--diff")
    assert "assistant: " + FIRST in found.out + found.talk
    assert "[turns]" in found.out + found.talk


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (('turns = "examples"', 'turns = "exmples"'), 'there is no query "exmples"'),
        (("(n, user, assistant)", "(n, user, answer)"), "has no column assistant"),
        (("'It crashes'", "NULL"), "row 2 of the query `examples` has no text in user"),
        (("'It crashes'", "'  '"), "row 2 of the query `examples` has no text in user"),
        (("SELECT * FROM", "SELECT user, user, assistant FROM"), "gives two columns called user"),
    ],
)
def test_a_query_that_gives_no_turns_is_an_error(project: Project, edit: tuple[str, str], words: str) -> None:
    project.rows(numbered(1))

    def read() -> None:
        project.pipeline(TURNS.replace(*edit))
        project.plan()

    with pytest.raises(PipelineError, match=words):
        read()


def test_a_query_that_gives_no_row_is_told_of(project: Project, typed: CommandLine) -> None:
    project.rows(numbered(1))
    project.pipeline(TURNS.replace(" ORDER BY n", " WHERE n > 2"))
    [warned] = [each for each in typed("check", "demo", "--json").value["warnings"] if each["code"] == "P016"]
    assert warned["message"] == "the query `examples` gives no row: no turn stands before the messages"
    assert (warned["where"], warned["hint"]) == (
        "pipelines/demo.toml:12 [prompt.queries] examples",
        "Add rows to what it reads, or remove `turns`.",
    )
    assert "no turn stands before the messages\n    Add rows to what it reads" in typed("plan", "demo").out
    assert len(typed("plan", "demo", "--json").value["empty_queries"]) == 1
    # A list that a template shows is told of as well; one that nothing uses is not.
    unused = TURNS.replace(" ORDER BY n", " WHERE n > 2").replace('turns = "examples"\n', "")
    project.pipeline(unused)
    assert "P016" not in typed("check", "demo").out
    project.pipeline(unused.replace('user_text = "', 'user_text = "{{ examples | length }}'))
    assert "the prompt shows nothing of it  [P016 empty-query]" in typed("check", "demo").out
    project.pipeline(TURNS)
    assert "P016" not in typed("check", "demo").out
    assert "gives no row" not in typed("plan", "demo").out


@pytest.mark.parametrize("model", ["claude-haiku-4-5", "openai:gpt-6-sol"])
def test_the_mark_of_the_cache_is_after_the_last_turn(project: Project, typed: CommandLine, model: str) -> None:
    text = TURNS.replace("claude-haiku-4-5", model).replace("[prompt]", '[prompt]\ncache = "1h"\nsystem_text = "Sort."')
    project.pipeline(text)
    project.rows(numbered(1))
    params = typed("show", "demo", "1", "--json").value["now"]["params"]
    messages = params.get("messages") or params["input"]
    marked = [message for message in messages if "cache_control" in str(message) or "breakpoint" in str(message)]
    assert [(each["role"], each["content"][0]["text"]) for each in marked] == [
        ("assistant", '{"label": "bug", "score": 1}')
    ]
    assert "cache_control" not in str(params.get("system", ""))
    assert project.run().status == "done"
