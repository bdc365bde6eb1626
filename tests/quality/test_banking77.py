"""A test of a whole pipeline on real input, through each protocol: 3,080 questions to a bank, each with one of 77
intents.
"""

from __future__ import annotations

import csv
import json
from datetime import datetime
from decimal import Decimal
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
model = "{model}"
max_tokens = 2_000
"""
)
# US dollars per million tokens in a batch: uncached input, written to the cache for the shorter and the longer time,
# read from it, output. The last ones double at the end of 2026.
BATCH_USD = {
    "claude-haiku-4-5": ("0.5", "0.625", "1", "0.05", "2.5"),
    "openai:gpt-6-luna": ("0.05", "0.0625", "0.1", "0.005", "0.25"),
    "gemini:gemini-3.8-flash": ("0.375", "0", "0", "0.0375", "1.875"),
}
DOUBLED = "gemini:gemini-3.8-flash"
COST = """
SELECT sum(cost_usd), sum(input_tokens), sum(cache_write_5m_tokens), sum(cache_write_1h_tokens), sum(cache_read_tokens),
    sum(output_tokens), any_value(provider), min(recorded_at) FROM ledger.results
"""

pytestmark = needs_banking


@pytest.mark.share(1)
@pytest.mark.parametrize("model", BATCH_USD)
def test_all_questions_run_through_the_emulator_and_a_second_run_submits_nothing(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "batchpipe.toml").touch()
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "pipelines" / "intents.toml").write_text(PIPELINE.format(folder=FOLDER, model=model), encoding="utf-8")
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
        paid = database.execute(COST).fetchone()
    assert facts is not None
    assert facts[:4] == (QUESTIONS,) * 4
    assert types["question_id"] == "BIGINT"
    assert (types["intent"], types["confidence"], types["category"]) == ("VARCHAR", "DOUBLE", "VARCHAR")
    intents = set(json.loads((FOLDER / "categories.json").read_text(encoding="utf-8")))
    assert len(intents) == INTENTS
    assert {intent for intent, _ in rows} <= intents
    assert {category for _, category in rows} == intents
    assert batches == (first["batches"],) == (1,)
    assert paid is not None
    cost, *tokens, provider, at = paid
    assert provider == (model.partition(":")[0] if ":" in model else "anthropic")
    factor = 2 if model == DOUBLED and at >= datetime(2027, 1, 1) else 1  # noqa: DTZ001
    by_hand = sum(Decimal(price) * count for price, count in zip(BATCH_USD[model], tokens, strict=True))
    assert cost == by_hand * factor / 1_000_000
