"""A pipeline with a field that a judge compares, and the answers of its models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from projects import Project

from helpers.gold import HAIKU, OPUS, SONNET, answer_by

JUDGE_PROMPT = "Does <{{ answer }}> mean <{{ expected }}> for {{ body }}?"
LADDER = f"""
[input]
query = "SELECT id, body FROM read_csv('rows.csv')"
key = "id"

[prompt]
user_text = "Sum up: {{{{ body }}}}"

[output.fields.summary]
type = "string"
[output.fields.confidence]
type = "number"

[[models]]
model = "{HAIKU}"
max_tokens = 200
accept = "confidence >= 0.5"

[[models]]
model = "{SONNET}"
max_tokens = 300
"""
EVAL = f"""
[eval]
gold = "gold.csv"
expect = {{ summary = "truth" }}

[eval.fields.summary]
compare = "judge"
[eval.fields.summary.prompt]
system_text = "You compare summaries."
user_text = "{JUDGE_PROMPT}"
[[eval.fields.summary.models]]
model = "{OPUS}"
max_tokens = 200
"""
ROWS: list[dict[str, Any]] = [{"id": n, "body": f"text <{n}>", "truth": f"true {n}"} for n in range(1, 21)]


def said_by(model: str, number: int) -> str:
    """Return the true text for every fourth row, else a text in the model's own words, which every fifth row shares."""
    if number % 4 == 0:
        return f"true {number}"
    return f"alike {number}" if number % 5 == 0 else f"{model} of {number}"


def is_right(model: str, number: int) -> bool:
    """Return the verdict that the judge is told to give on an answer that differs from the true value."""
    return number % 3 != 0 if model == HAIKU or number % 5 == 0 else number % 7 != 0


def lines(rows: Sequence[Mapping[str, Any]] = ROWS) -> list[dict[str, Any]]:
    """Return the answers of each model and the judge's verdicts on them."""
    found: list[dict[str, Any]] = []
    for row in rows:
        for model in (HAIKU, SONNET):
            said = said_by(model, row["id"])
            sure = 0.9 if row["id"] % 2 else 0.1
            output: dict[str, Any] = {"summary": said, "confidence": sure}
            found.append({"model": model, "match": f"Sum up: {row['body']}", "output": output})
            output = {"correct": is_right(model, row["id"]), "reason": f"because of {row['id']}"}
            found.append({"model": OPUS, "match": f"Does <{said}> mean", "output": output})
    return found


def hits(model: str) -> int:
    return sum(row["id"] % 4 == 0 or is_right(model, row["id"]) for row in ROWS)


def begin(project: Project, text: str = LADDER + EVAL, answers: Sequence[Mapping[str, Any]] | None = None) -> None:
    project.pipeline(text)
    project.rows(ROWS, "gold.csv")
    answer_by(project, lines() if answers is None else answers)


def accuracy(entry: Mapping[str, Any]) -> float:
    return float(entry["fields"]["summary"]["accuracy"])
