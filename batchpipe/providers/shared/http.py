"""One rule for HTTP calls: sent once, no redirect followed, no key shown, and each failure one of our errors.

A protocol gives the reader of its own error bodies. An answer that comes from elsewhere (a proxy, a page of a gateway)
is not believed.
"""

from __future__ import annotations

import functools
import hashlib
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Literal, NamedTuple
from urllib.parse import urlsplit

import orjson

from batchpipe.common.secrets import redacted
from batchpipe.providers import BatchState, NotSentError, RefusedError, UnavailableError, UnknownOutcomeError
from batchpipe.providers.shared.bounds import bound
from batchpipe.providers.shared.mending import read_value, written
from batchpipe.providers.shared.values import header_words, http_date, retry_after_seconds, words, words_of
from batchpipe.providers.shared.wire import follow

if TYPE_CHECKING:
    import httpx2

CONNECT_SECONDS = 15.0
_REFUSALS = frozenset({400, 401, 402, 403, 404, 422, 429})
# What the list of batches is answered with where there is none (RFC 9110: not found, not allowed, not implemented).
NO_ENDPOINT = frozenset({404, 405, 501})
# Time-outs, conflicts, limits, a full tier (498), and connections that a proxy says were closed too early (425, 499).
_RETRYABLE = frozenset({408, 409, 425, 429, 498, 499})
_SHOWN_CHARACTERS = 400
# What values that nobody thought of raise while they are read.
ODD_REPLY = (ValueError, TypeError, LookupError, OverflowError, AttributeError, RecursionError)

# What a call is: one that makes a batch, one that may be repeated, or the list of batches, which tells whether there is
# a batch endpoint at all.
Role = Literal["create", "repeatable", "list"]
# What reads a batch out of a reply: its JSON, and the headers.
StateReader = Callable[[Any, Mapping[str, str]], BatchState]


class ErrorBody(NamedTuple):
    """Holds what a protocol's own error JSON says: its message, and the kind of `RefusedError` that it is.

    `retry_after_seconds` is how long it asks to wait, where the body says so and no header.
    """

    message: str
    kind: str
    retry_after_seconds: float | None = None


class ErrorReader(NamedTuple):
    """Reads a protocol's replies that are no success.

    `read` gets the status and the parsed body (None where it is no JSON); it returns None for a body that is not of the
    protocol. `request_id_header` names the header of the request's id.
    """

    read: Callable[[int, Any], ErrorBody | None]
    request_id_header: str


class NotUnderstoodError(ValueError):
    """The body of a response is not what the protocol describes."""


class _StatusError(Exception):
    """A reply whose status is no success."""

    def __init__(self, response: httpx2.Response) -> None:
        super().__init__(f"HTTP {response.status_code}")
        self.response = response


@functools.cache
def trusted_authorities() -> ssl.SSLContext:
    """Return the authorities that TLS trusts, read once per process: reading them takes as long as some runs."""
    import httpx2

    return httpx2.create_ssl_context()


def never_sent(error: BaseException | None) -> bool:
    """Return whether no connection was made: unknown name, connection refused, TLS error, no free connection, or a
    proxy that refuses to make one (RFC 9110, 9.3.6: it answers CONNECT before anything is passed on).
    """
    import httpx2

    none_made = httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.PoolTimeout | httpx2.ProxyError
    return isinstance(error, none_made | httpx2.UnsupportedProtocol)


def server_of(url: str) -> str:
    """Return the host and port of a URL as a message names them; "the server" for what has none."""
    try:
        return urlsplit(url).netloc or "the server"
    except ValueError:
        return "the server"


def json_of(content: bytes) -> Any:
    """Return the JSON of a body, before which a byte order mark may stand. Raises ValueError for anything else.

    What a strict reader refuses is read too: the words of an error may quote a part of a row, cut in the middle of a
    character.
    """
    try:
        return orjson.loads(content.removeprefix(b"\xef\xbb\xbf").strip(b" \t\r\n\x00"))
    except ValueError:
        return read_value(content.decode("utf-8", "replace"))


def error_json(body: bytes, *, member: str | None = None, otherwise: Mapping[str, Any]) -> bytes:
    """Return the JSON of an error, or of its `member`, as DuckDB can read it; `otherwise` where it is no object."""
    with suppress(ValueError, RecursionError):
        found = json_of(body)
        found = found[0] if isinstance(found, list) and len(found) == 1 else found
        error = found.get(member) if member is not None and isinstance(found, dict) else found
        if isinstance(error, dict):
            return written(error).rstrip(b"\n")
    return written(otherwise).rstrip(b"\n")


