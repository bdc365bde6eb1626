"""The files, batches and stored responses of this protocol, in the emulator's SQLite file."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from batchpipe.emulator.service.jsontypes import JsonObject
from batchpipe.emulator.service.store import Store

_TABLES = (
    "CREATE TABLE IF NOT EXISTS openai_files (number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, "
    "workspace TEXT NOT NULL, filename TEXT NOT NULL, purpose TEXT NOT NULL, bytes INTEGER NOT NULL, "
    "created_at REAL NOT NULL, expires_at REAL, deleted_at REAL)",
    "CREATE TABLE IF NOT EXISTS openai_batches (number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, "
    "workspace TEXT NOT NULL, created_at REAL NOT NULL, endpoint TEXT NOT NULL, input_file_id TEXT NOT NULL, "
    "metadata TEXT NOT NULL, output_life REAL NOT NULL, requests INTEGER NOT NULL, tokens INTEGER NOT NULL, "
    "model TEXT, errors TEXT, fault TEXT, fault_seconds REAL NOT NULL, "
    "stranger INTEGER NOT NULL, looks INTEGER NOT NULL DEFAULT 0, cancel_initiated_at REAL, ended_at REAL, "
    "end_state TEXT, completed INTEGER NOT NULL DEFAULT 0, failed INTEGER NOT NULL DEFAULT 0, "
    "output_file_id TEXT, error_file_id TEXT)",
    "CREATE TABLE IF NOT EXISTS openai_responses (id TEXT PRIMARY KEY, workspace TEXT NOT NULL, body TEXT NOT NULL, "
    "ready_at REAL NOT NULL, cancelled INTEGER NOT NULL DEFAULT 0)",
)
_FILE = "id, workspace, filename, purpose, bytes, created_at, expires_at, deleted_at"
_BATCH = (
    "number, id, workspace, created_at, endpoint, input_file_id, metadata, output_life, requests, tokens, model, "
    "errors, fault, fault_seconds, stranger, looks, cancel_initiated_at, ended_at, end_state, completed, failed, "
    "output_file_id, error_file_id"
)


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One row of `openai_files`; times are seconds since 1970 by the emulator's clock."""

    id: str
    workspace: str
    filename: str
    purpose: str
    bytes: int
    created_at: float
    expires_at: float | None
    deleted_at: float | None


@dataclass(frozen=True, slots=True)
class StoredBatch:
    """One row of `openai_batches`; `errors` are those of a batch whose validation fails, as JSON."""

    number: int
    id: str
    workspace: str
    created_at: float
    endpoint: str
    input_file_id: str
    metadata: str
    output_life: float
    requests: int
    tokens: int
    model: str | None
    errors: str | None
    fault: str | None
    fault_seconds: float
    stranger: int
    looks: int
    cancel_initiated_at: float | None
    ended_at: float | None
    end_state: str | None
    completed: int
    failed: int
    output_file_id: str | None
    error_file_id: str | None


@dataclass(frozen=True, slots=True)
class NewBatch:
    """What a create call gives to a batch."""

    workspace: str
    created_at: float
    endpoint: str
    input_file_id: str
    metadata: JsonObject
    output_life: float
    requests: int
    tokens: int
    model: str | None
    errors: list[JsonObject]
    fault: str | None
    fault_seconds: float
    stranger: bool


@dataclass(frozen=True, slots=True)
class BatchEnd:
    """How a batch ended, and its counts and files."""

    at: float
    state: str
    completed: int
    failed: int
    output_file_id: str | None
    error_file_id: str | None


