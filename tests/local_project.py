"""A project whose ladder begins with the local model: messages whose words tell their label, and answers for them."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import duckdb
from checkout import batchpipe

LABELS = ("billing", "bug", "praise")
WORDS = {
    "billing": ("invoice", "charged", "refund", "payment", "card", "receipt"),
    "bug": ("crash", "error", "freezes", "broken", "fails", "screen"),
    "praise": ("love", "great", "thanks", "wonderful", "happy", "perfect"),
}
FILLING = ("the", "today", "again", "app", "my", "it", "when", "with", "please", "since")
PIPELINE = """
[input]
query = "SELECT id, body FROM read_csv('rows.csv', types = {'id': 'BIGINT', 'body': 'VARCHAR'})"
key = "id"
window = true

[prompt]
user_text = "Label this: {{ body }} (end)"

[output.fields.label]
type = "string"
enum = ["billing", "bug", "praise"]
[output.fields.confidence]
type = "number"
minimum = 0
maximum = 1

[[models]]
model = "local"
accept = "_confidence >= 0.6"
audit = 0.1

[[models]]
model = "claude-haiku-4-5"
max_tokens = 200
"""
WITHOUT = PIPELINE.replace('[[models]]\nmodel = "local"\naccept = "_confidence >= 0.6"\naudit = 0.1\n\n', "")


def body_of(number: int) -> tuple[str, str]:
    """Return the text of a message and its label, drawn by its number."""
    chance = random.Random(number)
    label = chance.choice(LABELS)
    words = [*chance.sample(WORDS[label], 2), *chance.sample(FILLING, 3)]
    chance.shuffle(words)
    return f"{' '.join(words)} n{number}", label


class LocalProject:
    """A project in a folder, run by the real commands on the emulator."""

    def __init__(self, root: Path, pipeline: str = PIPELINE) -> None:
        self.root = root
        self.turned = False  # whether the emulated models now give each label another name
        (root / "pipelines").mkdir(parents=True)
        (root / "batchpipe.toml").touch()
        self.write(pipeline)

    def write(self, pipeline: str) -> None:
        """Write the pipeline file."""
        (self.root / "pipelines" / "triage.toml").write_text(pipeline, encoding="utf-8")

    def rows(self, numbers: Sequence[int], confidence: float = 0.9) -> None:
        """Make the messages of `numbers` the input, with the answers that the emulated models give."""
        made = [(number, *body_of(number)) for number in numbers]
        lines = ["id,body", *(f"{number},{body}" for number, body, _ in made)]
        (self.root / "rows.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        answers = [
            {"match": f" n{number} (", "output": {"label": self._said(label), "confidence": confidence}}
            for number, _, label in made
        ]
        with (self.root / "answers.jsonl").open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(each) + "\n" for each in answers)

    def _said(self, label: str) -> str:
        """Return what the emulated models say of a message with this label."""
        return LABELS[(LABELS.index(label) + 1) % len(LABELS)] if self.turned else label

    def command(self, *arguments: str, code: int = 0) -> CompletedProcess[str]:
        """Call a command with the emulator; it must end with `code`."""
        environment = {"BATCHPIPE_EMULATOR": "1", "BATCHPIPE_EMULATOR_ANSWERS": str(self.root / "answers.jsonl")}
        ended = batchpipe(*arguments, cwd=self.root, environment=environment)
        assert ended.returncode == code, ended.stderr + ended.stdout
        return ended

    def json(self, *arguments: str, code: int = 0) -> Any:
        """Return the JSON that a command prints."""
        return json.loads(self.command(*arguments, "--json", code=code).stdout)

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        """Return rows of the project's database."""
        with duckdb.connect(str(self.root / ".batchpipe/emulator/batchpipe.duckdb"), read_only=True) as database:
            return database.execute(statement).fetchall()
