"""Files: uploads as multipart forms, lists, contents, deletion."""

import re
from pathlib import Path

from batchpipe.emulator.openai.errors import OpenAIError
from batchpipe.emulator.openai.tables import StoredFile, Tables
from batchpipe.emulator.service.jsontypes import JsonObject
from batchpipe.emulator.service.wire import Request

DAY = 86_400
LIFE_SECONDS = 30 * DAY
_LEAST_LIFE = 3_600
# The files that requests may name, whose contents are kept for the log though they are deleted.
_ATTACHED = ("vision", "user_data")
_PURPOSES = ("assistants", "batch", "fine-tune", "vision", "user_data", "evals")
_BOUNDARY = re.compile(r'multipart/form-data;.*boundary="?([^";]+)"?', re.IGNORECASE)
_NAME = re.compile(rb'name="([^"]*)"')
_FILENAME = re.compile(rb'filename="([^"]*)"')


class Files:
    """The files of all projects."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    def upload(self, request: Request, workspace: str, max_bytes: int, room: int | None = None) -> StoredFile:
        """Keep the file of a multipart form. Raises OpenAIError with the provider's own message.

        `room` is how many bytes the files of a project may have together; None is no limit.
        """
        fields, content = _form(request)
        if "file" not in fields:
            raise OpenAIError(400, "'file' is a required property", param="file")
        purpose = fields.get("purpose", "")
        if purpose not in _PURPOSES:
            raise OpenAIError(400, f"'{purpose}' is not one of {list(_PURPOSES)} - 'purpose'", param="purpose")
        if purpose == "batch" and not fields["file"].endswith(".jsonl"):
            raise OpenAIError(400, "Invalid file format. Batch files must be .jsonl files.", param="file")
        if len(content) > max_bytes:
            raise OpenAIError(413, "File is too large.", code="file_too_large")
        if room is not None and len(content) + self._stored(workspace) > room:
            message = "You have exceeded your project's file storage limit. Please delete files and try again."
            raise OpenAIError(400, message, code="storage_limit_exceeded")
        life = _life(fields)
        part = self._tables.store.folder / "incoming" / f"upload-{self._tables.store.draw(16)}.part"
        part.write_bytes(content)
        return self._tables.add_file(part, workspace, fields["file"], purpose, life)

    def _stored(self, workspace: str) -> int:
        """Return the bytes of a project's files."""
        where = "workspace = ? AND deleted_at IS NULL AND coalesce(expires_at, 1e18) > ?"
        return sum(each.bytes for each in self._tables.files(where, (workspace, self._tables.store.now())))

    def attached(self, file_id: object) -> bytes | None:
        """Return the content of a file that a request names by its id; None where there is none."""
        found = self._tables.file(file_id) if isinstance(file_id, str) else None
        now = self._tables.store.now()
        gone = (
            found is None or found.deleted_at is not None or (found.expires_at is not None and found.expires_at <= now)
        )
        if found is None or gone or found.purpose not in _ATTACHED:
            return None
        return self._tables.path(found.id).read_bytes()

    def logged(self, file_id: str) -> bytes | None:
        """Return the content of a file for the log, though it is deleted."""
        path = self._tables.path(file_id)
        return path.read_bytes() if path.exists() else None

    def find(self, file_id: str, workspace: str) -> StoredFile:
        """Return a file that the project can see. Raises OpenAIError 404 for any other."""
        found = self._tables.file(file_id)
        now = self._tables.store.now()
        gone = found is None or found.workspace != workspace or found.deleted_at is not None
        if found is None or gone or (found.expires_at is not None and found.expires_at <= now):
            raise OpenAIError(404, f"No such File object: {file_id}", param="id")
        return found

    def content(self, file_id: str, workspace: str) -> Path:
        """Return the path of a file's content."""
        return self._tables.path(self.find(file_id, workspace).id)

    def delete(self, file_id: str, workspace: str) -> JsonObject:
        """Delete a file and return the API's reply."""
        self._tables.delete_file(self.find(file_id, workspace).id)
        return {"id": file_id, "object": "file", "deleted": True}

    def page(self, request: Request, workspace: str) -> JsonObject:
        """Return the files of a project, the newest first."""
        purpose, after = request.query.get("purpose"), request.query.get("after")
        text = request.query.get("limit", "10000")
        limit = int(text) if re.fullmatch(r"[0-9]{1,5}", text) else 0
        if not 1 <= limit <= 10_000:
            raise OpenAIError(400, "Invalid 'limit': expected an integer from 1 to 10000.", param="limit")
        where = (
            "workspace = ? AND deleted_at IS NULL AND coalesce(expires_at, 1e18) > ? "
            "AND (? IS NULL OR purpose = ?) ORDER BY number DESC"
        )
        found = self._tables.files(where, (workspace, self._tables.store.now(), purpose, purpose))
        start = next((place for place, each in enumerate(found, start=1) if each.id == after), 0)
        shown = found[start : start + limit]
        return {
            "object": "list",
            "data": [file_shape(each) for each in shown],
            "has_more": len(found) > start + limit,
            "first_id": shown[0].id if shown else None,
            "last_id": shown[-1].id if shown else None,
        }


