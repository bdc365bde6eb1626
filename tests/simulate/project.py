"""The project of a seed: its pipeline file and its rows, and what the file makes of an answer, told independently."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LOW, MIDDLE, HIGH = "claude-haiku-4-5", "claude-sonnet-4-6", "claude-opus-4-8"
LABELS = ("billing", "bug", "other")
# What a row's text says of its answer. The emulator's rules obey it.
MANNERS = ("", "", "", "", "wrong;", "hiccup;", "long;", "refused;", "unsure;", "empty;", "broken;")
LEAST_SCORE = 0.2


@dataclass(slots=True, kw_only=True)
class Project:
    """The pipeline file and the rows as they stand now. `rows` has the text of each row by its key.

    `kept` are the keys of rows whose answers an order keeps under an older prompt. `names` are all names so far.
    """

    name: str = "demo"
    rows: dict[int, str] = field(default_factory=dict)
    removed: dict[int, str] = field(default_factory=dict)
    common: str = "Which kind is"
    note: bool = False
    accept: bool = True
    check: bool = False
    score_column: str = ""
    key_type: str = "BIGINT"
    models: tuple[str, ...] = (LOW, MIDDLE)
    max_requests: int = 6
    attempts: int = 3
    pilot: int = 0
    max_usd: str = ""
    renamed_from: str = ""
    next_key: int = 1
    kept: set[int] = field(default_factory=set)
    names: list[str] = field(default_factory=lambda: ["demo"])

    def rename(self, name: str) -> None:
        """Give the pipeline another name, with a word of its old one."""
        self.renamed_from, self.name = self.name, name
        self.names.append(name)

    def text(self) -> str:
        """Return the pipeline file."""
        renamed = f'renamed_from = "{self.renamed_from}"\n' if self.renamed_from else ""
        column = f'column = "{self.score_column}"\n' if self.score_column else ""
        note = '[output.fields.note]\ntype = "string"\n' if self.note else ""
        check = f'[output.checks]\nsure = "score > {LEAST_SCORE}"\n' if self.check else ""
        pilot = f"[pilot]\nrows = {self.pilot}\n" if self.pilot else ""
        budget = f"[budget]\nmax_usd = {self.max_usd}\n" if self.max_usd else ""
        ladder = "".join(
            f'[[models]]\nmodel = "{model}"\nmax_tokens = {200 * (place + 1)}\n'
            + ('accept = "score >= 0.5"\n' if self.accept and place + 1 < len(self.models) else "")
            for place, model in enumerate(self.models)
        )
        return f"""{renamed}
[input]
query = "SELECT id, body FROM read_csv('rows.csv', types = {{'id': '{self.key_type}', 'body': 'VARCHAR'}})"
key = "id"
[prompt]
user_text = "{self.common} <<{{{{ body }}}}>>"
[output.fields.label]
type = "string"
enum = ["billing", "bug", "other"]
[output.fields.score]
type = "number"
{column}{note}{check}{ladder}
[chunking]
max_requests = {self.max_requests}
max_in_flight = 40
[retry]
attempts = {self.attempts}
{pilot}{budget}"""

    def write(self, root: Path) -> None:
        """Write the pipeline file and its rows below `root`; files of older names are gone."""
        folder = root / "pipelines"
        folder.mkdir(exist_ok=True)
        (root / "batchpipe.toml").touch()
        for path in folder.glob("*.toml"):
            if path.stem != self.name:
                path.unlink()
        (folder / f"{self.name}.toml").write_text(self.text(), encoding="utf-8")
        lines = [f'{key},"{body}"' for key, body in self.rows.items()]
        (root / "rows.csv").write_text("\n".join(["id,body", *lines]) + "\n", encoding="utf-8")

    def provider_rules(self, calls: list[dict[str, Any]] | None = None, **more: Any) -> dict[str, Any]:
        """Return the emulator's rules: answers that obey the rows' texts, and faults of calls."""
        note = {"note": "fine"} if self.note else {}
        return {
            "requests": [
                {"match": "wrong;", "outcome": "wrong_enum", "times": 1},
                {"match": "hiccup;", "outcome": "errored_overloaded", "times": 1},
                {"match": "long;", "outcome": "truncated", "times": 1},
                {"match": "empty;", "outcome": "empty_content", "times": 1},
                {"match": "broken;", "outcome": "invalid_json", "times": 1},
                {"match": "refused;", "model": LOW, "outcome": "refused"},
                {"match": "unsure;", "model": LOW, "output": {"label": "other", "score": 0.1, **note}},
                *({"output": {"label": label, "score": 0.9, **note}, "match": f"is {label};"} for label in LABELS),
            ],
            "calls": calls or [],
            **more,
        }

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
        if not isinstance(found.get("score"), int | float) or (self.check and found["score"] <= LEAST_SCORE):
            return None
        names = ("label", "score", *(["note"] if self.note else []))
        if set(found) != set(names) or (self.note and not isinstance(found["note"], str)):
            return None
        return {name: found[name] for name in names}
