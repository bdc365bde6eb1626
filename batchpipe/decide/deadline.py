"""Decide whether a batch is back by a given time. Pure functions over times."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

# The fewest ended batches of a model from which a time is expected. With fewer, a batch is expected to take as long as
# it may.
LEAST_BATCHES = 5
LONGEST_SECONDS = 86_400.0
# The share of a batch's time that is kept free at its end: a late batch is canceled then, and its rest is asked in
# realtime.
LEFT_FOR_THE_REST = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchTime:
    """The seconds in which 90% of the last `batches` ended batches of a model were back."""

    seconds: float
    batches: int

    @property
    def is_assumed(self) -> bool:
        """Return whether too few batches have ended to expect a time from them."""
        return self.batches < LEAST_BATCHES


def batch_time(seconds: float | None, batches: int) -> BatchTime:
    """Return the time that a batch takes; a day where fewer than five have ended."""
    if seconds is None or batches < LEAST_BATCHES:
        return BatchTime(seconds=LONGEST_SECONDS, batches=batches)
    return BatchTime(seconds=seconds, batches=batches)


def misses(time: BatchTime, now: datetime, by: datetime) -> bool:
    """Return whether a batch that is sent now is not expected to be back in time."""
    return now + timedelta(seconds=time.seconds * (1 + LEFT_FOR_THE_REST)) > by


def is_late(time: BatchTime, sent_at: datetime, now: datetime) -> bool:
    """Return whether a batch takes longer than 90% of the others did."""
    return now - sent_at > timedelta(seconds=time.seconds)