def file_shape(file: StoredFile) -> JsonObject:
    """Return a file as the API shows it."""
    return {
        "id": file.id,
        "object": "file",
        "bytes": file.bytes,
        "created_at": int(file.created_at),
        "expires_at": None if file.expires_at is None else int(file.expires_at),
        "filename": file.filename,
        "purpose": file.purpose,
        "status": "processed",
        "status_details": None,
    }


def _form(request: Request) -> tuple[dict[str, str], bytes]:
    """Return the fields of a multipart form, with the name of the file as `file`, and the file's content."""
    boundary = _BOUNDARY.match(request.headers.get("content-type", ""))
    if boundary is None or request.body is None:
        raise OpenAIError(400, "We could not parse your request: expected multipart/form-data.")
    body = request.body.read_bytes()
    fields: dict[str, str] = {}
    content = b""
    mark = b"--" + boundary[1].encode()
    for part in body.split(mark)[1:-1]:
        head, _, text = part.strip(b"\r\n").partition(b"\r\n\r\n") if b"\r\n\r\n" in part else (part, b"", b"")
        name, filename = _NAME.search(head), _FILENAME.search(head)
        if filename is not None and name is not None and name[1] == b"file":
            start = part.index(b"\r\n\r\n") + 4
            content = part[start:].removesuffix(b"\r\n")
            fields["file"] = filename[1].decode("utf-8", "replace")
        elif name is not None:
            fields[name[1].decode("utf-8", "replace")] = text.decode("utf-8", "replace")
    return fields, content


def _life(fields: dict[str, str]) -> float | None:
    """Return for how many seconds a file is kept: a batch's input 30 days, others for ever."""
    anchor, seconds = fields.get("expires_after[anchor]"), fields.get("expires_after[seconds]")
    if anchor is None and seconds is None:
        return LIFE_SECONDS if fields.get("purpose") == "batch" else None
    if anchor != "created_at":
        raise OpenAIError(400, "Invalid value for 'expires_after[anchor]'.", param="expires_after[anchor]")
    return checked_life(seconds)


def checked_life(seconds: object) -> float:
    """Return the seconds that a file is kept. Raises OpenAIError for what is no time from an hour to 30 days."""
    text = str(seconds)
    if not re.fullmatch(r"[0-9]{1,9}", text) or not _LEAST_LIFE <= int(text) <= LIFE_SECONDS:
        message = f"Invalid 'expires_after.seconds': expected an integer from {_LEAST_LIFE} to {LIFE_SECONDS}."
        raise OpenAIError(400, message, param="expires_after.seconds")
    return float(text)
