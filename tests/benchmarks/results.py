"""The results of measurements, the machine they were made on, and the file that keeps them."""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

FLOOR, LOOP = "floor", "sdk loop"
FIRST, UNCHANGED, CHANGED, COLLECT = "first run", "unchanged run", "1% changed", "collect only"
PROGRAMS = (FLOOR, LOOP, FIRST, UNCHANGED, CHANGED, COLLECT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """The cost of one program: CPU is the user and system time of its process, memory its peak."""

    program: str
    rows: int
    row_bytes: int
    chunk: int
    cpu_seconds: float
    wall_seconds: float
    memory_bytes: int
    database_bytes: int = 0

    @property
    def cpu_us_per_row(self) -> float:
        return self.cpu_seconds / self.rows * 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """The CPU of one statement or function over all its calls."""

    name: str
    cpu_seconds: float
    calls: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """The CPU of a first run by statement, and by Python function in another run, which the profiler slows down."""

    rows: int
    row_bytes: int
    chunk: int
    cpu_seconds: float
    statements: tuple[Part, ...]
    other_seconds: float
    profiled_seconds: float
    functions: tuple[Part, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """One call of the benchmark: its command, when (ISO, UTC), and the machine."""

    command: str
    at: str
    cores: int
    cpu: str
    memory_bytes: int
    python: str
    duckdb: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A cost or a profile, and the call that it was measured by."""

    taken: Taken
    what: Cost | Profile


def taken_now(command: str) -> Taken:
    return Taken(
        command=command,
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        cpu=_cpu(),
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        python=platform.python_version(),
        duckdb=version("duckdb"),
    )


def _cpu() -> str:
    """Return the processor's model if the system tells it, else its kind."""
    path = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*:\s*(.+)$", path.read_text(), re.MULTILINE) if path.is_file() else None
    return " ".join(found[1].split()) if found else platform.machine()


def write(path: Path, results: Sequence[Result]) -> None:
    """Write the results as JSON lines; the file is replaced as a whole."""
    part = path.with_name(f".{path.name}.part")
    part.write_text("".join(_line(each) + "\n" for each in results), encoding="utf-8")
    part.replace(path)


def read(path: Path) -> list[Result]:
    """Return the results of a file; an empty list if there is no file."""
    if not path.exists():
        return []
    return [_result(json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]


def _line(result: Result) -> str:
    kind = "cost" if isinstance(result.what, Cost) else "profile"
    return json.dumps({kind: asdict(result.what), "taken": asdict(result.taken)}, ensure_ascii=False)


def _result(line: dict[str, Any]) -> Result:
    taken = Taken(**line["taken"])
    if "cost" in line:
        return Result(taken=taken, what=Cost(**line["cost"]))
    parts = {name: tuple(Part(**each) for each in line["profile"][name]) for name in ("statements", "functions")}
    return Result(taken=taken, what=Profile(**(line["profile"] | parts)))
