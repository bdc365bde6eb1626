"""The six calls of this provider, made with its SDK; the SDK does not retry and follows no redirect."""

from __future__ import annotations

import gc
import hashlib
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import orjson

from batchpipe.common.secrets import redacted
from batchpipe.providers import (
    Answer,
    AuthHeader,
    BatchList,
    BatchState,
    Ended,
    NoListError,
    RefusedError,
    Shipment,
    UnavailableError,
    UnknownOutcomeError,
    UploadedFile,
)
from batchpipe.providers.anthropic import failures, realtime
from batchpipe.providers.anthropic.models import model_data
from batchpipe.providers.anthropic.rules import Rules
from batchpipe.providers.shared import download, values
from batchpipe.providers.shared.bounds import bound
from batchpipe.providers.shared.http import (
    CONNECT_SECONDS,
    NotUnderstoodError,
    batch_reader,
    parsed,
    trusted_authorities,
)
from batchpipe.providers.shared.listing import ListPage, page_by_last_id, read_list
from batchpipe.providers.shared.streams import SaidError, lines_of
from batchpipe.providers.shared.wire import follow

if TYPE_CHECKING:
    import anthropic
    import httpx2

_MESSAGES = "/v1/messages"
_PATH = f"{_MESSAGES}/batches"
_PAGE = 100
_BLANK = b" \t\r\n\x00\xef\xbb\xbf"
# A list of more pages has no end.
_MOST_PAGES = 10_000
_STATES = ("in_progress", "canceling", "ended")


@batch_reader
def batch_state(batch: Any, headers: Mapping[str, str]) -> BatchState:
    """Return the batch that the API describes. Raises NotUnderstoodError for a value without the id of a batch."""
    found = values.batch_id(batch.get("id")) if isinstance(batch, dict) else None
    if found is None:
        raise NotUnderstoodError("the answer is no batch with an id")
    known, total = values.counts(batch.get("request_counts"))
    state, ended_at = batch.get("processing_status"), values.utc_moment(batch.get("ended_at"))
    unknown = None if state in _STATES else values.state_word(state)
    return BatchState(
        batch_id=found,
        ended=Ended(at=ended_at) if state == "ended" or (unknown is not None and ended_at is not None) else None,
        total=total,
        counts=known,
        created_at=values.utc_moment(batch.get("created_at")),
        expires_at=values.utc_moment(batch.get("expires_at")),
        archived=values.utc_moment(batch.get("archived_at")) is not None,
        unknown_state=unknown,
        request_id=values.header_words(headers, "request-id"),
        **_account(headers),
    )


def _account(headers: Mapping[str, str]) -> values.AccountWords:
    """Return the account that a reply names, and when it was made by the provider's clock."""
    return {
        "organization": values.header(headers, "anthropic-organization-id"),
        "workspace": values.header(headers, "anthropic-workspace-id"),
        "answered_at": values.http_date(headers.get("date")),
    }


