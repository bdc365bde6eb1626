"""The calls of this provider: files, batches, and single requests, each sent once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

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
from batchpipe.providers.openai import failures, realtime, states
from batchpipe.providers.openai.background import answered_in_background, window_seconds
from batchpipe.providers.openai.encoding import Endpoint
from batchpipe.providers.openai.media import LIMITS
from batchpipe.providers.openai.models import model_data
from batchpipe.providers.openai.rules import Rules
from batchpipe.providers.shared import download, values
from batchpipe.providers.shared.http import Client, NotUnderstoodError, parsed
from batchpipe.providers.shared.listing import ListPage, page_by_last_id, read_list
from batchpipe.providers.shared.streams import SaidError, lines_of

if TYPE_CHECKING:
    import httpx2

_FILES = "/files"
_BATCHES = "/batches"
_PAGE = 100
_BLANK = b" \t\r\n\x00\xef\xbb\xbf"
_CONTENT = {"accept-encoding": download.ENCODINGS}


class Calls(Rules):
    """This provider, bound to a base URL and a key."""

    def __init__(
        self,
        *,
        key: str,
        base_url: str,
        headers: Mapping[str, str],
        timeout_seconds: float,
        endpoint: Endpoint,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        super().__init__(endpoint)
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

    def upload(self, body: bytes, shipment: Shipment, *, timeout_seconds: float) -> str:
        """Upload the input file of a batch, and return its id; the provider deletes the file after 30 days."""
        life = str(model_data()["files"]["life_seconds"])
        response = self._client.call(
            "POST",
            _FILES,
            timeout_seconds=timeout_seconds,
            data={"purpose": "batch", "expires_after[anchor]": "created_at", "expires_after[seconds]": life},
            files={"file": (f"{shipment.label}.jsonl", body, "application/jsonl")},
        )
        found = self._json(response)
        file_id = states.file_id(found.get("id")) if isinstance(found, dict) else None
        if file_id is None:
            raise UnavailableError("the answer to an upload is no file with an id")
        return file_id

    def upload_file(self, data: bytes, media_type: str, name: str, *, timeout_seconds: float) -> UploadedFile:
        """Upload a file that requests name by its id. The provider deletes it after its time, by its own clock."""
        purpose = "vision" if media_type.startswith("image/") else "user_data"
        end = media_type.rpartition("/")[2]
        response = self._client.call(
            "POST",
            _FILES,
            timeout_seconds=timeout_seconds,
            data={
                "purpose": purpose,
                "expires_after[anchor]": "created_at",
                "expires_after[seconds]": str(LIMITS.upload_seconds),
            },
            files={"file": (f"{name}.{end}", data, media_type)},
        )
        found = self._json(response)
        file_id = states.file_id(found.get("id")) if isinstance(found, dict) else None
        if file_id is None:
            raise UnavailableError("the answer to an upload is no file with an id")
        return UploadedFile(file_id, file_id, states.unix_moment(found.get("expires_at")))

    def has_file(self, file_id: str) -> bool:
        """Return whether a file is there."""
        try:
            self._client.call("GET", self._path(_FILES, file_id))
        except RefusedError as error:
            if error.kind != "not_found":
                raise
            return False
        return True

    def submit(self, body: bytes, shipment: Shipment, *, input_id: str | None, timeout_seconds: float) -> BatchState:
        """Make a batch of the uploaded file, which bears the shipment's label."""
        if input_id is None:
            input_id = self._uploaded_now(body, shipment, timeout_seconds)
        life = shipment.results_seconds or model_data()["files"]["life_seconds"]
        order = {
            "input_file_id": input_id,
            "endpoint": self.endpoint,
            "completion_window": "24h",
            "metadata": {states.LABEL: shipment.label},
            "output_expires_after": {"anchor": "created_at", "seconds": life},
        }
        response = self._client.call("POST", _BATCHES, role="create", timeout_seconds=timeout_seconds, json=order)
        try:
            return states.batch_state(parsed(response), response.headers)
        except NotUnderstoodError as error:
            message = f"HTTP {response.status_code}, but {error}"
            raise UnknownOutcomeError(self._client.redact(message)) from error

    def _uploaded_now(self, body: bytes, shipment: Shipment, timeout_seconds: float) -> str:
        """Upload the file as a part of the submit: a failure then has made no batch."""
        try:
            return self.upload(body, shipment, timeout_seconds=timeout_seconds)
        except UnavailableError as error:
            raise NotSentError(str(error)) from error

    def discard(self, input_id: str) -> None:
        """Delete an uploaded file. A file that is not there is deleted."""
        try:
            self._client.call("DELETE", self._path(_FILES, input_id))
        except RefusedError as error:
            if error.kind != "not_found":
                raise

    def discard_results(self, batch_id: str) -> bool:
        """Delete the output file and the error file of a batch; return whether one of them was there."""
        batch = self._state("GET", self._path(_BATCHES, batch_id), batch_id)[1]
        names = [states.file_id(batch.get(name)) for name in ("output_file_id", "error_file_id")]
        there = [name for name in names if name is not None and self.has_file(name)]
        for name in there:
            self.discard(name)
        return bool(there)

    def answer(self, custom_id: str, params: bytes, *, headers: Mapping[str, str], timeout_seconds: float) -> Answer:
        """Make one realtime call. One in the background is asked for until it has ended, or its window is over."""
        path = self.endpoint.removeprefix("/v1")
        stream = realtime.is_streamed(params)
        response = self._client.call(
            "POST",
            path,
            content=realtime.streamed(self.endpoint, params) if stream else params,
            headers={"content-type": "application/json", **headers},
            timeout_seconds=timeout_seconds,
            stream=stream,
            refused_line=lambda status, body: failures.error_line(custom_id, status, body),
        )
        with closing(response):
            content = self._streamed(custom_id, response) if stream else response.content
        window = orjson.loads(params).get("background_options", {}).get("completion_window")
        if window is not None:
            longest = max(timeout_seconds, window_seconds(str(window)))
            content = answered_in_background(self._client, path, content, longest)
        # The body stays as it came: it may hold what is no strict JSON, and numbers of many digits.
        body = b" ".join(content.splitlines()).strip(_BLANK)
        if not body.startswith(b"{"):
            shown = values.words_of(content, 100)
            raise UnavailableError(self._client.redact(f"the answer is not JSON: {shown!r}"))
        request_id = values.header(response.headers, "x-request-id")
        head: dict[str, Any] = {"id": "realtime", "custom_id": custom_id, "error": None}
        head |= values.reported_usd(response.headers)
        if window is not None:
            head["window"] = window
        head["response"] = {"status_code": 200, "request_id": request_id}
        line = orjson.dumps(head).removesuffix(b"}}") + b',"body":' + body + b"}}\n"
        return Answer(line=line, room=realtime.room_of(response.headers))

    def _streamed(self, custom_id: str, response: httpx2.Response) -> bytes:
        """Return the body that a stream makes. Raises RefusedError or UnavailableError for an error in its place."""
        with self._client.translated():
            try:
                return realtime.body_of(self.endpoint, lines_of(response))
            except SaidError as error:
                raise failures.said_error(custom_id, error, self._client.redact) from None

    def poll(self, batch_id: str) -> BatchState:
        return self._state("GET", self._path(_BATCHES, batch_id), batch_id)[0]

    def cancel(self, batch_id: str) -> BatchState:
        return self._state("POST", self._path(_BATCHES, batch_id, "cancel"), batch_id)[0]

    def collect(self, batch_id: str, path: Path, *, what_is_there: bool = False) -> None:
        """Download the output file and the error file of a batch into one file at `path`.

        Answers are in the output file: the wait for it is as long as that for its name.
        """
        state, batch = self._state("GET", self._path(_BATCHES, batch_id), batch_id)
        output, errors = (states.file_id(batch.get(name)) for name in ("output_file_id", "error_file_id"))
        given_up = what_is_there and not self._is_recent(state)
        found = []
        if output is not None:
            no_answers = given_up or state.counts.get("succeeded") == 0
            ask = partial(self._content, output, state)
            found.append(download.FileSource(ask, may_be_blank=no_answers, may_be_absent=given_up))
        if errors is not None:
            ask = partial(self._content, errors, state)
            found.append(download.FileSource(ask, may_be_blank=True, may_be_absent=what_is_there))
        if not found:
            raise UnavailableError("the batch names no file of results")
        download.save_files(found, path)

    @staticmethod
    def _is_recent(state: BatchState) -> bool:
        """Return whether a batch has ended so lately that its files may still appear."""
        at = state.ended.at if state.ended is not None else None
        return at is not None and state.answered_at is not None and state.answered_at < at + states.FILES_LATE

    def _content(self, file_id: str, state: BatchState) -> download.DownloadSource:
        """Return the content of a result file, with its size where only the file itself says how long it is.

        A file may be there some minutes after the batch has named it.
        """
        try:
            response = self._client.call("GET", self._path(_FILES, file_id, "content"), headers=_CONTENT, stream=True)
        except RefusedError as error:
            if error.kind == "not_found" and self._is_recent(state):
                raise UnavailableError(f"the result file is not there yet: {error.message}", status=404) from error
            raise
        return download.DownloadSource(response, None if download.has_an_end(response) else self._size(file_id))

    def _size(self, file_id: str) -> int | None:
        """Return the size of a file in bytes; None where it is not known."""
        found = self._json(self._client.call("GET", self._path(_FILES, file_id)))
        size = found.get("bytes") if isinstance(found, dict) else None
        return size if isinstance(size, int) and not isinstance(size, bool) else None

    def list_batches(self, enough: Callable[[Sequence[BatchState]], bool]) -> BatchList:
        return self._list(enough, _PAGE)

    def account(self) -> BatchList:
        return self._list(lambda states: True, 1)

    def close(self) -> None:
        """Close the connections. A later call opens new ones."""
        self._client.close()

    def _list(self, enough: Callable[[Sequence[BatchState]], bool], limit: int) -> BatchList:
        """Return the batches of the list, page after page, until `enough` holds for those read so far."""

        def read(following: str) -> ListPage:
            params = {"limit": limit, **({"after": following} if following else {})}
            return self._page(self._client.call("GET", _BATCHES, role="list", params=params))

        return read_list(read, enough, states.account)

    def _page(self, response: httpx2.Response) -> ListPage:
        """Return one page of the list. Raises NoListError for what is no page."""
        try:
            body = parsed(response)
        except NotUnderstoodError as error:
            message = f"the list of batches cannot be read: {error}"
            raise NoListError(self._client.redact(message)) from error
        return page_by_last_id(body, response.headers, lambda each: states.batch_state(each, response.headers))

    def _state(self, method: str, path: str, batch_id: str) -> tuple[BatchState, dict[str, Any]]:
        """Return the state of a batch, and the JSON that it was read from."""
        response = self._client.call(method, path)
        batch = self._json(response)
        try:
            state = states.batch_state(batch, response.headers)
        except NotUnderstoodError as error:
            raise UnavailableError(self._client.redact(str(error))) from error
        if state.batch_id != batch_id:
            raise UnavailableError(self._client.redact(f"the answer is about another batch, {state.batch_id}"))
        return state, batch

    def _json(self, response: httpx2.Response) -> Any:
        """Return the JSON of a response. Raises UnavailableError for anything else."""
        try:
            return parsed(response)
        except NotUnderstoodError as error:
            raise UnavailableError(self._client.redact(str(error))) from error

    @staticmethod
    def _path(kind: str, name: str, *rest: str) -> str:
        return "/".join([kind, quote(name, safe=""), *rest])
