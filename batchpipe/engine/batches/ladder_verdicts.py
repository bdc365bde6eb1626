"""Decide collected rows by the ladder: one verdict for each distinct outcome and standing, in `work.verdicts`."""

from __future__ import annotations

from collections import Counter, defaultdict

from batchpipe.decide.verdict import LadderPolicy, Standing, decide
from batchpipe.engine.exchange.run_parts import RunParts
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.store.queries import query

# What is known of a row (the arguments of the decision), then the verdict on it.
_COLUMNS = (
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
    policy = _ladder_policy(parts.resolved)
    # work.verdicts: One row is a distinct outcome and standing of a request, with the ladder's verdict on it.
    connection.execute(f"CREATE OR REPLACE TABLE work.verdicts ({_COLUMNS})")
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
        connection.execute(f"INSERT INTO work.verdicts VALUES ({', '.join('?' * 15)})", values)
    return states


def _ladder_policy(resolved: Resolved) -> LadderPolicy:
    """Return how often a row may be tried, and with how many tokens on each rung."""
    retry = resolved.file.pipeline.retry
    return LadderPolicy(
        attempts=retry.attempts,
        transient=retry.transient,
        max_tokens=tuple(each.max_tokens for each in resolved.rungs),
        caps=tuple(resolved.rules_of(each).max_output_tokens(each.model) for each in resolved.rungs),
        contexts=tuple(resolved.rules_of(each).context_tokens(each.model) for each in resolved.rungs),
    )