class Calls(Rules):
    """This provider, bound to a base URL and a key. The first call imports the SDK."""

    def __init__(
        self,
        *,
        key: str,
        base_url: str,
        timeout_seconds: float,
        auth_header: AuthHeader = "bearer",
        headers: Mapping[str, str] = MappingProxyType({}),
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        self._key = key
        self._base_url = base_url.rstrip("/")
        self._timeout_seconds = timeout_seconds
        self._auth_header = auth_header
        self._headers = headers
        self._transport = transport
        self._making = threading.Lock()
        self._made: anthropic.Anthropic | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.base_url} key {self.key_hash}>"

    @property
    def base_url(self) -> str:
        return self._base_url

    @property
    def key_hash(self) -> str:
        return hashlib.sha256(self._key.encode()).hexdigest()[:8]

    def upload(self, body: bytes, shipment: Shipment, *, timeout_seconds: float) -> str | None:
        return None

    def discard(self, input_id: str) -> None:
        pass

    def upload_file(self, data: bytes, media_type: str, name: str, *, timeout_seconds: float) -> UploadedFile:
        raise RefusedError("requests of batches hold their files themselves", status=404, kind="not_found")

    def has_file(self, file_id: str) -> bool:
        return False

    def discard_results(self, batch_id: str) -> bool:
        return False

    def submit(self, body: bytes, shipment: Shipment, *, input_id: str | None, timeout_seconds: float) -> BatchState:
        with failures.raise_as(failures.submit_error, self._redact):
            response = self._post(_PATH, body=body, headers=shipment.headers, timeout_seconds=timeout_seconds)
        try:
            return batch_state(parsed(response), response.headers)
        except NotUnderstoodError as error:
            raise UnknownOutcomeError(self._redact(f"HTTP {response.status_code}, but {error}")) from error

    def answer(self, custom_id: str, params: bytes, *, headers: Mapping[str, str], timeout_seconds: float) -> Answer:
        stream = realtime.is_streamed(params)
        body = realtime.streamed(params) if stream else params
        with failures.raise_as(partial(failures.call_error, custom_id), self._redact):
            response = self._post(_MESSAGES, body=body, headers=headers, timeout_seconds=timeout_seconds, stream=stream)
            with closing(response):
                content = self._streamed_message(custom_id, response) if stream else response.content
        # The message stays as it came: it may hold what is no strict JSON, and numbers of many digits.
        message = b" ".join(content.splitlines()).strip(_BLANK)
        if not message.startswith(b"{"):
            shown = values.words_of(content, 100)
            raise UnavailableError(self._redact(f"the answer is not JSON: {shown!r}"))
        cost = values.reported_usd(response.headers)
        head = orjson.dumps({"custom_id": custom_id, **cost, "result": {"type": "succeeded"}})
        line = head.removesuffix(b"}}") + b',"message":' + message + b"}}\n"
        return Answer(line=line, room=realtime.room_of(response.headers))

    def _streamed_message(self, custom_id: str, response: httpx2.Response) -> bytes:
        """Return the message that a stream makes. Raises RefusedError or UnavailableError for an error in its place."""
        try:
            return realtime.message_of(lines_of(response))
        except SaidError as error:
            raise failures.said_error(custom_id, error, self._redact) from None

    def poll(self, batch_id: str) -> BatchState:
        return self._state(lambda: self._get(self._path(batch_id)), batch_id)

    def cancel(self, batch_id: str) -> BatchState:
        path = self._path(batch_id, "cancel")
        return self._state(
            lambda: self._post(path, body=b"", headers={}, timeout_seconds=self._timeout_seconds), batch_id
        )

    def collect(self, batch_id: str, path: Path, *, what_is_there: bool = False) -> None:
        """Download the results to `path` from a URL below the base URL.

        `results_url` is not used: it may name any host, which would then be sent the key.
        """
        headers = {"accept-encoding": download.ENCODINGS}
        with failures.raise_as(failures.repeatable_error, self._redact):
            response = self._get(self._path(batch_id, "results"), headers=headers, stream=True)
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
            with failures.raise_as(failures.list_error, self._redact):
                params = {"limit": limit, **({"after_id": following} if following else {})}
                response = self._get(_PATH, params=params)
            return self._page(response)

        return read_list(read, enough, _account)

    def close(self) -> None:
        """Close the connections. A later call opens new ones."""
        with self._making:
            client, self._made = self._made, None
        if client is not None:
            client.close()

    def _page(self, response: httpx2.Response) -> ListPage:
        """Return one page of the list. Raises NoListError for what is no page."""
        try:
            body = parsed(response)
        except NotUnderstoodError as error:
            raise NoListError(self._redact(f"the list of batches cannot be read: {error}")) from error
        return page_by_last_id(body, response.headers, lambda each: batch_state(each, response.headers))

    def _state(self, call: Callable[[], httpx2.Response], batch_id: str) -> BatchState:
        with failures.raise_as(failures.repeatable_error, self._redact):
            response = call()
        try:
            state = batch_state(parsed(response), response.headers)
        except NotUnderstoodError as error:
            raise UnavailableError(self._redact(str(error))) from error
        if state.batch_id != batch_id:
            raise UnavailableError(self._redact(f"the answer is about another batch, {state.batch_id}"))
        return state

    @property
    def _client(self) -> anthropic.Anthropic:
        """Return the client, which all threads share; the first call makes it."""
        with self._making:
            if self._made is None:
                self._made = self._make_client()
            return self._made

    def _make_client(self) -> anthropic.Anthropic:
        import anthropic
        import httpx2

        # Modules stay loaded. Without this the garbage collector searches them at the end of the process, for a third
        # of a second.
        gc.freeze()
        headers: dict[str, Any] = {"anthropic-version": model_data()["versions"]["default"]}
        if self._auth_header != "bearer":
            headers |= {self._auth_header: self._key, "authorization": anthropic.omit}
        headers |= self._headers
        # No connection is kept open, because calls are a minute apart: if the server closed it in the meantime, the
        # outcome of the next submit would be unknown.
        return anthropic.Anthropic(
            auth_token=self._key,
            base_url=self._base_url,
            max_retries=0,
            default_headers=headers,
            http_client=anthropic.DefaultHttpxClient(
                follow_redirects=False,
                limits=httpx2.Limits(max_keepalive_connections=0),
                verify=trusted_authorities(),
                transport=self._transport,
                event_hooks={"request": [follow], "response": [bound]},
            ),
        )

    def _options(self, timeout_seconds: float, headers: Mapping[str, str]) -> dict[str, Any]:
        import httpx2

        connect = min(timeout_seconds, CONNECT_SECONDS)
        return {
            "headers": dict(headers),
            "max_retries": 0,
            "timeout": httpx2.Timeout(timeout_seconds, connect=connect),
        }

    def _post(
        self, path: str, *, body: bytes, headers: Mapping[str, str], timeout_seconds: float, stream: bool = False
    ) -> httpx2.Response:
        import httpx2

        options: Any = self._options(timeout_seconds, headers)
        if "anthropic-beta" in headers:
            options["params"] = {"beta": "true"}
        if stream:
            import anthropic

            kind = anthropic.Stream[Any]
            answer: Any = self._client.post(
                path, cast_to=httpx2.Response, content=body, options=options, stream=True, stream_cls=kind
            )
            response: httpx2.Response = answer
            return response
        return self._client.post(path, cast_to=httpx2.Response, content=body or None, options=options)

    def _get(
        self,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        stream: bool = False,
    ) -> httpx2.Response:
        import anthropic
        import httpx2

        options: Any = self._options(self._timeout_seconds, headers or {})
        options["params"] = params or {}
        if not stream:
            return self._client.get(path, cast_to=httpx2.Response, options=options)
        answer: Any = self._client.get(
            path, cast_to=httpx2.Response, options=options, stream=True, stream_cls=anthropic.Stream[Any]
        )
        response: httpx2.Response = answer
        return response

    def _path(self, batch_id: str, *rest: str) -> str:
        return "/".join([_PATH, quote(batch_id, safe=""), *rest])

    def _redact(self, text: str) -> str:
        return redacted(text.replace(self._key, f"<key {self.key_hash}>"))
