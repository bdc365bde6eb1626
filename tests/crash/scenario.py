"""The pipeline that is run and killed: it has several chunks, retries, a ladder, equal rows and a transient error."""

from __future__ import annotations

from typing import Any

LOW, HIGH = "claude-haiku-4-5", "claude-sonnet-4-6"

PIPELINE = f"""
[input]
query = "SELECT id, body FROM read_csv('rows.csv', types = {{'id': 'BIGINT', 'body': 'VARCHAR'}})"
key = "id"
[prompt]
user_text = "{{{{ body }}}}"
[output.fields.label]
type = "string"
enum = ["billing", "bug", "other"]
[output.fields.score]
type = "number"
[[models]]
model = "{LOW}"
max_tokens = 200
accept = "score >= 0.5"
[[models]]
model = "{HIGH}"
max_tokens = 400
[chunking]
max_requests = 4
max_in_flight = 3
"""

BODIES = (
    "1 is billing;",
    "2 is bug;",
    "3 is other;",
    "4 is billing; wrong;",
    "5 is bug; unsure;",
    "6 is other; hiccup;",
    "same is bug;",
    "same is bug;",
    "same is other; unsure;",
    "same is other; unsure;",
    "11 is billing; refused;",
    "12 is bug; long;",
    "13 is other;",
)
LABELS = {number: body.partition(" is ")[2].partition(";")[0] for number, body in enumerate(BODIES, start=1)}


def said(label: str, score: float, **more: Any) -> dict[str, Any]:
    return {"output": {"label": label, "score": score}, **more}


RULES: dict[str, Any] = {
    "requests": [
        {"match": "wrong;", "outcome": "wrong_enum", "times": 1},
        {"match": "hiccup;", "outcome": "errored_overloaded", "times": 1},
        {"match": "long;", "outcome": "truncated", "times": 1},
        {"match": "refused;", "model": LOW, "outcome": "refused"},
        said("other", 0.1, match="unsure;", model=LOW),
        *(said(label, 0.9, match=f"is {label};") for label in ("billing", "bug", "other")),
    ]
}


def rows_csv(count: int = len(BODIES)) -> str:
    """Return the first `count` rows."""
    lines = [f'{number},"{body}"' for number, body in enumerate(BODIES[:count], start=1)]
    return "\n".join(["id,body", *lines]) + "\n"
