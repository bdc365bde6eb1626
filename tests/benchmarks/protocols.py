"""`python -m tests.benchmarks.protocols [FEW MANY] [--repeat N]`: what one more row of a first run takes, by protocol.

Each protocol answers FEW rows and MANY rows (2,000 and 50,000), N times in turns; the least CPU of each counts. It
prints the CPU of one more row, and how many times that of the first protocol it is. Exit 1 where that is above 1.2.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from .measure import Size, bench
from .results import FIRST

MODELS = {"anthropic": "claude-haiku-4-5", "openai": "openai:gpt-6-luna", "gemini": "gemini:gemini-3.8-flash"}
MOST = 1.2


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.protocols")
    parser.add_argument("rows", nargs="*", type=int, default=[2_000, 50_000])
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args(arguments)
    few, many = options.rows
    seconds = measured((few, many), options.repeat)
    by_row = {each: (seconds[each, many] - seconds[each, few]) / (many - few) * 1e6 for each in MODELS}
    own = by_row["anthropic"]
    for protocol, each in by_row.items():
        sys.stdout.write(f"{protocol:<10} {each:6.1f} microseconds of CPU for one more row, {each / own:.2f} times\n")
    return 1 if max(by_row.values()) > MOST * own else 0


def measured(counts: Sequence[int], repeat: int) -> dict[tuple[str, int], float]:
    """Return the least CPU seconds of a first run, by protocol and number of rows."""
    taken: dict[tuple[str, int], list[float]] = defaultdict(list)
    for _ in range(repeat):
        for rows in counts:
            size = Size(rows=rows, row_bytes=200, chunk=10_000)
            for protocol, model in MODELS.items():
                with tempfile.TemporaryDirectory() as folder, bench(Path(folder)) as place:
                    place.rows(size)
                    place.project(size, model=model)
                    taken[protocol, rows].append(place.batchpipe(FIRST, size).cpu_seconds)
    return {each: min(seconds) for each, seconds in taken.items()}


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
