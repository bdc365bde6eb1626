"""The local rung beside other parts: Python programs, chains, two databases, a pipeline of another name."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow
import pytest
from local_project import LABELS, PIPELINE, LocalProject, body_of

import batchpipe

DOWNSTREAM = """
[input]
query = '''
SELECT id, body, label AS above
FROM triage JOIN read_csv('rows.csv', types = {'id': 'BIGINT', 'body': 'VARCHAR'}) USING (id)
'''
key = "id"
window = true
[prompt]
user_text = "Urgent? {{ body }} [{{ above }}]"
[output.fields.urgent]
type = "boolean"
[[models]]
model = "local"
accept = "_confidence >= 0.6"
[[models]]
model = "claude-haiku-4-5"
max_tokens = 200
"""


def test_label_takes_a_local_rung(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = LocalProject(tmp_path)
    project.rows(range(190))
    monkeypatch.setenv("BATCHPIPE_EMULATOR_ANSWERS", str(tmp_path / "answers.jsonl"))
    opened = batchpipe.Project(tmp_path, emulator=True)

    def label(numbers: range) -> list[str]:
        frame = pyarrow.table({"id": list(numbers), "body": [body_of(number)[0] for number in numbers]})
        labelled = batchpipe.label(
            frame,
            key="id",
            prompt="Label this: {{ body }} (end)",
            fields={"label": list(LABELS), "confidence": float},
            models=[{"model": "local", "accept": "_confidence >= 0.6"}, "claude-haiku-4-5"],
            project=opened,
            name="by_hand",
        )
        return [str(each) for each in labelled["label"].to_pylist()]

    label(range(150))
    assert label(range(150, 190)) == [body_of(number)[1] for number in range(150, 190)]
    [(local, sent)] = project.query("SELECT count(*) FILTER (_rung = 0), count(*) FILTER (_rung = 1) FROM by_hand")
    assert local > 20
    assert local + sent == 190


def write_input(project: LocalProject, numbers: range) -> None:
    """Make the messages of `numbers` the input, with the answers of both pipelines' models."""
    project.rows(numbers)
    path = project.root / "answers.jsonl"
    urgent = [
        {"match": f"Urgent? {body_of(number)[0]} [", "output": {"urgent": body_of(number)[1] == "bug"}}
        for number in numbers
    ]
    known = path.read_text(encoding="utf-8")
    path.write_text("".join(json.dumps(each) + "\n" for each in urgent) + known, encoding="utf-8")


def test_a_chain_of_two_local_rungs_answers_what_its_plan_says(tmp_path: Path) -> None:
    project = LocalProject(tmp_path)
    (tmp_path / "pipelines/second.toml").write_text(DOWNSTREAM, encoding="utf-8")
    write_input(project, range(130))
    project.command("run", "second", "--with-upstream", "--yes")
    write_input(project, range(130, 170))
    planned = project.json("plan", "triage", "second")
    ran = project.json("run", "second", "--with-upstream", "--yes")
    first, second = ran
    assert planned[0]["requests"] == first["submitted"] == 40 - first["local"]["answered"]
    assert second["submitted"] == 40 - second["local"]["answered"]
    assert min(each["local"]["answered"] for each in ran) > 20
    wrong = project.query("SELECT count(*) FROM second JOIN triage USING (id) WHERE urgent <> (label = 'bug')")
    assert wrong == [(0,)]


def test_another_database_has_a_model_of_its_own_and_a_new_name_keeps_it(tmp_path: Path) -> None:
    project = LocalProject(tmp_path)
    (tmp_path / "batchpipe.toml").write_text('[env.prod]\ndatabase = "prod.duckdb"\n', encoding="utf-8")
    project.rows(range(130))
    project.command("run", "triage", "--yes")
    project.rows(range(130, 170))
    dev, prod = project.json("plan", "triage"), project.json("plan", "triage", "--env", "prod")
    assert dev["local"]["answered"] > 20
    assert (prod["local"]["answered"], prod["requests"]) == (0, 40)
    (tmp_path / "pipelines/triage.toml").rename(tmp_path / "pipelines/desk.toml")
    (tmp_path / "pipelines/desk.toml").write_text(f'renamed_from = "triage"\n{PIPELINE}', encoding="utf-8")
    renamed = project.json("run", "desk", "--yes")
    assert renamed["local"]["model"] == "local:v1"
    assert renamed["local"]["answered"] == dev["local"]["answered"]
    assert project.json("plan", "desk", "--redo", "local")["requests"] == dev["local"]["answered"]
