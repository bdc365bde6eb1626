"""The vote of a row whose members `try` has asked: it is cast as a run casts it, and not recorded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.engine.source.snapshot import Snapshot, texts_sql
from batchpipe.engine.votes.cast import cast_votes
from batchpipe.engine.votes.parts import fill_parts
from batchpipe.store.database import Work
from batchpipe.store.queries import query


@dataclass(frozen=True, slots=True, kw_only=True)
class Ballot:
    """What one member answered. `output` is its document as JSON text; None where the answer is not valid."""

    place: int
    custom_id: str
    output: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TriedVote:
    """Says how a vote ended.

    `outcome` is accepted, unaccepted (valid, but `accept` does not hold) or no_answer. `winner` is the place of the
    member whose answer stands; None where too few answers are valid. `error` says why it is not accepted.
    """

    outcome: str
    winner: int | None
    agreement: float | None
    error: str | None


def vote_on_tried(
    work: Work, resolved: Resolved, snapshot: Snapshot, key: str, rung: int, ballots: Sequence[Ballot]
) -> TriedVote:
    """Cast the vote of the row with the key `key` on `rung`, of the members whose answers are `ballots`.

    Reads `work.vote_outcomes`, `work.votes`.
    Writes `work.parts`, `work.ballots`, `work.voters`, and what `cast_votes` writes.
    """
    connection = work.connection
    fill_parts(connection, resolved)
    connection.execute(query("no_ballots"))
    for each in ballots:
        state = "failed" if each.output is None else "valid"
        values: dict[str, Any] = {"key": key, "rung": rung, "place": each.place, "custom_id": each.custom_id}
        connection.execute(query("add_ballot"), values | {"state": state, "output": each.output})
    values_sql = texts_sql(resolved.hash_columns)
    connection.execute(query("tried_voter", values=values_sql, snapshot=snapshot.relation), {"key": key, "rung": rung})
    cast_votes(work, resolved)
    row = connection.execute(query("tried_vote")).fetchone()
    outcome, error, winner, agreement = row or ("no_answer", None, None, None)
    return TriedVote(
        outcome=outcome, winner=winner, agreement=agreement, error=None if outcome == "accepted" else error
    )
