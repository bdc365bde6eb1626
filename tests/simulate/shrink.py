"""Make a failing history short: steps are left out as long as the same rule does not hold."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .history import history
from .play import Played, play

MOST_PLAYS = 60


def shrunk(played: Played, folder: Path, without: Sequence[str]) -> str:
    """Return the shortest history found that violates the same rule, as text. Steps keep their numbers and chance."""
    assert played.violation is not None
    steps = list(history(played.seed, without))
    best, plays = played, 0
    place = len(steps) - 1
    while place >= 0 and plays < MOST_PLAYS:
        fewer = steps[:place] + steps[place + 1 :]
        again = play(played.seed, fewer, folder)
        plays += 1
        if again.violation is not None and again.violation.rule == played.violation.rule:
            steps, best = fewer, again
        place = min(place, len(steps)) - 1
    lines = [f"  shrunk to {len(steps)} steps: {'; '.join(str(each) for each in steps)}", f"  {best.violation}"]
    return "\n".join(lines)
