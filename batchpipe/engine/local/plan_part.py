"""What a plan knows of the local rung. It imports nothing of the model, which most pipelines do not have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from batchpipe.sql.quoting import Sql
from batchpipe.store.database import Work
from batchpipe.template.hints import HintUse, RowHints


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


class Hints(Protocol):
    """Says what templates ask of the local model. `name` is its version, as it is recorded with requests.

    `bytes_of`: how many bytes the values of each call, by field and number, have taken; `rows`: over how many rows.
    """

    name: str
    bytes_of: dict[tuple[str, int], int]
    rows: int

    @property
    def select(self) -> tuple[Sql, Sql, Sql]:
        """Return SQL, over the snapshot `s`, for what `of` takes of a row."""

    def of(self, rows: Sequence[tuple[str, str, str | None]], also: Sequence[HintUse] = ()) -> list[RowHints]:
        """Return the hints of rows, each given by key_id, text and embedding; `also` are calls of other templates."""
