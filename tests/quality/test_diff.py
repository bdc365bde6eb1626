"""Tests of `batchpipe diff`, which compares two prompt versions or models."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from decimal import Decimal
from html.parser import HTMLParser
from typing import Any

import pytest
from commandline import CommandLine
from helpers.markdown import outside_of_code
from helpers.prompts import SAY
from projects import BASIC, Project, numbered

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)> ``` | \x1b[31m \u202e end"


def answers(project: Project, *rules: tuple[str, dict[str, Any]]) -> None:
    """Return the answers to requests that hold a text; every other request is answered with "bug" and a high
    confidence.
    """
    every = [*rules, ("text", {"label": "bug", "score": 0.5})]
    project.faults({"requests": [{"match": text, "outcome": "output", "output": output} for text, output in every]})


@pytest.fixture
def typed(project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    """The command line in a project of ten rows, whose emulator is the provider."""
    project.rows(numbered(10, german=3))
    project.pipeline()
    line = CommandLine(monkeypatch=monkeypatch, capsys=capsys)
    line.provide(project)
    return line


@pytest.fixture
def edited(typed: CommandLine, project: Project) -> CommandLine:
    """Two versions: under the second one rows 1 and 2 have the label billing, and row 3 has a lower confidence."""
    answers(project)
    assert typed("run", "demo").code == 0
    answers(
        project,
        ("Say: text number 1 ", {"label": "billing", "score": 0.5}),
        ("Say: text number 2 ", {"label": "billing", "score": 0.9}),
        ("Say: text number 3 ", {"label": "bug", "score": 0.1}),
    )
    project.pipeline(SAY)
    assert typed("run", "demo").code == 0
    return typed


def fields(value: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {each["field"]: each for each in value["fields"]}


class TestAnswers:
    def test_two_versions(self, edited: CommandLine, project: Project) -> None:
        value = edited("diff", "demo", "--json").value
        assert (value["from"]["version"], value["to"]["version"]) == ("v1", "v2")
        assert value["rows"] == {
            "compared": 10,
            "changed": 3,
            "unchanged": 7,
            "carried_over": 0,
            "input_changed": 0,
            "only_from": 0,
            "only_to": 0,
        }
        assert "+Say: {{ body }}" in value["prompt"][0]["diff"]
        label, score = fields(value)["label"], fields(value)["score"]
        assert label == {
            "field": "label",
            "kind": "values",
            "changed": 2,
            "pairs": [{"from": "bug", "to": "billing", "rows": 2}],
            "other_rows": 0,
        }
        assert (score["kind"], score["changed"]) == ("number", 2)
        assert score["mean_from"] == Decimal("0.5")
        assert score["mean_change"] == 0
        changed = {each["key"][0]: each for each in value["sample"]}
        assert set(changed) == {"1", "2", "3"}
        assert changed["1"]["input"] == {"body": "text number 1", "lang": "de"}
        assert changed["1"]["changes"] == [{"field": "label", "from": "bug", "to": "billing"}]
        assert [each["field"] for each in changed["2"]["changes"]] == ["label", "score"]

    def test_the_cost_of_the_same_rows(self, edited: CommandLine, project: Project) -> None:
        cost = edited("diff", "demo", "--json").value["cost"]
        paid = project.sql(
            "SELECT sum(r.cost_usd) FROM ledger.results r JOIN ledger.requests q USING (custom_id) "
            "JOIN ledger.prompt_versions v USING (prompt_version) GROUP BY v.version ORDER BY v.version"
        )
        assert [cost["from_usd"], cost["to_usd"]] == [each for (each,) in paid]
        assert (cost["rows"], cost["unpriced"]) == (10, 0)
        assert cost["to_usd"] > cost["from_usd"] > 0

    def test_retries_count_as_the_cost_of_a_row(self, typed: CommandLine, project: Project) -> None:
        answers(project)
        typed("run", "demo")
        project.faults({"requests": [{"match": "Say: text", "outcome": "invalid_json", "times": 1}]})
        project.pipeline(SAY)
        run = typed("run", "demo", "--json").value
        assert run["attempts"] > 10
        assert typed("diff", "demo", "--json").value["cost"]["to_usd"] == run["cost_usd"]

    def test_carried_over_rows_are_the_same_by_construction(self, typed: CommandLine, project: Project) -> None:
        answers(project)
        typed("run", "demo")
        answers(project, ("Bitte", {"label": "other", "score": 0.5}))
        project.pipeline(BASIC.replace("Auf Deutsch.", "Bitte auf Deutsch."))
        typed("run", "demo")
        value = typed("diff", "demo", "--json").value
        assert (value["rows"]["compared"], value["rows"]["changed"]) == (10, 3)
        assert (value["rows"]["unchanged"], value["rows"]["carried_over"]) == (7, 7)
        assert value["cost"]["rows"] == 3
        assert "3 changed, 7 the same, 7 of them carried over" in typed("diff", "demo").out

    def test_only_some_rows_were_answered_again(self, typed: CommandLine, project: Project) -> None:
        answers(project)
        typed("run", "demo")
        project.pipeline(SAY)
        project.rows([*numbered(10, german=3), {"id": 11, "body": "text number 11", "lang": "en", "amount": 1}])
        assert typed("run", "demo", "--keep", "id <= 4").code == 0
        rows = typed("diff", "demo", "--json").value["rows"]
        assert (rows["compared"], rows["only_from"], rows["only_to"], rows["changed"]) == (6, 4, 1, 0)

    def test_an_input_that_changed_too(self, typed: CommandLine, project: Project) -> None:
        answers(project)
        typed("run", "demo")
        rows = numbered(10, german=3)
        rows[0]["body"] = "text of another kind"
        project.rows(rows)
        project.pipeline(SAY)
        answers(project, ("another kind", {"label": "other", "score": 0.5}))
        typed("run", "demo")
        value = typed("diff", "demo", "--json").value
        assert value["rows"]["input_changed"] == 1
        assert value["sample"][0]["input"]["body"] == "text of another kind"

    def test_fields_that_came_and_went(self, typed: CommandLine, project: Project) -> None:
        answers(project)
        typed("run", "demo")
        text = BASIC.replace("[output.fields.score]", "[output.fields.sure]")
        project.faults({"requests": [{"match": "text", "outcome": "output", "output": {"label": "bug", "sure": 1}}]})
        project.pipeline(text)
        typed("run", "demo")
        value = typed("diff", "demo", "--json").value
        assert (value["added_fields"], value["removed_fields"]) == (["sure"], ["score"])
        assert value["rows"]["changed"] == 0
        assert value["prompt"][0]["part"] == "schema"

    def test_kinds_of_values(self, typed: CommandLine, project: Project) -> None:
        more = """
