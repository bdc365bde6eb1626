"""The calls of this provider: uploads, batches, downloads, realtime answers. Each is sent once.

The version v1beta stands in the path, since the provider documents batches there.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import orjson

from batchpipe.providers import (
    Answer,
    BatchList,
    BatchState,
    NoListError,
    NotSentError,
    RefusedError,
    Shipment,
    UnavailableError,
    UnknownOutcomeError,
    UploadedFile,
)
from batchpipe.providers.gemini import failures, realtime
from batchpipe.providers.gemini.encoding import split_model
from batchpipe.providers.gemini.rules import Rules
from batchpipe.providers.gemini.states import BATCH, FILE, batch_state, results_file
from batchpipe.providers.shared import download, values
from batchpipe.providers.shared.http import Client, NotUnderstoodError, parsed
from batchpipe.providers.shared.listing import NO_PAGE, ListPage, read_list, states_of
from batchpipe.providers.shared.streams import SaidError, lines_of

if TYPE_CHECKING:
    import httpx2

_VERSION = "v1beta"
_LINES = "application/jsonl"
_PAGE = 100
# A list of more pages has no end.
_MOST_PAGES = 10_000
_MOST_NAME = 40
_ADDRESS = re.compile(r"[!-~]{1,2000}")
_BLANK = b" \t\r\n\x00\xef\xbb\xbf"


def file_name(label: str) -> str:
    """Return the name of the file that a label's chunk is uploaded as: `files/` and at most 40 of `[a-z0-9-]`."""
    if len(label) <= _MOST_NAME:
        return f"files/{label.strip('-')}"
    return f"files/{label[:7]}-{hashlib.md5(label.encode()).hexdigest()}".replace("--", "-")


