"""Tests of `plan` with `--diff`, `--from-version`, `--to-version`, `--rows` and `--markdown`, which show an
edit's effect.
"""

from __future__ import annotations

import re
import subprocess
from html.parser import HTMLParser
from typing import Any

import duckdb
import pytest
from commandline import CommandLine
from helpers.markdown import outside_of_code
from projects import BASIC, Project, numbered

TWO_KEYS = BASIC.replace('key = "id"', 'key = ["id", "lang"]')
FEW_SHOT = BASIC.replace(
    "[output.fields.label]",
    """[prompt.vars]
tone = "kind"
[prompt.queries]
examples = "SELECT * FROM read_csv('examples.csv')"
[output.fields.label]""",
)


@pytest.fixture
def typed(project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    """Return the command line in a project of ten answered rows, whose emulator is the provider."""
    project.rows(numbered(10, german=3))
    project.pipeline()
    line = CommandLine(monkeypatch=monkeypatch, capsys=capsys)
    line.provide(project)
    assert line("run", "demo").code == 0
    return line


def rows_of(diff: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Return the sampled rows by reason."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in diff["rows"]:
        found.setdefault(row["reason"], []).append(row)
    return found


class TestDiff:
    def test_an_edited_branch_shows_the_rows_that_take_it(self, typed: CommandLine, project: Project) -> None:
        project.pipeline(BASIC.replace("Auf Deutsch.", "Bitte auf Deutsch."))
        value = typed("plan", "demo", "--diff", "--json").value
        diff = value["diff"]
        assert (diff["from"], diff["to"]) == ("v1", "now")
        (part,) = diff["prompt"]
        assert part["part"] == "user"
        assert "-{{ body }}{% if lang == 'de' %} Auf Deutsch." in part["diff"]
        assert "+{{ body }}{% if lang == 'de' %} Bitte auf Deutsch." in part["diff"]
        assert value["rows"]["prompt_changed"] == 3
        (changed,) = rows_of(diff).values()
        assert len(changed) == 2
        for row in changed:
            number = row["key"][0]
            assert row["before"]["user"] == f"text number {number} Auf Deutsch."
            assert row["after"]["user"] == f"text number {number} Bitte auf Deutsch."
            assert f"-text number {number} Auf Deutsch." in row["diff"].splitlines()

    def test_a_row_that_several_members_are_asked_is_shown_once(self, typed: CommandLine, project: Project) -> None:
        project.pipeline(BASIC.replace("{{ body }}", "Say {{ body }}") + "samples = 3\n")
        (changed,) = rows_of(typed("plan", "demo", "--diff", "--json").value["diff"]).values()
        assert len({row["key"][0] for row in changed}) == len(changed) == 2

    def test_every_part_of_a_prompt(self, typed: CommandLine, project: Project) -> None:
        (project.root / "examples.csv").write_text("text\none\n", encoding="utf-8")
        prompts = project.root / "prompts"
        prompts.mkdir()
        (prompts / "system.j2").write_text("{% include 'rules.j2' %}", encoding="utf-8")
        (prompts / "rules.j2").write_text("Be brief.\n", encoding="utf-8")
        text = FEW_SHOT.replace("user_text", 'system = "system.j2"\nuser_text')
        project.pipeline(text)
        assert typed("run", "demo").code == 0
        (project.root / "examples.csv").write_text("text\none\ntwo\n", encoding="utf-8")
        (prompts / "rules.j2").write_text("Be brief.", encoding="utf-8")
        (prompts / "system.j2").write_text("{% include 'rules.j2' %} Now.", encoding="utf-8")
        project.pipeline(text.replace('"kind"', '"stern"').replace('"other"]', '"other", "spam"]'))
        diff = typed("plan", "demo", "--diff", "--json").value["diff"]
        assert diff["from"] == "v2"
        parts = {each["part"]: each["diff"] for each in diff["prompt"]}
        assert list(parts) == ["system", "prompts/rules.j2", "vars", "queries.examples", "schema"]
        assert '+tone = "stern"' in parts["vars"]
        assert '+{"text": "two"}' in parts["queries.examples"]
        assert '+        "spam"' in parts["schema"]
        assert parts["prompts/rules.j2"].endswith(" Be brief.\n-")  # the final newline
        text = typed("plan", "demo", "--diff").out
        assert "+++ schema (now)" in text
        assert "prompt, v2 → now" in text

    def test_input_is_shown_as_it_was_sent(self, typed: CommandLine, project: Project) -> None:
        rows = numbered(10, german=3)
        rows[4]["body"] = "another text"
        project.rows([*rows, {"id": 11, "body": "new one", "lang": "de", "amount": 1}])
        diff = typed("plan", "demo", "--diff", "--json").value["diff"]
        assert diff["prompt"] == []
        found = rows_of(diff)
        (changed,) = found["input_changed"]
        assert changed["key"] == ["5"]
        assert changed["before"]["user"] == "text number 5"
        assert changed["after"]["user"] == "another text"
        (new,) = found["new"]
        assert new["before"] is None
        assert new["diff"] is None
        assert new["after"]["user"] == "new one Auf Deutsch."
        text = typed("plan", "demo", "--diff").out
        assert "is the same" in text
        assert "5: input_changed" in text
        assert "new one Auf Deutsch." in text

    def test_values_come_back_in_their_types(self, typed: CommandLine, project: Project) -> None:
        columns = (
            "DATE '2026-01-02' + id::INTEGER AS day, [id, 2] AS list, {'a': id} AS thing, id / 4 AS share, "
            "TIMESTAMPTZ '2026-01-02 03:04:05+02' AS moment, nullif(id, 1) AS nothing, id"
        )
        template = (
            "{{ day.year }} {{ list[0] + 1 }} {{ thing.a + 1 }} {{ share * 2 }} {{ moment.hour }} "
            "{{ nothing is none }} {{ body }}"
        )
        project.pipeline(BASIC.replace("SELECT id", f"SELECT {columns}").replace("{{ body }}", template))
        assert typed("run", "demo").code == 0
        rows = numbered(10)
        rows[0]["body"] = "changed"
        project.rows(rows)
        row = next(
            row for row in typed("plan", "demo", "--diff", "--json").value["diff"]["rows"] if row["key"] == ["1"]
        )
        assert row["before"]["user"] == "2026 2 2 0.5 1 true text number 1 Auf Deutsch."
        assert row["after"]["user"] == "2026 2 2 0.5 1 true changed"

    def test_each_reason_has_a_few_rows(self, typed: CommandLine, project: Project) -> None:
        rows = numbered(10, german=3)
        rows[0]["body"] = "other"
        project.rows([*rows, *({"id": 20 + n, "body": f"more {n}", "lang": "en", "amount": 0} for n in range(5))])
        value = typed("plan", "demo", "--diff", "--redo", "id IN (6, 7, 8)", "--json").value
        found = rows_of(value["diff"])
        assert {reason: len(rows) for reason, rows in found.items()} == {"redo": 2, "new": 2, "input_changed": 1}
        assert list(found) == ["redo", "new", "input_changed"]
        assert all(row["diff"] == "" for row in found["redo"])
        assert "the request is the same" in typed("plan", "demo", "--diff", "--redo", "id = 6").out

    def test_a_retry_shows_what_is_said_of_the_last_answer(self, typed: CommandLine, project: Project) -> None:
        wrong = {"label": "nonsense", "score": 0.5}
        project.faults({"requests": [{"match": "eleven", "outcome": "output", "output": wrong}]})
        project.rows([*numbered(10, german=3), {"id": 11, "body": "eleven", "lang": "en", "amount": 1}])
        typed("run", "demo", "--no-wait")
        for _ in range(20):
            if typed("run", "demo", "--no-wait", "--max-usd", "0").code == 6:
                break
        row = rows_of(typed("plan", "demo", "--diff", "--json").value["diff"])["retry"][0]
        assert row["before"] == {"system": None, "user": "eleven", "feedback": None, "problem": None}
        assert "nonsense" in row["after"]["feedback"]
        assert "+[after the last answer]" in row["diff"].splitlines()

    def test_half_an_edit(self, typed: CommandLine, project: Project) -> None:
        project.pipeline(BASIC.replace("{{ body }}", "Say: {{ body }}"))
        assert typed("run", "demo", "--limit", "7").code == 0
        diff = typed("plan", "demo", "--diff", "--json").value["diff"]
        assert (diff["from"], diff["to"]) == ("v1", "v2")
        assert "+Say: {{ body }}" in diff["prompt"][0]["diff"]

    def test_nothing_is_answered(self, typed: CommandLine, project: Project) -> None:
        project.pipeline(name="fresh")
        value = typed("plan", "fresh", "--diff", "--json").value
        assert (value["diff"]["from"], value["diff"]["prompt"]) == (None, [])
        assert [row["reason"] for row in value["diff"]["rows"]] == ["new", "new"]
        assert "nothing is answered yet" in typed("plan", "fresh", "--diff").out

    def test_without_a_database(self, project: Project, typed: CommandLine) -> None:
        (project.root / "batchpipe.duckdb").unlink()
        value = typed("plan", "demo", "--diff", "--json").value
        assert (value["due"], len(value["diff"]["rows"])) == (10, 2)
        assert typed("diff", "demo").code == 2
        assert not list(project.root.rglob("*.duckdb"))

    def test_nothing_is_recorded_and_nothing_sent(self, typed: CommandLine, project: Project) -> None:
        before = project.sql("SELECT max(seq) FROM ledger.commits"), project.requests_sent()
        project.pipeline(BASIC.replace("{{ body }}", "Say: {{ body }}"))
        typed("plan", "demo", "--diff", "--from-version", "v1", "--to-version", "v1")
        assert (project.sql("SELECT max(seq) FROM ledger.commits"), project.requests_sent()) == before

    def test_a_column_that_left_the_input(self, typed: CommandLine, project: Project) -> None:
        project.pipeline(BASIC.replace("{{ body }}", "{{ body }} {{ amount }}"))
        assert typed("run", "demo").code == 0
        project.pipeline(BASIC.replace("SELECT id, body, lang, amount", "SELECT id, 'Say: ' || body AS body, lang"))
        (row, _) = rows_of(typed("plan", "demo", "--diff", "--json").value["diff"])["input_changed"]
        number = int(row["key"][0])
        german = " Auf Deutsch." if number <= 3 else ""
        assert row["before"]["user"] == f"text number {number} {number % 10}{german}"
        assert row["after"]["user"] == f"Say: text number {number}{german}"

    def test_an_earlier_prompt_that_fits_no_more_is_still_shown(self, typed: CommandLine, project: Project) -> None:
        with duckdb.connect("batchpipe.duckdb") as database:
            database.execute("UPDATE ledger.prompt_versions SET pipeline_toml = 'unheard_of = 1\n' || pipeline_toml")
        project.pipeline(BASIC.replace("{{ body }}", "Say: {{ body }}"))
        value = typed("plan", "demo", "--diff", "--json").value["diff"]
        assert "unheard_of" in value["problem"]
        assert "+Say: {{ body }}" in value["prompt"][0]["diff"]
        assert value["rows"][0]["before"] is None
        assert "cannot be rendered by v1 any more" in typed("plan", "demo", "--diff").out

    def test_what_steers_a_terminal_is_shown_escaped(self, typed: CommandLine, project: Project) -> None:
        rows = numbered(10)
        rows[0]["body"] = "red \x1b[31m bidi \u202e end"
        project.rows(rows)
        text = typed("plan", "demo", "--diff").out
        assert "\\x1b[31m" in text
        assert "\x1b" not in text
        assert "\u202e" not in text


class TestVersions:
    def test_from_and_to(self, typed: CommandLine, project: Project) -> None:
        for word in ("Say", "Tell"):
            project.pipeline(BASIC.replace("{{ body }}", word + ": {{ body }}"))
            assert typed("run", "demo").code == 0
        found = typed("plan", "demo", "--from-version", "v1", "--json").value
        assert (found["diff"]["from"], found["due"]) == ("v1", 0)
        assert "+Tell: {{ body }}" in found["diff"]["prompt"][0]["diff"]
        back = typed("plan", "demo", "--to-version", "v2", "--json").value
        assert (back["prompt_version"], back["due"], back["rows"]["carried_over"]) == ("v2", 0, 10)
        assert "diff" not in back
        diff = typed("plan", "demo", "--to-version", "v2", "--diff", "--json").value["diff"]
        assert (diff["from"], diff["to"]) == ("v3", "v2")

    def test_a_commit_that_was_never_run(self, typed: CommandLine, project: Project) -> None:
        edited = BASIC.replace("{{ body }}", "Never: {{ body }}")
        project.pipeline(edited)
        person = ["-c", "user.name=A Person", "-c", "user.email=person@example.com", "-c", "commit.gpgsign=false"]
        for words in (["init", "-q"], ["add", "pipelines"], ["commit", "-q", "-m", "edit"]):
            subprocess.run(["git", "-C", str(project.root), *person, *words], check=True)
        project.pipeline()
        value = typed("plan", "demo", "--to-version", "HEAD", "--diff", "--json").value
        assert value["rows"]["prompt_changed"] == 10
        assert value["prompt_version"] == "v2"
        assert value["diff"]["to"].startswith("HEAD (")
        back = typed("plan", "demo", "--from-version", "HEAD", "--json").value["diff"]
        assert back["from"].startswith("HEAD (")
        assert "-Never: {{ body }}" in back["prompt"][0]["diff"]

    def test_an_unknown_version(self, typed: CommandLine) -> None:
        found = typed("plan", "demo", "--to-version", "v7")
        assert found.code == 2
        assert "--to-version: there is no prompt version 'v7'" in found.talk
        assert "There are v1 (" in found.talk


class TestRows:
    def test_keys_of_several_columns(self, typed: CommandLine, project: Project) -> None:
        project.pipeline(TWO_KEYS, name="two")
        found = typed("plan", "two", "--rows")
        assert re.search(r"^id +lang +reason$", found.out, re.MULTILINE)
        assert re.search(r"^1 +de +new$", found.out, re.MULTILINE)
        due = typed("plan", "two", "--rows", "--json").value["due_rows"]
        assert {"key": ["1", "de"], "reason": "new"} in due
        assert len(due) == 10


class Strict(HTMLParser):
    """A parser that collects the tags of a text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)


class TestMarkdown:
    def test_for_a_pull_request(self, typed: CommandLine, project: Project) -> None:
        project.pipeline(BASIC.replace("Auf Deutsch.", "Bitte auf Deutsch."))
        text = typed("plan", "demo", "--markdown", "--rows").out
        assert text.startswith("### batchpipe plan: `demo` (prompt v2, new)\n")
        assert "| `prompt_changed` | 3 | the prompt has changed for these rows |" in text
        assert "| cost | `$" in text
        assert "```diff\n--- user (v1)\n+++ user (now)\n" in text
        assert re.search(r"<details><summary><code>\d+</code> <code>prompt_changed</code></summary>\n\n```diff\n", text)
        assert text.count("<details>") == text.count("</details>") == 3

    def test_hostile_text_stays_in_code(self, typed: CommandLine, project: Project) -> None:
        hostile = "```\n</details><script>alert(1)</script>\n````\n[x](http://evil.example) @everyone | ` `` \x1b[31m"
        rows = numbered(10)
        rows[0]["body"] = hostile
        project.rows(rows)
        project.pipeline(BASIC.replace("Auf", "``` <b> </details> Auf"))
        text = typed("plan", "demo", "--markdown").out
        assert "alert(1)" in text
        outside = outside_of_code(text)
        for piece in ("alert", "script", "evil", "everyone", "<b>"):
            assert piece not in outside
        reader = Strict()
        reader.feed(outside)
        assert set(reader.tags) == {"details", "summary", "code"}
        assert outside.count("<details>") == outside.count("</details>")

    def test_a_hostile_key(self, typed: CommandLine, project: Project) -> None:
        key = "<img src=x>`|\n# [x](http://evil.example)"
        project.rows([{"id": key, "body": "one", "lang": "en", "amount": 1}])
        project.pipeline(BASIC.replace("'id': 'BIGINT'", "'id': 'VARCHAR'"), name="keys")
        text = typed("plan", "keys", "--markdown", "--rows").out
        assert (
            "<summary><code>&lt;img src=x&gt;`|\\n# [x](http://evil.example)</code> <code>new</code></summary>" in text
        )
        assert "\n# [x]" not in text

    def test_not_with_json(self, typed: CommandLine) -> None:
        assert typed("plan", "demo", "--markdown", "--json").code == 2

    def test_a_long_diff_is_cut(self, typed: CommandLine, project: Project) -> None:
        project.pipeline(BASIC.replace("{{ body }}", "\\n".join(f"line {n}" for n in range(5_000)) + "{{ body }}"))
        text = typed("plan", "demo", "--markdown").out
        assert "more characters: --json has them" in text
        assert len(text) < 65_536
