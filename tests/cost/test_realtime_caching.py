"""Batches against realtime calls where every request begins with the same long text, with both figures by hand."""

from __future__ import annotations

from decimal import Decimal

import pytest
from commandline import CommandLine
from projects import BASIC, Project, numbered

# About 40,000 tokens, which every request begins with.
RULES = "A ticket of this kind goes to its own queue, always, and so on. " * 2_000
LONG = BASIC.replace("[prompt]\n", f'[prompt]\nsystem_text = """{RULES}"""\n')
FLASH = LONG.replace("claude-haiku-4-5", "gemini:gemini-3.8-flash")


def test_the_plan_says_where_batches_are_the_dearer_way(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Gemini: the cache works by itself, and nobody says how often in a batch: a token of a batch is not cached."""
    call = CommandLine(monkeypatch=monkeypatch, capsys=capsys)
    call.provide(project)
    project.rows(numbered(200))
    project.pipeline(FLASH)
    found = call("plan", "demo", "--json").value
    (said,) = found["dearer_batches"]
    estimate = found["estimate"]
    tokens, written, prefix = estimate["input_tokens"], estimate["output_tokens"], said["prefix_tokens"]
    # Batch: .375 and 1.875 for a million tokens. Realtime: .75, .075 from the cache, 3.75.
    batch = (tokens * Decimal("0.375") + written * Decimal("1.875")) / 1_000_000
    own = tokens - 200 * prefix
    realtime = (own + 20 * prefix) * Decimal("0.75") + 180 * prefix * Decimal("0.075") + written * Decimal("3.75")
    assert (said["model"], said["writes"]) == ("gemini:gemini-3.8-flash", 20)
    assert Decimal(str(said["batch_usd"])) == batch == Decimal(str(estimate["cost_usd"]))
    assert Decimal(str(said["realtime_usd"])) == realtime / 1_000_000 < batch
    shown = call("plan", "demo").out
    assert "batches are the dearer way for gemini:gemini-3.8-flash: $" in shown
    assert "all calls but the first 20 read the" in shown
    # In realtime nothing is said, nor for a short prefix, nor where nothing is cached.
    for text in (
        FLASH + 'mode = "realtime"\n',
        BASIC.replace("claude-haiku-4-5", "gemini:gemini-3.8-flash"),
        LONG.replace("[prompt]\n", '[prompt]\ncache = "off"\n'),
    ):
        project.pipeline(text)
        assert "dearer" not in call("plan", "demo").out
