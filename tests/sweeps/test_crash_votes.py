"""Tests that a run with samples and a panel, killed at any step, goes on, loses nothing and pays nothing twice.

`pytest tests/sweeps/test_crash_votes.py --full-sweep` kills it at every point.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from crash.scenario import VOTING
from crash.sweep import Runner, Tally, count_points, try_point

TRIED_IN_SHORT = 2


@pytest.fixture
def runner() -> Iterator[Runner]:
    """A process that forks the runs."""
    found = Runner()
    yield found
    found.close()


def test_a_panel_over_three_providers_killed_at_any_point_goes_on(
    runner: Runner, tmp_path: Path, full_sweep: bool, chance: random.Random
) -> None:
    voting: dict[str, Any] = {"pipeline": VOTING}
    names, usual = count_points(runner, tmp_path / "uninterrupted", **voting)
    assert Counter(names)["before call upload"] >= 1
    points = list(range(1, len(names) + 1))
    if not full_sweep:
        points = sorted(chance.sample(points, TRIED_IN_SHORT))
    tally = Tally()
    for point in points:
        found, killed = try_point(runner, tmp_path / f"point-{point}", point, usual, **voting)
        tally.add(found, f"{point} {names[point - 1]}")
        tally.killed += killed
    assert tally.wrong == []
    assert (tally.rows_lost, tally.paid_twice, tally.raw_lost) == (0, 0, 0)
