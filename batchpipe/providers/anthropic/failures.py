"""Translation of the SDK's exceptions into our own, for a submit and for the calls that are safe to repeat."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import orjson

from batchpipe.providers import NotSentError, RefusedError, UnavailableError, UnknownOutcomeError
from batchpipe.providers.anthropic.models import model_data
from batchpipe.providers.anthropic.realtime import error_line
from batchpipe.providers.shared.http import NO_ENDPOINT, ODD_REPLY, json_of, never_sent, server_of
from batchpipe.providers.shared.streams import SaidError, str_of
from batchpipe.providers.shared.values import header_words, http_date, retry_after_seconds, words

if TYPE_CHECKING:
    import anthropic

_REFUSALS = frozenset({400, 401, 402, 403, 404, 429})
# Time-outs, conflicts, limits, a full tier (498), and connections that a proxy says were closed too early (425, 499).
_RETRYABLE = frozenset({408, 409, 425, 429, 498, 499})
# The statuses that errors in a stream stand for (https://docs.anthropic.com/en/api/errors).
_STATUSES = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "overloaded_error": 529,
}

Redact = Callable[[str], str]


def _error_body(error: anthropic.APIStatusError) -> Mapping[str, Any] | None:
    """Return the `error` member of the provider's own error JSON; None for any other body."""
    body = error.body
    if not isinstance(body, dict):
        # The SDK gives the text of what is no strict JSON, as of a number of many digits.
        with suppress(*ODD_REPLY):
            body = json_of(error.response.content)
    if not isinstance(body, dict) or body.get("type") != "error":
        return None
    inner = body.get("error")
    return inner if isinstance(inner, dict) and isinstance(inner.get("type"), str) else None


def _message_of(error: anthropic.APIStatusError) -> str:
    """Return the provider's message with the HTTP status, and the request id if one was sent."""
    inner = _error_body(error)
    message = words((_text(inner.get("message")) or inner["type"]) if inner else error.message)
    request_id = header_words(error.response.headers, "request-id")
    request_id = f" (request {request_id})" if request_id else ""
    return f"HTTP {error.status_code}: {message}{request_id}"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _kind(error: anthropic.APIStatusError) -> str:
    """Return the kind of a refusal, by its status, else its stable error type or code, else the text of its message."""
    if error.status_code == 413:
        return "too_large"
    if error.status_code == 404:
        return "not_found"
    inner = _error_body(error) or {}
    message, details = _text(inner.get("message")), inner.get("details")
    code = details.get("error_code") if isinstance(details, dict) else None
    account = model_data()["account"]
    if (
        error.status_code in (401, 402, 403)
        or inner.get("type") in account["types"]
        or code in account["codes"]
        or re.search(account["messages"], message)
    ):
        return "account"
    if error.status_code == 429:
        return "queue_full" if re.search(model_data()["queue"]["messages"], message) else "rate_limit"
    return "invalid" if inner else "foreign"


def refused(error: anthropic.APIStatusError, redact: Redact, *, kind: str | None = None) -> RefusedError:
    """Return the refusal in the provider's own words; its kind is `kind`, else follows from the error."""
    return RefusedError(
        redact(_message_of(error)),
        status=error.status_code,
        kind=kind or _kind(error),
        retry_after_seconds=retry_after_seconds(error.response.headers),
        answered_at=http_date(error.response.headers.get("date")),
    )


def _message(error: BaseException) -> str:
    """Return the words of an error of the transport, after the server that was called: a ladder may ask several."""
    import anthropic

    cause = error.__cause__
    said = str(error) + (f" ({type(cause).__name__}: {cause})" if cause is not None and str(cause) else "")
    if isinstance(error, anthropic.APIConnectionError):
        said = f"{server_of(str(error.request.url))}: {said}"
    return words(said)


def submit_error(error: Exception, redact: Redact) -> RefusedError | NotSentError | UnknownOutcomeError:
    """Return the error that a failed submit is.

    A 413 is a refusal with any body, since a proxy may send it. Other refusals are believed only if they carry the
    provider's own error JSON. After anything else there may be a batch.
    """
    import anthropic

    if isinstance(error, anthropic.APIStatusError):
        if error.status_code == 413:
            return refused(error, redact)
        if error.status_code in _REFUSALS and _error_body(error) is not None:
            return refused(error, redact, kind="no_batch_endpoint" if error.status_code == 404 else None)
        if 300 <= error.status_code < 400:
            return UnknownOutcomeError(redact(_redirected(error)))
        return UnknownOutcomeError(redact(_message_of(error)))
    if isinstance(error, anthropic.APIConnectionError) and never_sent(error.__cause__):
        return NotSentError(redact(_message(error)))
    return UnknownOutcomeError(redact(_message(error)))


