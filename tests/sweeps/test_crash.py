"""Tests that a run killed at any step goes on, loses nothing and pays nothing twice.

`pytest -n 2 tests/sweeps/test_crash.py --full-sweep` kills it at every point, in parts that two processes share.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from crash.parts import Sweep
from crash.scenario import BODIES, MIXED, MIXED_RULES, RULES
from crash.sweep import KILLED, Findings, Runner, Tally, answered, count_points, examine, fresh, try_point

TRIED_IN_SHORT = 8
TWICE_IN_SHORT = 2
MOMENTS_IN_SHORT, MOMENTS_IN_FULL = 2, 100
MIXED_IN_SHORT = 1
SHARE_KILLED_TWICE = 0.2


@pytest.fixture(scope="module")
def runner() -> Iterator[Runner]:
    """A process that forks the runs."""
    made = Runner()
    yield made
    made.close()


@pytest.fixture(scope="module")
def uninterrupted(runner: Runner, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], Counter[str]]:
    """The points that a run passes, and the requests that it sends."""
    return count_points(runner, tmp_path_factory.mktemp("crash") / "uninterrupted")


def test_a_run_killed_at_any_point_goes_on(
    runner: Runner,
    uninterrupted: tuple[list[str], Counter[str]],
    tmp_path: Path,
    sweep: Sweep,
    chance: random.Random,
) -> None:
    names, usual = uninterrupted
    points = sweep.choose(range(1, len(names) + 1), TRIED_IN_SHORT)
    share = SHARE_KILLED_TWICE if sweep.full else TWICE_IN_SHORT / TRIED_IN_SHORT
    again = set(chance.sample(points, round(len(points) * share)))
    tally = Tally()
    for point in points:
        second = random.Random(point) if point in again else None
        found, killed = try_point(runner, tmp_path / f"point-{point}", point, usual, second=second)
        tally.add(found, f"{point} {names[point - 1]}", killed)
    sweep.tried(tally)
    assert tally.killed >= len(points) * 0.9


def test_the_points_are_all_that_a_run_does(uninterrupted: tuple[list[str], Counter[str]]) -> None:
    names, usual = uninterrupted
    kinds = Counter(names)
    for kind in ("write", "commit", "read", "call submit", "call poll", "call collect", "file snapshot",
                 "file render_rows", "file replace", "file fsync"):  # fmt: skip
        assert kinds[f"before {kind}"] > 0, kind
    assert kinds["within file part"] > 0
    assert kinds["before call submit"] >= 6
    # Retries, a second rung and a transient error are in it: more is sent than there are different rows.
    assert usual.total() > len(set(BODIES))


def test_killed_at_moments_that_are_no_points(
    runner: Runner,
    uninterrupted: tuple[list[str], Counter[str]],
    tmp_path: Path,
    sweep: Sweep,
    chance: random.Random,
) -> None:
    """Kill a run within a statement of the database, within its commit, and within a call."""
    _, usual = uninterrupted
    tally = Tally()
    for number in sweep.choose(range(MOMENTS_IN_FULL), MOMENTS_IN_SHORT):
        with fresh(tmp_path / f"moment-{number}") as project:
            process = runner.begin(project)
            time.sleep(chance.uniform(0.05, 1.5))
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
            killed = runner.end(project).code == KILLED
            last, third = runner.run(project), runner.run(project)
            tally.add(examine(project, usual, last, third), f"moment {number}", killed)
    sweep.tried(tally)


def test_killed_between_a_landed_post_and_its_reply(
    runner: Runner, uninterrupted: tuple[list[str], Counter[str]], tmp_path: Path
) -> None:
    _, usual = uninterrupted
    late = {"calls": [{"call": "create", "fault": "accepted_late", "seconds": 60, "after": 1}]}
    with fresh(tmp_path / "late", rules={**RULES, **late}) as project:
        process = runner.begin(project)
        while len(project.log()["batches"]) < 2:
            time.sleep(0.02)
        os.kill(process, signal.SIGKILL)
        assert runner.end(project).code == KILLED
        last, third = runner.run(project), runner.run(project)
        found = examine(project, usual, last, third)
        assert found == Findings(rows_lost=0, paid_twice=0, raw_lost=0, wrong=[])
        assert len(answered(project)) == len(usual)


def test_a_ladder_over_three_providers_killed_at_any_point_goes_on(
    runner: Runner, tmp_path: Path, sweep: Sweep
) -> None:
    names = sweep.try_points(runner, tmp_path, MIXED_IN_SHORT, pipeline=MIXED, rules=MIXED_RULES)
    assert Counter(names)["before call upload"] >= 2


@pytest.mark.parametrize("step", ["before call list_batches", "after call list_batches", "within file part"])
def test_killed_while_it_searches_for_what_it_sent(
    runner: Runner, uninterrupted: tuple[list[str], Counter[str]], tmp_path: Path, step: str
) -> None:
    _, usual = uninterrupted
    with fresh(tmp_path / "search") as project:
        assert runner.run(project, kill_on="after call submit").code == KILLED
        assert runner.run(project, kill_on=step).code == KILLED
        last, third = runner.run(project), runner.run(project)
        found = examine(project, usual, last, third)
        assert found == Findings(rows_lost=0, paid_twice=0, raw_lost=0, wrong=[])
