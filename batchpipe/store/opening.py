"""Opening a database file that another process may hold: tried with jitter, and told who holds it."""

from __future__ import annotations

import random
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path

import duckdb

from batchpipe.common.errors import LockedError
from batchpipe.sql.quoting import quote_identifier, quote_literal
from batchpipe.store.disk import storage_error

LOCK_MESSAGE = re.compile(
    r"Could not set lock on file(?:.*Conflicting lock is held in (?P<program>.*?) \(PID (?P<pid>\d+)\))?"
)
ANNOUNCE_AFTER_SECONDS = 1.0
# A checkpoint writes the last row group, not full yet, once more with what is added to it: small ones cost less.
ROW_GROUP_ROWS = 20_480

_openings: dict[Path, threading.RLock] = {}
_openings_guard = threading.Lock()


def attach(
    connection: duckdb.DuckDBPyConnection,
    path: Path,
    alias: str,
    *,
    read_only: bool,
    wait_seconds: float,
    announce: Callable[[str], None] | None = None,
    sleep: Callable[[float], None] = time.sleep,
    meanwhile: Callable[[], None] | None = None,
) -> None:
    """Attach the file at `path`, trying for `wait_seconds` while another process holds it (then LockedError).

    `announce` is told once, after a second, who holds it; from then on `meanwhile` is called between the tries.
    """
    mode = " (READ_ONLY)" if read_only else f" (ROW_GROUP_SIZE {ROW_GROUP_ROWS})"
    statement = f"ATTACH {quote_literal(str(path))} AS {quote_identifier(alias)}{mode}"
    pause, waited, announced = 0.005, 0.0, False
    while True:
        try:
            connection.execute(statement)
            return
        except duckdb.Error as error:
            held = LOCK_MESSAGE.search(str(error))
            if held is None:
                raise storage_error(error, path) from error
            holder = _holder(held)
            if waited >= wait_seconds:
                what = f"the database is held by {holder}"
                hint = "Close it there (a notebook holds a file until its connection is closed), then run again."
                raise LockedError(what, where=str(path), hint=hint) from error
            if waited >= ANNOUNCE_AFTER_SECONDS and not announced and announce:
                announced = True
                announce(f"waiting for {path.name}: it is held by {holder}")
            if waited >= ANNOUNCE_AFTER_SECONDS and meanwhile:
                meanwhile()
        pause = min(pause * 1.5, 0.5)
        moment = pause * (0.5 + random.random())
        sleep(moment)
        waited += moment


def _holder(held: re.Match[str]) -> str:
    """Who holds a lock; a process that has just let go of it is not named."""
    if held["program"] is None:
        return "another process"
    return f"{Path(held['program']).name} (process {held['pid']})"


def opening(path: Path) -> threading.RLock:
    """One opener of a file per process: DuckDB refuses a second configuration of a file that is open."""
    with _openings_guard:
        return _openings.setdefault(path.resolve(), threading.RLock())
