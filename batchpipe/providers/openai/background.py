"""Fetch answers in the background: a call gives the id of a response at once, and the response is polled until it has
ended.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import quote

from batchpipe.providers import NotSentError, RefusedError, UnavailableError
from batchpipe.providers.shared.http import Client, json_of

_OPEN = ("queued", "in_progress")
_ENDED = ("completed", "incomplete", "failed", "cancelled")
_FIRST_PAUSE_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 30.0
# A response may not be found for a moment after it has begun, or another one may be shown in its place.
_MOST_REFUSALS = 5
# The window is a target: an answer may come a little later.
HOUR_SECONDS, AFTER_THE_WINDOW = 3_600.0, 1.25


def answered_in_background(client: Client, path: str, content: bytes, timeout_seconds: float) -> bytes:
    """Return the body of a response that `content` says has begun, when it has ended; it is deleted at the provider.

    Raises UnavailableError when it has not ended in `timeout_seconds`: it is cancelled then; and where it cannot be
    asked for any more. It is under way or done all the same: such a refusal is none of the request. A reply about
    another response is no answer, and ends the asking as a refusal does.
    """
    end, pause, refused = time.monotonic() + timeout_seconds, _FIRST_PAUSE_SECONDS, 0
    body = _body(content)
    place = f"{path}/{quote(body['id'], safe='')}"
    while _is_open(body):
        if time.monotonic() + pause > end:
            with suppress(RefusedError, UnavailableError, NotSentError):
                client.call("POST", f"{place}/cancel")
            raise UnavailableError("the answer did not come in time")
        time.sleep(pause)
        pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)
        try:
            found = client.call("GET", place).content
            described = _body(found)
            if described["id"] == body["id"]:
                body, content, refused = described, found, 0
                continue
            refused, reason = refused + 1, "the replies are about another response"
        except RefusedError as error:
            refused, reason = refused + 1, error.message
        except (UnavailableError, NotSentError):
            continue
        if refused >= _MOST_REFUSALS:
            raise UnavailableError(f"the answer cannot be asked for any more: {reason}")
    # What cannot be deleted is deleted by the provider after 30 days.
    with suppress(RefusedError, UnavailableError, NotSentError):
        client.call("DELETE", place)
    return content


def _is_open(body: Mapping[str, Any]) -> bool:
    """Return whether a response has not ended: so is one without a known status that has nothing to show."""
    status = body.get("status")
    return status in _OPEN or (status not in _ENDED and not body.get("output") and not body.get("error"))


def window_seconds(window: str) -> float:
    """Return how long an answer is waited for in a window, as `2h`; 0 for what is none."""
    hours = window.removesuffix("h")
    return int(hours) * HOUR_SECONDS * AFTER_THE_WINDOW if hours.isdecimal() and hours.isascii() else 0.0


def _body(content: bytes) -> dict[str, Any]:
    try:
        found = json_of(content)
    except ValueError as error:
        raise UnavailableError("the answer is not JSON") from error
    if not isinstance(found, dict) or not isinstance(found.get("id"), str):
        raise UnavailableError("the answer is no response with an id")
    return found
