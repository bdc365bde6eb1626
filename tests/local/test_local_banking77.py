"""The local rung on real input: 10,003 answered questions to a bank, then 3,080 new ones, by the real commands."""

from __future__ import annotations

import csv
import json
import random
import resource
from pathlib import Path

import pytest
from helpers.banking import FOLDER, LOCAL_PIPELINE, needs_banking, questions
from local_project import LocalProject

pytestmark = needs_banking

WRONG = 0.087


def night(project: LocalProject, rows: list[tuple[int, str, str]], intents: list[str]) -> None:
    """Make questions the input, with answers of which 8.7% are wrong."""
    chance = random.Random(7)
    with (project.root / "rows.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("question_id", "text"))
        writer.writerows((number, text) for number, text, _ in rows)
    with (project.root / "answers.jsonl").open("a", encoding="utf-8") as file:
        for number, _, intent in rows:
            said = chance.choice(intents) if chance.random() < WRONG else intent
            line = {"match": f"<{number}>", "output": {"intent": said, "confidence": 0.9}}
            file.write(json.dumps(line) + "\n")


@pytest.mark.share(1)
def test_new_questions_cost_a_third_and_are_as_right_as_before(tmp_path: Path) -> None:
    intents = json.loads((FOLDER / "categories.json").read_text(encoding="utf-8"))
    project = LocalProject(tmp_path, LOCAL_PIPELINE.format(folder=FOLDER))
    train, test = questions("train", 1), questions("test", 100_001)
    night(project, train, intents)
    first = project.json("run", "triage", "--yes")
    assert first["rows"]["accepted"] == len(train) == 10_003

    night(project, test, intents)
    before = resource.getrusage(resource.RUSAGE_SELF)
    planned = project.json("plan", "triage")
    after = resource.getrusage(resource.RUSAGE_SELF)
    second = project.json("run", "triage", "--yes")
    answered = second["local"]["answered"]
    assert second["submitted"] == planned["requests"] == len(test) - answered
    assert answered == planned["local"]["answered"]

    true = {number: intent for number, _, intent in test}
    rows = project.query("SELECT question_id, intent, _rung FROM triage WHERE question_id > 100000")
    right = {rung: [true[number] == said for number, said, at in rows if at == rung] for rung in (0, 1)}
    accuracy = sum(map(sum, right.values())) / len(test)
    per_right_before = first["cost_usd"] / (len(train) * (1 - WRONG)) * 1000
    per_right = second["cost_usd"] / (len(test) * accuracy) * 1000
    print(  # noqa: T201
        f"answered {answered} of {len(test)}, right {sum(right[0]) / len(right[0]):.3f}; all {accuracy:.3f}; "
        f"${per_right_before:.4f} then ${per_right:.4f} per 1,000 right; plan "
        f"{after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime:.1f} s of CPU"
    )
    assert answered > 0.6 * len(test)
    assert sum(right[0]) / len(right[0]) > 0.9
    assert accuracy > 0.88
    assert per_right < 0.4 * per_right_before
