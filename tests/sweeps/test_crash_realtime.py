"""Tests that a run in realtime, killed at any step, goes on: what it paid for is recorded or booked, and nothing more.

`pytest tests/sweeps/test_crash_realtime.py --full-sweep` kills it at every point, with `-n 2` by two
processes.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from crash.parts import Sweep
from crash.scenario import PIPELINE
from crash.sweep import KILLED, Findings, Runner, Tally, examine, fresh
from projects import Project

REALTIME = PIPELINE.replace("max_tokens = 200\n", 'max_tokens = 200\nmode = "realtime"\n').replace(
    "max_tokens = 400\n", 'max_tokens = 400\nmode = "realtime"\n'
)
TRIED_IN_SHORT = 1
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


def attempt(runner: Runner, folder: Path, *, kill_at: int = 0, kill_on: str = "") -> tuple[Findings, int]:
    """Kill a run, run twice more, and hold what was bought against what is recorded and booked."""
    with fresh(folder, pipeline=REALTIME) as project:
        killed = runner.run(project, kill_at=kill_at, kill_on=kill_on).code == KILLED
        last, third = runner.run(project), runner.run(project)
        found = examine(project, Counter(), last, third)
        wrong = list(found.wrong)
        if kill_on and not killed:
            wrong.append("the run was not killed")
        (answers, booked), calls = recorded(project), bought(project)
        if not answers <= calls <= answers + booked:
            wrong.append(f"{calls} calls were bought, {answers} answers are recorded and {booked} calls are booked")
        if project.sql("SELECT count(*) FROM ledger.batches WHERE is_open") != [(0,)]:
            wrong.append("a batch is open")
        return Findings(rows_lost=found.rows_lost, paid_twice=0, raw_lost=found.raw_lost, wrong=wrong), killed


def test_a_run_in_realtime_killed_at_any_point_goes_on(tmp_path: Path, sweep: Sweep) -> None:
    runner = Runner()
    try:
        with fresh(tmp_path / "whole", pipeline=REALTIME) as project:
            whole = runner.run(project)
            assert whole.outcome is not None
            assert bought(project) == recorded(project)[0]
            assert recorded(project)[1] == 0
        names = whole.outcome["points"]
        assert names.count("before call answer") > 10
        kills: list[dict[str, Any]] = [{"kill_at": each} for each in range(1, len(names) + 1)]
        kills += [{"kill_on": each} for each in NAMED]
        tally = Tally()
        for number, kill in enumerate(sweep.choose(kills, TRIED_IN_SHORT)):
            found, killed = attempt(runner, tmp_path / f"kill-{number}", **kill)
            tally.add(found, str(kill), killed)
        sweep.tried(tally)
    finally:
        runner.close()
