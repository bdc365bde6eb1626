"""The SDK's exceptions as this package's own, for a submit and for the calls that are safe to repeat."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from batchpipe.providers import NotSentError, RefusedError, UnavailableError, UnknownOutcomeError
from batchpipe.providers.anthropic.models import model_data

if TYPE_CHECKING:
    import anthropic

_REFUSALS = frozenset({400, 401, 402, 403, 404, 429})
_RETRYABLE = frozenset({408, 409, 429})
_MESSAGE_LENGTH = 500

Redact = Callable[[str], str]


def _error_body(error: anthropic.APIStatusError) -> Mapping[str, Any] | None:
    """The `error` member of the provider's own error JSON; None for any other body."""
    body = error.body
    if not isinstance(body, dict) or body.get("type") != "error":
        return None
    inner = body.get("error")
    return inner if isinstance(inner, dict) and isinstance(inner.get("type"), str) else None


def _said(error: anthropic.APIStatusError) -> str:
    """What the provider said, with the request id where one was sent."""
    inner = _error_body(error)
    words = str(inner.get("message") or inner["type"]) if inner else str(error.message)
    words = " ".join(words.split())[:_MESSAGE_LENGTH]
    request_id = f" (request {error.request_id})" if error.request_id else ""
    return f"HTTP {error.status_code}: {words}{request_id}"


def _retry_after_seconds(error: anthropic.APIStatusError) -> float | None:
    """`retry-after` in seconds, or as an HTTP date."""
    value = error.response.headers.get("retry-after")
    if value is None:
        return None
    try:
        return max(float(value), 0.0)
    except ValueError:
        pass
    try:
        return max((parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds(), 0.0)
    except (TypeError, ValueError):
        return None


def _kind(error: anthropic.APIStatusError) -> str:
    """What to do about a refusal, by status, the stable error code, and only then the words."""
    if error.status_code == 413:
        return "too_large"
    if error.status_code == 404:
        return "not_found"
    inner = _error_body(error) or {}
    words = str(inner.get("message") or "")
    account = model_data()["account"]
    if (
        error.status_code in (401, 402, 403)
        or inner.get("type") in account["types"]
        or error.error_code in account["codes"]
        or re.search(account["messages"], words)
    ):
        return "account"
    if error.status_code == 429:
        return "queue_full" if re.search(model_data()["queue"]["messages"], words) else "rate_limit"
    return "invalid"


def refused(error: anthropic.APIStatusError, redact: Redact, *, kind: str | None = None) -> RefusedError:
    return RefusedError(
        redact(_said(error)),
        status=error.status_code,
        kind=kind or _kind(error),
        retry_after_seconds=_retry_after_seconds(error),
    )


def never_sent(error: BaseException | None) -> bool:
    """Whether no connection was made: a name that does not resolve, a refusal, TLS, none free."""
    import httpx2

    return isinstance(
        error, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.PoolTimeout | httpx2.UnsupportedProtocol
    )


def _words(error: BaseException) -> str:
    cause = error.__cause__
    return f"{error}" + (f" ({type(cause).__name__}: {cause})" if cause is not None and str(cause) else "")


def submit_error(error: Exception, redact: Redact) -> RefusedError | NotSentError | UnknownOutcomeError:
    """What a failed submit means.

    A 413 may come from a proxy with any body; other refusals are believed only in the provider's own words;
    all else may have made a batch.
    """
    import anthropic

    if isinstance(error, anthropic.APIStatusError):
        if error.status_code == 413:
            return refused(error, redact)
        if error.status_code in _REFUSALS and _error_body(error) is not None:
            return refused(error, redact, kind="no_batch_endpoint" if error.status_code == 404 else None)
        return UnknownOutcomeError(redact(_said(error)))
    if isinstance(error, anthropic.APIConnectionError) and never_sent(error.__cause__):
        return NotSentError(redact(_words(error)))
    return UnknownOutcomeError(redact(_words(error)))


def repeatable_error(error: Exception, redact: Redact) -> RefusedError | NotSentError | UnavailableError:
    """What a failed poll, cancel or download means."""
    import anthropic

    if isinstance(error, anthropic.APIStatusError):
        return _of_status(error, redact)
    if isinstance(error, anthropic.APIConnectionError) and never_sent(error.__cause__):
        return NotSentError(redact(_words(error)))
    return UnavailableError(redact(_words(error)))


def list_error(error: Exception, redact: Redact) -> RefusedError | NotSentError | UnavailableError:
    """The same for the list, whose 404 or 405 says that there is no batch endpoint."""
    import anthropic

    if isinstance(error, anthropic.APIStatusError) and error.status_code in (404, 405):
        return refused(error, redact, kind="no_batch_endpoint")
    return repeatable_error(error, redact)


def _of_status(error: anthropic.APIStatusError, redact: Redact) -> RefusedError | UnavailableError:
    status = error.status_code
    if status in _RETRYABLE and _kind(error) != "account":
        return UnavailableError(redact(_said(error)))
    if 300 <= status < 400:
        place = error.response.headers.get("location", "another address")
        message = f"HTTP {status}: redirected to {place}; the key is sent to no other address than the base URL"
        return RefusedError(redact(message), status=status, kind="invalid")
    if 400 <= status < 500:
        return refused(error, redact)
    return UnavailableError(redact(_said(error)))


@contextmanager
def raise_as(to: Callable[[Exception, Redact], Exception], redact: Redact) -> Iterator[None]:
    """Raise what `to` makes of an error of the SDK or of its transport.

    The SDK lets the transport's errors through while it reads the body of a streamed error. A cause that
    repeats the key is left out.
    """
    import anthropic
    import httpx2

    try:
        yield
    except (anthropic.AnthropicError, httpx2.HTTPError) as error:
        shows_key = redact(str(error)) != str(error)
        raise to(error, redact) from (None if shows_key else error)
