"""Read what is left of a provider's rate limits from the headers of a reply."""

from __future__ import annotations

from dataclasses import dataclass

# The window of a limit is a minute. A longer time is waited for only after a refusal.
LONGEST_WINDOW_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomLeft:
    """Says how many calls may be `at_once` under way until the limits are whole again in `seconds`.

    `at_once` is None where the headers bound nothing. `is_empty`: nothing is left at all.
    """

    at_once: int | None = None
    is_empty: bool = False
    seconds: float = 0.0


def room_left(requests: int | None, tokens: int | None, seconds: float | None, request_tokens: float) -> RoomLeft:
    """Return the room that `requests` and `tokens` leave, which are whole again in `seconds`.

    A request takes about `request_tokens`. None stands for what the headers do not say.
    """
    if seconds is None or seconds <= 0:
        return RoomLeft()
    by_tokens = None if tokens is None else int(tokens / max(request_tokens, 1.0))
    known = [each for each in (requests, by_tokens) if each is not None]
    if not known:
        return RoomLeft()
    return RoomLeft(at_once=max(min(known), 1), is_empty=min(known) <= 0, seconds=min(seconds, LONGEST_WINDOW_SECONDS))
