"""The project of a seed: its pipeline file and its rows, and what the file makes of an answer, told independently."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LOW, MIDDLE, HIGH = "claude-haiku-4-5", "claude-sonnet-4-6", "claude-opus-4-8"
LABELS = ("billing", "bug", "other")
# What a row's text says of its answer. The emulator's rules obey it.
MANNERS = ("", "", "", "", "wrong;", "hiccup;", "long;", "refused;", "unsure;")


def rules(calls: list[dict[str, Any]] | None = None, **more: Any) -> dict[str, Any]:
    """Return the emulator's rules: answers that obey the rows' texts, and faults of calls."""
    said = [{"output": {"label": label, "score": 0.9}, "match": f"is {label};"} for label in LABELS]
    return {
        "requests": [
            {"match": "wrong;", "outcome": "wrong_enum", "times": 1},
            {"match": "hiccup;", "outcome": "errored_overloaded", "times": 1},
            {"match": "long;", "outcome": "truncated", "times": 1},
            {"match": "refused;", "model": LOW, "outcome": "refused"},
            {"match": "unsure;", "model": LOW, "output": {"label": "other", "score": 0.1}},
            *said,
        ],
        "calls": calls or [],
        **more,
    }


@dataclass(slots=True, kw_only=True)
class Project:
    """The pipeline file and the rows as they stand now. `rows` has the text of each row by its key."""

    name: str = "demo"
    rows: dict[int, str] = field(default_factory=dict)
    common: str = "Which kind is"
    note: bool = False
    accept: bool = True
    check: bool = False
    models: tuple[str, ...] = (LOW, MIDDLE)
    max_requests: int = 6
    attempts: int = 3
    extra: str = ""
    next_key: int = 1
    kept: set[int] = field(default_factory=set)

    def text(self) -> str:
        """Return the pipeline file."""
        note = '[output.fields.note]\ntype = "string"\n' if self.note else ""
        check = '[output.checks]\nsure = "score > 0.05"\n' if self.check else ""
        ladder = "".join(
            f'[[models]]\nmodel = "{model}"\nmax_tokens = {200 * (place + 1)}\n'
            + ('accept = "score >= 0.5"\n' if self.accept and place + 1 < len(self.models) else "")
            for place, model in enumerate(self.models)
        )
        return f"""
[input]
query = "SELECT id, body FROM read_csv('{self.name}.csv', types = {{'id': 'BIGINT', 'body': 'VARCHAR'}})"
key = "id"
[prompt]
user_text = "{self.common} <<{{{{ body }}}}>>"
[output.fields.label]
type = "string"
enum = ["billing", "bug", "other"]
[output.fields.score]
type = "number"
{note}{check}{ladder}
[chunking]
max_requests = {self.max_requests}
[retry]
attempts = {self.attempts}
{self.extra}
"""

    def write(self, root: Path) -> None:
        """Write the pipeline file and its rows below `root`."""
        (root / "pipelines").mkdir(exist_ok=True)
        (root / "batchpipe.toml").touch()
        (root / "pipelines" / f"{self.name}.toml").write_text(self.text(), encoding="utf-8")
        lines = [f'{key},"{body}"' for key, body in self.rows.items()]
        (root / f"{self.name}.csv").write_text("\n".join(["id,body", *lines]) + "\n", encoding="utf-8")

    def asked(self, key: int) -> str:
        """Return what the model is asked about a row."""
        return f"{self.common} <<{self.rows[key]}>>"

    def fields(self, answer: str | None) -> dict[str, Any] | None:
        """Return the fields of an answer that is valid today; None of any other."""
        try:
            found = json.loads(answer or "")
        except ValueError:
            return None
        if not isinstance(found, dict) or found.get("label") not in LABELS:
            return None
        if not isinstance(found.get("score"), int | float) or (self.check and found["score"] <= 0.05):
            return None
        if self.note and not isinstance(found.get("note"), str):
            return None
        return {name: found[name] for name in ("label", "score", *(["note"] if self.note else []))}