def batch_reader(read: StateReader) -> StateReader:
    """Let a reader of batches raise NotUnderstoodError for whatever a value that nobody thought of makes it raise."""

    @functools.wraps(read)
    def reading(batch: Any, headers: Mapping[str, str]) -> BatchState:
        try:
            return read(batch, headers)
        except NotUnderstoodError:
            raise
        except ODD_REPLY as error:
            raise NotUnderstoodError(f"the answer cannot be read ({type(error).__name__})") from error

    return reading


def parsed(response: httpx2.Response) -> Any:
    """Return the JSON of a response. Raises NotUnderstoodError for anything else."""
    try:
        return json_of(response.content)
    except ValueError as error:
        raise NotUnderstoodError(f"the answer is not JSON: {words_of(response.content, 100)!r}") from error


class Client:
    """The HTTP calls to one base URL with one key. Several threads may call at once.

    `headers` are sent with each call, the key among them. `errors` reads the protocol's error bodies. `transport`
    carries the requests; None is the network. A call goes to the base URL and to no other address.
    """

    def __init__(
        self,
        *,
        key: str,
        base_url: str,
        headers: Mapping[str, str],
        errors: ErrorReader,
        timeout_seconds: float,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        self._key = key
        self.base_url = base_url.rstrip("/")
        self.key_hash = hashlib.sha256(key.encode()).hexdigest()[:8]
        self.timeout_seconds = timeout_seconds
        self._headers = dict(headers)
        self._errors = errors
        self._transport = transport
        self._making = threading.Lock()
        self._made: httpx2.Client | None = None

    def call(
        self,
        method: str,
        path: str,
        *,
        role: Role = "repeatable",
        timeout_seconds: float | None = None,
        stream: bool = False,
        headers: Mapping[str, str] | None = None,
        refused_line: Callable[[int, bytes], bytes] | None = None,
        **what: Any,
    ) -> httpx2.Response:
        """Make one call, sent once, and return its successful reply; a stream is closed by the caller.

        `path` stands below the base URL; a whole URL has to have its scheme, host and port. `what` are the arguments of
        httpx2 for the query and the body (`params`, `content`, `json`, `data`, `files`). `refused_line` makes, of the
        status and the body, the line of a realtime call that is refused for what it asks. For the role "create" it
        raises RefusedError, NotSentError or UnknownOutcomeError, else RefusedError, NotSentError or UnavailableError.
        """
        with self.translated(role, refused_line):
            client = self._client
            request = client.build_request(
                method,
                self._url(path),
                headers={**self._headers, **(headers or {})},
                timeout=self._timeout(timeout_seconds or self.timeout_seconds),
                **what,
            )
            response = client.send(request, stream=stream)
            if not response.is_success:
                response.read()
                response.close()
                raise _StatusError(response)
            return response

    def close(self) -> None:
        """Close the connections. A later call opens new ones."""
        with self._making:
            client, self._made = self._made, None
        if client is not None:
            client.close()

    def redact(self, text: str) -> str:
        """Return `text` without the key and whatever else looks like one."""
        return redacted(text.replace(self._key, f"<key {self.key_hash}>"))

    def is_below(self, url: str) -> bool:
        """Return whether a whole URL has the scheme, host and port of the base URL."""
        try:
            ours, asked = urlsplit(self.base_url), urlsplit(url)
            return (ours.scheme, ours.hostname, ours.port) == (asked.scheme, asked.hostname, asked.port)
        except ValueError:
            return False

    def _url(self, path: str) -> str:
        if path.startswith("/"):
            return self.base_url + path
        if not self.is_below(path):
            raise UnavailableError(self.redact("the reply names an address that is not below the base URL"))
        return path

    @property
    def _client(self) -> httpx2.Client:
        """Return the client, which all threads share; the first call makes it."""
        import httpx2

        with self._making:
            if self._made is None:
                # No connection is kept open, because calls are a minute apart: if the server closed it in the meantime,
                # the outcome of the next create would be unknown.
                self._made = httpx2.Client(
                    follow_redirects=False,
                    limits=httpx2.Limits(max_keepalive_connections=0, max_connections=None),
                    verify=trusted_authorities(),
                    transport=self._transport,
                    event_hooks={"request": [follow], "response": [bound]},
                )
            return self._made

    def _timeout(self, seconds: float) -> httpx2.Timeout:
        import httpx2

        return httpx2.Timeout(seconds, connect=min(seconds, CONNECT_SECONDS))

    @contextmanager
    def translated(
        self, role: Role = "repeatable", refused_line: Callable[[int, bytes], bytes] | None = None
    ) -> Iterator[None]:
        """Raise one of our errors in place of one of the transport, of a reply that is no success, or of one that a
        character set, a length or a body that cannot be makes the library raise.

        The original error is left out as the cause if its text shows the key.
        """
        import httpx2

        try:
            yield
        except (_StatusError, httpx2.HTTPError, httpx2.StreamError, httpx2.InvalidURL, *ODD_REPLY) as error:
            shows_key = self.redact(str(error)) != str(error)
            found = self._translated(error, role)
            if refused_line is not None and isinstance(found, RefusedError) and isinstance(error, _StatusError):
                found.line = self._line(error.response, found.kind, refused_line)
            raise found from (None if shows_key else error)

    def _translated(self, error: Exception, role: Role) -> Exception:
        if not isinstance(error, _StatusError):
            message = self.redact(words(f"{server_of(self.base_url)}: {type(error).__name__}: {error}"))
            if never_sent(error):
                return NotSentError(message)
            return UnknownOutcomeError(message) if role == "create" else UnavailableError(message)
        response = error.response
        body = self._body(response)
        status = response.status_code
        if 300 <= status < 400:
            place = header_words(response.headers, "location") or "another address"
            message = f"HTTP {status}: redirected to {place}; the key is sent to no other address than the base URL"
            message = self.redact(message)
            return UnknownOutcomeError(message) if role == "create" else self._refused(response, "foreign", message)
        if role == "create":
            return self._create_error(response, body)
        if role == "list" and status in NO_ENDPOINT:
            return self._refused(response, "no_batch_endpoint")
        if status in _RETRYABLE and (body is None or body.kind not in ("account", "storage_full")):
            return self._unavailable(response)
        if 400 <= status < 500:
            return self._refused(response, self._kind(status, body))
        return self._unavailable(response)

    def _line(self, response: httpx2.Response, kind: str, refused_line: Callable[[int, bytes], bytes]) -> bytes | None:
        """Return the line of a refused request where the request is at fault, by the provider's own words."""
        own = self._body(response) is not None
        if kind == "too_large" or (kind == "invalid" and own):
            return refused_line(response.status_code, response.content if own else b"")
        return None

    def _create_error(self, response: httpx2.Response, body: ErrorBody | None) -> Exception:
        """Return the error that a failed create is.

        A 413 is a refusal with any body, since a proxy may send it. Other refusals are believed only if they carry the
        provider's own error JSON. After anything else there may be a batch.
        """
        status = response.status_code
        if status == 413:
            return self._refused(response, "too_large")
        if status in _REFUSALS and body is not None:
            return self._refused(response, "no_batch_endpoint" if status == 404 else self._kind(status, body))
        return UnknownOutcomeError(self._message(response))

    @staticmethod
    def _kind(status: int, body: ErrorBody | None) -> str:
        """Return the kind of a refusal, by its status, else by what the provider says."""
        if body is not None and body.kind == "storage_full":
            return body.kind
        if status == 413:
            return "too_large"
        if status in (401, 402, 403):
            return "account"
        if status == 404:
            return "not_found"
        return body.kind if body is not None else "rate_limit" if status == 429 else "foreign"

    def _body(self, response: httpx2.Response) -> ErrorBody | None:
        with suppress(*ODD_REPLY):
            return self._errors.read(response.status_code, json_of(response.content))
        return None

    def _message(self, response: httpx2.Response) -> str:
        """Return the provider's message with the HTTP status, and the request id if one was sent."""
        body = self._body(response)
        if body is not None:
            said = words(body.message)
        else:
            said = words_of(response.content, _SHOWN_CHARACTERS) or "an empty reply"
        request_id = header_words(response.headers, self._errors.request_id_header)
        shown = f"HTTP {response.status_code}: {said}"
        return self.redact(shown + (f" (request {request_id})" if request_id else ""))

    def _refused(self, response: httpx2.Response, kind: str, message: str | None = None) -> RefusedError:
        return RefusedError(
            message or self._message(response),
            status=response.status_code,
            kind=kind,
            retry_after_seconds=self._retry_after_seconds(response),
            answered_at=http_date(response.headers.get("date")),
        )

    def _retry_after_seconds(self, response: httpx2.Response) -> float | None:
        found = retry_after_seconds(response.headers)
        body = self._body(response) if found is None else None
        return found if body is None else body.retry_after_seconds

    def _unavailable(self, response: httpx2.Response) -> UnavailableError:
        return UnavailableError(
            self._message(response),
            retry_after_seconds=self._retry_after_seconds(response),
            status=response.status_code,
            by_provider=self._body(response) is not None,
        )
