"""Decide which end of a run is worth a notice, and which batch is stuck. Pure functions over values of the ledger."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

# Ends that say nothing of the pipeline: the next call goes on.
SILENT = ("open", "interrupted", "pending")
FAILURES = ("failed_rows", "error")
# A batch is late where it takes twice as long as 90 of 100 earlier ones did, and an hour at least. Fewer earlier ones
# than these say nothing.
FEWEST_BATCHES = 5
LATE_FACTOR = 2.0
LATE_SECONDS = 3_600.0
STUCK_AFTER = timedelta(hours=24)
_NUMBER = re.compile(r"\d[\d.,]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedRun:
    """One run as the ledger has it: how it ended, the gate's or the error's message, what it sent and collected."""

    run_id: str
    status: str
    message: str | None
    submitted: int
    results: int

    @property
    def state(self) -> tuple[str, str]:
        """Return what a notice is about: the status, and the gate or error without its numbers, which change daily."""
        return self.status, _NUMBER.sub("#", self.message or "")

    @property
    def worked(self) -> bool:
        """Return whether the run sent or collected anything."""
        return bool(self.submitted or self.results)


def run_to_tell(runs: Sequence[EndedRun], told: str | None) -> EndedRun | None:
    """Return the run whose end is to be told; None where nothing changed since the run `told`.

    `runs` are the newest ones, newest first. A run that had nothing to do is not told. A run that did something is
    always news; a gate or an error that comes again is not.
    """
    since = [each for each in _until(runs, told) if each.status not in SILENT]
    for number, each in enumerate(since):
        if each.status in ("done", "failed_rows"):
            if each.worked:
                return each
            continue
        before = [*since[number + 1 :], *(run for run in runs if run.run_id == told)]
        known = told is not None and bool(before) and all(run.state == each.state for run in before)
        return None if known else each
    return None


def what_of(status: str) -> str:
    """Return the word of a notice for the status of a run."""
    return "gate" if status == "gate" else "failed" if status in FAILURES else "done"


def is_stuck(
    age: timedelta, *, held: bool, expires_at: datetime | None, now: datetime, high_seconds: float, batches: int
) -> bool:
    """Return whether a batch needs a look: its submit is of unknown outcome, it is late, or a day old.

    `high_seconds`: 90 of 100 of the last `batches` batches took less.
    """
    late = max(LATE_FACTOR * high_seconds, LATE_SECONDS)
    return (
        held
        or age >= STUCK_AFTER
        or (expires_at is not None and now >= expires_at)
        or (batches >= FEWEST_BATCHES and age.total_seconds() > late)
    )


def _until(runs: Sequence[EndedRun], told: str | None) -> Sequence[EndedRun]:
    """Return the runs that are newer than the run `told`."""
    ids = [each.run_id for each in runs]
    return runs[: ids.index(told)] if told in ids else runs
