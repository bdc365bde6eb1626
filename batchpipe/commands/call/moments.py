"""A time of day or a whole time as a person types it."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from batchpipe.common.errors import UsageError

_TIME_OF_DAY = re.compile(r"([01]?[0-9]|2[0-3]):([0-5][0-9])")


def moment_to_come(text: str | None, now: datetime) -> datetime | None:
    """Return the next time that `text` names, as naive UTC: `07:00` by the local clock, or ISO 8601 with its offset.

    `now` is naive UTC. Raises UsageError for anything else, and for a time that is over.
    """
    if text is None:
        return None
    local = now.replace(tzinfo=UTC).astimezone()
    hour_and_minute = _TIME_OF_DAY.fullmatch(text)
    if hour_and_minute is not None:
        hour, minute = int(hour_and_minute[1]), int(hour_and_minute[2])
        found = local.replace(hour=hour, minute=minute, second=0, microsecond=0)
        found = found if found > local else _next_day(found)
    else:
        found = _whole(text)
    moment = found.astimezone(UTC).replace(tzinfo=None)
    if moment <= now:
        hint = f"It is {local:%Y-%m-%dT%H:%M%z} now."
        raise UsageError(f"{text} is over", where="--by", hint=hint)
    return moment


def _next_day(found: datetime) -> datetime:
    """Return the same time of the local day after, also where the clocks are changed in between."""
    return (found.replace(tzinfo=None) + timedelta(days=1)).astimezone()


def _whole(text: str) -> datetime:
    """Return an ISO 8601 time with an offset. Raises UsageError for anything else."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        hint = "Write a local time like --by 07:00, or a whole one with its offset, like --by 2026-12-01T07:00+01:00."
        raise UsageError(f"{text!r} is no time", where="--by", hint=hint)
    return found
