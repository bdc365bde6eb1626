"""The emulator's state: one SQLite file, and a folder of bodies and results, which several processes may share.

A commit in WAL mode survives SIGKILL. The files that a row names are in place before the row is committed.
"""

import random
import sqlite3
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from batchpipe.emulator.service.errors import EmulatorError

_TABLES = """
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS batches (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, workspace TEXT NOT NULL,
    created_at REAL NOT NULL, requests INTEGER NOT NULL, version TEXT NOT NULL, betas TEXT NOT NULL,
    fault TEXT, stranger INTEGER NOT NULL, looks INTEGER NOT NULL DEFAULT 0, cancel_initiated_at REAL,
    ended_at REAL, succeeded INTEGER NOT NULL DEFAULT 0, errored INTEGER NOT NULL DEFAULT 0,
    canceled INTEGER NOT NULL DEFAULT 0, expired INTEGER NOT NULL DEFAULT 0, deleted_at REAL
);
CREATE INDEX IF NOT EXISTS newest ON batches (workspace, created_at, number);
CREATE TABLE IF NOT EXISTS calls (
    number INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, method TEXT NOT NULL, path TEXT NOT NULL,
    status INTEGER NOT NULL, fault TEXT
);
CREATE TABLE IF NOT EXISTS counters (name TEXT PRIMARY KEY, seen INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS prompt_cache (prefix TEXT PRIMARY KEY, expires_at REAL NOT NULL);
"""
_COLUMNS = (
    "number, id, workspace, created_at, requests, version, betas, fault, stranger, looks, "
    "cancel_initiated_at, ended_at, succeeded, errored, canceled, expired, deleted_at"
)


@dataclass(frozen=True, slots=True)
class Batch:
    """One row of `batches`; times are seconds since 1970 by the emulator's clock."""

    number: int
    id: str
    workspace: str
    created_at: float
    requests: int
    version: str
    betas: str
    fault: str | None
    stranger: int
    looks: int
    cancel_initiated_at: float | None
    ended_at: float | None
    succeeded: int
    errored: int
    canceled: int
    expired: int
    deleted_at: float | None


class Store:
    """The owner of the SQLite file, which only `transaction()` changes.

    `clock` returns seconds since 1970. `chance` draws names; None draws them from the operating system.
    With `private` new files are for their owner alone.
    """

    def __init__(
        self,
        folder: Path,
        clock: Callable[[], float] = time.time,
        chance: random.Random | None = None,
        *,
        private: bool = False,
    ) -> None:
        self.folder = folder
        self._private = private
        self._clock = clock
        self._chance = chance or random.SystemRandom()
        self._lock = threading.RLock()
        try:
            for name in ("incoming", "bodies", "results"):
                self.make_folder(name)
            for name in ("emulator.sqlite", "processing.sqlite"):
                (folder / name).touch(mode=0o600 if private else 0o666)
            self._connection = self._open(folder / "emulator.sqlite")
        except (OSError, sqlite3.Error) as problem:
            raise EmulatorError(f"{folder}: cannot hold the emulator's state: {problem}") from problem
        self._sweep()

    def _open(self, path: Path) -> sqlite3.Connection:
        connection = sqlite3.connect(path, timeout=60, isolation_level=None, check_same_thread=False)
        give_up = time.monotonic() + 10
        while True:
            try:
                # Two processes may make the file at the same time; SQLite's own time-out does not cover this.
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = NORMAL")
                connection.executescript(_TABLES)
                return connection
            except sqlite3.OperationalError:
                if time.monotonic() > give_up:
                    connection.close()
                    raise
                time.sleep(0.02)

    def _sweep(self) -> None:
        for left in (self.folder / "incoming").iterdir():
            try:
                if left.stat().st_mtime < time.time() - 3600:
                    left.unlink()
            except FileNotFoundError:
                continue

    def close(self) -> None:
        """Close the SQLite file."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def transaction(self) -> Generator[sqlite3.Connection]:
        """Run the block as one transaction, committed at its end or rolled back after an error."""
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    @contextmanager
    def processing(self) -> Generator[None]:
        """Hold the lock that lets one thread at a time, of all processes, work out answers."""
        connection = sqlite3.connect(self.folder / "processing.sqlite", timeout=600, isolation_level=None)
        try:
            connection.execute("BEGIN EXCLUSIVE")
            yield
        finally:
            connection.close()

    def query(self, statement: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        """Return all rows of a SELECT."""
        with self._lock:
            return self._connection.execute(statement, values).fetchall()

    def setting(self, name: str) -> str | None:
        """Return the value of a setting; None if it is not set."""
        rows = self.query("SELECT value FROM settings WHERE name = ?", (name,))
        return str(rows[0][0]) if rows else None

    def now(self) -> float:
        """Return the emulator's time in seconds since 1970: that of its clock plus what `advance` has added."""
        return self._clock() + float(self.setting("clock_offset") or 0)

    def draw(self, digits: int) -> str:
        """Return a new name of `digits` hexadecimal digits."""
        return f"{self._chance.getrandbits(4 * digits):0{digits}x}"

    def advance(self, seconds: float) -> None:
        """Set the emulator's clock forward."""
        with self.transaction() as connection:
            connection.execute(
                "INSERT INTO settings VALUES ('clock_offset', ?) "
                "ON CONFLICT (name) DO UPDATE SET value = CAST(value AS REAL) + ?",
                (str(seconds), seconds),
            )

    def batch(self, batch_id: str) -> Batch | None:
        """Return a batch by its id; None if there is none."""
        rows = self.query(f"SELECT {_COLUMNS} FROM batches WHERE id = ?", (batch_id,))
        return Batch(*rows[0]) if rows else None

    def batches(self, where: str = "true", values: tuple[Any, ...] = (), limit: int = -1) -> list[Batch]:
        """Return the batches that satisfy `where`, which may end with an ORDER BY."""
        rows = self.query(f"SELECT {_COLUMNS} FROM batches WHERE {where} LIMIT ?", (*values, limit))
        return [Batch(*row) for row in rows]

    def record_call(self, method: str, path: str, status: int, fault: str | None) -> None:
        """Write a call to the log; its status is 0 if nothing was answered."""
        at = self.now()
        with self.transaction() as connection:
            connection.execute(
                "INSERT INTO calls (at, method, path, status, fault) VALUES (?, ?, ?, ?, ?)",
                (at, method, path, status, fault),
            )

    def make_folder(self, name: str) -> Path:
        """Make a folder of the store, where it is missing, for its owner alone where the store is private."""
        made = self.folder / name
        made.mkdir(parents=True, exist_ok=True, mode=0o700 if self._private else 0o777)
        return made

    def put(self, part: Path, path: Path) -> None:
        """Give the finished file `part` the name `path`, for its owner alone where the store is private."""
        if self._private:
            part.chmod(0o600)
        part.replace(path)

    def body_path(self, batch_id: str) -> Path:
        """Return the path of the file with a batch's requests, one a line."""
        return self.folder / "bodies" / f"{batch_id}.jsonl"

    def results_path(self, batch_id: str) -> Path:
        """Return the path of a batch's results file."""
        return self.folder / "results" / f"{batch_id}.jsonl"
