"""The parent process: a new project and emulator for each point, runs that are killed, and the checks afterwards."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import duckdb
from projects import Project

from crash.scenario import LABELS, PIPELINE, RULES, rows_csv

SETTINGS = {"poll_interval": 0.01, "reconcile_wait": 0.05}
TESTS = Path(__file__).resolve().parents[1]
KILLED = -9


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """A run in a process of its own; `outcome` is None if it was killed."""

    code: int
    outcome: dict[str, Any] | None


class Runner:
    """A process that forks one process per run; it loads the modules `loaded` before, beside the usual ones."""

    def __init__(self, loaded: Sequence[str] = ()) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "crash.child", *loaded],
            cwd=TESTS.parent,
            env={"PYTHONPATH": f"{TESTS}:{TESTS.parent}", "PATH": "", "HOME": ""},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._answer()

    def run(self, project: Project, *, kill_at: int = 0, kill_on: str = "") -> Ran:
        """Run the project's pipeline, to be killed at its point number `kill_at` (0: never) or called `kill_on`."""
        self.begin(project, kill_at=kill_at, kill_on=kill_on)
        return self.end(project)

    def begin(self, project: Project, *, kill_at: int = 0, kill_on: str = "") -> int:
        """Start a run and return the id of its process."""
        answer = project.root / "answer.json"
        answer.unlink(missing_ok=True)
        job = {
            "root": str(project.root),
            "answer": str(answer),
            "pipeline": "demo",
            "environment": project.environment,
            "settings": SETTINGS,
            "kill_at": kill_at,
            "kill_on": kill_on,
        }
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        return int(self._answer())

    def end(self, project: Project) -> Ran:
        code = int(self._answer())
        answer = project.root / "answer.json"
        return Ran(code=code, outcome=json.loads(answer.read_text("utf-8")) if code == 0 else None)

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


@dataclass(slots=True, kw_only=True)
class Tally:
    """The counts of a sweep."""

    points: int = 0
    killed: int = 0
    rows_lost: int = 0
    paid_twice: int = 0
    raw_lost: int = 0
    wrong: list[str] = field(default_factory=list)

    def add(self, found: Findings, name: str, killed: int) -> None:
        self.points += 1
        self.killed += killed
        self.rows_lost += found.rows_lost
        self.paid_twice += found.paid_twice
        self.raw_lost += found.raw_lost
        self.wrong += [f"{name}: {each}" for each in found.wrong]

    def counts(self) -> dict[str, int]:
        """Return the counts, by the words for them."""
        return {
            "points tried": self.points,
            "runs killed": self.killed,
            "rows lost": self.rows_lost,
            "requests paid twice": self.paid_twice,
            "raw results lost": self.raw_lost,
            "other things wrong": len(self.wrong),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    rows_lost: int
    paid_twice: int
    raw_lost: int
    wrong: Sequence[str]


@contextmanager
def fresh(
    folder: Path,
    *,
    rules: dict[str, Any] | None = None,
    pipeline: str = PIPELINE,
    files: Mapping[str, bytes] = MappingProxyType({}),
) -> Iterator[Project]:
    """Make a project with the scenario's pipeline, or another one, and its rows and `files`, and a new emulator."""
    folder.mkdir(parents=True)
    for name, data in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(data)
    project = Project(folder)
    try:
        project.pipeline(pipeline)
        (folder / "rows.csv").write_text(rows_csv(), encoding="utf-8")
        project.faults(RULES if rules is None else rules)
        yield project
    finally:
        project.close()
        shutil.rmtree(folder)


def answered(project: Project) -> Counter[str]:
    """Return how often the emulator took each of our requests, by its content."""
    return Counter(
        request["params_md5"]
        for batch in project.log()["batches"].values()
        if not batch["stranger"]
        for request in batch["requests"]
    )


def examine(project: Project, usual: Counter[str], last: Ran, third: Ran) -> Findings:
    """Compare a killed run and the run after it with a run that was not interrupted."""
    wrong: list[str] = []
    if last.outcome is None or last.outcome["status"] != "done":
        wrong.append(f"the run after it ended with {last.code}: {last.outcome}")
    if third.outcome is None or third.outcome["submitted"] or third.outcome["status"] != "done":
        wrong.append(f"a third run did something: {third.outcome}")
    sent = answered(project)
    twice = sent - usual
    if usual - sent:
        wrong.append(f"{(usual - sent).total()} requests were never sent")
    labels = dict(_table(project, "SELECT id, label FROM demo WHERE _current AND NOT _review"))
    rows = _table(project, "SELECT count(*) FROM demo")
    lost = sum(labels.get(number) != label for number, label in LABELS.items())
    if rows and rows[0][0] != len(LABELS):
        wrong.append(f"the output table has {rows[0][0]} rows")
    wrong += [f"{each} rows are not accepted" for each in _not_accepted(project)]
    return Findings(rows_lost=lost, paid_twice=twice.total(), raw_lost=_raw_lost(project), wrong=wrong)


def _not_accepted(project: Project) -> list[int]:
    (count,) = _table(project, "SELECT count(*) FROM ledger.row_state WHERE state <> 'accepted'")[0]
    (double,) = _table(
        project,
        "SELECT count(*) FROM (SELECT key_id FROM ledger.decisions WHERE state = 'accepted' "
        "AND reason <> 'carried_over' GROUP BY key_id HAVING count(*) > 1)",
    )[0]
    return [each for each in (count, double) if each]


def _raw_lost(project: Project) -> int:
    """Return the collected batches that have no raw file."""
    folder = project.root / ".batchpipe" / "raw"
    chunks = _table(project, "SELECT chunk_id::VARCHAR FROM ledger.batches WHERE state = 'collected'")
    return sum(not list(folder.glob(f"{chunk_id}*")) for (chunk_id,) in chunks)


def _table(project: Project, statement: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(project.root / "batchpipe.duckdb"), read_only=True) as connection:
        return connection.execute(statement).fetchall()


def count_points(runner: Runner, folder: Path, **scenario: Any) -> tuple[list[str], Counter[str]]:
    """Return the points of a run that is not interrupted, and the requests that it sends."""
    with fresh(folder, **scenario) as project:
        ran = runner.run(project)
        assert ran.outcome is not None, "the uninterrupted run failed"
        assert ran.outcome["status"] == "done", ran.outcome
        usual = answered(project)
        third = runner.run(project)
        found = examine(project, usual, ran, third)
        assert not found.wrong, found.wrong
        assert (found.rows_lost, found.paid_twice, found.raw_lost) == (0, 0, 0)
        return list(ran.outcome["points"]), usual


def try_point(
    runner: Runner,
    folder: Path,
    point: int,
    usual: Counter[str],
    *,
    second: random.Random | None = None,
    **scenario: Any,
) -> tuple[Findings, int]:
    """Kill a run at `point`, with `second` the next one too at a random point; then run to the end."""
    with fresh(folder, **scenario) as project:
        first = runner.run(project, kill_at=point)
        killed = int(first.code == KILLED)
        if second is not None:
            killed += runner.run(project, kill_at=second.randint(1, 150)).code == KILLED
        last = runner.run(project)
        third = runner.run(project)
        return examine(project, usual, last, third), killed
