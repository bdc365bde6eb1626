"""Print why rows failed: the most frequent reasons, each with a row to look at."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from batchpipe.commands.printing.text import count, safe, shortened, shown_key

if TYPE_CHECKING:
    from batchpipe.engine.ledger.overview import FailureReason

MOST_CHARACTERS = 160  # of an error
MOST_ARGUMENT = 200  # characters of a key that a person would still copy


def failures_object(reasons: Sequence[FailureReason]) -> list[dict[str, Any]]:
    """Return the reasons for `--json`."""
    return [{"error": each.error, "rows": each.rows, "key": json.loads(each.key)} for each in reasons]


def failure_lines(reasons: Sequence[FailureReason], failed: int) -> list[str]:
    """Return why the `failed` rows failed; nothing where none did."""
    if not reasons:
        return []
    lines = ["  why rows failed:"]
    for each in reasons:
        error = shortened(safe(each.error), MOST_CHARACTERS)
        lines.append(f"    {count(each.rows, 'row')}, such as {shown_key(each.key)}: {error}")
    if others := failed - sum(each.rows for each in reasons):
        lines.append(f"    {count(others, 'row')} for other reasons")
    return lines


def key_argument(key: str) -> str:
    """Return a key, a JSON list, as it can be typed after `show NAME`; `KEY` where it is too long to be typed."""
    values = json.loads(key)
    text = values[0] if len(values) == 1 else ""
    plain = text.isascii() and text.isprintable() and text[:1] not in ("", "-", "[")
    # Python writes what is not ASCII with backslashes, so that nothing in it steers a terminal.
    argument = shlex.quote(text if plain else json.dumps(values))
    return argument if len(argument) <= MOST_ARGUMENT else "KEY"
