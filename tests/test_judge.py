"""A field that a judge compares: what it is asked, what is made of its word, and what that costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import pytest
from calls import ask
from projects import Project
from test_eval import HAIKU, OPUS, SONNET, answer_by, git, report, run_eval

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
ROWS = [{"id": n, "body": f"text <{n}>", "truth": f"true {n}"} for n in range(1, 21)]


def said_by(model: str, number: int) -> str:
    """Word for word the truth for one row in four, else in the model's words, which every fifth row shares."""
    if number % 4 == 0:
        return f"true {number}"
    return f"alike {number}" if number % 5 == 0 else f"{model} of {number}"


def is_right(model: str, number: int) -> bool:
    """What the judge is told to say of an answer that is not the truth itself."""
    return number % 3 != 0 if model == HAIKU or number % 5 == 0 else number % 7 != 0


def lines(rows: Sequence[Mapping[str, Any]] = ROWS) -> list[dict[str, Any]]:
    """What each model answers, and what the judge says of it."""
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


def judged_requests(project: Project) -> int:
    return project.sql("SELECT count(*) FROM ledger.requests WHERE pipeline LIKE 'demo:judge:%' AND leads")[0][0]


def accuracy(entry: Mapping[str, Any]) -> float:
    return float(entry["fields"]["summary"]["accuracy"])


def test_accuracies_are_those_that_the_judge_gives_and_it_is_asked_once(project: Project) -> None:
    begin(project)
    found = report(project, models="all")
    assert [accuracy(each) for each in found["models"]] == [hits(HAIKU) / 20, hits(SONNET) / 20]
    assert 0 < hits(HAIKU) < hits(SONNET) < 20
    # 15 of 20 answers of each model are not the truth itself, three of them the same of both models.
    (judge,) = found["judges"]
    assert (judge["field"], judge["models"]) == ("summary", [OPUS])
    assert (judge["answers"], judge["judged"], judge["not_judged"]) == (27, 27, 0)
    assert judged_requests(project) == 27
    assert project.requests_sent() == 40 + 27
    # Its cost is apart from that of the answers.
    costs = dict(
        project.sql(
            "SELECT q.model, sum(r.cost_usd) FROM ledger.requests q JOIN ledger.results r USING (custom_id) GROUP BY ALL"
        )
    )
    assert [each["cost_usd"] for each in found["models"]] == [costs[HAIKU].normalize(), costs[SONNET].normalize()]
    assert judge["cost_usd"] == costs[OPUS].normalize()
    # It went through a batch, at half the price, and left no table.
    assert project.sql("SELECT count(*) FROM ledger.results WHERE batch_id IS NULL") == [(0,)]
    assert project.sql("SELECT count(*) FROM information_schema.tables WHERE table_schema <> 'ledger'") == [(0,)]
    assert report(project, models="all") == found
    assert project.requests_sent() == 67
