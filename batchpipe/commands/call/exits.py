"""Name the exit codes, and say which one counts when several apply."""

from __future__ import annotations

from collections.abc import Iterable

DONE, FAILED_ROWS, WRONG, PROVIDER, DATABASE, PENDING, GATE, BUG, INTERRUPTED = 0, 1, 2, 3, 4, 5, 6, 70, 130
PRECEDENCE = (INTERRUPTED, BUG, DATABASE, PROVIDER, WRONG, GATE, PENDING, FAILED_ROWS, DONE)


def worst(codes: Iterable[int]) -> int:
    """Return the exit code of a command over several pipelines.

    It is the first of 130, 70, 4, 3, 2, 6, 5, 1, 0 that occurs.
    """
    return min(codes, key=PRECEDENCE.index, default=DONE)
