"""What the provider's own error JSON means: `{"error": {"code", "message", "status", "details"}}`."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import orjson

from batchpipe.providers import RefusedError, UnavailableError
from batchpipe.providers.gemini.models import model_data
from batchpipe.providers.gemini.realtime import error_line
from batchpipe.providers.shared.http import ErrorBody, ErrorReader
from batchpipe.providers.shared.streams import SaidError, str_of
from batchpipe.providers.shared.values import words

_LONGEST_WAIT_SECONDS = 3600.0
_CODE = re.compile(r"[0-9]{1,3}")
_RETRY_DELAY = re.compile(r"(\d+(?:\.\d+)?)s")
_LINE = re.compile(r"(?i)\bline:? #?(\d{1,9})\b")
_NAMES = {3: "INVALID_ARGUMENT", 5: "NOT_FOUND", 7: "PERMISSION_DENIED", 8: "RESOURCE_EXHAUSTED", 16: "UNAUTHENTICATED"}
# The HTTP statuses that stand for a code of google.rpc.Code.
_STATUSES = {3: 400, 5: 404, 7: 403, 8: 429, 9: 400, 11: 400, 16: 401}


def read(status: int, body: Any) -> ErrorBody | None:
    """Return what an error body of the provider says; None for a body of anybody else.

    A streamed call wraps it in a list.
    """
    whole = body[0] if isinstance(body, list) and len(body) == 1 else body
    error = whole.get("error") if isinstance(whole, dict) else None
    if not isinstance(error, dict) or not isinstance(error.get("message"), str):
        return None
    if not isinstance(error.get("code"), int) and not isinstance(error.get("status"), str):
        return None
    return ErrorBody(
        message=error["message"] or _text(error.get("status")) or "an error without a message",
        kind=_kind(status, error),
        retry_after_seconds=_retry_after_seconds(error),
    )


ERRORS = ErrorReader(read, request_id_header="x-goog-request-id")


def late_refusal(error: Any) -> tuple[RefusedError, int | None] | None:
    """Return the refusal that the error of a failed batch is, and the first line of the input that it names.

    None where the error says nothing that a person or a smaller batch could mend: it then was the provider's own.
    """
    if not isinstance(error, dict):
        return None
    code = error.get("code")
    number = code if isinstance(code, int) and not isinstance(code, bool) else 0
    named = error.get("status")
    status = named if isinstance(named, str) else _NAMES.get(number, "")
    http = _STATUSES.get(number, number)
    message = words(_text(error.get("message")) or status or "the provider gave no reason")
    kind = _kind(http, {**error, "status": status})
    if kind == "invalid" and status != "INVALID_ARGUMENT" and http != 400:
        return None
    if kind == "rate_limit":
        kind = "queue_full"
    found = _LINE.search(message)
    refused = RefusedError(
        message, status=http if http >= 400 else 400, kind=kind, retry_after_seconds=_retry_after_seconds(error)
    )
    return refused, int(found[1]) or None if found else None


def said_error(custom_id: str, found: SaidError, redact: Callable[[str], str]) -> RefusedError | UnavailableError:
    """Return the error that a stream holds in the place of an answer.

    Before any content it is a refusal where it says that the request or the key is at fault. Once the answer has begun
    any other error may have been paid for, and has no status.
    """
    digits = str_of(found.error.get("code"))
    code = int(digits) if _CODE.fullmatch(digits) else None
    name, message = (words(str_of(found.error.get(each))) for each in ("status", "message"))
    shown = f"{name or code or 'error'}: {message or 'in the stream of the answer'}"
    late = None if found.has_content else late_refusal({"code": code, "status": name or None, "message": message})
    if late is not None and late[0].kind not in ("rate_limit", "queue_full"):
        refused = late[0]
        line = None
        if refused.kind in ("invalid", "too_large"):
            error = {"code": refused.status, "message": redact(message), "status": name or None}
            line = error_line(custom_id, refused.status, orjson.dumps({"error": error}))
        return RefusedError(redact(shown), status=refused.status, kind=refused.kind, line=line)
    status = code if code is not None and 400 <= code < 600 and not found.begun else None
    return UnavailableError(redact(shown), status=status, by_provider=True)


def _kind(http_status: int, error: Mapping[str, Any]) -> str:
    """Return the kind of a refusal, by its status, else its name, else the text of its message."""
    message, name = _text(error.get("message")), _text(error.get("status"))
    account = model_data()["account"]
    if re.search(model_data()["storage"]["messages"], " ".join([message, *_quotas(error)])):
        return "storage_full"
    if http_status in (401, 402, 403) or name in account["statuses"] or re.search(account["messages"], message):
        return "account"
    if http_status == 413:
        return "too_large"
    if http_status == 404 or name == "NOT_FOUND":
        return "not_found"
    if http_status == 429 or name == "RESOURCE_EXHAUSTED":
        quotas = " ".join([message, *_quotas(error)])
        return "rate_limit" if re.search(model_data()["rate"]["messages"], quotas) else "queue_full"
    return "invalid"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _details(error: Mapping[str, Any], kind: str) -> Iterator[Mapping[str, Any]]:
    """Yield the details of an error whose type ends with `kind`."""
    details = error.get("details")
    for each in details if isinstance(details, list) else ():
        if isinstance(each, dict) and _text(each.get("@type")).endswith(kind):
            yield each


def _quotas(error: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names of the quotas that were exceeded."""
    for each in _details(error, "google.rpc.QuotaFailure"):
        violations = each.get("violations")
        for violation in violations if isinstance(violations, list) else ():
            if isinstance(violation, dict):
                yield f"{_text(violation.get('quotaId'))} {_text(violation.get('quotaMetric'))}"


def _retry_after_seconds(error: Mapping[str, Any]) -> float | None:
    """Return the seconds that the provider asks to wait, an hour at most; None where it does not."""
    for each in _details(error, "google.rpc.RetryInfo"):
        found = _RETRY_DELAY.fullmatch(_text(each.get("retryDelay")))
        if found is not None and math.isfinite(float(found[1])):
            return min(float(found[1]), _LONGEST_WAIT_SECONDS)
    return None
