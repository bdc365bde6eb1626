"""Opening of a database file that another process may hold: it is tried with jitter, and says who holds the file."""

from __future__ import annotations

import random
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from batchpipe.common.errors import LockedError
from batchpipe.sql.connection import Connection
from batchpipe.sql.quoting import Sql, number_sql, quote_identifier, quote_literal, sql
from batchpipe.store.disk import cannot_be_locked, followed, storage_error

LOCK_MESSAGE = re.compile(
    r"Could not set lock on file(?:.*Conflicting lock is held in (?P<program>.*?) \(PID (?P<pid>\d+)\))?"
)
ANNOUNCE_AFTER_SECONDS = 1.0
WANT_AFTER_SECONDS = 0.2
# A checkpoint writes the last row group again, with the rows added to it, until it is full: small row groups cost less.
ROW_GROUP_ROWS = 20_480

_openings: dict[Path, threading.RLock] = {}
_openings_guard = threading.Lock()


def attach(
    connection: Connection,
    path: Path,
    alias: str,
    *,
    read_only: bool,
    wait_seconds: float,
    announce: Callable[[str], None] | None = None,
    sleep: Callable[[float], None] = time.sleep,
    meanwhile: Callable[[], None] | None = None,
    want: Callable[[], None] | None = None,
    before: Callable[[], None] | None = None,
) -> None:
    """Attach the file at `path`, with tries for `wait_seconds` while another process holds it.

    `before` is called before each try, and may refuse it: DuckDB makes a file that is not there.
    After a fifth of a second `want` is called between the tries, so that readers that give way do so. After a second
    `announce` is called once with a sentence that says who holds the file; from then on `meanwhile` is called between
    the tries. Raises LockedError if the file stays held, DatabaseError if it cannot be opened.
    """
    mode = Sql("READ_ONLY") if read_only else sql("ROW_GROUP_SIZE {rows}", rows=number_sql(ROW_GROUP_ROWS))
    # Without its type DuckDB would fetch an extension from the network for a file of SQLite.
    attached = {"path": quote_literal(str(path)), "alias": quote_identifier(alias), "mode": mode}
    statement = sql("ATTACH {path} AS {alias} (TYPE duckdb, {mode})", **attached)
    pause, waited, announced = 0.005, 0.0, False
    while True:
        if before:
            before()
        try:
            connection.execute(statement)
            return
        except duckdb.Error as error:
            held = LOCK_MESSAGE.search(str(error))
            if held is None or cannot_be_locked(error):
                raise storage_error(error, path) from error
            holder = _holder(held)
            if waited >= wait_seconds:
                what = f"the database is held by {holder}"
                hint = "Close it there (a notebook holds a file until its connection is closed), then run again."
                raise LockedError(what, where=str(path), hint=hint) from error
            if waited >= WANT_AFTER_SECONDS and want:
                want()
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
    """Return who holds a lock; DuckDB does not name a process that has just released it."""
    if held["program"] is None:
        return "another process"
    return f"{Path(held['program']).name} (process {held['pid']})"


def opening(path: Path) -> threading.RLock:
    """Return the lock that lets one thread at a time open a file: DuckDB refuses to open it twice in two ways."""
    with _openings_guard:
        return _openings.setdefault(followed(path), threading.RLock())


@contextmanager
def opened_alone(path: Path, want: Callable[[], None] | None) -> Iterator[None]:
    """Let no other thread open the file at `path`. While one has it open, `want` is called, so that it may give way."""
    lock = opening(path)
    while not lock.acquire(timeout=-1 if want is None else WANT_AFTER_SECONDS):
        if want is not None:
            want()
    try:
        yield
    finally:
        lock.release()
