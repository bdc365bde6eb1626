"""Tests that the hint for a mistake in a file names an edit: after the edit that it names, the mistake is gone."""

from __future__ import annotations

import json
from pathlib import Path

import jinja2
import pytest
from commandline import CommandLine
from projects import BASIC, Project, numbered

from batchpipe.template.syntax import syntax_hint

MISTAKES = [
    ("{% for x in body %}{{ x }}", "Add {% endfor %} where the for ends."),
    ("{% if body %}x", "Add {% endif %} where the if ends."),
    ("{{ body lang }}", "Write one expression between {{ and }}"),
    ("{% iff body %}x{% endif %}", "Write {% if %}."),
    ("{% endif %}", "Remove {% endif %}, or write the tag that it ends before it."),
    ("{{ body", "Close what is open there"),
    ("{% if %}x{% endif %}", "Write a value there"),
    ("a {% literal brace %} b", "{% raw %}"),
    ("{{ a b c", "Write one expression between {{ and }}"),
]


@pytest.mark.parametrize(("template", "words"), MISTAKES)
def test_a_mistake_in_a_template_is_told_with_its_edit(template: str, words: str) -> None:
    with pytest.raises(jinja2.TemplateSyntaxError) as raised:
        jinja2.Environment().parse(template)
    hint = syntax_hint(str(raised.value.message))
    assert words in hint
    assert "orrect the" not in hint


def test_check_names_the_edit(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    call = CommandLine(monkeypatch=monkeypatch, capsys=capsys)
    project.rows(numbered(2))
    for old, new, words in (
        ("SELECT id, body", "SELECT id, bodi", 'Write "body" in the query.'),
        ("read_csv('rows.csv'", "read_csv('row.csv'", "Correct the path"),
        ("SELECT id,", "SELEC id,", "DuckDB stopped at SELEC"),
        ("maximum = 1", "maximum = -1", "Exchange them: minimum = -1, maximum = 0."),
        ('enum = ["billing"', "enum = [3", 'Write type = "integer"'),
    ):
        project.pipeline(BASIC, "demo")
        path = project.root / "pipelines" / "demo.toml"
        path.write_text(BASIC.replace(old, new, 1))
        ended = call("check", "demo", "--json")
        assert ended.code == 2, (new, ended.out)
        found = ended.value.get("problems") or [ended.value["error"]]
        assert any(words in each["hint"] for each in found), found


def test_a_schema_file_that_is_no_json_is_told_with_its_edit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "batchpipe.toml").touch()
    (tmp_path / "pipelines").mkdir()
    text = BASIC[: BASIC.index("[output.fields.label]")] + '[output]\nschema_file = "my schema.json"\n'
    (tmp_path / "pipelines" / "demo.toml").write_text(text + BASIC[BASIC.index("[[models]]") :])
    (tmp_path / "my schema.json").write_text('{"type": "object",}')
    call = CommandLine(monkeypatch=monkeypatch, capsys=capsys)
    monkeypatch.chdir(tmp_path)
    ended = call("check", "demo", "--json", "--offline")
    assert "python -m json.tool 'my schema.json'" in json.dumps(ended.value)
    assert "no comma before }" in json.dumps(ended.value)
