"""`python -m tests.benchmarks [ROWS...]`: CPU, time, memory and disk per program, as a table in Markdown.

A first run, an unchanged one, one with 1% changed and one that only collects, for each number of rows (default 20,000
and 200,000), beside `floor` and, up to 20,000 rows, `sdk_loop`. Then the marginal CPU between the first and the last
number of rows. Take it on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from .measure import MEGABYTE, Bench, Cost, bench

LOOP_ROWS = 20_000


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks")
    parser.add_argument("rows", nargs="*", type=int, default=[20_000, 200_000])
    parser.add_argument("--row-bytes", type=int, default=200)
    parser.add_argument("--chunk", type=int, default=10_000, help="requests per batch")
    options = parser.parse_args()
    _say("| program | rows | CPU per row (µs) | CPU (s) | wall (s) | peak memory (MB) | database (MB) |")
    _say("|---|---:|---:|---:|---:|---:|---:|")
    costs = []
    with tempfile.TemporaryDirectory() as folder, bench(Path(folder)) as place:
        for count in options.rows:
            for cost in _all(place, count, options.row_bytes, options.chunk):
                costs.append(cost)
                _say(_line(cost))
    for line in _slopes(costs):
        _say(line)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _all(place: Bench, count: int, row_bytes: int, chunk: int) -> Iterator[Cost]:
    place.rows(count, row_bytes)
    yield place.script("floor", count, row_bytes, chunk)
    if count <= LOOP_ROWS:
        yield place.script("sdk_loop", count, row_bytes, chunk)
    place.project(chunk)
    yield place.batchpipe("first run", count, row_bytes)
    if place.stored() != count:
        raise SystemExit(f"{place.stored()} of {count} rows are answered")
    yield place.batchpipe("unchanged run", count, row_bytes)
    place.rows(count, row_bytes, changed=count // 100)
    yield place.batchpipe("1% changed", count, row_bytes)
    place.rows(count, row_bytes)
    place.project(chunk)
    place.batchpipe("submit only", count, row_bytes, "--no-wait", codes=(0, 5))
    time.sleep(1)
    yield place.batchpipe("collect only", count, row_bytes, "--no-new")


def _line(cost: Cost) -> str:
    figures = (
        f"{cost.rows:,}",
        f"{cost.cpu_us_per_row:.1f}",
        f"{cost.cpu_seconds:.2f}",
        f"{cost.wall_seconds:.1f}",
        f"{cost.memory_bytes / MEGABYTE:.0f}",
        f"{cost.database_bytes / MEGABYTE:.0f}" if cost.database_bytes else "",
    )
    return f"| {cost.program} | {' | '.join(figures)} |"


def _slopes(costs: list[Cost]) -> Iterator[str]:
    """CPU per row of each program between its least and most rows, and how often the floor's that is."""
    slopes = {}
    for program in dict.fromkeys(each.program for each in costs):
        those = sorted((each for each in costs if each.program == program), key=lambda each: each.rows)
        first, last = those[0], those[-1]
        if last.rows > first.rows:
            slopes[program] = (last.cpu_seconds - first.cpu_seconds) / (last.rows - first.rows) * 1e6
    for program, slope in slopes.items():
        yield f"marginal CPU of {program}: {slope:.1f} µs a row, {slope / slopes['floor']:.1f} times the floor's"


if __name__ == "__main__":
    main()
