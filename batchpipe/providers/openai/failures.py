"""Error bodies of this provider, and what a batch says that failed whole: the kinds of refusal that they are."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

import orjson

from batchpipe.providers import RefusedError, UnavailableError
from batchpipe.providers.openai.models import model_data
from batchpipe.providers.shared.http import ErrorBody, ErrorReader, error_json
from batchpipe.providers.shared.streams import SaidError, str_of
from batchpipe.providers.shared.values import words

# The statuses that the codes of errors in a stream stand for.
_STATUSES = {"rate_limit_exceeded": 429, "server_error": 500, "overloaded": 503}


def error_body(status: int, body: Any) -> ErrorBody | None:
    """Return what the provider's own error JSON says; None for any other body."""
    error = body.get("error") if isinstance(body, dict) else None
    if not isinstance(error, dict) or not isinstance(error.get("message"), str):
        return None
    code, kind = error.get("code"), error.get("type")
    named = code if isinstance(code, str) and code else kind
    message = error["message"] or (named if isinstance(named, str) and named else "an error without a message")
    shown = f"{message} ({code})" if isinstance(code, str) and code not in message else message
    return ErrorBody(message=shown, kind=_kind(status, code, kind, message))


ERRORS = ErrorReader(read=error_body, request_id_header="x-request-id")


def _kind(status: int, code: Any, kind: Any, message: str) -> str:
    words = model_data()["errors"]
    if re.search(words["storage_messages"], message):
        return "storage_full"
    if code in words["account"] or kind in words["account"] or re.search(words["account_messages"], message):
        return "account"
    if status == 429:
        return "queue_full" if re.search(model_data()["queue"]["messages"], message) else "rate_limit"
    return "invalid"


def said_error(custom_id: str, found: SaidError, redact: Callable[[str], str]) -> RefusedError | UnavailableError:
    """Return the error that a stream holds in the place of an answer.

    Before any content it is a refusal where its code says that the request or the key is at fault. Some gateways give
    an HTTP status as the code. Once the answer has begun any other error may have been paid for, and has no status.
    """
    code = found.error.get("code")
    names = [words(name) for name in (str_of(code), str_of(found.error.get("type"))) if name]
    message = words(str_of(found.error.get("message")))
    shown = redact(f"{(names or ['error'])[0]}: {message or 'in the stream of the answer'}")
    status = code if isinstance(code, int) and 400 <= code < 600 else _STATUSES.get((names or [""])[0])
    known = model_data()["errors"]
    passes = found.has_content or (names and names[0] in known["transient"]) or (status or 0) >= 500 or status == 429
    if not passes:
        if status in (401, 402, 403) or _is(names, known["account"]) or re.search(known["account_messages"], message):
            return RefusedError(shown, status=status or 401, kind="account")
        at_fault = (*known["context"], *known["refused"], *known["permanent"])
        if status in (400, 413, 422) or _is(names, at_fault) or re.search(known["context_messages"], message):
            error = {"message": redact(message), "code": str_of(code) or None, "type": names[-1] if names else None}
            line = error_line(custom_id, status or 400, orjson.dumps({"error": error}))
            return RefusedError(shown, status=status or 400, kind="invalid", line=line)
    return UnavailableError(shown, status=None if found.begun else status, by_provider=True)


def _is(names: list[str], known: Collection[str]) -> bool:
    return any(name in known for name in names)


def late_refusal(errors: Any) -> tuple[RefusedError, int | None]:
    """Return the refusal that the errors of a batch are which failed whole, and the line of the input that they name.

    A code that is not known means that the input is at fault: nothing of it was run, and nothing was paid.
    """
    data = errors.get("data") if isinstance(errors, dict) else None
    found = [each for each in data if isinstance(each, dict)] if isinstance(data, list) else []
    lines = [each["line"] for each in found if _is_line(each.get("line"))]
    first = found[0] if found else {}
    code = first.get("code")
    said = first.get("message") or code
    message = words(said if isinstance(said, str) else "the batch failed without a reason")
    shown = f"{message} ({code})" if isinstance(code, str) and code not in message else message
    if len(found) > 1:
        shown += f", and {len(found) - 1} more"
    return RefusedError(words(shown), status=400, kind=_late_kind(code, message)), min(lines, default=None)


def _is_line(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= 1_000_000


def _late_kind(code: Any, message: str) -> str:
    """Return the kind of a late refusal by its stable code, else by the text of its message."""
    late: Mapping[str, list[str]] = model_data()["late"]
    for kind, codes in late.items():
        if code in codes:
            return kind
    if code in ("rate_limit_exceeded", "server_error", "internal_error"):
        return "rate_limit"
    if re.search(model_data()["queue"]["messages"], message):
        return "queue_full"
    return _kind(400, code, None, message)


def error_line(custom_id: str, status: int, body: bytes) -> bytes:
    """Return the line that a results file has for a realtime call that was refused with the error `body`."""
    reason = {"error": {"type": "invalid_request_error", "message": "refused without a reason", "code": None}}
    response = {"status_code": status, "request_id": None}
    line = {"id": "realtime", "custom_id": custom_id, "error": None, "response": response}
    head = orjson.dumps(line).removesuffix(b"}}")
    return head + b',"body":' + error_json(body, otherwise=reason) + b"}}\n"
