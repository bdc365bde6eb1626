"""The local rung in a run: its model is trained where that is due, and the rows that it answers are recorded.

A pipeline without such a rung imports nothing of it.
"""

from __future__ import annotations

from batchpipe.engine.context import Context
from batchpipe.engine.exchange.run_parts import RunParts
from batchpipe.engine.plan.plan import Plan
from batchpipe.engine.plan.planner import Planner
from batchpipe.engine.source.snapshot import Snapshot


def begin_local(context: Context, planner: Planner, snapshot: Snapshot, run_id: str | None) -> None:
    """Give the planner what chooses the rows of the local rung, where the ladder has one.

    Without a run, for `plan`, nothing is recorded.
    Reads the ledger. Writes `ledger.local_models`, `ledger.events`.
    """
    if planner.resolved.local is None:
        return
    from batchpipe.engine.local.prepare import prepare_local, record_prepared

    choice, prepared = prepare_local(context, planner.work, planner.resolved, snapshot)
    if run_id is not None:
        record_prepared(context, planner.work, planner.resolved, prepared, run_id)
    planner.local = choice


def record_local(planner: Planner, parts: RunParts, plan: Plan) -> str | None:
    """Record the rows of `plan` that the local model answers; return what of the output table was repaired, in words.

    Writes what `record_local_answers` writes.
    """
    if planner.local is None:
        return None
    from batchpipe.engine.local.choosing import LocalChoice
    from batchpipe.engine.realtime.local_chunk import record_local_answers

    assert isinstance(planner.local, LocalChoice)
    return record_local_answers(parts, planner.local, plan)


def left_of(limit: int | None, submitted: int, planner: Planner) -> int | None:
    """Return how many rows of `--limit` are left, after those that were submitted and those answered locally."""
    answered = planner.local.recorded if planner.local is not None else 0
    return None if limit is None else max(limit - submitted - answered, 0)
