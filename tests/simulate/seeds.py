"""Playing seeds, one after the other or in several processes, and making a failing history short."""

from __future__ import annotations

import gc
import os
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from threading import Thread

from batchpipe.engine.local import prepare
from batchpipe.local_model import training
from batchpipe.store.migration import empty_image

from .disk import keep_open, watch_files, watch_store
from .history import history
from .play import Played, play

MEMORY = Path("/dev/shm")
# The local model learns from a handful of rows, as a seed has no more.
FIRST_LESSONS, FEWEST_ROWS = 8, 6
MOST_PLAYS = 60


def folder() -> Path:
    """Return the folder that this process plays in."""
    base = MEMORY if os.access(MEMORY, os.W_OK) else Path(tempfile.gettempdir())
    return base / f"simulate-{os.getpid()}"


def begin() -> None:
    """Make this process ready: it sees its own operations, and loads what every command needs."""
    import anthropic  # noqa: F401
    import genai_prices  # noqa: F401
    import pyarrow.parquet  # noqa: F401
    import sklearn.linear_model  # noqa: F401

    prepare.FIRST_LESSONS, training.FEWEST_ROWS = FIRST_LESSONS, FEWEST_ROWS

    empty_image()  # made once in a process, and then by no seed
    keep_open()
    watch_files()
    watch_store()
    warnings.simplefilter("ignore", ResourceWarning)
    gc.freeze()


def play_seed(seed: int, without: Sequence[str]) -> Played:
    """Play a seed in a thread of its own, where a command sets no handlers of signals."""
    ended: list[Played] = []
    thread = Thread(target=lambda: ended.append(play(seed, history(seed, without), folder())), daemon=True)
    thread.start()
    thread.join()
    return ended[0]


def played_seeds(seeds: range, jobs: int, until: float | None, without: Sequence[str]) -> Iterator[Played]:
    """Yield each seed that was played, in whatever order they end; none begins after `until`."""
    if jobs <= 1:
        begin()
        for seed in seeds:
            if until is not None and time.monotonic() >= until:
                return
            yield play_seed(seed, without)
        return
    with get_context("spawn").Pool(jobs, begin, maxtasksperchild=200) as pool:
        for played in pool.imap_unordered(partial(play_seed, without=without), seeds):
            yield played
            if until is not None and time.monotonic() >= until:
                pool.terminate()
                return


def shrunk(played: Played, folder: Path, without: Sequence[str]) -> str:
    """Return the shortest history found that violates the same rule, as text. Steps keep their numbers and chance."""
    assert played.violation is not None
    steps = list(history(played.seed, without))
    best, plays = played, 0
    place = len(steps) - 1
    while place >= 0 and plays < MOST_PLAYS:
        fewer = steps[:place] + steps[place + 1 :]
        again = play(played.seed, fewer, folder)
        plays += 1
        if again.violation is not None and again.violation.rule == played.violation.rule:
            steps, best = fewer, again
        place = min(place, len(steps)) - 1
    lines = [f"  shrunk to {len(steps)} steps: {'; '.join(str(each) for each in steps)}", f"  {best.violation}"]
    return "\n".join(lines)
