"""Measurement of programs in processes of their own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .results import Cost, Part, Profile
from .task import MODEL, pipeline

ROOT = Path(__file__).resolve().parents[2]
TOP = 15


class ProgramError(Exception):
    """A program failed, or did not do what it had to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """The number of rows, the bytes of a row's text, and the requests in a batch."""

    rows: int
    row_bytes: int
    chunk: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """A folder to work in and an emulator beside it."""

    folder: Path
    base_url: str

    def rows(self, size: Size, changed: int = 0) -> None:
        """Write `rows.parquet`; every row below `changed` has another text."""
        path = str(self.folder / "rows.parquet")
        self._done("rows", ["write", path, str(size.rows), str(size.row_bytes), str(changed)])

    def project(self, size: Size, *, at_once: bool = False, model: str = MODEL) -> None:
        """Make a new project with the pipeline `bench`; with `at_once` all batches may be in flight together."""
        for name in (".batchpipe", "batchpipe.duckdb", "pipelines"):
            path = self.folder / name
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        (self.folder / "pipelines").mkdir()
        text = pipeline(size.chunk, size.rows if at_once else 0, model)
        (self.folder / "pipelines" / "bench.toml").write_text(text, encoding="utf-8")
        (self.folder / "batchpipe.toml").touch()

    def script(self, module: str, name: str, size: Size) -> Cost:
        """Run the module `floor` or `sdk_loop` over the rows; `name` is the name of the result."""
        output = self.folder / f"{module}.duckdb"
        output.unlink(missing_ok=True)
        arguments = ["-m", f"tests.benchmarks.{module}", self.base_url, str(self.folder / "rows.parquet"), str(output)]
        cost = self._timed(name, size, [*arguments, str(size.chunk)], (0,))
        if (found := self._count(output, "answers")) != (size.rows, size.rows):
            raise ProgramError(f"{name}: it stored {found[1]:,} of {size.rows:,} answers")
        return cost

    def batchpipe(
        self, name: str, size: Size, *options: str, codes: Sequence[int] = (0,), answered: int | None = None
    ) -> Cost:
        """Run `batchpipe run bench` with `options`, and check that `answered` rows (default: all) then have
        an answer.
        """
        database = self.folder / "batchpipe.duckdb"
        cost = self._timed(name, size, [*_run("batchpipe"), *options], codes, database)
        wanted = size.rows if answered is None else answered
        if (found := self._count(database, "bench")[1]) != wanted:
            raise ProgramError(f"{name}: {found:,} rows are answered, not {wanted:,}")
        return cost

    def collecting(self, size: Size) -> float:
        """Return the CPU seconds of collecting what is in flight, without the start of the program and the plan."""
        path = self.folder / "collecting.json"
        command = [*_run("tests.benchmarks.collecting", str(path)), "--no-new"]
        self._timed("collecting", size, command, (0,))
        return float(json.loads(path.read_text(encoding="utf-8"))["cpu_seconds"])

    def profile(self, size: Size) -> Profile:
        """Profile a first run twice, each in a new project: once by its statements, once by its functions."""
        parts, seconds = {}, {}
        for what in ("statements", "functions"):
            self.project(size)
            path = self.folder / f"{what}.json"
            cost = self._timed(f"profile of {what}", size, _run("tests.benchmarks.profiled", what, str(path)), (0,))
            seconds[what] = cost.cpu_seconds
            parts[what] = [Part(**each) for each in json.loads(path.read_text(encoding="utf-8"))]
        return Profile(
            rows=size.rows,
            row_bytes=size.row_bytes,
            chunk=size.chunk,
            cpu_seconds=seconds["statements"],
            statements=_top(parts["statements"]),
            other_seconds=round(seconds["statements"] - sum(each.cpu_seconds for each in parts["statements"]), 3),
            profiled_seconds=seconds["functions"],
            functions=_top(parts["functions"]),
        )

    def _count(self, path: Path, table: str) -> tuple[int, int]:
        rows, labels = self._done("rows", ["count", str(path), table]).split()
        return int(rows), int(labels)

    def _done(self, module: str, arguments: Sequence[str]) -> str:
        command = [sys.executable, "-m", f"tests.benchmarks.{module}", *arguments]
        done = subprocess.run(command, cwd=self.folder, env=_environment(), capture_output=True, text=True)
        if done.returncode:
            raise ProgramError(f"{module} {arguments[0]} ended with {done.returncode}:\n{done.stderr[-2000:]}")
        return done.stdout

    def _timed(
        self, name: str, size: Size, arguments: Sequence[str], codes: Sequence[int], database: Path | None = None
    ) -> Cost:
        environment = _environment() | {
            "ANTHROPIC_API_KEY": "sk-benchmark",
            "ANTHROPIC_BASE_URL": self.base_url,
            "OPENAI_API_KEY": "sk-benchmark",
            "OPENAI_BASE_URL": f"{self.base_url}/v1",
            "GEMINI_API_KEY": "sk-benchmark",
            "GOOGLE_GEMINI_BASE_URL": self.base_url,
        }
        output = self.folder / "output.txt"
        began = time.monotonic()
        with output.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, *arguments], cwd=self.folder, env=environment, stdout=file, stderr=file
            )
            _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode not in codes:
            said = output.read_text(encoding="utf-8", errors="replace")
            raise ProgramError(f"{name} ended with {process.returncode}:\n{said[-2000:]}")
        return Cost(
            program=name,
            rows=size.rows,
            row_bytes=size.row_bytes,
            chunk=size.chunk,
            cpu_seconds=round(used.ru_utime + used.ru_stime, 3),
            wall_seconds=round(time.monotonic() - began, 3),
            memory_bytes=used.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
            database_bytes=database.stat().st_size if database and database.exists() else 0,
        )


@contextmanager
def bench(folder: Path) -> Iterator[Bench]:
    """Work in `folder`, with an emulator in a process of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "batchpipe", "emulator", "--json", "--folder", str(folder / "emulator")],
        cwd=folder,
        env=_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        if not line:
            raise ProgramError("the emulator did not start")
        yield Bench(folder=folder, base_url=str(json.loads(line)["base_url"]))
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


def _run(module: str, *before: str) -> list[str]:
    return ["-m", module, *before, "run", "bench", "--yes"]


def _top(parts: Sequence[Part]) -> tuple[Part, ...]:
    return tuple(sorted(parts, key=lambda each: -each.cpu_seconds)[:TOP])


def _environment() -> dict[str, str]:
    return {
        "PATH": os.environ.get("PATH", ""),
        "HOME": os.environ.get("HOME", ""),
        "PYTHONPATH": str(ROOT),
        "BATCHPIPE_POLL_INTERVAL": "0.2",
    }