class Calls(Rules):
    """This provider, bound to a base URL and a key. Several threads may call at once."""

    def __init__(
        self,
        *,
        key: str,
        base_url: str,
        headers: Mapping[str, str],
        timeout_seconds: float,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        self._client = Client(
            key=key,
            base_url=base_url,
            headers=headers,
            errors=failures.ERRORS,
            timeout_seconds=timeout_seconds,
            transport=transport,
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.base_url} key {self.key_hash}>"

    @property
    def base_url(self) -> str:
        return self._client.base_url

    @property
    def key_hash(self) -> str:
        return self._client.key_hash

    def close(self) -> None:
        """Close the connections. A later call opens new ones."""
        self._client.close()

    def upload(self, body: bytes, shipment: Shipment, *, timeout_seconds: float) -> str | None:
        """Upload the lines of a chunk under a name of ours; return the name of the file.

        A file of that name is an earlier try of the same chunk. It is taken where it is whole, else it is made anew.
        """
        name = file_name(shipment.label)
        try:
            return self._name(self._upload(body, name, shipment.label, _LINES, timeout_seconds))
        except UnavailableError as error:
            if error.status != 409:
                raise
        if self._is_whole(name, body):
            return name
        self.discard(name)
        return self._name(self._upload(body, name, shipment.label, _LINES, timeout_seconds))

    def upload_file(self, data: bytes, media_type: str, name: str, *, timeout_seconds: float) -> UploadedFile:
        """Upload a file that requests name by its address."""
        file = self._upload(data, f"files/{name}", name, media_type, timeout_seconds)
        address = file.get("uri")
        if not isinstance(address, str) or not _ADDRESS.fullmatch(address):
            raise UnavailableError("the upload was answered without the address of a file")
        return UploadedFile(self._name(file), address, values.utc_moment(file.get("expirationTime")))

    def has_file(self, file_id: str) -> bool:
        """Return whether a file is there. One that is not is answered like one of somebody else."""
        try:
            return bool(self._file(self._client.call("GET", f"/{_VERSION}/{file_id}")).get("state") == "ACTIVE")
        except RefusedError as error:
            if error.status not in (403, 404):
                raise
            return False

    def _upload(self, body: bytes, name: str, label: str, media_type: str, timeout_seconds: float) -> Mapping[str, Any]:
        """Upload `body` in the two steps of a resumable upload: a start, which names an address, and the bytes."""
        started = self._client.call(
            "POST",
            f"/upload/{_VERSION}/files",
            headers={
                "x-goog-upload-protocol": "resumable",
                "x-goog-upload-command": "start",
                "x-goog-upload-header-content-length": str(len(body)),
                "x-goog-upload-header-content-type": media_type,
            },
            json={"file": {"name": name, "displayName": label, "mimeType": media_type}},
        )
        response = self._client.call(
            "POST",
            self._address(started.headers.get("x-goog-upload-url", "")),
            timeout_seconds=timeout_seconds,
            headers={"x-goog-upload-command": "upload, finalize", "x-goog-upload-offset": "0"},
            content=body,
        )
        file = self._file(response)
        if file.get("state") == "FAILED":
            raise UnavailableError("the provider could not take in the uploaded file")
        return file

    @staticmethod
    def _name(file: Mapping[str, Any]) -> str:
        """Return the name of an uploaded file."""
        found = file.get("name")
        if not isinstance(found, str) or not FILE.fullmatch(found):
            raise UnavailableError("the upload was answered without the name of a file")
        return found

    def _address(self, url: str) -> str:
        """Return the address of an upload at the base URL's host, which alone is sent the key."""
        try:
            place = urlsplit(url)
        except ValueError:
            place = urlsplit("")
        if not place.path.startswith("/"):
            raise UnavailableError("the start of the upload was answered without an address")
        ours = urlsplit(self.base_url)
        return f"{ours.scheme}://{ours.netloc}{place.path}" + (f"?{place.query}" if place.query else "")

    def _file(self, response: httpx2.Response) -> Mapping[str, Any]:
        """Return the file that a reply describes, alone or as its member `file`."""
        found = self._parsed(response)
        inner = found.get("file") if isinstance(found, dict) else None
        file = inner if isinstance(inner, dict) else found
        return file if isinstance(file, dict) else {}

    def _is_whole(self, name: str, body: bytes) -> bool:
        """Return whether the file `name` holds `body`. Its hash comes as base64, of the digest or of its digits."""
        file = self._file(self._client.call("GET", f"/{_VERSION}/{name}"))
        digest = hashlib.sha256(body)
        known = {
            base64.b64encode(digest.digest()).decode(),
            base64.b64encode(digest.hexdigest().encode()).decode(),
            digest.hexdigest(),
        }
        return file.get("state") == "ACTIVE" and file.get("sha256Hash") in known

    def submit(self, body: bytes, shipment: Shipment, *, input_id: str | None, timeout_seconds: float) -> BatchState:
        """Make a batch of the uploaded file `input_id`, under the shipment's label."""
        if input_id is None:
            raise NotSentError("no file was uploaded, and a batch is made of one")
        try:
            response = self._client.call(
                "POST",
                self._of_model(shipment.rung.model, "batchGenerateContent"),
                role="create",
                timeout_seconds=timeout_seconds,
                json={"batch": {"displayName": shipment.label, "inputConfig": {"fileName": input_id}}},
            )
        except RefusedError as error:
            # A model that is not there is answered like an endpoint that is not there, in other words.
            if error.kind == "no_batch_endpoint" and "models/" in error.message:
                error.kind = "not_found"
            raise
        try:
            return batch_state(parsed(response), response.headers)
        except NotUnderstoodError as error:
            message = self._client.redact(f"HTTP {response.status_code}, but {error}")
            raise UnknownOutcomeError(message) from error

    def discard(self, input_id: str) -> None:
        if not FILE.fullmatch(input_id):
            raise RefusedError("this is not the name of a file", status=404, kind="not_found")
        self._client.call("DELETE", f"/{_VERSION}/{input_id}")

    def discard_results(self, batch_id: str) -> bool:
        """Delete the file of results. The provider refuses that where it has given it a name that is too long."""
        name = results_file(self._state(batch_id)[1])
        if name is None or not self.has_file(name):
            return False
        self.discard(name)
        return True

    def answer(self, custom_id: str, params: bytes, *, headers: Mapping[str, str], timeout_seconds: float) -> Answer:
        model, request = split_model(params)
        stream = realtime.is_streamed(request)
        response = self._client.call(
            "POST",
            self._of_model(model, "streamGenerateContent" if stream else "generateContent"),
            timeout_seconds=timeout_seconds,
            stream=stream,
            headers={**headers, "content-type": "application/json"},
            params={"alt": "sse"} if stream else {},
            content=request,
            refused_line=partial(realtime.error_line, custom_id),
        )
        with closing(response):
            content = self._streamed(custom_id, response) if stream else response.content
        # The answer stays as it came: it may hold what is no strict JSON, and numbers of many digits.
        message = b" ".join(content.splitlines()).strip(_BLANK)
        if not message.startswith(b"{"):
            shown = values.words_of(content, 100)
            raise UnavailableError(self._client.redact(f"the answer is not JSON: {shown!r}"))
        head = orjson.dumps({"key": custom_id, **values.reported_usd(response.headers)}).removesuffix(b"}")
        return Answer(line=head + b',"response":' + message + b"}\n")

    def _streamed(self, custom_id: str, response: httpx2.Response) -> bytes:
        """Return the response of a stream. Raises RefusedError or UnavailableError for an error in its place."""
        with self._client.translated():
            try:
                return realtime.response_of(lines_of(response))
            except SaidError as error:
                raise failures.said_error(custom_id, error, self._client.redact) from None

    def poll(self, batch_id: str) -> BatchState:
        return self._state(batch_id)[0]

    def cancel(self, batch_id: str) -> BatchState:
        """Ask the provider to cancel a batch. Its reply is empty, so that the batch is asked for afterwards."""
        self._client.call("POST", self._path(batch_id) + ":cancel", json={})
        return self.poll(batch_id)

    def collect(self, batch_id: str, path: Path, *, what_is_there: bool = False) -> None:
        name = results_file(self._state(batch_id)[1])
        if name is None:
            raise UnavailableError("the batch has no results yet")
        try:
            response = self._client.call(
                "GET",
                f"/download/{_VERSION}/{name}:download",
                params={"alt": "media"},
                headers={"accept-encoding": download.ENCODINGS},
                stream=True,
            )
        except RefusedError as error:
            if error.status != 403:
                raise
            # The key has just read the batch: a file that is gone is answered like one of somebody else.
            raise RefusedError(error.message, status=error.status, kind="not_found") from error
        try:
            download.save(response, path)
        finally:
            response.close()

    def list_batches(self, enough: Callable[[Sequence[BatchState]], bool]) -> BatchList:
        return self._list(enough, _PAGE)

    def account(self) -> BatchList:
        return self._list(lambda states: True, 1)

    def _list(self, enough: Callable[[Sequence[BatchState]], bool], limit: int) -> BatchList:
        """Return the batches of the list, page after page, until `enough` holds for those read so far."""

        def read(following: str) -> ListPage:
            params = {"pageSize": str(limit), **({"pageToken": following} if following else {})}
            return self._page(self._client.call("GET", f"/{_VERSION}/batches", role="list", params=params))

        return read_list(read, enough, _account, has_empty_pages=True)

    def _page(self, response: httpx2.Response) -> ListPage:
        """Return one page of the list. The list of nobody's batches is an empty object.

        Raises NoListError for what is no page.
        """
        try:
            body = parsed(response)
        except NotUnderstoodError as error:
            raise NoListError(self._client.redact(f"the list of batches cannot be read: {error}")) from error
        operations = body.get("operations", []) if isinstance(body, dict) else None
        if not isinstance(operations, list) or set(body) - {"operations", "nextPageToken", "unreachable"}:
            raise NoListError(NO_PAGE)
        found = states_of(operations, lambda each: batch_state(each, response.headers))
        following = body.get("nextPageToken", "")
        understood = isinstance(following, str) and not body.get("unreachable") and len(found) == len(operations)
        return ListPage(found, following if isinstance(following, str) else "", understood, response.headers)

    def _state(self, batch_id: str) -> tuple[BatchState, Any]:
        """Return a batch, and the operation that describes it."""
        response = self._client.call("GET", self._path(batch_id))
        operation = self._parsed(response)
        try:
            state = batch_state(operation, response.headers)
        except NotUnderstoodError as error:
            raise UnavailableError(self._client.redact(str(error))) from error
        if state.batch_id != batch_id:
            raise UnavailableError(self._client.redact(f"the answer is about another batch, {state.batch_id}"))
        return state, operation

    def _parsed(self, response: httpx2.Response) -> Any:
        try:
            return parsed(response)
        except NotUnderstoodError as error:
            raise UnavailableError(self._client.redact(str(error))) from error

    @staticmethod
    def _path(batch_id: str) -> str:
        if not BATCH.fullmatch(batch_id):
            raise RefusedError(f"{batch_id!r} is not the name of a batch", status=404, kind="not_found")
        return f"/{_VERSION}/{batch_id}"

    @staticmethod
    def _of_model(model: str, method: str) -> str:
        name = model if model.startswith(("models/", "tunedModels/")) else f"models/{model}"
        return f"/{_VERSION}/{quote(name, safe='/')}:{method}"


def _account(headers: Mapping[str, str]) -> values.AccountWords:
    """Return when a reply was made by the provider's clock; it names no account."""
    return {"organization": None, "workspace": None, "answered_at": values.http_date(headers.get("date"))}
