"""What templates ask of the local model: the likeliest values, and the nearest answered rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from local_project import LABELS, PIPELINE, LocalProject, body_of

ASKS = """'''
Choose of {{ fields.label.likely(2) | join("|") }}.
{% for each in near(3) %}<{{ each.text }}={{ each.answer.label }}>
{% endfor %}Label this: {{ body }} (end)'''"""
PROMPT = '"Label this: {{ body }} (end)"'
ASKING = PIPELINE.replace(PROMPT, ASKS).replace('"_confidence >= 0.6"', '"false"')
GOLD = '\n[eval]\ngold = "gold.csv"\n'


@pytest.fixture
def project(tmp_path: Path) -> LocalProject:
    project = LocalProject(tmp_path, ASKING)
    project.rows(range(300))
    project.command("run", "triage", "--yes")
    return project


def tried(project: LocalProject, number: int) -> str:
    """Return the user message that `try` shows for a row."""
    return str(project.json("try", "triage", str(number))["rows"][0]["user"])


def versions(project: LocalProject, which: str) -> set[str | None]:
    """Return the versions of the local model that are recorded with chunks and calls."""
    return {name for (name,) in project.query(f"SELECT data ->> 'local_model' FROM ledger.events WHERE {which}")}


def test_before_there_is_a_model_it_gives_every_value_and_no_row(tmp_path: Path) -> None:
    project = LocalProject(tmp_path, ASKING)
    project.rows(range(20))
    planned = project.json("plan", "triage")
    assert planned["hints"]["model"] is None
    assert planned["hints"]["likely"][0]["tokens"] == planned["hints"]["likely"][0]["full_tokens"]
    assert tried(project, 3).startswith(f"Choose of {'|'.join(LABELS)}.\nLabel this: ")


def test_a_row_gets_its_likeliest_values_and_other_rows_as_examples(project: LocalProject) -> None:
    body, label = body_of(301)
    project.rows(range(300, 320))
    planned = project.json("plan", "triage")
    assert planned["hints"]["model"] == "local:v1"
    assert planned["hints"]["likely"][0]["tokens"] < planned["hints"]["likely"][0]["full_tokens"]
    first, *examples = tried(project, 301).splitlines()
    values = first.removeprefix("Choose of ").removesuffix(".").split("|")
    assert len(values) == 2
    assert label in values
    texts = [line for line in examples if line.startswith("<")]
    assert len(texts) == 3
    known = dict(body_of(number) for number in range(300))
    assert all(known[text.strip("<>").rpartition("=")[0]] == text.strip("<>").rpartition("=")[2] for text in texts)
    assert body not in "".join(texts)
    version = (
        "SELECT DISTINCT data ->> 'local_model' FROM ledger.events WHERE kind IN ('chunk_prepared', 'call_prepared')"
    )
    project.command("run", "triage", "--yes")
    assert set(project.query(version)) == {(None,), ("local:v1",)}


def test_what_it_gives_is_no_part_of_what_identifies_a_request(project: LocalProject) -> None:
    assert project.json("plan", "triage")["due"] == 0
    project.rows(range(300, 450))
    project.command("run", "triage", "--yes")
    project.rows(range(450))
    again = project.json("plan", "triage")
    assert (again["due"], again["requests"]) == (0, 0)
    [prints] = project.query("SELECT count(DISTINCT fingerprint), count(DISTINCT prompt_version) FROM ledger.requests")
    assert prints == (450, 1)
    project.write(ASKING.replace("likely(2)", "likely(1)"))
    changed = project.json("plan", "triage", "--diff")
    assert changed["rows"]["prompt_changed"] == 450
    lines = changed["diff"]["rows"][0]["diff"].splitlines()
    assert [line for line in lines if line.startswith("+") and "|" in line] == []
    assert any(line.startswith("-Choose of ") and line.count("|") == 1 for line in lines)


def test_gold_and_rows_of_the_same_text_are_no_examples(project: LocalProject) -> None:
    project.rows(range(300, 302))
    body, _ = body_of(301)
    nearest = tried(project, 301).splitlines()[1].strip("<>").rpartition("=")[0]
    number = next(each for each in range(300) if body_of(each)[0] == nearest)
    lines = ["id,body,label", f"{number},{nearest},bug", f'99,"{body.upper()}",bug']
    (project.root / "gold.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    project.write(ASKING + GOLD)
    after = tried(project, 300)
    assert nearest not in after
    rows = project.query("SELECT trained_on FROM ledger.local_models ORDER BY seq")
    assert rows[-1][0] < rows[0][0]  # the version had seen a row that is gold now, and is followed by another


def test_an_evaluation_asks_the_model_too(project: LocalProject) -> None:
    gold = [f"{number},{body_of(number)[0]},{body_of(number)[1]}" for number in range(400, 430)]
    (project.root / "gold.csv").write_text("\n".join(["id,body,label", *gold]) + "\n", encoding="utf-8")
    project.rows(range(400, 430))
    project.rows(range(300))
    project.write(ASKING + GOLD)
    found = project.json("eval", "triage", "--yes")
    assert found["models"][0]["fields"]["label"]["accuracy"] > 0.9
    assert versions(project, "kind = 'chunk_prepared' AND pipeline LIKE '%:eval:%'") == {"local:v1"}


def test_a_row_without_usable_numbers_goes_up_and_teaches_nothing(tmp_path: Path) -> None:
    numbers = (
        "CASE id % 10 WHEN 0 THEN NULL WHEN 1 THEN ['nan'::DOUBLE, 1] WHEN 2 THEN [1.0] WHEN 3 THEN [NULL, 1.0] "
        "WHEN 4 THEN [] ELSE [1.0, id % 3] END::DOUBLE[] AS numbers"
    )
    reading = PIPELINE.replace("SELECT id, body FROM", f"SELECT id, body, {numbers} FROM").replace(PROMPT, ASKS)
    project = LocalProject(tmp_path, reading.replace("audit = 0.1", 'audit = 0.1\ncolumns = ["body", "numbers"]'))
    project.rows(range(240))
    project.command("run", "triage", "--yes")
    project.rows(range(240, 300))
    assert (
        "; 30 rows go up: numbers is not a list of 2 finite numbers there" in project.command("plan", "triage").stdout
    )
    assert project.json("run", "triage", "--yes")["rows"]["accepted"] == 60
    [(answered, odd)] = project.query("SELECT count(*), count(*) FILTER (id % 10 < 5) FROM triage WHERE _rung = 0")
    assert (answered > 10, odd) == (True, 0)
    assert project.query("SELECT answers, trained_on FROM ledger.local_models") == [(120, 120)]


def test_an_embedding_of_another_width_is_learnt_anew(tmp_path: Path) -> None:
    numbers = "list_transform(range(CASE WHEN id < 200 THEN 2 ELSE 3 END), lambda x: x + id % 3)::DOUBLE[] AS numbers"
    reading = PIPELINE.replace("SELECT id, body FROM", f"SELECT id, body, {numbers} FROM")
    project = LocalProject(tmp_path, reading.replace("audit = 0.1", 'audit = 0.1\ncolumns = ["body", "numbers"]'))
    project.rows(range(200))
    project.command("run", "triage", "--yes")
    project.rows(range(160, 200))
    assert project.json("run", "triage", "--yes")["rows"]["accepted"] == 40
    (tmp_path / "rows.csv").write_text("id,body\n", encoding="utf-8")  # a night without rows says nothing of the width
    project.command("run", "triage", "--yes")
    project.rows(range(200, 310))
    assert "; 110 rows go up: numbers is not a list of 2 " in project.command("plan", "triage").stdout
    project.command("run", "triage", "--yes")
    project.rows(range(310, 340))
    assert project.json("plan", "triage")["local"]["model"] == "local:v2"
    assert project.json("run", "triage", "--yes")["local"]["answered"] > 10


def test_the_plan_says_which_answers_teach_nothing_before_there_is_a_model(tmp_path: Path) -> None:
    reading = PIPELINE.replace("SELECT id, body FROM", "SELECT id, body, NULL::FLOAT[4] AS numbers FROM")
    project = LocalProject(tmp_path, reading.replace("audit = 0.1", 'audit = 0.1\ncolumns = ["numbers"]'))
    project.rows(range(20))
    project.command("run", "triage", "--yes")
    says = project.json("plan", "triage")["local"]["says"]
    assert says.endswith("; 20 answered rows teach nothing: numbers is not a list of 4 finite numbers there")


@pytest.mark.parametrize(
    ("prompt", "says"),
    [
        ("{{ fields.label.likely() }} {{ body }}", "likely() takes how many values"),
        ("{{ fields.label.likely }} {{ body }}", "syntax error: likely() takes how many values"),
        ("{{ near(body) }}", "near() takes how many rows"),
        ("{{ fields.label.fields.kind.likely(2) }} {{ body }}", "and no field within an object or a list"),
        ("{{ fields.label['items'].likely(2) }} {{ body }}", "likely() takes a field of the answer itself"),
        ("{{ near(0) }} {{ body }}", "from 1 to 100"),
        ("{{ fields.confidence.likely(3) }} {{ body }}", "are not listed"),
        ("{{ fields.lable.likely(3) }} {{ body }}", "there is no output field `lable`"),
        (
            "{% for each in near(2) %}{{ each.txet }}{% endfor %}{{ body }}",
            ": an object has no attribute 'txet'",
        ),
    ],
)
def test_check_names_what_is_wrong_with_a_call(tmp_path: Path, prompt: str, says: str) -> None:
    project = LocalProject(tmp_path, PIPELINE.replace(PROMPT, f'"{prompt}"'))
    project.rows(range(3))
    [problem] = _problems(project)
    assert says in problem["message"] + problem["hint"]


def test_without_a_local_rung_there_is_nobody_to_ask(tmp_path: Path) -> None:
    project = LocalProject(tmp_path, ASKING)
    project.rows(range(3))
    text = ASKING.replace('[[models]]\nmodel = "local"\naccept = "false"\naudit = 0.1\n\n', "")
    project.write(text)
    [problem] = _problems(project)
    assert "fields.label.likely(2) asks the local model, and there is none" in problem["message"]


def _problems(project: LocalProject) -> Any:
    return project.json("check", "triage", code=2)["problems"]
