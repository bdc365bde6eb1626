"""A project whose pipelines read each other: tickets are classified, refunds extracted, and summed up by customer."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

CLASSIFY = """
[input]
query = "SELECT * FROM read_csv('tickets.csv', all_varchar = true)"
key = "id"
[prompt]
user_text = "Label: {{ body }}"
[output]
include = ["customer"]
[output.fields.label]
type = "string"
enum = ["refund", "bug", "other"]
[[models]]
model = "claude-haiku-4-5"
max_tokens = 50
"""
EXTRACT = """
[input]
query = \"\"\"
SELECT id, customer, body FROM classify JOIN read_csv('tickets.csv', all_varchar = true) USING (id, customer)
WHERE label = 'refund'\"\"\"
key = "id"
[prompt]
user_text = "Extract: {{ body }}"
[output]
include = ["customer"]
[output.fields.reason]
type = "string"
[[models]]
model = "claude-haiku-4-5"
max_tokens = 50
"""
SUMMARY = """
[input]
query = "SELECT customer, list(reason ORDER BY id) AS reasons FROM main.Extract GROUP BY customer"
key = "customer"
[prompt]
user_text = "Sum up: {{ reasons }}"
[output.fields.digest]
type = "string"
[[models]]
model = "claude-haiku-4-5"
max_tokens = 50
"""
TICKETS = (
    {"id": "1", "customer": "ann", "body": "refund one"},
    {"id": "2", "customer": "bob", "body": "it crashes"},
    {"id": "3", "customer": "ann", "body": "refund two"},
    {"id": "4", "customer": "cid", "body": "refund three"},
)
ANSWERS = """
{"match": "Label: refund", "output": {"label": "refund"}}
{"match": "Label: it crashes", "output": {"label": "bug"}}
{"match": "Label: bad", "output": "no JSON"}
"""


def write_tickets(root: Path, rows: Sequence[Mapping[str, str]] = TICKETS) -> None:
    """Write the input of the chain."""
    with (root / "tickets.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["id", "customer", "body"])
        writer.writeheader()
        writer.writerows(rows)


def write_chain(root: Path, **files: str) -> Path:
    """Write the project with its three pipelines, or with `files` in place of some of them or beside them."""
    (root / "pipelines").mkdir(parents=True, exist_ok=True)
    (root / "batchpipe.toml").touch()
    (root / "answers.jsonl").write_text(ANSWERS.strip() + "\n", encoding="utf-8")
    for name, text in {"classify": CLASSIFY, "extract": EXTRACT, "summary": SUMMARY, **files}.items():
        (root / "pipelines" / f"{name}.toml").write_text(text, encoding="utf-8")
    write_tickets(root)
    return root
