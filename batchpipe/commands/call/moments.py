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
        found = _next(local, hour=int(hour_and_minute[1]), minute=int(hour_and_minute[2]))
    else:
        found = _whole(text)
    moment = found.astimezone(UTC).replace(tzinfo=None)
    if moment <= now:
        hint = f"It is {local:%Y-%m-%dT%H:%M%z} now."
        raise UsageError(f"{text} is over", where="--by", hint=hint)
    return moment


def _next(local: datetime, *, hour: int, minute: int) -> datetime:
    """Return when the local clock shows `hour` and `minute` next after `local`, also where it is changed in between.

    A time that the clock shows twice that night is the first that is to come.
    """
    today = local.replace(tzinfo=None, hour=hour, minute=minute, second=0, microsecond=0, fold=0)
    twice = (today.astimezone(), today.replace(fold=1).astimezone())
    return next((each for each in twice if each > local), (today + timedelta(days=1)).astimezone())


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
