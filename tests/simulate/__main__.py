"""`python -m tests.simulate --seeds A..B` plays seeds, and prints what they did and which rules did not hold."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from datetime import UTC, date, datetime

from .seeds import folder, played_seeds, shrunk

SEEDS_A_DAY = 1_000_000


def main() -> int:
    """Play the seeds that the command line asks for; return 1 where a rule did not hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulate", description=__doc__)
    parser.add_argument("--seeds", default="1..100", help="the seeds, as A..B or one number")
    parser.add_argument("--day", nargs="?", const="", help="the seeds of this day (2026-11-28; default: today, UTC)")
    parser.add_argument("--seconds", type=float, help="begin no further seed after so many seconds")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes side by side")
    parser.add_argument("--trace", action="store_true", help="print the trace of every seed")
    parser.add_argument("--without", action="append", default=[], help="leave out steps of this kind, as `rename`")
    parser.add_argument("--no-shrink", action="store_true", help="print a failing history as it is")
    given = parser.parse_args()
    seeds = _seeds(given.seeds) if given.day is None else _seeds_of_day(given.day)
    began = time.monotonic()
    counts: Counter[str] = Counter()
    failed = 0
    until = began + given.seconds if given.seconds else None
    for played in played_seeds(seeds, given.jobs, until, given.without):
        counts.update(played.counts)
        counts["seeds"] += 1
        counts["cpu seconds"] += round(played.seconds)
        if given.trace:
            _say("\n".join(played.trace))
            _say(f"seed {played.seed}: {played.digest}")
        if played.violation is not None:
            failed += 1
            _say(f"seed {played.seed}, at {played.step}: {played.violation}")
            if not given.no_shrink:
                _say(shrunk(played, folder(), given.without))
    for name in sorted(counts):
        _say(f"{name:<24}{counts[name]:>10,}")
    _say(f"{'violations':<24}{failed:>10,}")
    _say(f"{'wall seconds':<24}{time.monotonic() - began:>10,.0f}")
    return 1 if failed else 0


def _seeds(text: str) -> range:
    first, _, last = text.partition("..")
    return range(int(first), int(last or first) + 1)


def _seeds_of_day(day: str) -> range:
    """Return the seeds of a day, more than a machine plays in it."""
    number = (date.fromisoformat(day) if day else datetime.now(UTC).date()).toordinal()
    return range(number * SEEDS_A_DAY, (number + 1) * SEEDS_A_DAY)


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
