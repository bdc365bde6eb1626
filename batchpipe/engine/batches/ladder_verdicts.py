"""Decide collected rows by the ladder: one verdict for each distinct outcome and standing, in `work.verdicts`."""

from __future__ import annotations

from collections import Counter, defaultdict

from batchpipe.decide.verdict import Standing, decide
from batchpipe.engine.exchange.run_parts import RunParts
from batchpipe.engine.votes.cast import ladder_policy
from batchpipe.engine.votes.collected import leave_one_part, set_members_apart, vote_on_collected
from batchpipe.sql.quoting import Sql, joined, sql
from batchpipe.store.queries import query

# What is known of a row (the arguments of the decision), then the verdict on it.
_COLUMNS = Sql(
    "checked_outcome VARCHAR, of_rung SMALLINT, of_attempt SMALLINT, of_transients SMALLINT, of_max_tokens INTEGER, "
    "rungs UINTEGER, has_earlier BOOLEAN, state VARCHAR, rung SMALLINT, attempts SMALLINT, transients SMALLINT, "
    "next_max_tokens INTEGER, answer VARCHAR, review BOOLEAN, pause_doublings INTEGER"
)


def fill_ladder_verdicts(parts: RunParts) -> dict[str, Counter[str]]:
    """Decide each distinct outcome and standing once; return the number of rows of each chunk by their new state.

    Rows with the same outcome and standing have the same verdict, so that Python sees few of them.
    Reads `work.outcomes`. Writes `work.verdicts`.
    """
    connection = parts.work.connection
    policy = ladder_policy(parts.resolved)
    # work.verdicts: One row is a distinct outcome and standing of a request, with the ladder's verdict on it.
    connection.execute(sql("CREATE OR REPLACE TABLE work.verdicts ({columns})", columns=_COLUMNS))
    states: dict[str, Counter[str]] = defaultdict(Counter)
    known = set()
    for *row, chunk_id, count in connection.execute(query("standings")).fetchall():
        checked_outcome, rung, attempt, transients, max_tokens, mask, has_earlier = row
        standing = Standing(
            rung=rung,
            attempt=attempt,
            transients=transients,
            max_tokens=max_tokens,
            rungs=mask,
            has_earlier_answer=has_earlier,
        )
        verdict = decide(checked_outcome, standing, policy)
        states[chunk_id][verdict.state] += count
        if (checked_outcome, standing) in known:
            continue
        known.add((checked_outcome, standing))
        values = [
            *row,
            verdict.state,
            verdict.rung,
            verdict.attempts,
            verdict.transients,
            verdict.max_tokens,
            verdict.answer,
            verdict.review,
            verdict.pause_doublings,
        ]
        places = joined(", ", [Sql("?")] * len(values))
        connection.execute(sql("INSERT INTO work.verdicts VALUES ({places})", places=places), values)
    return states


def fill_states(parts: RunParts) -> dict[str, Counter[str]]:
    """Decide what was collected, rows and members of panels; return the number of rows of each chunk by their state.

    Reads `work.outcomes`, `work.sent`, `work.sent_parts`, `work.all_documents`, the ledger.
    Writes `work.verdicts`, and where rungs ask more than once the tables of `vote_on_collected`.
    """
    resolved = parts.resolved
    if not resolved.panels:
        if parts.work.connection.execute(query("any_part")).fetchone() == (True,):
            with parts.reading() as session:
                leave_one_part(session, resolved)
        return fill_ladder_verdicts(parts)
    with parts.reading() as session:
        set_members_apart(session, resolved)
    states = fill_ladder_verdicts(parts)
    with parts.reading() as session:
        members = session.rows(query("states_of_members"))
        voted = vote_on_collected(session, resolved, with_values=bool(resolved.answer_rules.inputs))
    for chunk_id, state, rows in members:
        states[chunk_id][state] -= rows
    for chunk_id, counts in voted.items():
        states[chunk_id] += counts
    return states
