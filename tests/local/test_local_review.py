"""The order of rows under review: the local model says which answers of the first model are wrong."""

from __future__ import annotations

import csv
import json
import random
from pathlib import Path

import pytest
from helpers.banking import FOLDER, LOCAL_PIPELINE, needs_banking, questions
from helpers.confidences import confidence
from local_project import LocalProject

pytestmark = needs_banking

RIGHT = {"answered before": 0.913, "by the first model": 0.784}
REVIEW = """
[review]
where = "true"
sample = 0.35
"""


def night(project: LocalProject, rows: list[tuple[int, str, str]], right: float, intents: list[str]) -> None:
    """Make questions the input, answered by a model that is right on this share of them."""
    chance = random.Random(3)
    with (project.root / "rows.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("question_id", "text"))
        writer.writerows((number, text) for number, text, _ in rows)
    with (project.root / "answers.jsonl").open("a", encoding="utf-8") as file:
        for number, _, intent in rows:
            is_right = chance.random() < right
            said = intent if is_right else chance.choice([each for each in intents if each != intent])
            sure = confidence(chance, is_right, right, 0.4)
            file.write(json.dumps({"match": f"<{number}>", "output": {"intent": said, "confidence": sure}}) + "\n")


@pytest.mark.share(1)
def test_a_fifth_of_the_rows_has_most_of_the_first_models_errors(tmp_path: Path) -> None:
    intents = json.loads((FOLDER / "categories.json").read_text(encoding="utf-8"))
    text = LOCAL_PIPELINE.format(folder=FOLDER).replace("_confidence >= 0.8", "false") + REVIEW
    project = LocalProject(tmp_path, text)
    train, test = questions("train", 1), questions("test", 100_001)[::2]
    night(project, train, RIGHT["answered before"], intents)
    project.command("run", "triage", "--yes")
    night(project, test, RIGHT["by the first model"], intents)
    project.command("run", "triage", "--yes")
    assert project.query("SELECT count(*) FROM ledger.local_models") == [(1,)]

    true = {number: intent for number, _, intent in test}
    project.command("review", "triage", "--export", "before.csv")
    plain, _ = _found(project, "before.csv", true)
    _review_the_sample(project, true)
    project.command("review", "triage", "--import", "before.csv")
    project.command("review", "triage", "--export", "after.csv")
    learnt, rows = _found(project, "after.csv", true)
    print(f"of {rows} rows a fifth has {plain:.1%} of the errors by confidence, {learnt:.1%} with the local model")  # noqa: T201
    assert learnt >= 0.7
    assert learnt > plain


def _found(project: LocalProject, name: str, true: dict[int, str]) -> tuple[float, int]:
    """Return the share of the errors that the first fifth of the rows has, without those of the sample."""
    with (project.root / name).open(encoding="utf-8-sig", newline="") as file:
        rows = [each for each in csv.DictReader(file) if "sample" not in each["_why"]]
    answers = dict(project.query("SELECT question_id, intent FROM triage"))
    wrong = [answers[int(each["question_id"])] != true[int(each["question_id"])] for each in rows]
    return sum(wrong[: len(wrong) // 5]) / sum(wrong), len(rows)


def _review_the_sample(project: LocalProject, true: dict[int, str]) -> None:
    """Write what a person says of the rows of the sample into the spreadsheet."""
    path = project.root / "before.csv"
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    for each in rows:
        if "sample" in each["_why"]:
            each["intent"], each["_verdict"] = true[int(each["question_id"])], "ok"
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
