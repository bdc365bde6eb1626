"""Print which gold rows come from review."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from batchpipe.commands.printing.text import count
from batchpipe.engine.gold.reviewed_gold import FromReview

BIAS = (
    "Only the sample stands for the whole input: rows that were shown because they were doubtful are harder than "
    "the rest, and lower the accuracy."
)

MADE_UP = "The accuracies are made up, because the emulator's answers are: nothing was measured."


def judged_notes(names: Sequence[str]) -> list[str]:
    """Return a note on the fields that are left out because a judge compares them."""
    if not names:
        return []
    return [f"Without {', '.join(names)}, which a judge compares: only `eval` asks a judge."]


def reviewed_notes(found: FromReview, gold: int) -> list[str]:
    """Return notes on how many of `gold` rows come from review, why people saw them, and what that means for the
    numbers.
    """
    if not found.rows:
        return []
    reasons = (
        (found.ladder, "that the ladder was not sure of"),
        (found.where, "by [review] where"),
        (found.sample, "of the sample"),
        (found.other, "that only a person chose"),
    )
    listed = ", ".join(f"{count(rows)} {words}" for rows, words in reasons if rows)
    notes = [f"{count(found.rows)} of {count(gold, 'gold row')} come from review: {listed}."]
    return [*notes, BIAS] if found.ladder or found.where else notes


def reviewed_object(found: FromReview) -> dict[str, Any]:
    """Return the counts for `--json`: all rows, and the rows by reason, each row under one reason."""
    return {
        "rows": found.rows,
        "sample": found.sample,
        "ladder": found.ladder,
        "where": found.where,
        "other": found.other,
    }
