"""The two tables of this service in the emulator's SQLite file: files and batches. The first call makes them."""

from dataclasses import dataclass
from typing import Any

from batchpipe.emulator.service.store import Store

_TABLES = (
    """CREATE TABLE IF NOT EXISTS gemini_files (
        name TEXT PRIMARY KEY, workspace TEXT NOT NULL, display_name TEXT NOT NULL, mime_type TEXT NOT NULL,
        bytes INTEGER NOT NULL, sha256 TEXT NOT NULL, state TEXT NOT NULL, source TEXT NOT NULL, upload_id TEXT,
        created_at REAL NOT NULL, deleted_at REAL
    )""",
    """CREATE TABLE IF NOT EXISTS gemini_batches (
        number INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, workspace TEXT NOT NULL,
        model TEXT NOT NULL, display_name TEXT NOT NULL, file_name TEXT NOT NULL, created_at REAL NOT NULL,
        requests INTEGER NOT NULL, tokens INTEGER NOT NULL, fault TEXT, fault_data TEXT, stranger INTEGER NOT NULL,
        looks INTEGER NOT NULL DEFAULT 0, cancel_at REAL, ended_at REAL, state TEXT NOT NULL,
        succeeded INTEGER NOT NULL DEFAULT 0, failed INTEGER NOT NULL DEFAULT 0, responses_file TEXT,
        error_code INTEGER, error_message TEXT, deleted_at REAL
    )""",
)
_FILE = "name, workspace, display_name, mime_type, bytes, sha256, state, source, upload_id, created_at, deleted_at"
_BATCH = (
    "number, name, workspace, model, display_name, file_name, created_at, requests, tokens, fault, fault_data, "
    "stranger, looks, cancel_at, ended_at, state, succeeded, failed, responses_file, error_code, error_message, "
    "deleted_at"
)


@dataclass(frozen=True, slots=True)
class File:
    """One row of `gemini_files`. `state`: ACTIVE, or STARTED until its bytes have come."""

    name: str
    workspace: str
    display_name: str
    mime_type: str
    bytes: int
    sha256: str
    state: str
    source: str
    upload_id: str | None
    created_at: float
    deleted_at: float | None


@dataclass(frozen=True, slots=True)
class Batch:
    """One row of `gemini_batches`; times are seconds since 1970 by the emulator's clock."""

    number: int
    name: str
    workspace: str
    model: str
    display_name: str
    file_name: str
    created_at: float
    requests: int
    tokens: int
    fault: str | None
    fault_data: str | None
    stranger: int
    looks: int
    cancel_at: float | None
    ended_at: float | None
    state: str
    succeeded: int
    failed: int
    responses_file: str | None
    error_code: int | None
    error_message: str | None
    deleted_at: float | None


class Tables:
    """The rows of both tables in one store."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._made = False

    def make(self) -> None:
        """Make the tables where they are not there yet."""
        if self._made:
            return
        with self.store.transaction() as connection:
            for statement in _TABLES:
                connection.execute(statement)
        self._made = True

    def file(self, name: str) -> File | None:
        """Return a file by its name that is not deleted; None if there is none."""
        return next(iter(self.files("name = ? AND deleted_at IS NULL", (name,))), None)

    def files(self, where: str, values: tuple[Any, ...] = ()) -> list[File]:
        """Return the files that satisfy `where`, which may end with an ORDER BY."""
        self.make()
        return [File(*row) for row in self.store.query(f"SELECT {_FILE} FROM gemini_files WHERE {where}", values)]

    def batch(self, name: str) -> Batch | None:
        """Return a batch by its name; None if there is none."""
        return next(iter(self.batches("name = ?", (name,))), None)

    def batches(self, where: str, values: tuple[Any, ...] = (), limit: int = -1) -> list[Batch]:
        """Return the batches that satisfy `where`, which may end with an ORDER BY."""
        self.make()
        rows = self.store.query(f"SELECT {_BATCH} FROM gemini_batches WHERE {where} LIMIT ?", (*values, limit))
        return [Batch(*row) for row in rows]

    def insert(self, table: str, values: dict[str, Any]) -> None:
        """Add a row to `files` or `batches`, or put it in the place of a file of that name."""
        self.make()
        marks = ", ".join("?" * len(values))
        with self.store.transaction() as connection:
            connection.execute(
                f"INSERT OR REPLACE INTO gemini_{table} ({', '.join(values)}) VALUES ({marks})", tuple(values.values())
            )

    def change(self, table: str, name: str, values: dict[str, Any]) -> None:
        """Change the row of `files` or `batches` that has this name."""
        pairs = ", ".join(f"{column} = ?" for column in values)
        with self.store.transaction() as connection:
            connection.execute(f"UPDATE gemini_{table} SET {pairs} WHERE name = ?", (*values.values(), name))
