"""Describe what a run does at a moment, for those who watch it: its phase, how far it is, and the counts of the
provider.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

PhaseName = Literal["reading", "comparing", "rendering", "uploading", "asking", "collecting"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """What a run does now. `done` of `total` rows (rendering), batches (uploading, collecting) or requests (asking) are
    through."""

    name: PhaseName
    done: int = 0
    total: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """What the provider counts of a batch in flight: its requests by state, in the provider's words."""

    batch_id: str
    counts: Mapping[str, int]


Progress = Phase | Counted
# A function that is told the pipeline's name and what it does. It reads no database and returns at once.
Watch = Callable[[str, Progress], None]


def unwatched(pipeline: str, progress: Progress) -> None:
    """Tell nobody."""