[output.fields.urgent]
type = "boolean"
[output.fields.summary]
type = "string"
[output.fields.tags]
items = { type = "string" }
[output.fields.place]
fields = { city = { type = "string" }, street = { type = "string" } }
[output.fields."odd/na~me"]
type = "integer"
optional = true
[[models]]"""
        text = BASIC.replace("\n[[models]]", more)
        base = {"label": "bug", "score": 0.5, "urgent": True, "summary": "x" * 60, "tags": ["a"]}
        place = {"city": "Ulm", "street": "A"}
        project.pipeline(text)
        project.faults(
            {"requests": [{"match": "text", "outcome": "output", "output": {**base, "place": place}, "per": "rule"}]}
        )
        assert typed("run", "demo").code == 0
        turned = {"street": "A", "city": "Ulm"}
        changed = {**base, "urgent": False, "summary": "y" * 60, "tags": ["a", "b"], "place": turned, "odd/na~me": 3}
        project.faults({"requests": [{"match": "text", "outcome": "output", "output": changed}]})
        project.pipeline(text.replace("{{ body }}", "Say: {{ body }}"))
        assert typed("run", "demo").code == 0
        found = fields(typed("diff", "demo", "--json").value)
        assert {name: each["kind"] for name, each in found.items()} == {
            "urgent": "values",
            "summary": "text",
            "tags": "values",
            "odd/na~me": "number",
        }
        assert found["urgent"]["pairs"] == [{"from": "true", "to": "false", "rows": 10}]
        assert found["odd/na~me"]["mean_from"] is None

    def test_answers_since_a_redo_are_the_ones_compared(self, edited: CommandLine, project: Project) -> None:
        answers(project)
        edited("run", "demo", "--redo", "all")
        assert edited("diff", "demo", "--json").value["rows"]["changed"] == 0


class TestChoice:
    def test_versions_by_any_name(self, edited: CommandLine, project: Project) -> None:
        back = edited("diff", "demo", "--from", "v2", "--to", "v1", "--json").value
        assert (back["from"]["version"], back["to"]["version"]) == ("v2", "v1")
        assert fields(back)["label"]["pairs"] == [{"from": "billing", "to": "bug", "rows": 2}]
        named = edited("diff", "demo", "--from", back["to"]["hash"][:10], "--json").value
        assert (named["from"]["version"], named["to"]["version"]) == ("v1", "v2")

    def test_a_commit_that_was_run_and_one_that_was_not(self, edited: CommandLine, project: Project) -> None:
        def git(*words: str) -> None:
            person = ["-c", "user.name=A Person", "-c", "user.email=person@example.com", "-c", "commit.gpgsign=false"]
            subprocess.run(["git", "-C", str(project.root), *person, *words], check=True, capture_output=True)

        project.pipeline()
        git("init", "-q")
        git("add", "pipelines")
        git("commit", "-q", "-m", "as it was")
        found = edited("diff", "demo", "--from", "HEAD", "--json").value
        assert found["from"]["version"] == "v1"
        assert found["rows"]["changed"] == 3
        project.pipeline(BASIC.replace("{{ body }}", "Never: {{ body }}"))
        git("commit", "-q", "-a", "-m", "never run")
        project.pipeline(SAY)
        never = edited("diff", "demo", "--from", "v2", "--to", "HEAD")
        assert "+Never: {{ body }}" in never.out
        assert "nothing was answered under HEAD (" in never.out
        assert "batchpipe plan demo --to-version HEAD" in never.out
        assert edited("plan", "demo", "--to-version", "HEAD").code == 0

    def test_models(self, typed: CommandLine, project: Project) -> None:
        answers(project)
        typed("run", "demo")
        project.pipeline(BASIC.replace("claude-haiku-4-5", "claude-sonnet-4-6"))
        answers(
            project, ("number 1 ", {"label": "other", "score": 0.5}), ("number 4", {"label": "other", "score": 0.5})
        )
        typed("run", "demo", "--redo", "all")
        names = ["--from-model", "claude-haiku-4-5", "--to-model", "claude-sonnet-4-6"]
        value = typed("diff", "demo", *names, "--json").value
        assert (value["from"]["version"], value["from"]["model"]) == ("v1", "claude-haiku-4-5")
        assert (value["rows"]["compared"], value["rows"]["changed"]) == (10, 2)
        assert value["prompt"] == []
        assert value["sample"][0]["from_model"] != value["sample"][0]["to_model"]
        assert 0 < value["cost"]["from_usd"] < value["cost"]["to_usd"]
        assert "demo: v1, claude-haiku-4-5 → v1, claude-sonnet-4-6" in typed("diff", "demo", *names).out

    def test_rungs_of_a_ladder(self, typed: CommandLine, project: Project) -> None:
        rung = 'accept = "score >= 0.8"\n[[models]]\nmodel = "claude-sonnet-4-6"\nmax_tokens = 200\n'
        project.pipeline(BASIC + rung)
        first = {"outcome": "output", "model": "claude-haiku-4-5", "output": {"label": "bug", "score": 0.5}}
        second = {"outcome": "output", "model": "claude-sonnet-4-6", "output": {"label": "billing", "score": 0.9}}
        project.faults({"requests": [{"match": "number 1", **first}, {"match": "number 1", **second}]})
        typed("run", "demo")
        names = ["--from-model", "claude-haiku-4-5", "--to-model", "claude-sonnet-4-6"]
        value = typed("diff", "demo", *names, "--json").value
        assert value["rows"]["compared"] >= 2
        changed = {(each["from"], each["to"]): each["rows"] for each in fields(value)["label"]["pairs"]}
        assert changed["bug", "billing"] >= 2

    def test_where_there_is_nothing_to_compare(self, typed: CommandLine, project: Project) -> None:
        found = typed("diff", "demo")
        assert found.code == 2
        assert "has no answers yet" in found.talk
        assert "batchpipe run demo" in found.talk
        answers(project)
        typed("run", "demo")
        found = typed("diff", "demo")
        assert found.code == 2
        assert "no version before v1 has answers" in found.talk
        assert "batchpipe plan demo --diff" in found.talk
        assert typed("diff", "demo", "--from", "v1", "--to", "v1").code == 2
        assert "there is no prompt version 'v8'" in typed("diff", "demo", "--from", "v8").talk
        wrong = typed("diff", "demo", "--to-model", "claude-none")
        assert (wrong.code, "Models that answered: claude-haiku-4-5" in wrong.talk) == (2, True)

    def test_no_row_in_common(self, typed: CommandLine, project: Project) -> None:
        answers(project)
        typed("run", "demo")
        project.pipeline(SAY)
        project.rows([{**row, "id": row["id"] + 100} for row in numbered(3)])
        typed("run", "demo", "--approve")
        found = typed("diff", "demo")
        assert found.code == 0
        assert "no row was answered under both" in found.out
        assert "batchpipe run demo --redo all" in found.out

    def test_a_pipeline_that_was_renamed(self, edited: CommandLine, project: Project) -> None:
        (project.root / "pipelines" / "demo.toml").unlink()
        project.pipeline('renamed_from = "demo"\n' + SAY, name="triage")
        assert edited("diff", "triage", "--json").value["rows"]["changed"] == 3


class Page(HTMLParser):
    """A parser that collects the tags of a page and their addresses."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.names: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.names |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.text += data


