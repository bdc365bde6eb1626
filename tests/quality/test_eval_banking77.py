"""A test of an evaluation of three models on questions to a bank with gold labels, and of the ladder tuned from it."""

from __future__ import annotations

import json
import random
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest
from helpers.banking import FIELDS, FOLDER, needs_banking

from batchpipe.cli.main import main

QUESTIONS = 3080
TARGET = 0.9

# The share of questions that each model is to get right, and how sure it is of right and wrong answers.
MODELS = {"claude-haiku-4-5": 0.8, "claude-sonnet-4-6": 0.9, "claude-opus-4-8": 0.96}

PIPELINE = (
    """
[input]
query = "SELECT 1 AS question_id, 'x' AS text WHERE error('the input was read')"
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
accept = "confidence >= 0.5"

[[models]]
model = "claude-sonnet-4-6"
max_tokens = 100
accept = "confidence >= 0.5"

[[models]]
model = "claude-opus-4-8"
max_tokens = 100

[eval]
gold = '''
SELECT row_number() OVER (ORDER BY text, category) AS question_id, text, category
FROM read_csv('{folder}/test.csv', header = true)
'''
expect = {{ intent = "category" }}
"""
)

pytestmark = needs_banking


def answers() -> dict[tuple[str, int], dict[str, Any]]:
    """Return each model's answer to each question, by the question's number."""
    draw = random.Random(77)
    questions = duckdb.execute(
        "SELECT row_number() OVER (ORDER BY text, category), category "
        f"FROM read_csv('{FOLDER}/test.csv', header = true) ORDER BY 1"
    ).fetchall()
    intents = json.loads((FOLDER / "categories.json").read_text(encoding="utf-8"))
    said = {}
    for model, skill in MODELS.items():
        for number, category in questions:
            right = draw.random() < skill
            intent = category if right else draw.choice([each for each in intents if each != category])
            confidence = round(draw.betavariate(6, 1.5) if right else draw.betavariate(2, 3), 3)
            said[model, number] = {"intent": intent, "confidence": confidence, "right": right}
    return said


@pytest.mark.proof
def test_the_report_says_what_the_table_says_and_the_tuned_ladder_is_cheaper(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "batchpipe.toml").touch()
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "pipelines" / "intents.toml").write_text(PIPELINE.format(folder=FOLDER), encoding="utf-8")
    said = answers()
    with (tmp_path / "said.jsonl").open("w", encoding="utf-8") as file:
        for (model, number), each in said.items():
            output = {"intent": each["intent"], "confidence": each["confidence"]}
            file.write(json.dumps({"model": model, "match": f"#{number}: ", "output": output}) + "\n")
    monkeypatch.chdir(tmp_path)
    command = ["eval", "intents", "--emulator", "--answers", "said.jsonl", "--models", "all"]

    assert main([*command, "--json"]) == 0
    found = json.loads(capsys.readouterr().out, parse_float=Decimal)
    assert found["gold"] == QUESTIONS
    for entry in found["models"]:
        hits = sum(each["right"] for (model, _), each in said.items() if model == entry["model"])
        assert (entry["n"], float(entry["fields"]["intent"]["accuracy"])) == (QUESTIONS, hits / QUESTIONS)
    hits = 0
    for number in range(1, QUESTIONS + 1):
        way = [said[model, number] for model in MODELS]
        hits += next((each for each in way if each["confidence"] >= 0.5), way[-1])["right"]
    assert float(found["ladder"]["fields"]["intent"]["accuracy"]) == hits / QUESTIONS

    assert main([*command, "--tune", "--target", str(TARGET), "--plot", "curve.svg", "--json"]) == 0
    tuned = json.loads(capsys.readouterr().out, parse_float=Decimal)
    with duckdb.connect(".batchpipe/emulator/batchpipe.duckdb", read_only=True) as database:
        sent = database.execute("SELECT count(*) FROM ledger.requests WHERE leads").fetchone()
    assert sent == (3 * QUESTIONS,)
    assert tuned["models"] == found["models"]
    assert tuned["expected"]["accuracy"] >= Decimal(str(TARGET))
    cheapest = min(
        entry["usd_per_1000_correct"] for entry in tuned["models"] if entry["fields"]["intent"]["accuracy"] >= TARGET
    )
    assert tuned["expected"]["usd_per_1000"] / tuned["expected"]["accuracy"] < cheapest
    assert (tmp_path / "curve.svg").read_text(encoding="utf-8").startswith("<svg")

    assert main([*command, "--tune", "--target", str(TARGET)]) == 0
    text = capsys.readouterr().out
    conditions = re.findall(r'^accept = "(confidence >= [\d.]+)"$', text, re.MULTILINE)
    assert conditions == [each["accept"] for each in tuned["tuned"] if each["accept"] is not None]
    assert "run intents --redo accept" in text
    assert main([*command, "--tune", "--target", "0.9999"]) == 1
    assert "No ladder can be promised to reach 100.0%" in capsys.readouterr().out
