"""Rungs that ask a row more than once: samples, panels over three providers, votes, quorums, ties, and their ledger."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from projects import BASIC, Project, numbered

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
MODELS = ("claude-haiku-4-5", "gpt-6-luna", "gemini-3.8-flash", "claude-opus-4-8", "claude-sonnet-4-6")


class Desk(Project):
    """A project whose emulator answers each row by a table: for each model the label that it gives to each text."""

    def answers(self, labels: Mapping[str, Sequence[str]], score: float = 0.5) -> None:
        """Let each model answer row n with its n-th label; `!` is an answer that is not valid."""
        lines = [
            {
                "model": model,
                "match": f"text number {n}",
                "output": "no JSON" if label == "!" else {"label": label, "score": score},
            }
            for model, given in labels.items()
            for n, label in enumerate(given, start=1)
        ]
        path = self.root / "answers.jsonl"
        path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
        self.emulator.stop()
        self.emulator = Emulator(self.root / ".emulator", answers=path)
        self.emulator.start()

    def table(self, columns: str = "id, label, _rung, _agreement, _review") -> list[tuple[Any, ...]]:
        return self.sql(f"SELECT {columns} FROM demo ORDER BY id")


@pytest.fixture
def desk(tmp_path: Path) -> Any:
    found = Desk(tmp_path)
    yield found
    found.close()


def test_the_answer_that_most_agree_with_stands_and_a_vote_that_is_not_clear_goes_up(desk: Desk) -> None:
    desk.answers(
        {
            "claude-haiku-4-5": ["bug", "bug", "bug", "billing"],
            "gpt-6-luna": ["bug", "other", "billing", "other"],
            "gemini-3.8-flash": ["bug", "other", "other", "!"],
            "claude-opus-4-8": ["other", "other", "billing", "bug"],
        }
    )
    desk.rows(numbered(4))
    desk.pipeline(HEAD + PANEL + TOP)

    result = desk.run()

    assert desk.table() == [
        (1, "bug", 1, 1.0, False),
        (2, "other", 1, 2 / 3, False),
        (3, "billing", 2, None, False),
        (4, "bug", 2, None, False),
    ]
    # The member whose answers to one row are not valid is asked three times, and casts no vote then.
    assert (result.submitted, result.rows["accepted"], result.rows["failed"]) == (4 * 3 + 2 + 2, 4, 0)
    (votes,) = desk.sql("SELECT votes FROM ledger.votes WHERE NOT list_bool_and([each.valid for each in votes])")[0]
    assert [(each["model"], each["part"], each["valid"]) for each in votes] == [
        ("claude-haiku-4-5", "1", True),
        ("gpt-6-luna", "1", True),
        ("gemini-3.8-flash", "1", False),
    ]
    assert desk.run().submitted == 0


def test_the_columns_are_the_winners_and_the_cost_is_that_of_all_members(desk: Desk) -> None:
    desk.answers({"claude-haiku-4-5": ["bug"], "gpt-6-luna": ["other"], "gemini-3.8-flash": ["other"]})
    desk.rows(numbered(1))
    desk.pipeline(HEAD + PANEL)
    desk.run()

    ((model, custom_id, batch_id, cost),) = desk.table("_model, _custom_id, _batch_id, _cost_usd")
    stored = desk.sql("SELECT custom_id, batch_id, model, cost_usd FROM ledger.results")

    assert (custom_id, batch_id, model) in [each[:3] for each in stored]
    assert model == "gpt-6-luna"
    assert cost == sum((each[3] for each in stored), Decimal(0)) > 0
