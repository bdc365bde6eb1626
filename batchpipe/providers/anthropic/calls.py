"""The six calls of this provider, made with its SDK; the SDK does not retry and follows no redirect."""

from __future__ import annotations

import functools
import gc
import hashlib
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import orjson

from batchpipe.common.secrets import redacted
from batchpipe.providers import BatchState, UnavailableError, UnknownOutcomeError
from batchpipe.providers.anthropic import download, failures
from batchpipe.providers.anthropic.models import model_data
from batchpipe.providers.anthropic.rules import Rules

if TYPE_CHECKING:
    import anthropic
    import httpx2

_MESSAGES = "/v1/messages"
_PATH = f"{_MESSAGES}/batches"
_CONNECT_SECONDS = 15.0
_PAGE = 100
_BLANK = b" \t\r\n\x00\xef\xbb\xbf"


@functools.cache
def _trusted() -> ssl.SSLContext:
    """Return the authorities that TLS trusts, read once per process: reading them takes as long as some runs."""
    import httpx2

    return httpx2.create_ssl_context()


class NotABatchError(ValueError):
    """The body of a response is not a batch as the protocol describes it."""


def _moment(value: Any) -> datetime | None:
    """Return an RFC 3339 time as naive UTC."""
    if value is None:
        return None
    moment = datetime.fromisoformat(value)
    return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment


def batch_state(batch: Any, headers: Mapping[str, str]) -> BatchState:
    """Return the batch that the API's JSON describes. Raises NotABatchError for any other value."""
    try:
        if not batch["id"] or not isinstance(batch["id"], str):
            raise NotABatchError("the answer is a batch without an id")
        counts = {str(key): int(value) for key, value in batch["request_counts"].items()}
        created_at = _moment(batch["created_at"])
        if created_at is None:
            raise NotABatchError("the answer is a batch without its time of creation")
        return BatchState(
            batch_id=batch["id"],
            ended=batch["processing_status"] == "ended",
            total=sum(counts.values()),
            counts=counts,
            created_at=created_at,
            expires_at=_moment(batch.get("expires_at")),
            ended_at=_moment(batch.get("ended_at")),
            archived=batch.get("archived_at") is not None,
            organization=headers.get("anthropic-organization-id"),
            workspace=headers.get("anthropic-workspace-id"),
            request_id=headers.get("request-id"),
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        if isinstance(error, NotABatchError):
            raise
        raise NotABatchError(f"the answer is not a batch ({type(error).__name__}: {error})") from error


def _json(response: httpx2.Response) -> Any:
    try:
        return orjson.loads(response.content)
    except orjson.JSONDecodeError as error:
        shown = " ".join(response.text[:100].split())
        raise NotABatchError(f"the answer is not JSON: {shown!r}") from error


class Calls(Rules):
    """This provider, bound to a base URL and a key. The first call imports the SDK."""

    def __init__(
        self,
        *,
        key: str,
        base_url: str,
        timeout_seconds: float,
        bearer: bool,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        self._key = key
        self._base_url = base_url.rstrip("/")
        self._timeout_seconds = timeout_seconds
        self._bearer = bearer
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

    def submit(self, body: bytes, *, headers: Mapping[str, str], timeout_seconds: float) -> BatchState:
        with failures.raise_as(failures.submit_error, self._redact):
            response = self._post(_PATH, body=body, headers=headers, timeout_seconds=timeout_seconds)
        try:
            return batch_state(_json(response), response.headers)
        except NotABatchError as error:
            raise UnknownOutcomeError(self._redact(f"HTTP {response.status_code}, but {error}")) from error

    def answer(self, custom_id: str, params: bytes, *, headers: Mapping[str, str], timeout_seconds: float) -> bytes:
        with failures.raise_as(failures.repeatable_error, self._redact):
            response = self._post(_MESSAGES, body=params, headers=headers, timeout_seconds=timeout_seconds)
        # The message stays as it came: it may hold what is no strict JSON, and numbers of many digits.
        message = b" ".join(response.content.splitlines()).strip(_BLANK)
        if not message.startswith(b"{"):
            shown = " ".join(response.text[:100].split())
            raise UnavailableError(self._redact(f"the answer is not JSON: {shown!r}"))
        head = orjson.dumps({"custom_id": custom_id, "result": {"type": "succeeded"}})
        return head.removesuffix(b"}}") + b',"message":' + message + b"}}\n"

    def poll(self, batch_id: str) -> BatchState:
        return self._state(lambda: self._get(self._path(batch_id)))

    def cancel(self, batch_id: str) -> BatchState:
        path = self._path(batch_id, "cancel")
        return self._state(lambda: self._post(path, body=b"", headers={}, timeout_seconds=self._timeout_seconds))

    def collect(self, batch_id: str, path: Path) -> None:
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

    def recent(self, since: datetime) -> Iterator[BatchState]:
        after: str | None = None
        while True:
            params = {"limit": _PAGE, **({"after_id": after} if after else {})}
            with failures.raise_as(failures.list_error, self._redact):
                response = self._get(_PATH, params=params)
            states, following = self._page(response)
            yield from (state for state in states if state.created_at >= since)
            if following is None or following == after or not states or states[-1].created_at < since:
                return
            after = following

    def close(self) -> None:
        """Close the connections. A later call opens new ones."""
        with self._making:
            client, self._made = self._made, None
        if client is not None:
            client.close()

    def _page(self, response: httpx2.Response) -> tuple[list[BatchState], str | None]:
        """Return the batches of one page of the list, and the id after which the next page starts (None: no page)."""
        try:
            page = _json(response)
            states = [batch_state(batch, response.headers) for batch in page["data"]]
            return states, page["last_id"] if page["has_more"] else None
        except (NotABatchError, KeyError, TypeError) as error:
            raise UnavailableError(self._redact(f"the list of batches cannot be read: {error}")) from error

    def _state(self, call: Callable[[], httpx2.Response]) -> BatchState:
        with failures.raise_as(failures.repeatable_error, self._redact):
            response = call()
        try:
            return batch_state(_json(response), response.headers)
        except NotABatchError as error:
            raise UnavailableError(self._redact(str(error))) from error

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
        if not self._bearer:
            headers |= {"x-api-key": self._key, "authorization": anthropic.omit}
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
                verify=_trusted(),
                transport=self._transport,
            ),
        )

    def _options(self, timeout_seconds: float, headers: Mapping[str, str]) -> dict[str, Any]:
        import httpx2

        connect = min(timeout_seconds, _CONNECT_SECONDS)
        return {
            "headers": dict(headers),
            "max_retries": 0,
            "timeout": httpx2.Timeout(timeout_seconds, connect=connect),
        }

    def _post(self, path: str, *, body: bytes, headers: Mapping[str, str], timeout_seconds: float) -> httpx2.Response:
        import httpx2

        options: Any = self._options(timeout_seconds, headers)
        if "anthropic-beta" in headers:
            options["params"] = {"beta": "true"}
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
