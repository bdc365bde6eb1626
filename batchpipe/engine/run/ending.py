"""End a run: sum it up, say that a budget was passed, and record the end for other pipelines and later runs.

A budget is passed where batches cost more than the bound that was reserved for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from batchpipe.common.errors import BatchpipeError
from batchpipe.common.logs import Event
from batchpipe.engine.batches.in_flight import BatchesInFlight
from batchpipe.engine.batches.sending import DueRequests
from batchpipe.engine.cost.budget import Limit, has_limit, limits, project_limits
from batchpipe.engine.ledger.events import add_event, open_load, spent
from batchpipe.engine.plan.plan import Plan
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.engine.run.result import RunEnd, RunResult, close_run, result_of
from batchpipe.engine.upstream.completeness import end_of
from batchpipe.sql.quoting import quote_list
from batchpipe.store.database import Database, Work
from batchpipe.store.queries import query

if TYPE_CHECKING:
    from batchpipe.engine.run.pipeline_run import PipelineRun

RAISE = "Raise it, and run the same command again: what is answered is not asked again."


def record_passed_limits(
    database: Database, work: Work, resolved: Resolved, run_id: str, max_usd: Decimal | None
) -> Sequence[Limit]:
    """Return the limits of which more was spent than they allow, where that was not said before; record them.

    Reads the ledger. Writes `ledger.events`.
    """
    budget, names = resolved.file.pipeline.budget, resolved.names
    if not has_limit(resolved.file, max_usd):
        return ()
    with database.reading(work) as session:
        money = spent(session, names, run_id)
        own = limits(budget, max_usd, money, open_load(session, names, run_id))
        passed = [each for each in (*own, *project_limits(session, resolved.file, run_id)) if each.passed_usd]
        said = set(session.rows(query("budget_passed", pipelines=quote_list(names)))) if passed else set()
    found = [each for each in passed if (each.name, each.spent_usd) not in said]
    if not found:
        return ()
    with database.writing(work, run_id) as session:
        for each in found:
            data = {"limit": each.name, "allowed_usd": each.allowed_usd, "spent_usd": each.spent_usd}
            add_event(session, resolved.name, "budget_passed", data, run_id=run_id)
    return found


def sum_up(run: PipelineRun, first: Plan | None, due_requests: Sequence[DueRequests], since: int) -> RunResult:
    """Return the result of `run`, and record its end. `first` is its first plan, `since` the commit that began it.

    Writes `ledger.events`.
    """
    database = run.context.database
    if first is None:
        if run.run_id:
            status = "gate" if run.gate else "interrupted" if run.interrupted else "error"
            close_run(database, run.work, run.name, run.run_id, status, run.error, 0, run.gate)
        return RunResult.begun_only(run.name, run.run_id, run.gate, run.error, run.waits_for)
    end = RunEnd(
        run_id=run.run_id,
        since=since,
        snapshot=run.snapshot,
        first=first,
        options=run.options.plan,
        submitted=sum(each.submitted for each in due_requests),
        asked=sum(each.asked for each in due_requests),
        batches=sum(each.batches for each in due_requests),
        gate=run.gate,
        error=run.error,
    )
    for limit in record_passed_limits(database, run.work, run.resolved, run.run_id, run.options.max_usd):
        run.announce(Event(kind="budget_passed", level="warning", detail=limit.passed_text))
    result = result_of(database, run.work, run.resolved, run.planner, end)
    status = "interrupted" if run.interrupted and not end.submitted else result.status
    left = end_of(run.resolved, result.status, result.rows, end.options.limited_by)
    close_run(database, run.work, run.name, run.run_id, status, run.error, result.submitted, result.gate, left)
    return result


def others_come_back(in_flight: BatchesInFlight, due_requests: Sequence[DueRequests]) -> bool:
    """Return whether a batch is waited for. Those of a provider that takes nothing more do not keep a run going."""
    return in_flight.waits_beside({name for each in due_requests for name in each.waits.refused})


def is_held(in_flight: BatchesInFlight, due_requests: DueRequests) -> bool:
    """Return whether a budget holds the rest, and no batch is waited for. Rows that became due since may fit."""
    return due_requests.no_room is not None and not others_come_back(in_flight, [due_requests])


def what_stopped(in_flight: BatchesInFlight, due_requests: Sequence[DueRequests]) -> BatchpipeError | None:
    """Return the error of the first provider that takes nothing, or of the first open batch that nobody can be asked
    about.
    """
    refused = [error for each in due_requests for error in each.waits.refused.values()]
    asked = {each.chunk_id for each in in_flight.open}
    unaskable = [error for chunk_id, error in in_flight.unaskable.errors.items() if chunk_id in asked]
    return next(iter([*refused, *unaskable]), None)


def end_where_unreachable(
    in_flight: BatchesInFlight, due_requests: Sequence[DueRequests], pauses_until: datetime | None, *, no_wait: bool
) -> None:
    """Raise ProviderError where a provider was not reached for a minute, and nothing that is for others moves any more.

    With `no_wait` batches that are in flight elsewhere are not waited for.
    """
    error = next(
        filter(None, (in_flight.unreachable.error, *(each.waits.unreachable.error for each in due_requests))), None
    )
    if error is None or (in_flight.is_waited_for and not no_wait) or any(each.goes_on for each in due_requests):
        return
    pauses = pauses_until is not None and pauses_until > in_flight.context.clock()
    plans = in_flight.due_again or in_flight.compare_anew
    if not pauses and not (plans and all(each.is_through for each in due_requests)):
        raise error
