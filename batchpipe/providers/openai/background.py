"""Fetch answers in the background: a call gives the id of a response at once, and the response is polled until it has
ended.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any
from urllib.parse import quote

from batchpipe.providers import NotSentError, RefusedError, UnavailableError
from batchpipe.providers.shared.http import Client, json_of

_OPEN = ("queued", "in_progress")
_FIRST_PAUSE_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 30.0
# A response may not be found for a moment after it has begun.
_MOST_REFUSALS = 5
# The window is a target: an answer may come a little later.
HOUR_SECONDS, AFTER_THE_WINDOW = 3_600.0, 1.25


def answered_in_background(client: Client, path: str, content: bytes, timeout_seconds: float) -> bytes:
    """Return the body of a response that `content` says has begun, when it has ended; it is deleted at the provider.

    Raises UnavailableError when it has not ended in `timeout_seconds`: it is cancelled then; and where it cannot be
    asked for any more. It is under way or done all the same: such a refusal is none of the request.
    """
    end, pause, refused = time.monotonic() + timeout_seconds, _FIRST_PAUSE_SECONDS, 0
    body = _body(content)
    place = f"{path}/{quote(str(body.get('id')), safe='')}"
    while body.get("status") in _OPEN:
        if time.monotonic() + pause > end:
            with suppress(RefusedError, UnavailableError, NotSentError):
                client.call("POST", f"{place}/cancel")
            raise UnavailableError("the answer did not come in time")
        time.sleep(pause)
        pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)
        try:
            found = client.call("GET", place).content
            body, content, refused = _body(found), found, 0
        except RefusedError as error:
            refused += 1
            if refused >= _MOST_REFUSALS:
                raise UnavailableError(f"the answer cannot be asked for any more: {error.message}") from error
        except (UnavailableError, NotSentError):
            pass
    # What cannot be deleted is deleted by the provider after 30 days.
    with suppress(RefusedError, UnavailableError, NotSentError):
        client.call("DELETE", place)
    return content


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
