"""Decide rows whose results are gone: they were paid for, so each row has one attempt less, and the ladder decides what
is next.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from batchpipe.decide.verdict import LadderPolicy, Standing, decide
from batchpipe.engine.ledger.events import OpenBatch, add_event
from batchpipe.pipeline.model import Pipeline
from batchpipe.sql.quoting import quote_list
from batchpipe.store.database import Session
from batchpipe.store.queries import query


@dataclass(frozen=True, slots=True, kw_only=True)
class GoneResults:
    """Says of a chunk that its results are gone: the `kind` of the event with its `data`, and why, for its rows."""

    batch: OpenBatch
    kind: str
    data: Mapping[str, Any]
    why: str


def record_gone(session: Session, pipeline: Pipeline, gone: Sequence[GoneResults], run_id: str | None) -> None:
    """Record that the results of chunks are gone, and decide their rows: each had an attempt that brought no answer.

    The most that a chunk can cost is booked from then on, as `spent` sums it up.
    Reads `ledger.requests`. Writes `ledger.events`, `ledger.decisions`, `ledger.part_decisions`.
    """
    for each in gone:
        add_event(session, each.batch.pipeline, each.kind, each.data, run_id=run_id, chunk_id=each.batch.chunk_id)
        _decide_rows(session, pipeline, each, run_id)


def _decide_rows(session: Session, pipeline: Pipeline, gone: GoneResults, run_id: str | None) -> None:
    """Decide the rows of a chunk whose results are gone, one statement for each distinct standing.

    Of a row that is asked more than once a member has one attempt less.
    Reads `ledger.requests`. Writes `ledger.decisions`, `ledger.part_decisions`.
    """
    rungs = pipeline.models
    policy = LadderPolicy(
        attempts=pipeline.retry.attempts,
        transient=pipeline.retry.transient,
        max_tokens=tuple(each.max_tokens or 0 for each in rungs),
        caps=tuple(None for _ in rungs),
    )
    chunk = {"chunk_id": gone.batch.chunk_id}
    stamp = chunk | {
        "error": gone.why,
        "run_id": run_id or gone.batch.run_id,
        "now": session.now,
        "seq": session.seq,
    }
    own = gone.batch.pipeline
    names = quote_list(pipeline.names if own in pipeline.names else [own])
    nothing_since = query("nothing_since", pipelines=names)
    standings = session.rows(query("standings_of_chunk"), chunk)
    for rung, attempt, transients, max_tokens, mask, has_earlier, is_part in standings:
        standing = Standing(
            rung=rung,
            attempt=attempt,
            transients=transients,
            max_tokens=max_tokens,
            rungs=mask,
            has_earlier_answer=has_earlier,
        )
        verdict = decide("gone", standing, policy)
        values = stamp | {
            "rung": rung,
            "attempt": attempt,
            "transients": transients,
            "max_tokens": max_tokens,
            "rungs": mask,
            "has_earlier": has_earlier,
            "state": verdict.state,
            "attempts": verdict.attempts,
            "next_max_tokens": verdict.max_tokens,
        }
        if is_part:
            session.execute(query("decide_gone_parts", pipelines=names), values)
        else:
            values |= {"review": verdict.review, "next_rung": verdict.rung}
            session.execute(query("decide_gone", pipelines=names, nothing_since=nothing_since), values)
    if any(is_part for *_, is_part in standings):
        session.execute(query("wait_for_members", nothing_since=nothing_since), stamp)
