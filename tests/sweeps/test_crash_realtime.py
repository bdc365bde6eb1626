"""Tests that a run in realtime, killed at any step, goes on: what it paid for is recorded or booked, and nothing more.

`pytest tests/sweeps/test_crash_realtime.py --full-sweep` kills it at every point.
"""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

from crash.scenario import PIPELINE
from crash.sweep import KILLED, Runner, examine, fresh
from projects import Project

REALTIME = PIPELINE.replace("max_tokens = 200\n", 'max_tokens = 200\nmode = "realtime"\n').replace(
    "max_tokens = 400\n", 'max_tokens = 400\nmode = "realtime"\n'
)
NAMED = ("before call answer", "after call answer")


def bought(project: Project) -> int:
    """Return how many realtime calls the emulator answered."""
    return sum(each["path"] == "/v1/messages" and each["status"] == 200 for each in project.log()["calls"])


def recorded(project: Project) -> tuple[int, int]:
    """Return how many answers the ledger has, and how many calls it has booked."""
    (found,) = project.sql(
        "SELECT count(*) FILTER (outcome NOT IN ('gone', 'permanent')), count(*) FILTER (outcome = 'gone') "
        "FROM ledger.results WHERE NOT judged_again"
    )
    return found[0], found[1]


def attempt(runner: Runner, folder: Path, *, kill_at: int = 0, kill_on: str = "") -> None:
    """Kill a run, run twice more, and hold what was bought against what is recorded and booked."""
    with fresh(folder, pipeline=REALTIME) as project:
        killed = runner.run(project, kill_at=kill_at, kill_on=kill_on)
        assert killed.code == KILLED or not kill_on
        last, third = runner.run(project), runner.run(project)
        found = examine(project, Counter(), last, third)
        assert (found.rows_lost, found.raw_lost, found.wrong) == (0, 0, [])
        answers, booked = recorded(project)
        assert answers <= bought(project) <= answers + booked
        assert project.sql("SELECT count(*) FROM ledger.batches WHERE is_open") == [(0,)]


def test_a_run_in_realtime_killed_at_any_point_goes_on(tmp_path: Path, full_sweep: bool, chance: random.Random) -> None:
    runner = Runner()
    try:
        with fresh(tmp_path / "whole", pipeline=REALTIME) as project:
            whole = runner.run(project)
            assert whole.outcome is not None
            assert bought(project) == recorded(project)[0]
            assert recorded(project)[1] == 0
        names = whole.outcome["points"]
        assert names.count("before call answer") > 10
        points = list(range(1, len(names) + 1))
        kills: list[dict[str, Any]] = [{"kill_at": each} for each in points] + [{"kill_on": each} for each in NAMED]
        if not full_sweep:
            kills = [chance.choice([{"kill_at": chance.choice(points)}, *kills[len(points) :]])]
        for number, kill in enumerate(kills):
            attempt(runner, tmp_path / f"kill-{number}", **kill)
    finally:
        runner.close()
