"""Print the fixed and broken rows of a diff."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from batchpipe.commands.printing.gold import judged_notes, reviewed_notes, reviewed_object
from batchpipe.commands.printing.text import count, key_text
from batchpipe.engine.quality.gold_diff import GoldDiff, RightRows
from batchpipe.evaluation.library import HINT

SHOWN_KEYS = 10
HEADER = ("field", "right before", "right now", "fixed", "broken", "McNemar")
ALL = "every field"


def gold_lines(found: GoldDiff) -> list[list[str]]:
    """Return the lines of the table `HEADER`: one per field, and one for all fields where there are several."""
    swings = [*found.fields.items(), *([(ALL, found.whole)] if len(found.fields) > 1 else [])]
    return [
        [
            name,
            _share(each, each.before),
            _share(each, each.after),
            count(len(each.fixed)),
            count(len(each.broken)),
            "unknown" if each.p_value is None else f"p = {each.p_value:.3g}",
        ]
        for name, each in swings
    ]


def gold_title(found: GoldDiff) -> str:
    """Return the title: `Compared with 40 gold rows`."""
    return f"Compared with {count(found.whole.n, 'gold row')}"


def gold_notes(found: GoldDiff) -> list[str]:
    """Return the keys of the fixed and broken rows, and notes on how to read the numbers."""
    notes = [
        f"{word}: {_keys(keys)}"
        for word, keys in (("fixed", found.whole.fixed), ("broken", found.whole.broken))
        if keys
    ]
    if found.whole.p_value is None:
        notes.append(f"The test needs the package scipy. {HINT}")
    return [*notes, *judged_notes(found.judged), *reviewed_notes(found.reviewed, found.whole.n)]


def gold_object(found: GoldDiff) -> dict[str, Any]:
    """Return the grades of both sides for `--json`."""
    return {
        "n": found.whole.n,
        "gold_from_review": reviewed_object(found.reviewed),
        **_object(found.whole),
        "fields": {name: _object(each) for name, each in found.fields.items()},
    }


def _object(swing: RightRows) -> dict[str, Any]:
    return {
        "from": _side(swing, swing.before),
        "to": _side(swing, swing.after),
        "fixed": [json.loads(key) for key in swing.fixed],
        "broken": [json.loads(key) for key in swing.broken],
        "p_value": swing.p_value,
    }


def _side(swing: RightRows, right: int) -> dict[str, Any]:
    return {"right": right, "accuracy": right / swing.n, "ci95": list(swing.interval(right))}


def _share(swing: RightRows, right: int) -> str:
    low, high = swing.interval(right)
    return f"{right / swing.n:.1%} ({low:.1%} to {high:.1%})"


def _keys(keys: Sequence[str]) -> str:
    more = f" and {len(keys) - SHOWN_KEYS:,} more" if len(keys) > SHOWN_KEYS else ""
    return ", ".join(key_text(key) for key in keys[:SHOWN_KEYS]) + more
