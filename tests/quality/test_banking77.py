"""A test of a whole pipeline on real input: 3,080 questions to a bank, each with one of 77 intents."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import duckdb
import pytest
from helpers.banking import FIELDS, FOLDER, PROMPT, needs_banking

from batchpipe.cli.main import main

QUESTIONS = 3080
INTENTS = 77

# Questions have no id, and some are asked twice: a row's number in the order of all that it holds is its key.
PIPELINE = (
    """
[input]
query = '''
SELECT row_number() OVER (ORDER BY text, category) AS question_id, text, category
FROM read_csv('{folder}/test.csv', header = true)
'''
key = "question_id"

"""
    + PROMPT
    + """
[output]
include = ["category"]

"""
    + FIELDS
    + """
[[models]]
model = "claude-haiku-4-5"
max_tokens = 100
"""
)

pytestmark = needs_banking


def test_all_questions_run_through_the_emulator_and_a_second_run_submits_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "batchpipe.toml").touch()
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "pipelines" / "intents.toml").write_text(PIPELINE.format(folder=FOLDER), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    command = ["run", "intents", "--emulator", "--json"]

    assert main(command) == 0, capsys.readouterr().err
    first = json.loads(capsys.readouterr().out)
    assert main(command) == 0, capsys.readouterr().err
    second = json.loads(capsys.readouterr().out)

    with (FOLDER / "test.csv").open(encoding="utf-8", newline="") as file:
        questions = list(csv.DictReader(file))
    assert len(questions) == QUESTIONS
    assert first["rows"]["input"] == first["rows"]["accepted"] == QUESTIONS
    assert first["submitted"] == len({question["text"] for question in questions})
    assert (second["submitted"], second["batches"], second["rows"]["unchanged"]) == (0, 0, QUESTIONS)
    with duckdb.connect(".batchpipe/emulator/batchpipe.duckdb", read_only=True) as database:
        types = dict(database.execute("SELECT column_name, column_type FROM (DESCRIBE intents)").fetchall())
        facts = database.execute(
            "SELECT count(*), count(DISTINCT question_id), count(*) FILTER (_current AND _rung = 1), "
            "count(*) FILTER (confidence BETWEEN 0 AND 1), count(DISTINCT intent) FROM intents"
        ).fetchone()
        rows = database.execute("SELECT intent, category FROM intents").fetchall()
        batches = database.execute("SELECT count(*) FROM ledger.batches").fetchone()
    assert facts is not None
    assert facts[:4] == (QUESTIONS,) * 4
    assert types["question_id"] == "BIGINT"
    assert (types["intent"], types["confidence"], types["category"]) == ("VARCHAR", "DOUBLE", "VARCHAR")
    intents = set(json.loads((FOLDER / "categories.json").read_text(encoding="utf-8")))
    assert len(intents) == INTENTS
    assert {intent for intent, _ in rows} <= intents
    assert {category for _, category in rows} == intents
    assert batches == (first["batches"],) == (1,)
