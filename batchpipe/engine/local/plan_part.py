"""What a plan knows of the local rung. It imports nothing of the model, which most pipelines do not have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from batchpipe.store.database import Work


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalPlan:
    """What the local rung does in a plan: the rows that it answers, and those that it is sure of and that go up.

    `model` is the version that answers; None where none does. `says` tells in words why, and what is promised.
    """

    model: str | None
    answered: int
    audited: int
    says: str


class LocalRows(Protocol):
    """Chooses the rows of the local rung. `recorded`: how many rows this run has recorded so far."""

    recorded: int

    @property
    def answered_in_run(self) -> Mapping[str, Any]:
        """Return what the local rung did in this run, as `run --json` has it."""

    def choose(self, work: Work, *, holds: bool) -> None:
        """Take the rows that the model answers out of the due ones; none where a pilot `holds` rows back."""

    def plan(self, work: Work) -> LocalPlan:
        """Return what was chosen last."""
