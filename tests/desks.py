"""A project whose emulator answers each row by a table, for rungs that vote."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from projects import BASIC, Project

from batchpipe.emulator import Emulator

HEAD = BASIC.partition("[[models]]")[0]
THREE = ("claude-haiku-4-5", "openai:gpt-6-luna", "gemini:gemini-3.8-flash")
PANEL = f"""
[[models]]
panel = {json.dumps(THREE)}
max_tokens = 300
accept = "_agreement > 0.6"
"""
TOP = """
[[models]]
model = "claude-opus-4-8"
max_tokens = 300
"""


class Desk(Project):
    """A project whose emulator answers each row by a table: for each model the label that it gives to each text."""

    def answers(self, labels: Mapping[str, Sequence[str]], score: float = 0.5) -> None:
        """Let each model answer row n with its n-th label; `!` is an answer that is not valid."""
        self.answer_lines(
            [
                {
                    "model": model,
                    "match": f"text number {n}",
                    "output": "no JSON" if label == "!" else {"label": label, "score": score},
                }
                for model, given in labels.items()
                for n, label in enumerate(given, start=1)
            ]
        )

    def answer_lines(self, lines: Sequence[Mapping[str, Any]]) -> None:
        """Let the emulator answer by these lines of its file of answers."""
        path = self.root / "answers.jsonl"
        path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
        self.emulator.stop()
        self.emulator = Emulator(self.root / ".emulator", answers=path)
        self.emulator.start()

    def table(self, columns: str = "id, label, _rung, _agreement, _review") -> list[tuple[Any, ...]]:
        """Return columns of the output table, by id."""
        return self.sql(f"SELECT {columns} FROM demo ORDER BY id")

    def single_calls(self) -> int:
        """Return how many realtime calls the emulator got."""
        ends = ("/v1/messages", "/chat/completions", "/responses", ":generateContent")
        return sum(each["method"] == "POST" and each["path"].endswith(ends) for each in self.log()["calls"])
