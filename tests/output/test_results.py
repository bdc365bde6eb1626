"""Tests of `results`: it prints the output table or writes it to a file, and no cell is interpreted as a command."""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path

import duckdb
import pytest
from calls import ask
from projects import BASIC, Project, numbered

from batchpipe.commands.results import spreadsheet
from batchpipe.commands.results.results import results
from batchpipe.common.errors import PipelineError, UsageError

HOSTILE = [
    '=HYPERLINK("http://evil.example","click")',
    "+1+1",
    "-2+3",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\x1b[31mred\x1b[0m [bold]markup[/bold]",
    "plain",
]
FREE = """
[input]
query = "SELECT id, body, plan FROM read_csv('rows.csv')"
key = "id"
[prompt]
user_text = "{{ body }}"
[output]
include = ["plan"]
[output.fields.words]
type = "string"
[output.fields.parts]
type = "array"
items = { type = "string" }
[[models]]
model = "claude-haiku-4-5"
max_tokens = 200
"""


def answered(project: Project) -> None:
    """Three rows and their answers."""
    project.pipeline()
    project.rows(numbered(3))
    project.run()


def hostile(project: Project) -> None:
    """Rows with hostile answers."""
    project.pipeline(FREE)
    project.rows([{"id": n, "body": f"row <{n}>", "plan": "=1+1" if n == 0 else "team"} for n in range(len(HOSTILE))])
    project.faults(
        {
            "requests": [
                {"match": f"row <{n}>", "output": {"words": words, "parts": [words, "b"]}}
                for n, words in enumerate(HOSTILE)
            ]
        }
    )
    project.run()


def test_a_program_gets_every_row_as_csv_and_a_terminal_the_first_ones(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(25))
    project.run()
    printed = ask(project, results, "demo")
    rows = list(csv.DictReader(io.StringIO(printed.out)))
    assert [int(row["id"]) for row in rows] == list(range(1, 26))
    assert [(row["label"], float(row["score"])) for row in rows] == project.sql(
        "SELECT label, score FROM demo ORDER BY id"
    )
    shown = ask(project, results, "demo", terminal=True)
    assert "20 of 25 rows" in shown.talk
    assert "_custom_id" not in shown.out
    assert "label" in shown.out
    assert len(list(csv.reader(io.StringIO(ask(project, results, "demo", limit=2).out)))) == 3


def test_json_holds_typed_rows(project: Project) -> None:
    hostile(project)
    found = ask(project, results, "demo", as_json=True).value
    assert found["matching"] == len(HOSTILE)
    assert [each["words"] for each in found["rows"]] == HOSTILE
    assert found["rows"][0]["parts"] == [HOSTILE[0], "b"]
    ((cost,),) = project.sql("SELECT _cost_usd FROM demo WHERE id = 0")
    assert found["rows"][0]["_cost_usd"] == cost
    assert found["rows"][0]["_current"] is True


def test_no_cell_of_a_csv_is_a_formula(project: Project) -> None:
    hostile(project)
    ask(project, results, "demo", "out.csv")
    with (project.root / "out.csv").open(newline="", encoding="utf-8") as file:
        written = list(csv.DictReader(file))
    printed = list(csv.DictReader(io.StringIO(ask(project, results, "demo").out, newline="")))
    for rows in (written, printed):
        assert [row["words"] for row in rows] == [*("'" + each for each in HOSTILE[:6]), *HOSTILE[6:]]
        assert rows[0]["plan"] == "'=1+1"
        assert json.loads(rows[1]["parts"]) == [HOSTILE[1], "b"]
        assert all(not value.startswith(("=", "+", "-", "@", "\t", "\r")) for row in rows for value in row.values())


def test_a_terminal_shows_what_was_said_and_obeys_none_of_it(project: Project) -> None:
    hostile(project)
    shown = ask(project, results, "demo", terminal=True, where="id = 6").out
    assert "\x1b[31m" not in shown
    flat = "".join(shown.split())
    assert "\\x1b" in flat
    assert "[bold]" in flat


@pytest.mark.parametrize("ending", ["parquet", "json", "ndjson"])
def test_files_for_programs_hold_the_values_as_they_are(project: Project, ending: str) -> None:
    hostile(project)
    printed = ask(project, results, "demo", f"out.{ending}")
    assert "8 rows to out." in printed.talk
    reader = "read_parquet" if ending == "parquet" else "read_json"
    with duckdb.connect() as connection:
        rows = connection.execute(f"SELECT words, parts FROM {reader}('{project.root}/out.{ending}')").fetchall()
    assert rows == [(words, [words, "b"]) for words in HOSTILE]
    if ending == "json":
        assert len(json.loads((project.root / "out.json").read_text("utf-8"))) == len(HOSTILE)


def test_a_workbook_needs_what_can_write_one(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    answered(project)
    monkeypatch.setattr(spreadsheet, "_has_extension", lambda connection: False)
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(UsageError, match="neither is here") as caught:
        ask(project, results, "demo", "out.xlsx")
    assert "openpyxl" in str(caught.value.hint)
    assert not (project.root / "out.xlsx").exists()


def test_no_cell_of_a_workbook_is_a_formula(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    monkeypatch.setattr(spreadsheet, "_has_extension", lambda connection: False)
    hostile(project)
    ask(project, results, "demo", "out.xlsx")
    header, *rows = openpyxl.load_workbook(project.root / "out.xlsx").active.iter_rows()
    words = [cell.value for cell in header].index("words")
    assert all(cell.data_type != "f" for row in rows for cell in row)
    assert rows[0][words].value == "'" + HOSTILE[0]
    assert rows[6][words].value == HOSTILE[6].replace("\x1b", "\ufffd")
    assert rows[7][words].value == "plain"


def test_where_current_and_review_choose_rows(project: Project) -> None:
    project.pipeline(BASIC.replace("max_tokens = 200", 'max_tokens = 200\naccept = "score < 0.5"'))
    project.rows(numbered(20))
    project.run()
    project.rows(numbered(15))
    project.run()
    for options, condition in (
        ({"where": "label = 'bug' AND score > 0.1"}, "label = 'bug' AND score > 0.1"),
        ({"current": True}, "_current"),
        ({"review": True}, "_review"),
        ({"review": True, "current": True, "where": "input.id > 3"}, "_review AND _current AND id > 3"),
        ({"where": "_rung = 1 OR 1 / 0 > 1"}, "_rung = 1"),
    ):
        found = ask(project, results, "demo", as_json=True, **options).value
        expected = [id for (id,) in project.sql(f"SELECT id FROM demo WHERE {condition} ORDER BY id")]
        assert [row["id"] for row in found["rows"]] == expected, options
        assert found["matching"] == len(expected)


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("labl = 'bug'", "Did you mean 'label'"),
        ("id = 1) UNION SELECT", "not one SQL expression"),
        ("id IN (SELECT 1)", "cannot be used"),
        ("score", "'score'"),
    ],
)
def test_a_condition_that_cannot_be_used_is_refused(project: Project, where: str, words: str) -> None:
    answered(project)
    with pytest.raises(PipelineError, match="--where") as caught:
        ask(project, results, "demo", where=where)
    assert words in str(caught.value)


def test_a_file_is_not_replaced_unless_asked(project: Project) -> None:
    answered(project)
    path = project.root / "out.csv"
    path.write_text("mine", encoding="utf-8")
    with pytest.raises(UsageError, match="exists already"):
        ask(project, results, "demo", "out.csv")
    assert path.read_text("utf-8") == "mine"
    ask(project, results, "demo", "out.csv", force=True)
    assert path.read_text("utf-8").startswith("id,")
    assert sorted(each.name for each in project.root.glob(".out*")) == []


def test_a_relative_path_starts_where_the_command_was_called(project: Project, tmp_path: Path) -> None:
    answered(project)
    below = tmp_path / "below"
    below.mkdir()
    ask(project, results, "demo", "out.parquet", start=below)
    assert (below / "out.parquet").is_file()
    for bad in ("nowhere/out.csv", "out.txt", "out"):
        with pytest.raises(UsageError):
            ask(project, results, "demo", bad)


def test_without_results_it_says_how_to_make_them(project: Project) -> None:
    project.pipeline()
    with pytest.raises(UsageError, match="no results yet") as caught:
        ask(project, results, "demo")
    assert "batchpipe run demo" in str(caught.value.hint)


def test_a_table_without_rows_says_where_they_are(project: Project) -> None:
    answered(project)
    assert "batchpipe status demo" in ask(project, results, "demo", where="false").talk


def test_a_foreign_table_of_that_name_is_not_shown(project: Project) -> None:
    project.pipeline()
    with duckdb.connect(str(project.root / "batchpipe.duckdb")) as connection:
        connection.execute("CREATE TABLE demo AS SELECT 1 AS id, 'theirs' AS label")
    with pytest.raises(UsageError, match="no results yet"):
        ask(project, results, "demo")


def test_a_table_in_a_schema_is_found(project: Project) -> None:
    project.pipeline(BASIC.replace("[output.fields.label]", '[output]\ntable = "mart.labels"\n[output.fields.label]'))
    project.rows(numbered(2))
    project.run()
    found = ask(project, results, "demo", as_json=True).value
    assert found["table"] == "mart.labels"
    assert len(found["rows"]) == 2
