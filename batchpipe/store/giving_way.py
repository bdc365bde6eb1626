"""Let writers go first: a page that reads for long gives the database up as soon as somebody waits to write.

Whoever waits to write touches a file in the working folder. A reader that gives way looks at it while its statements
run, and interrupts them. A lookup that a person waits for does the same: one thread of a process at a time has the file
open.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from batchpipe.common.errors import LockedError
from batchpipe.sql.connection import Connection

NAME = "wanted"
LOOK_SECONDS = 0.05
# Whoever waits says so again between its tries, which are three quarters of a second apart at most.
WANTED_SECONDS = 0.8


def want_to_write(folder: Path) -> None:
    """Say in the working folder that somebody waits to write. Where that cannot be said, readers do not give way."""
    with contextlib.suppress(OSError):
        (folder / NAME).touch()


def give_way_first(folder: Path) -> None:
    """Raise LockedError where somebody waits to write at this moment: else one reader after the other would go first.

    A clock that was set back makes nobody wait.
    """
    if 0 <= time.time() - _wanted_at(folder) < WANTED_SECONDS:
        raise _goes_first(folder)


@contextmanager
def giving_way(connection: Connection, folder: Path) -> Iterator[None]:
    """Interrupt the statements of the block as soon as somebody waits to write. Raises LockedError then."""
    began, ended, gave_way = time.time(), threading.Event(), threading.Event()

    def look() -> None:
        while not ended.wait(LOOK_SECONDS):
            if _wanted_at(folder) >= began:
                gave_way.set()
                connection.interrupt()  # again and again: one between two statements has no effect

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield
    except duckdb.InterruptException as error:
        if not gave_way.is_set():
            raise
        raise _goes_first(folder) from error
    finally:
        ended.set()
        thread.join()


def _goes_first(folder: Path) -> LockedError:
    what = "somebody waits for the database, and goes first"
    return LockedError(what, where=str(folder.parent), hint="Look again in a moment.")


def _wanted_at(folder: Path) -> float:
    try:
        return (folder / NAME).stat().st_mtime
    except OSError:
        return 0.0