class Tables:
    """The rows and the files of one emulator."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._folder = store.make_folder("files")
        with store.transaction() as connection:
            for statement in _TABLES:
                connection.execute(statement)

    def path(self, file_id: str) -> Path:
        """Return the path of a file's content."""
        return self._folder / file_id

    def requests_path(self, batch_id: str) -> Path:
        """Return the path of a batch's own copy of its input."""
        return self.store.body_path(batch_id)

    def add_file(self, content: Path, workspace: str, filename: str, purpose: str, life: float | None) -> StoredFile:
        """Keep `content`, which is moved, as a new file."""
        file_id = f"file-{self.store.draw(22)}"
        self.store.put(content, self.path(file_id))
        now = self.store.now()
        with self.store.transaction() as connection:
            connection.execute(
                "INSERT INTO openai_files (id, workspace, filename, purpose, bytes, created_at, expires_at) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                (file_id, workspace, filename, purpose, self.path(file_id).stat().st_size, now, life and now + life),
            )
        found = self.file(file_id)
        assert found is not None
        return found

    def file(self, file_id: str) -> StoredFile | None:
        """Return a file by its id; None if there is none."""
        rows = self.store.query(f"SELECT {_FILE} FROM openai_files WHERE id = ?", (file_id,))
        return StoredFile(*rows[0]) if rows else None

    def files(self, where: str, values: tuple[Any, ...]) -> list[StoredFile]:
        """Return the files that satisfy `where`, which may end with an ORDER BY."""
        return [StoredFile(*row) for row in self.store.query(f"SELECT {_FILE} FROM openai_files WHERE {where}", values)]

    def delete_file(self, file_id: str) -> None:
        """Delete a file, and its content unless requests may have named it."""
        with self.store.transaction() as connection:
            connection.execute("UPDATE openai_files SET deleted_at = ? WHERE id = ?", (self.store.now(), file_id))
        found = self.file(file_id)
        if found is None or found.purpose not in ("vision", "user_data"):
            self.path(file_id).unlink(missing_ok=True)

    def add_batch(self, batch: NewBatch) -> StoredBatch:
        """Make a batch, which is committed when this returns; it keeps its input though the file is deleted."""
        batch_id = f"batch_{self.store.draw(32)}"
        source, kept = self.path(batch.input_file_id), self.requests_path(batch_id)
        try:
            os.link(source, kept)
        except OSError:
            shutil.copyfile(source, kept)
        values = (
            batch_id, batch.workspace, batch.created_at, batch.endpoint, batch.input_file_id,
            orjson.dumps(batch.metadata).decode(), batch.output_life, batch.requests, batch.tokens, batch.model,
            orjson.dumps(batch.errors).decode() if batch.errors else None, batch.fault, batch.fault_seconds,
            int(batch.stranger),
        )  # fmt: skip
        with self.store.transaction() as connection:
            connection.execute(
                "INSERT INTO openai_batches (id, workspace, created_at, endpoint, input_file_id, metadata, "
                "output_life, requests, tokens, model, errors, fault, fault_seconds, stranger) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                values,
            )
        made = self.batch(batch_id)
        assert made is not None
        return made

    def batch(self, batch_id: str) -> StoredBatch | None:
        """Return a batch by its id; None if there is none."""
        found = self.batches("id = ?", (batch_id,))
        return found[0] if found else None

    def batches(self, where: str = "true", values: tuple[Any, ...] = (), limit: int = -1) -> list[StoredBatch]:
        """Return the batches that satisfy `where`, which may end with an ORDER BY."""
        rows = self.store.query(f"SELECT {_BATCH} FROM openai_batches WHERE {where} LIMIT ?", (*values, limit))
        return [StoredBatch(*row) for row in rows]

    def look(self, batch_id: str) -> None:
        """Count a retrieve of a batch."""
        with self.store.transaction() as connection:
            connection.execute("UPDATE openai_batches SET looks = looks + 1 WHERE id = ?", (batch_id,))

    def cancel(self, batch_id: str) -> None:
        """Begin to cancel a batch."""
        with self.store.transaction() as connection:
            connection.execute(
                "UPDATE openai_batches SET cancel_initiated_at = coalesce(cancel_initiated_at, ?) WHERE id = ?",
                (self.store.now(), batch_id),
            )

    def add_response(self, workspace: str, body: JsonObject, ready_at: float) -> None:
        """Store a response, which is ready at a time."""
        with self.store.transaction() as connection:
            connection.execute(
                "INSERT INTO openai_responses (id, workspace, body, ready_at) VALUES (?, ?, ?, ?)",
                (body["id"], workspace, orjson.dumps(body).decode(), ready_at),
            )

    def response(self, response_id: str, workspace: str) -> tuple[JsonObject, float, bool] | None:
        """Return a stored response, when it is ready, and whether it was cancelled; None if there is none."""
        rows = self.store.query(
            "SELECT body, ready_at, cancelled FROM openai_responses WHERE id = ? AND workspace = ?",
            (response_id, workspace),
        )
        return (orjson.loads(rows[0][0]), float(rows[0][1]), bool(rows[0][2])) if rows else None

    def change_response(self, response_id: str, *, delete: bool) -> None:
        """Delete a stored response, or cancel it."""
        statement = "UPDATE openai_responses SET cancelled = 1 WHERE id = ?"
        if delete:
            statement = "DELETE FROM openai_responses WHERE id = ?"
        with self.store.transaction() as connection:
            connection.execute(statement, (response_id,))
