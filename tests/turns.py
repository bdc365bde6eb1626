"""Tests that take long take turns: a call that names no file runs those whose day it is, and all of the others.

`tests/turns.txt` has the CPU seconds of each test function that takes long, its cases together.
`pytest -n auto --measure` measures all tests anew and writes it. `--full-sweep` runs all tests, and so does a call that
names their file.
"""

from __future__ import annotations

import resource
from collections.abc import Iterable, Mapping
from datetime import date
from pathlib import Path

LIST = Path(__file__).resolve().parent / "turns.txt"
# On each day one in so many of the long tests has its turn.
TURNS = 24
LONG_SECONDS = 0.5
# On each day one in so many of the slow proofs is tried.
PROOF_TURNS = 4


def read_long_tests() -> dict[str, float]:
    """Return the CPU seconds of the tests that take long, by the name of the test function."""
    lines = LIST.read_text(encoding="utf-8").splitlines() if LIST.is_file() else []
    return {name: float(seconds) for seconds, name in (line.split(" ", 1) for line in lines)}


def write_long_tests(measured: Iterable[tuple[str, float]]) -> None:
    """Write which of the measured tests take long."""
    sums: dict[str, float] = {}
    for nodeid, seconds in measured:
        name = function_of(nodeid)
        sums[name] = sums.get(name, 0.0) + seconds
    long = sorted((name, seconds) for name, seconds in sums.items() if seconds >= LONG_SECONDS)
    LIST.write_text("".join(f"{seconds:.1f} {name}\n" for name, seconds in long), encoding="utf-8")


def function_of(nodeid: str) -> str:
    """Return the name of a test without its case."""
    return nodeid.partition("[")[0]


def long_tests_of(long: Mapping[str, float], day: str) -> set[str]:
    """Return the tests among `long` (CPU seconds by name) whose turn is that day.

    Each test goes to the turn that has the least seconds so far, the longest first: all days take about as long.
    """
    turns: list[set[str]] = [set() for _ in range(TURNS)]
    sums = [0.0] * TURNS
    for name in sorted(long, key=lambda name: (-long[name], name)):
        turn = sums.index(min(sums))
        turns[turn].add(name)
        sums[turn] += long[name]
    return turns[date.fromisoformat(day).toordinal() % TURNS]


def of_the_day(names: Iterable[str], day: str) -> list[str]:
    """Return the slow proofs of a day: by their order, so that neighbours, which share what they need, are apart."""
    return sorted(names)[date.fromisoformat(day).toordinal() % PROOF_TURNS :: PROOF_TURNS]


def cpu_seconds() -> float:
    """Return the CPU time of this process and of those that it has waited for."""
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime
