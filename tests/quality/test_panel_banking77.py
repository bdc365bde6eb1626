"""A test of a panel of three models of known accuracy on questions to a bank.

What the evaluation and the run say of the panel, of its members and of a ladder with the panel is held against the same
computed in SQL from the models' answers.
"""

from __future__ import annotations

import json
import random
import shutil
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest
from helpers.banking import FIELDS, FOLDER, needs_banking

from batchpipe.cli.main import main

QUESTIONS = 600
# The share of questions that each model is to get right; the panel names them in this order.
MODELS = {"claude-haiku-4-5": 0.7, "claude-sonnet-4-6": 0.75, "claude-opus-4-8": 0.8}
GOLD = """
SELECT row_number() OVER (ORDER BY text, category) AS question_id, text, category
FROM read_csv('{folder}/test.csv', header = true) ORDER BY 1 LIMIT {questions}
"""
PIPELINE = (
    """
[input]
query = '''{gold}'''
key = "question_id"

[prompt]
system_text = "Say what the customer of a bank wants."
user_text = "#{{{{ question_id }}}}: {{{{ text }}}}"

"""
    + FIELDS
    + """
[[models]]
model = "claude-haiku-4-5"
max_tokens = 100
accept = "confidence >= 0.6"

[[models]]
panel = {panel}
max_tokens = 100
vote = "intent"

[eval]
gold = '''{gold}'''
expect = {{ intent = "category" }}
"""
)
# Of each question the group of answers that is largest, then surest, then named first; and how many agree with it.
VOTES = """
SELECT number, intent, count(*) / 3 AS agreement
FROM said GROUP BY number, intent
QUALIFY row_number() OVER (PARTITION BY number ORDER BY count(*) DESC, sum(confidence) DESC, min(place)) = 1
"""

COSTS = """
SELECT q.model, sum(r.cost_usd)
FROM ledger.results r JOIN ledger.requests q USING (chunk_id, custom_id)
WHERE q.leads GROUP BY q.model
"""

pytestmark = needs_banking


@pytest.fixture
def said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> duckdb.DuckDBPyConnection:
    """A project with the pipeline and the models' answers, which are the table `said`; `truth` has the true ones."""
    gold = GOLD.format(folder=FOLDER, questions=QUESTIONS)
    (tmp_path / "batchpipe.toml").touch()
    (tmp_path / "pipelines").mkdir()
    text = PIPELINE.format(folder=FOLDER, gold=gold, panel=json.dumps(list(MODELS)))
    (tmp_path / "pipelines" / "intents.toml").write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    database = duckdb.connect()
    database.execute(f"CREATE TABLE truth AS SELECT question_id AS number, category FROM ({gold})")
    database.execute(
        "CREATE TABLE said (place INTEGER, model VARCHAR, number BIGINT, intent VARCHAR, confidence DOUBLE)"
    )
    draw = random.Random(77)
    intents = json.loads((FOLDER / "categories.json").read_text(encoding="utf-8"))[:4]
    questions = database.execute("SELECT number, category FROM truth ORDER BY number").fetchall()
    rows: list[tuple[Any, ...]] = []
    for place, (model, skill) in enumerate(MODELS.items(), start=1):
        for number, category in questions:
            right = draw.random() < skill
            intent = category if right else draw.choice([each for each in intents if each != category])
            sure = round(draw.betavariate(6, 2) if right else draw.betavariate(2, 3), 3)
            rows.append((place, model, number, intent, sure))
    database.executemany("INSERT INTO said VALUES ($1, $2, $3, $4, $5)", rows)
    with (tmp_path / "said.jsonl").open("w", encoding="utf-8") as file:
        for _, model, number, intent, sure in rows:
            output = {"intent": intent, "confidence": sure}
            file.write(json.dumps({"model": model, "match": f"#{number}: ", "output": output}) + "\n")
    return database


def share(database: duckdb.DuckDBPyConnection, answers: str) -> float:
    """The share of questions that `answers` (number, intent) has right."""
    found = database.execute(
        f"SELECT count(*) FILTER (a.intent = t.category) / {QUESTIONS} "
        f"FROM truth t LEFT JOIN ({answers}) a USING (number)"
    ).fetchone()
    assert found is not None
    return float(found[0])


def test_a_panel_its_members_and_a_ladder_with_it_are_as_accurate_and_dear_as_by_hand(
    said: duckdb.DuckDBPyConnection, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--emulator", "--answers", "said.jsonl", "--json"]
    assert main(["eval", "intents", *options, "--models", "all"]) == 0, capsys.readouterr().err
    found = json.loads(capsys.readouterr().out)

    # The panel and each distinct model once; each model was asked once for each question.
    shown = {each["model"]: each for each in found["models"]}
    assert list(shown) == ["claude-haiku-4-5", "panel of 3", "claude-sonnet-4-6", "claude-opus-4-8"]
    accuracy = {name: each["fields"]["intent"]["accuracy"] for name, each in shown.items()}
    ladder = (
        "SELECT number, CASE WHEN s.confidence >= 0.6 THEN s.intent ELSE v.intent END AS intent "
        f"FROM said s JOIN ({VOTES}) v USING (number) WHERE s.place = 1"
    )
    for model in MODELS:
        assert accuracy[model] == share(said, f"SELECT number, intent FROM said WHERE model = '{model}'")
    assert accuracy["panel of 3"] == share(said, VOTES) > max(accuracy[model] for model in MODELS)
    assert found["ladder"]["fields"]["intent"]["accuracy"] == share(said, ladder)

    with duckdb.connect(".batchpipe/emulator/batchpipe.duckdb", read_only=True) as database:
        sent = database.execute("SELECT count(*), count(DISTINCT model) FROM ledger.requests WHERE leads").fetchone()
        costs = dict(database.execute(COSTS).fetchall())
    assert sent == (3 * QUESTIONS, 3)
    per_1000 = {model: float(cost) / QUESTIONS * 1000 for model, cost in costs.items()}
    assert shown["panel of 3"]["usd_per_1000"] == pytest.approx(sum(per_1000.values()))
    for model in MODELS:
        assert shown[model]["usd_per_1000"] == pytest.approx(per_1000[model])

    # A run without the answers of the evaluation asks the first model for all, and the other members for those that it
    # is unsure of.
    shutil.rmtree(".batchpipe")
    assert main(["run", "intents", *options]) == 0, capsys.readouterr().err
    ran = json.loads(capsys.readouterr().out)
    unsure = said.execute("SELECT count(*) FROM said WHERE place = 1 AND confidence < 0.6").fetchone()
    assert unsure is not None
    assert ran["submitted"] == QUESTIONS + 2 * unsure[0]
    with duckdb.connect(".batchpipe/emulator/batchpipe.duckdb", read_only=True) as database:
        rows = database.execute("SELECT question_id, intent, _agreement, _cost_usd FROM intents ORDER BY 1").fetchall()
        paid = database.execute("SELECT sum(cost_usd) FROM ledger.results WHERE pipeline = 'intents'").fetchone()
    expected = said.execute(
        f"SELECT l.number, l.intent, CASE WHEN s.confidence < 0.6 THEN v.agreement END FROM ({ladder}) l "
        f"JOIN said s ON s.number = l.number AND s.place = 1 JOIN ({VOTES}) v ON v.number = l.number ORDER BY 1"
    ).fetchall()
    assert [each[:3] for each in rows] == expected
    assert paid == (sum((each[3] for each in rows), Decimal(0)),)