class TestPages:
    @pytest.fixture
    def hostile(self, typed: CommandLine, project: Project) -> CommandLine:
        """Keys, inputs, prompts and answers that try to be interpreted as something else than text."""
        text = BASIC.replace('type = "string"\nenum = ["billing", "bug", "other"]', 'type = "string"')
        text = text.replace("'id': 'BIGINT'", "'id': 'VARCHAR'")
        project.rows([{"id": HOSTILE, "body": "text " + HOSTILE, "lang": "en", "amount": 1}])
        project.pipeline(text)
        answers(project)
        assert typed("run", "demo").code == 0
        answers(project, ("Say:", {"label": HOSTILE, "score": 0.5}))
        project.pipeline(text.replace("{{ body }}", "Say: <b>{{ body }}</b>"))
        assert typed("run", "demo").code == 0
        return typed

    def test_a_page_of_its_own(self, hostile: CommandLine, project: Project) -> None:
        found = hostile("diff", "demo", "--html", "out.html")
        assert (found.code, found.out) == (0, "")
        assert "written to" in found.talk
        text = (project.root / "out.html").read_text(encoding="utf-8")
        page = Page()
        page.feed(text)
        assert not page.tags & {"script", "img", "link", "iframe", "a", "b"}
        assert not page.names & {"src", "href", "onerror", "style"}
        assert "alert(1)" in page.text
        assert "default-src 'none'" in text
        assert "prefers-color-scheme: dark" in text
        assert "\x1b" not in text
        assert "\u202e" not in text

    def test_markdown(self, hostile: CommandLine) -> None:
        text = hostile("diff", "demo", "--markdown").out
        assert "alert(1)" in text
        outside = outside_of_code(text)
        page = Page()
        page.feed(outside)
        assert (page.tags, page.names) == ({"details", "summary", "code"}, set())
        assert outside.count("<details>") == outside.count("</details>") == 1
        assert "[31m" not in text.replace("\\x1b[31m", "")

    def test_a_terminal(self, hostile: CommandLine) -> None:
        text = hostile("diff", "demo").out
        assert "\x1b" not in text
        assert "\u202e" not in text
        assert "\\x1b[31m" in text

    def test_json_and_a_page_together(self, edited: CommandLine, project: Project) -> None:
        found = edited("diff", "demo", "--json", "--html", "page.html", "--rows", "1")
        assert len(found.value["sample"]) == 1
        assert json.loads(found.out)["pipeline"] == "demo"
        assert (project.root / "page.html").is_file()

    def test_what_is_refused(self, edited: CommandLine, project: Project) -> None:
        assert edited("diff", "demo", "--html", "README.md").code == 2
        assert edited("diff", "demo", "--html", "nowhere/out.html").code == 2
        assert edited("diff", "demo", "--json", "--markdown").code == 2
        assert edited("diff", "pipelines").code == 0
        project.pipeline(name="second")
        assert edited("diff", "pipelines").code == 2

    def test_for_people(self, edited: CommandLine) -> None:
        text = edited("diff", "demo").out
        assert text.startswith("demo: v1 → v2\n")
        assert "answered on both sides  10 rows: 3 changed, 7 the same" in text
        assert "label: 2 rows changed" in text
        assert "       2  bug   billing" in text
        assert "score: 2 rows changed, mean 0.5 → 0.5 (+0)" in text
        markdown = edited("diff", "demo", "--markdown").out
        assert markdown.startswith("### batchpipe diff: `demo: v1 → v2`\n")
        assert "| `bug` | `billing` | 2 |" in markdown
