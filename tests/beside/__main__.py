"""`python -m tests.beside [--rows N] [--pairs N]`: a run alone, and one beside a dashboard and a desk that are polled.

Each pair is a first run of the same rows (200,000) in a new project, once alone and once beside `batchpipe ui`, which a
client asks as a browser with three open pages does: the first page and the pipeline's page every three seconds, rows to
review and one word every five. It prints the CPU of both, how long the run waited for the database at most, and what
the run beside pages did more often than the one alone. Exit 1 where the median of the pairs (7) is above 1.05, where a
run waited more than a second, planned anew because of a word, or where a word was lost.

Take it on a machine that does nothing else. New plans and lost words do not depend on the machine.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

MOST_RATIO = 1.05
ROW_BYTES = 200


def main(arguments: Sequence[str]) -> int:
    """Take the pairs, print each as soon as it is known, and return the exit code."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from benchmarks.measure import Size, bench

    from .pair import Pair, run_pair

    options = _parser().parse_args(arguments)
    size = Size(rows=options.rows, row_bytes=ROW_BYTES, chunk=10_000)
    pairs: list[Pair] = []
    with tempfile.TemporaryDirectory(prefix="batchpipe-beside-") as folder, bench(Path(folder)) as machine:
        machine.rows(size)
        for number in range(options.pairs):
            pairs.append(run_pair(machine, size, pages_first=bool(number % 2)))
            _say(pairs[-1].line)
    ratio = statistics.median(each.ratio for each in pairs)
    late = [wait for each in pairs for wait in each.waits]
    _say(f"{options.rows:,} rows, {len(pairs)} pairs: the median of the run's CPU beside pages is {ratio:.3f} of alone")
    _say("no wait for the database was above a second" if not late else "\n".join(late))
    lost = sum(each.said - each.words for each in pairs)
    _say(f"{sum(each.words for each in pairs)} words were recorded beside the runs, {lost} were lost")
    planned = sum(each.more.get("new plans", 0) for each in pairs)
    _say(f"{planned} new plans because of words")
    return int(ratio > MOST_RATIO or bool(late) or lost > 0 or planned > 0)


def _parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(prog="python -m tests.beside")
    found.add_argument("--rows", type=int, default=200_000, help="rows of a run (200,000)")
    found.add_argument("--pairs", type=int, default=7, help="pairs of runs (7)")
    return found


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
