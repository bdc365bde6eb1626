"""The points of a sweep: which of them a test tries, in parts that several processes may share, and what came of them.

`pytest -n 2 tests/sweeps/test_crash.py --full-sweep` shares the parts of a sweep among two processes, and
`--part 3/8` tries the third of eight parts alone.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from crash.sweep import Runner, Tally, count_points, try_point

PARTS = 8
RECORDED = "sweep"
Point = TypeVar("Point")


@dataclass(frozen=True, slots=True)
class Part:
    """Part `number` of `of`, counted from 1."""

    number: int
    of: int

    @classmethod
    def read(cls, text: str) -> Part:
        """Return the part that is written as `3/8`. Raises ValueError for anything else."""
        number, _, of = text.partition("/")
        found = cls(int(number), int(of))
        if not 1 <= found.number <= found.of:
            raise ValueError(text)
        return found

    def __str__(self) -> str:
        return f"part{self.number}of{self.of}"


def parts_of(full_sweep: bool, one: str | None) -> list[Part]:
    """Return the parts that a sweep is divided into: one, unless everything is tried."""
    if one is not None:
        return [Part.read(one)]
    of = PARTS if full_sweep else 1
    return [Part(number, of) for number in range(1, of + 1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """What a test of a sweep is to try; `record` keeps what came of it for the summary."""

    part: Part
    full: bool
    chance: random.Random
    record: Callable[[str, object], None]

    def choose(self, every: Sequence[Point], in_short: int) -> list[Point]:
        """Return the points of this part, or `in_short` of them that chance draws."""
        if self.full:
            return list(every[self.part.number - 1 :: self.part.of])
        drawn = sorted(self.chance.sample(range(len(every)), in_short))
        return [every[each] for each in drawn]

    def try_points(self, runner: Runner, folder: Path, in_short: int, **scenario: Any) -> list[str]:
        """Kill a run at each point of this part, and hold it against one that is not killed. Return all points."""
        names, usual = count_points(runner, folder / "uninterrupted", **scenario)
        tally = Tally()
        for point in self.choose(range(1, len(names) + 1), in_short):
            found, killed = try_point(runner, folder / f"point-{point}", point, usual, **scenario)
            tally.add(found, f"{point} {names[point - 1]}", killed)
        self.tried(tally)
        return names

    def tried(self, tally: Tally) -> None:
        """Record the counts of `tally`, and demand that nothing went wrong."""
        self.record(RECORDED, tally.counts())
        assert tally.wrong == []
        assert (tally.rows_lost, tally.paid_twice, tally.raw_lost) == (0, 0, 0)


def summary(recorded: Iterable[tuple[str, dict[str, int]]]) -> list[str]:
    """Return a line for each sweep, by name, with the sums of its parts."""
    sums: dict[str, Counter[str]] = {}
    for name, counts in recorded:
        sums.setdefault(name, Counter()).update({"parts": 1, **counts})
    return [
        f"{name}: " + ", ".join(f"{count:,} {word}" for word, count in counts.items()) for name, counts in sums.items()
    ]
