"""Words for the members of a rung that votes, and for their vote."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Voter(Protocol):
    """A member of a panel, or a sample of a model."""

    @property
    def model(self) -> str:
        """Return its model."""

    @property
    def part(self) -> str:
        """Return which of several samples of the model it is: "1", "2"."""

    @property
    def valid(self) -> bool:
        """Return whether its answer counts."""


def member_names(members: Sequence[Voter]) -> list[str]:
    """Return what people call the members: the model, with the number of the sample where the model has several."""
    models = [each.model for each in members]
    return [
        f"{each.model}, sample {each.part}" if models.count(each.model) > 1 or each.part != "1" else each.model
        for each in members
    ]


def vote_agreement_text(members: Sequence[Voter], agreement: float | None, quorum: int | None) -> str:
    """Return how far the members agree: `0.67: 2 of 3 valid answers agree, from 3 members; the quorum is 2`."""
    valid = sum(each.valid for each in members)
    wanted = f"; the quorum is {quorum}" if quorum is not None else ""
    if agreement is None:
        return f"none: {valid} of {len(members)} answers are valid{wanted}"
    return (
        f"{agreement:.2f}: {round(agreement * valid)} of {valid} valid answers agree, of {len(members)} members{wanted}"
    )