def repeatable_error(error: Exception, redact: Redact) -> RefusedError | NotSentError | UnavailableError:
    """Return the error that a failed poll, cancel, download or realtime call is."""
    import anthropic

    if isinstance(error, anthropic.APIStatusError):
        return _of_status(error, redact)
    if isinstance(error, anthropic.APIConnectionError) and never_sent(error.__cause__):
        return NotSentError(redact(_message(error)))
    return UnavailableError(redact(_message(error)))


def call_error(custom_id: str, error: Exception, redact: Redact) -> RefusedError | NotSentError | UnavailableError:
    """Return the error that a failed realtime call is: with a line of results where the request is at fault."""
    import anthropic

    found = repeatable_error(error, redact)
    if not isinstance(found, RefusedError) or not isinstance(error, anthropic.APIStatusError):
        return found
    own = _error_body(error) is not None
    if found.kind == "too_large" or (found.kind == "invalid" and own):
        found.line = error_line(custom_id, error.response.content if own else b"")
    return found


def said_error(custom_id: str, found: SaidError, redact: Redact) -> RefusedError | UnavailableError:
    """Return the error that a stream holds in the place of an answer.

    Before any content it is a refusal where its type says that the request or the key is at fault. Once the answer has
    begun any other error may have been paid for, and has no status.
    """
    kind, message = (words(str_of(found.error.get(name))) for name in ("type", "message"))
    shown = redact(f"{kind or 'error'}: {message or 'in the stream of the answer'}")
    status = _STATUSES.get(kind)
    account = model_data()["account"]
    if found.has_content:
        return UnavailableError(shown)
    if status in (401, 402, 403) or re.search(account["messages"], message):
        return RefusedError(shown, status=status or 402, kind="account")
    if status == 404:
        return RefusedError(shown, status=status, kind="not_found")
    if status in (400, 413):
        body = {"type": "error", "error": {"type": kind, "message": redact(message)}}
        line = error_line(custom_id, orjson.dumps(body))
        return RefusedError(shown, status=status, kind="invalid" if status == 400 else "too_large", line=line)
    return UnavailableError(shown, status=None if found.begun else status)


def list_error(error: Exception, redact: Redact) -> RefusedError | NotSentError | UnavailableError:
    """Return the error that a failed list of batches is; its 404, 405 or 501 means that there is no batch endpoint."""
    import anthropic

    if isinstance(error, anthropic.APIStatusError) and error.status_code in NO_ENDPOINT:
        return refused(error, redact, kind="no_batch_endpoint")
    return repeatable_error(error, redact)


def _of_status(error: anthropic.APIStatusError, redact: Redact) -> RefusedError | UnavailableError:
    status = error.status_code
    if status in _RETRYABLE and _kind(error) != "account":
        return _unavailable(error, redact)
    if 300 <= status < 400:
        return RefusedError(redact(_redirected(error)), status=status, kind="foreign")
    if 400 <= status < 500:
        return refused(error, redact)
    return _unavailable(error, redact)


def _redirected(error: anthropic.APIStatusError) -> str:
    place = header_words(error.response.headers, "location") or "another address"
    return f"HTTP {error.status_code}: redirected to {place}; the key is sent to no other address than the base URL"


def _unavailable(error: anthropic.APIStatusError, redact: Redact) -> UnavailableError:
    return UnavailableError(
        redact(_message_of(error)),
        retry_after_seconds=retry_after_seconds(error.response.headers),
        status=error.status_code,
        by_provider=_error_body(error) is not None,
    )


@contextmanager
def raise_as(translate: Callable[[Exception, Redact], Exception], redact: Redact) -> Iterator[None]:
    """Raise `translate(error, redact)` in place of an error of the SDK or of its transport.

    Errors of the transport are caught too, since the SDK does not translate them while it reads a streamed body; and
    those that a reply with a character set, a length or a body that cannot be makes the SDK raise. The original error
    is left out as the cause if its text shows the key.
    """
    import anthropic
    import httpx2

    try:
        yield
    except (anthropic.AnthropicError, httpx2.HTTPError, httpx2.StreamError, httpx2.InvalidURL, *ODD_REPLY) as error:
        shows_key = redact(str(error)) != str(error)
        raise translate(error, redact) from (None if shows_key else error)
