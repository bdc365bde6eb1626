"""`python -m tests.simulate --seeds A..B` plays seeds, and prints what they did and which rules did not hold."""

from __future__ import annotations

import argparse
import gc
import os
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from threading import Thread

from batchpipe.store.migration import empty_image

from .disk import watch_files, watch_store
from .history import history
from .play import Played, play
from .shrink import shrunk

MEMORY = Path("/dev/shm")
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
    for played in _played(seeds, given.jobs, until, given.without):
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
                _say(shrunk(played, _folder(), given.without))
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


def _folder() -> Path:
    base = MEMORY if os.access(MEMORY, os.W_OK) else Path(tempfile.gettempdir())
    return base / f"simulate-{os.getpid()}"


def _begin() -> None:
    """Make this process ready: it sees its own operations, and loads what every command needs."""
    import anthropic  # noqa: F401
    import genai_prices  # noqa: F401
    import pyarrow.parquet  # noqa: F401

    empty_image()  # made once in a process, and then by no seed
    watch_files()
    watch_store()
    warnings.simplefilter("ignore", ResourceWarning)
    gc.freeze()


def _play(seed: int, without: Sequence[str]) -> Played:
    """Play a seed in a thread of its own, where a command sets no handlers of signals."""
    ended: list[Played] = []
    thread = Thread(target=lambda: ended.append(play(seed, history(seed, without), _folder())), daemon=True)
    thread.start()
    thread.join()
    return ended[0]


def _played(seeds: range, jobs: int, until: float | None, without: Sequence[str]) -> Iterator[Played]:
    """Yield each seed that was played, in whatever order they end; none begins after `until`."""
    if jobs <= 1:
        _begin()
        for seed in seeds:
            if until is not None and time.monotonic() >= until:
                return
            yield _play(seed, without)
        return
    with get_context("spawn").Pool(jobs, _begin, maxtasksperchild=200) as pool:
        for played in pool.imap_unordered(partial(_play, without=without), seeds):
            yield played
            if until is not None and time.monotonic() >= until:
                pool.terminate()
                return


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
