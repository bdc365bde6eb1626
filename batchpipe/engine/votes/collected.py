"""The collected answers of members of panels: how each member stands, and the votes that are complete with them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping

from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.engine.votes.cast import cast_votes, record_votes
from batchpipe.engine.votes.parts import fill_parts
from batchpipe.sql.quoting import Sql, quote_list
from batchpipe.store.database import Session
from batchpipe.store.queries import query

NONE_APART = Sql("")


def set_members_apart(session: Session, resolved: Resolved) -> None:
    """Let the outcomes of members be decided without the ladder: a member has no rung above.

    Reads `work.sent`, `ledger.requests`. Writes `work.parts`, `work.sent_parts`, `work.outcomes`.
    """
    fill_parts(session.connection, resolved)
    session.execute(query("sent_parts"))
    session.execute(query("outcomes_of_parts"))
    leave_one_part(session, resolved, Sql("AND o.custom_id NOT IN (SELECT custom_id FROM work.sent_parts)"))


def leave_one_part(session: Session, resolved: Resolved, apart: Sql = NONE_APART) -> None:
    """Leave one of a row's collected answers, where its rung asked for several before. `apart` is SQL that leaves out
    the members of panels.

    Reads `work.outcomes`, `ledger.decisions`. Writes `work.outcomes`.
    """
    evaluated = Sql("true") if resolved.file.evaluates else Sql("false")
    names = quote_list(resolved.names)
    session.execute(query("parts_without_panel", apart=apart, evaluated=evaluated, pipelines=names))


def vote_on_collected(session: Session, resolved: Resolved, *, with_values: bool) -> dict[str, Counter[str]]:
    """Cast the votes that the collected answers complete; return the number of rows of each chunk by their new state.

    `with_values`: whether `work.sent_values` has the input values that conditions read.
    Reads `work.outcomes`, `work.verdicts`, `work.sent`, `work.sent_parts`, `work.parts`, `work.all_documents`,
    `work.voted`, `ledger.part_decisions`.
    Writes `work.member_standings`, `work.ballots`, `work.voters`, and what `cast_votes` writes.
    """
    session.execute(query("collected_ballots", pipelines=quote_list(resolved.names)))
    session.execute(query("final_ballots"))
    read = query("values_of_voters") if with_values else Sql("")
    values = Sql("v.input_values") if with_values else Sql("[]::VARCHAR[]")
    session.execute(query("collected_voters", values=read, input_values=values))
    cast_votes(session.work, resolved)
    states: dict[str, Counter[str]] = defaultdict(Counter)
    for chunk_id, state, rows in session.rows(query("vote_states")):
        states[chunk_id][state] += rows
    return states


def record_collected_votes(
    session: Session, resolved: Resolved, stamp: Mapping[str, object], words: Sql, poll_interval: float
) -> None:
    """Record how the members stand, the votes that were cast, and the rows that wait for other members.

    `words` is SQL for what an outcome means.
    Reads `work.outcomes`, `work.sent`, `work.sent_parts`, `work.verdicts`, `work.voters`.
    Writes `ledger.part_decisions`, `ledger.decisions`, `ledger.votes`.
    """
    session.execute(query("insert_part_decisions", outcome_words=words), {**stamp, "poll_interval": poll_interval})
    session.execute(query("insert_waiting_rows"), stamp)
    record_votes(session, resolved, stamp, free=False)
