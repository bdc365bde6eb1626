"""The files of the service: uploads in two steps, what is said of a file, and the end of its life after 48 hours."""

import base64
import re
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

import orjson

from batchpipe.emulator.gemini.errors import GoogleError, quota_error
from batchpipe.emulator.gemini.tables import File, Tables
from batchpipe.emulator.service.jsontypes import JsonObject, is_object, word_set
from batchpipe.emulator.service.times import timestamp
from batchpipe.emulator.service.wire import Reply, Request, json_reply

LIFE_SECONDS = 48 * 3_600.0
_NAME = re.compile(r"files/[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?")
_ADDRESS = re.compile(r"https://generativelanguage\.googleapis\.com/v1beta/(files/[a-z0-9-]{1,40})")
_MOST_BYTES = 2_000_000_000
_ASKED = word_set("name displayName display_name mimeType mime_type sizeBytes size_bytes source")


class Files:
    """The files of all workspaces in one store."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._store = tables.store

    def path(self, name: str) -> Path:
        """Return the path of a file's bytes."""
        return self._store.folder / "bodies" / f"{name.partition('/')[2]}.gemini"

    def named(self, address: str) -> bytes | None:
        """Return the bytes of the file at an address of ours, which may be deleted; None for any other address."""
        found = _ADDRESS.fullmatch(address)
        path = self.path(found[1]) if found is not None else None
        return path.read_bytes() if path is not None and path.exists() else None

    def attached(self, address: str) -> tuple[str, bytes] | None:
        """Return the type and bytes of a file that a request names by its address; None for any other address.

        Raises GoogleError 403 where the file is not there.
        """
        found = _ADDRESS.fullmatch(address)
        if found is None:
            return None
        file = self._tables.file(found[1])
        if file is None or file.state != "ACTIVE" or self.is_gone(file):
            shown = found[1].partition("/")[2]
            raise GoogleError(403, f"You do not have permission to access the File {shown} or it may not exist.")
        return file.mime_type, self.path(file.name).read_bytes()

    def start(self, request: Request, workspace: str, base_url: str, room: int | None = None) -> Reply:
        """Begin an upload, and name the address of its bytes.

        `room` is how many bytes the files of a workspace may have together; None is no limit.
        """
        headers = request.headers
        if headers.get("x-goog-upload-protocol") != "resumable" or headers.get("x-goog-upload-command") != "start":
            raise GoogleError(400, "Invalid upload protocol or command.")
        length, kind = headers.get("x-goog-upload-header-content-length", ""), _mime_type(headers)
        if not length.isdigit() or int(length) > _MOST_BYTES:
            raise GoogleError(400, "The file is too large, or its size is not said.")
        stored = self._tables.files("workspace = ? AND deleted_at IS NULL AND state = 'ACTIVE'", (workspace,))
        if room is not None and sum(each.bytes for each in stored if not self.is_gone(each)) + int(length) > room:
            raise quota_error("FileStorageBytesPerProject")
        body: object = orjson.loads(request.body.read_bytes()) if request.body is not None else {}
        file = body.get("file", {}) if is_object(body) else None
        if not is_object(file) or set(file) - _ASKED:
            raise GoogleError(400, "Invalid JSON payload received: expected a file.")
        name = str(file.get("name") or f"files/{self._store.draw(12)}")
        if not _NAME.fullmatch(name):
            raise GoogleError(400, "The file name must be files/ and at most 40 of a-z, 0-9 and dashes.")
        known = self._tables.file(name)
        if known is not None and known.state == "ACTIVE" and not self.is_gone(known):
            raise GoogleError(409, "Requested entity already exists")
        upload_id = self._store.draw(32)
        self._tables.insert(
            "files",
            {
                "name": name,
                "workspace": workspace,
                "display_name": str(file.get("displayName", file.get("display_name", ""))),
                "mime_type": str(file.get("mimeType", file.get("mime_type", kind))),
                "bytes": int(length),
                "sha256": "",
                "state": "STARTED",
                "source": "UPLOADED",
                "upload_id": upload_id,
                "created_at": self._store.now(),
                "deleted_at": None,
            },
        )
        reply = json_reply(200, {})
        reply.headers["x-goog-upload-url"] = (
            f"{base_url}/upload/v1beta/files?upload_id={upload_id}&upload_protocol=resumable"
        )
        reply.headers["x-goog-upload-status"] = "active"
        return reply

    def finish(self, request: Request) -> Reply:
        """Take in the bytes of an upload, whole and in one piece."""
        command = {each.strip() for each in request.headers.get("x-goog-upload-command", "").split(",")}
        started = self._tables.files("upload_id = ? AND state = 'STARTED'", (request.query.get("upload_id", ""),))
        if not started:
            raise GoogleError(404, "The upload is not known.")
        (file,) = started
        if command != {"upload", "finalize"} or request.headers.get("x-goog-upload-offset") != "0":
            raise GoogleError(400, "The emulator takes an upload in one piece: upload, finalize at the offset 0.")
        body = b"" if request.body is None else request.body.read_bytes()
        if len(body) != file.bytes:
            raise GoogleError(400, f"The upload has {len(body)} bytes, and {file.bytes} were announced.")
        self.keep(file.name, body)
        digest = base64.b64encode(sha256(body).hexdigest().encode()).decode()
        self._tables.change("files", file.name, {"state": "ACTIVE", "sha256": digest})
        made = self._tables.file(file.name)
        assert made is not None
        reply = json_reply(200, {"file": self.shape(made)})
        reply.headers["x-goog-upload-status"] = "final"
        return reply

    def keep(self, name: str, body: bytes) -> None:
        """Write the bytes of a file."""
        part = self.path(name).with_suffix(".part")
        part.write_bytes(body)
        self._store.put(part, self.path(name))

    def find(self, name: str, workspace: str) -> File:
        """Return a file of this workspace. Raises GoogleError 403 for any other, as the service does."""
        file = self._tables.file(name)
        if file is None or file.workspace != workspace or file.state != "ACTIVE" or self.is_gone(file):
            shown = name.partition("/")[2]
            message = f"You do not have permission to access the File {shown} or it may not exist."
            raise GoogleError(403, message)
        return file

    def is_gone(self, file: File) -> bool:
        """Return whether the life of a file is over."""
        return file.created_at + LIFE_SECONDS <= self._store.now()

    def delete(self, name: str, workspace: str) -> JsonObject:
        """Delete a file; its bytes stay, for the log. The name of one with results is too long (python-genai 1759)."""
        if not _NAME.fullmatch(name):
            raise GoogleError(400, "* DeleteFileRequest.name: the file ID must be at most 40 characters.")
        self.find(name, workspace)
        self._tables.change("files", name, {"deleted_at": self._store.now()})
        return {}

    def page(self, workspace: str) -> JsonObject:
        """Return all files of a workspace, the newest first."""
        found = self._tables.files(
            "workspace = ? AND deleted_at IS NULL AND state = 'ACTIVE' ORDER BY created_at DESC", (workspace,)
        )
        files = [self.shape(each) for each in found if not self.is_gone(each)]
        return {"files": files} if files else {}

    def shape(self, file: File) -> JsonObject:
        """Return a file as the service shows it."""
        return {
            "name": file.name,
            "displayName": file.display_name,
            "mimeType": file.mime_type,
            "sizeBytes": str(file.bytes),
            "createTime": timestamp(file.created_at),
            "updateTime": timestamp(file.created_at),
            "expirationTime": timestamp(file.created_at + LIFE_SECONDS),
            "sha256Hash": file.sha256,
            "uri": f"https://generativelanguage.googleapis.com/v1beta/{file.name}",
            "state": file.state,
            "source": file.source,
        }


def _mime_type(headers: Mapping[str, str]) -> str:
    return headers.get("x-goog-upload-header-content-type", "application/octet-stream")
