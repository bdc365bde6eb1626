"""Programs in processes of their own, and what they took."""

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

import duckdb

from .task import pipeline

ROOT = Path(__file__).resolve().parents[2]
MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one program took: CPU is user and system time of its process, memory its peak."""

    program: str
    rows: int
    row_bytes: int
    cpu_seconds: float
    wall_seconds: float
    memory_bytes: int
    database_bytes: int = 0

    @property
    def cpu_us_per_row(self) -> float:
        return self.cpu_seconds / self.rows * 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """A folder to work in and an emulator beside it."""

    folder: Path
    base_url: str

    def rows(self, count: int, row_bytes: int, changed: int = 0) -> Path:
        """Write `rows.parquet`; every row below `changed` has another text."""
        path = self.folder / "rows.parquet"
        filler = "lorem ipsum dolor sit amet " * (row_bytes // 27 + 1)
        text = f"left('message ' || i || CASE WHEN i < {changed} THEN ' changed ' ELSE ' ' END || $1, {row_bytes})"
        rows = f"SELECT i AS id, {text} AS body FROM range({count}) t(i)"
        duckdb.execute(f"COPY ({rows}) TO '{path}' (FORMAT parquet)", [filler])
        return path

    def project(self, chunk: int) -> None:
        """A fresh project with the pipeline `bench`."""
        for name in (".batchpipe", "batchpipe.duckdb", "pipelines"):
            path = self.folder / name
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        (self.folder / "pipelines").mkdir()
        (self.folder / "pipelines" / "bench.toml").write_text(pipeline(chunk))
        (self.folder / "batchpipe.toml").touch()

    def script(self, name: str, count: int, row_bytes: int, chunk: int) -> Cost:
        """`floor` or `sdk_loop` over the rows that are there."""
        output = self.folder / f"{name}.duckdb"
        output.unlink(missing_ok=True)
        arguments = ["-m", f"tests.benchmarks.{name}", self.base_url, str(self.folder / "rows.parquet"), str(output)]
        cost = self._timed(name, count, row_bytes, [*arguments, str(chunk)], (0,))
        with duckdb.connect(str(output), read_only=True) as database:
            found = database.execute("SELECT count(*), count(label) FROM answers").fetchone()
        if found != (count, count):
            raise SystemExit(f"{name} stored {found} of {count} rows")
        return cost

    def batchpipe(self, name: str, count: int, row_bytes: int, *options: str, codes: Sequence[int] = (0,)) -> Cost:
        """`batchpipe run bench` with `options`; `name` is what the figure is called."""
        return self._timed(name, count, row_bytes, ["-m", "batchpipe", "run", "bench", "--yes", *options], codes)

    def stored(self) -> int:
        """How many rows of the output table have an answer."""
        with duckdb.connect(str(self.folder / "batchpipe.duckdb"), read_only=True) as database:
            row = database.execute("SELECT count(label) FROM bench").fetchone()
        return row[0] if row else 0

    def _timed(self, name: str, count: int, row_bytes: int, arguments: Sequence[str], codes: Sequence[int]) -> Cost:
        environment = _environment() | {"BATCHPIPE_BASE_URL": self.base_url, "ANTHROPIC_API_KEY": "sk-benchmark"}
        output = self.folder / "output.txt"
        began = time.monotonic()
        with output.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, *arguments], cwd=self.folder, env=environment, stdout=file, stderr=file
            )
            _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode not in codes:
            raise SystemExit(f"{name} ended with {process.returncode}:\n{output.read_text()[-2000:]}")
        database = self.folder / "batchpipe.duckdb"
        return Cost(
            program=name,
            rows=count,
            row_bytes=row_bytes,
            cpu_seconds=used.ru_utime + used.ru_stime,
            wall_seconds=time.monotonic() - began,
            memory_bytes=used.ru_maxrss * 1024,
            database_bytes=database.stat().st_size if database.exists() else 0,
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
        yield Bench(folder=folder, base_url=_base_url(process.stdout.readline()))
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


def _base_url(line: str) -> str:
    return str(json.loads(line)["base_url"])


def _environment() -> dict[str, str]:
    return {
        "PATH": os.environ.get("PATH", ""),
        "HOME": os.environ.get("HOME", ""),
        "PYTHONPATH": str(ROOT),
        "BATCHPIPE_POLL_INTERVAL": "0.2",
    }
