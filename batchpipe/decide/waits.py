"""Decide when a wait for the provider ends. Pure functions over times and counts."""

from __future__ import annotations

from datetime import datetime, timedelta

# How many times something must be seen before it is believed.
LOOKS = 3
# How many times `reconcile_wait` the results, or the list, are asked for again while they cannot be read.
UNREADABLE_WAITS = 6
# The number of submits in a row that may prove to have made no batch. A further one of unknown outcome stops the run.
LOST_IN_A_ROW = 3
# How long the provider may ask to wait again and again, without any submit in between.
LONGEST_REFUSAL = timedelta(days=1)
# A batch that has not ended so long after its expiry does not end.
OVERDUE = timedelta(days=1)
_USUAL_LIFE = timedelta(days=1)
_LONGEST_LIFE = timedelta(days=2)
# How long a queue may be full of the same batches, none of which this run looks after.
LONGEST_QUEUE = _LONGEST_LIFE + OVERDUE


def life(created_at: datetime | None, expires_at: datetime | None) -> timedelta:
    """Return how long a batch may take: as its times say, two days at most; a day where they say nothing useful."""
    if created_at is None or expires_at is None or expires_at <= created_at:
        return _USUAL_LIFE
    return min(expires_at - created_at, _LONGEST_LIFE)


def is_overdue(age: timedelta, lives: timedelta) -> bool:
    """Return whether a batch of this age, which may take as long as `lives`, is one that does not end."""
    return age >= lives + OVERDUE


def lasts(looks: int, since: datetime, now: datetime, wait_seconds: float) -> bool:
    """Return whether something was seen often enough, and for `wait_seconds`, to be believed."""
    return looks >= LOOKS and now - since >= timedelta(seconds=wait_seconds)


def clock_offset(asked_at: datetime, answered_at: datetime, provider_at: datetime | None) -> float | None:
    """Return by how many seconds the provider's clock was ahead of ours when it answered; None where it did not say.

    Its clock has whole seconds, and is taken to be right in the middle between question and answer.
    """
    if provider_at is None:
        return None
    return (provider_at - asked_at - (answered_at - asked_at) / 2).total_seconds()
