"""Run the local rung: train its model where that is due, and record the rows that it answers.

A pipeline without such a rung imports nothing of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchpipe.engine.context import Context
from batchpipe.engine.exchange.run_parts import RunParts
from batchpipe.engine.local.plan_part import Hints
from batchpipe.engine.plan.plan import Plan
from batchpipe.engine.plan.planner import Planner
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.engine.source.snapshot import Snapshot
from batchpipe.store.database import Work

if TYPE_CHECKING:
    from batchpipe.engine.local.prepare import Learnt


def begin_local(context: Context, planner: Planner, snapshot: Snapshot, run_id: str | None) -> None:
    """Give the planner what chooses the rows of the local rung, where the ladder has one, and what its templates ask.

    Without a run, for `plan`, nothing is recorded.
    Reads the ledger. Writes `ledger.local_models`, `ledger.events`.
    """
    resolved, work = planner.resolved, planner.work
    if resolved.local is not None or resolved.templates.hints:  # the model reads the input before the plan does
        snapshot.make_room(work.memory)
    if resolved.local is None:
        planner.hints = hints_for(context, work, resolved, snapshot, run_id)
        return
    from batchpipe.engine.local.prepare import prepare_local, record_prepared

    choice, learnt, prepared = prepare_local(context, work, resolved, snapshot)
    if run_id is not None:
        record_prepared(context, work, resolved, prepared, run_id)
    planner.local = choice
    planner.hints = _hints_of(work, resolved, learnt)


def hints_for(
    context: Context,
    work: Work,
    resolved: Resolved,
    snapshot: Snapshot,
    run_id: str | None,
    like: Resolved | None = None,
) -> Hints | None:
    """Return what says what the templates of `resolved` ask of the local model; None where they ask nothing, and before
    there is a model.

    A version that is trained for it is recorded in a run. Rows of an evaluation never teach it. If `resolved` is the
    pipeline under an earlier version, `like` is the present pipeline: no model with other fields is trained for the
    earlier one.
    Reads the ledger. Writes `ledger.local_models`, `ledger.events`.
    """
    if not resolved.templates.hints or resolved.learner is None:
        return None
    if like is not None and (like.learner is None or like.learner.shape != resolved.learner.shape):
        return None
    from batchpipe.engine.local.hints import learning_of
    from batchpipe.engine.local.prepare import learn, record_prepared

    learning = learning_of(resolved)
    learnt = learn(context, work, learning, snapshot, compared=resolved.file.learner is not None)
    if run_id is not None:
        record_prepared(context, work, learning, learnt.record, run_id)
    return _hints_of(work, resolved, learnt)


def _hints_of(work: Work, resolved: Resolved, learnt: Learnt) -> Hints | None:
    if learnt.version is None or not resolved.templates.hints:
        return None
    from batchpipe.engine.local.hints import LocalHints

    return LocalHints(work=work, resolved=resolved, model=learnt.version.model, name=learnt.version.name)


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
