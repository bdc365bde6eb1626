"""Say when a run is expected to end, by how long earlier batches took. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from batchpipe.engine.cost.estimate import Times


def seconds_left(begun: Sequence[datetime], further_waves: int, times: Times | None, now: datetime) -> float | None:
    """Return the seconds until the batches that were begun at these times have ended, with the waves after them.

    None where nothing is in flight, where no batch has ended before, and where one takes longer than 90 of 100 did:
    then earlier batches say nothing.
    """
    if not begun or times is None or not times.batches:
        return None
    oldest = (now - min(begun)).total_seconds()
    newest = (now - max(begun)).total_seconds()
    if oldest > times.high_seconds:
        return None
    usual = times.usual_seconds if newest <= times.usual_seconds else times.high_seconds
    return max(usual - newest, 0.0) + further_waves * times.usual_seconds
