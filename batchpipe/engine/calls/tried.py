"""What `try` shows of a row and of the members of a rung that votes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from batchpipe.engine.calls.try_request import TriedRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class TriedMember:
    """Holds the answer of one member of a rung that votes, which was asked at `provider`.

    `part` tells the samples of one model apart: "1", "2". `valid` is whether its answer counts, `winner` whether it is
    the one that most agree with. Its other fields are as those of a row.
    """

    provider: str
    model: str
    part: str
    valid: bool
    winner: bool
    known: bool
    verdict: str
    error: str | None
    answer: str | None
    output: Mapping[str, Any] | None
    input_tokens: int | None
    output_tokens: int | None
    cost_usd: Decimal | None
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TriedRow:
    """Holds one row and its answer. `known` says that the answer was bought before and costs nothing now.

    `verdict` is accepted, unaccepted (valid, but `accept` does not hold), valid (the answer of one member of a panel),
    invalid, no_quorum (too few answers are valid), or the outcome of the call, as truncated or refused. `rung` 0 is a
    model that is not on the ladder. `cost_usd` is in US dollars; `seconds` is how long the calls took.
    On a rung that votes the answer is the one that stands, tokens, cost and seconds are those of all `members`,
    `agreement` is the share of the valid answers that agree with it, and `quorum` the fewest valid answers.
    """

    key: Sequence[str]
    rung: int
    model: str
    system: str | None
    user: str
    known: bool
    verdict: str
    error: str | None
    answer: str | None
    output: Mapping[str, Any] | None
    input_tokens: int | None
    output_tokens: int | None
    cost_usd: Decimal | None
    seconds: float
    agreement: float | None = None
    quorum: int | None = None
    members: Sequence[TriedMember] = ()


def sum_known(values: Sequence[Any]) -> Any:
    """Return the sum of `values`; None where one is not known."""
    known = [each for each in values if each is not None]
    return sum(known[1:], known[0]) if known and len(known) == len(values) else None


def member_of(row: TriedRow, request: TriedRequest, *, winner: bool) -> TriedMember:
    """Return what a member answered, of the row that it answers alone."""
    return TriedMember(
        provider=request.settings.provider,
        model=request.settings.model,
        part=request.part,
        valid=row.verdict == "valid",
        winner=winner,
        known=row.known,
        verdict=row.verdict,
        error=row.error,
        answer=row.answer,
        output=row.output,
        input_tokens=row.input_tokens,
        output_tokens=row.output_tokens,
        cost_usd=row.cost_usd,
        seconds=row.seconds,
    )
