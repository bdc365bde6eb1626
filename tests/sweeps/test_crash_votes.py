"""Tests that a run with samples and a panel, killed at any step, goes on, loses nothing and pays nothing twice.

`pytest tests/sweeps/test_crash_votes.py --full-sweep` kills it at every point, with `-n 2` by two processes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from crash.parts import Sweep
from crash.scenario import VOTING
from crash.sweep import Runner

TRIED_IN_SHORT = 2


@pytest.fixture
def runner() -> Iterator[Runner]:
    """A process that forks the runs."""
    found = Runner()
    yield found
    found.close()


def test_a_panel_over_three_providers_killed_at_any_point_goes_on(runner: Runner, tmp_path: Path, sweep: Sweep) -> None:
    names = sweep.try_points(runner, tmp_path, TRIED_IN_SHORT, pipeline=VOTING)
    assert Counter(names)["before call upload"] >= 1
