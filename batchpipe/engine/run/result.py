"""Sum up a run: where its rows stand now, what it sent and what that cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal

from batchpipe.common.errors import BatchpipeError
from batchpipe.common.logs import Event, Level
from batchpipe.engine.batches.free_decisions import close_orders
from batchpipe.engine.ledger.events import add_event, standing_reviews
from batchpipe.engine.plan.orders import open_orders
from batchpipe.engine.plan.plan import Plan, PlanOptions
from batchpipe.engine.plan.planner import Planner
from batchpipe.engine.plan.row_comparison import compare_rows
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.engine.source.snapshot import Snapshot
from batchpipe.sql.quoting import quote_list
from batchpipe.store.database import Database, Work
from batchpipe.store.queries import query

if TYPE_CHECKING:
    from batchpipe.engine.ledger.overview import FailureReason

NOTHING_SAID: Mapping[str, Any] = {}
Status = Literal["done", "failed_rows", "pending", "gate", "error"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """Holds the object of `run --json`.

    Counts in `rows` are of the input's rows as they stand now. `submitted` counts requests, of which `asked` were asked
    in realtime. Costs are US dollars.
    `cost_usd` is the sum of what is known: the cost of `unpriced` results is not in it. `waits_for` are the pipelines
    that have to be complete first. `local` tells what the local rung did, where the ladder has one. `failures` are the
    most frequent reasons why rows of the input stand as failed.
    """

    pipeline: str
    run_id: str
    prompt_version: str | None
    status: Status
    gate: str | None
    error: BatchpipeError | None
    rows: dict[str, int] = field(default_factory=dict)
    submitted: int = 0
    asked: int = 0
    batches: int = 0
    attempts: int = 0
    tokens: dict[str, int] = field(default_factory=dict)
    unpriced: int = 0
    cost_usd: Decimal = Decimal(0)
    realtime_usd: Decimal = Decimal(0)
    waits_for: Sequence[str] = ()
    local: Mapping[str, Any] | None = None
    failures: Sequence[FailureReason] = ()

    @property
    def known_cost_usd(self) -> Decimal | None:
        """Return `cost_usd`, or None where the cost of no result is known."""
        return None if self.unpriced and self.unpriced == self.attempts else self.cost_usd

    @classmethod
    def begun_only(
        cls,
        pipeline: str,
        run_id: str,
        gate: str | None,
        error: BatchpipeError | None,
        waits_for: Sequence[str] = (),
    ) -> RunResult:
        """Return the result of a run that did not come to a plan: it was stopped, or it waits for other pipelines."""
        return cls(
            pipeline=pipeline,
            run_id=run_id,
            prompt_version=None,
            status="gate" if gate else "pending" if waits_for and error is None else "error",
            gate=gate,
            error=error,
            waits_for=waits_for,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEnd:
    """Holds what the run itself knows when it ends.

    `since` is the commit that began it, `first` its first plan.
    """

    run_id: str
    since: int  # the commit that began it
    snapshot: Snapshot
    first: Plan
    options: PlanOptions
    submitted: int
    asked: int
    batches: int
    gate: str | None
    error: BatchpipeError | None


def result_of(database: Database, work: Work, resolved: Resolved, planner: Planner, end: RunEnd) -> RunResult:
    """Sum up a run from the ledger, and close the orders that it has done.

    Reads `work.all_keys`, `work.touched`, `work.due_keys`, `work.standing`, `work.pending`, the ledger, the snapshot.
    Writes `work.standings`, `ledger.events`.
    """
    names = quote_list(resolved.names)
    with database.reading(work) as session:
        session.execute(query("run_standings", pipelines=names), {"seq": planner.planned_seq})
        standing = dict(session.rows(query("standing_states")))
        failures: Sequence[FailureReason] = ()
        if standing.get("failed"):
            from batchpipe.engine.ledger.overview import failure_reasons

            failures = failure_reasons(session, resolved.names, end.snapshot.relation)
        reviewed = standing_reviews(session, resolved.names)
        review = session.one(query("standing_review", reviewed=reviewed))[0]
        failed, decided = session.one(
            query("decided_by_run", pipelines=names), {"run_id": end.run_id, "since": end.since}
        )
        totals = session.dictionaries(query("run_totals", pipelines=names), {"run_id": end.run_id})[0]
        version = session.rows(
            query("version_number", pipelines=names), {"prompt_version": resolved.version.prompt_version}
        )
    rows = _rows(end.first, standing, review)
    status = _status(end, rows, failed, decided, resolved.file.pipeline.retry.max_failed)
    if status in ("done", "failed_rows"):
        _close_orders(database, work, resolved, end)
    return RunResult(
        pipeline=resolved.name,
        run_id=end.run_id,
        prompt_version=version[0][0] if version else None,
        status=status,
        gate=end.gate,
        error=end.error,
        rows=rows,
        submitted=end.submitted,
        asked=end.asked,
        batches=end.batches,
        attempts=totals["attempts"],
        tokens={name: totals[name] for name in ("input", "output", "cache_read", "cache_write")},
        unpriced=totals["unpriced"],
        cost_usd=totals["cost_usd"],
        realtime_usd=totals["realtime_usd"],
        local=planner.local.answered_in_run if planner.local is not None else None,
        failures=failures,
    )


def end_event(ended: RunResult, error: BatchpipeError | None, gate: str | None) -> Event:
    """Return the event of a run's end, with the rows as they stand and what was paid in this call."""
    level: Level = "error" if error is not None else "warning" if gate else "info"
    return Event(
        kind="run_ended",
        level=level,
        requests=ended.submitted,
        rows=ended.rows,
        cost_usd=ended.known_cost_usd,
        error_code=error.code if error is not None else "gate" if gate else None,
        detail=error.what if error is not None else gate or "",
    )


def close_run(
    database: Database,
    work: Work,
    pipeline: str,
    run_id: str,
    status: str,
    error: BatchpipeError | None,
    submitted: int,
    gate: str | None = None,
    left: Mapping[str, Any] = NOTHING_SAID,
) -> None:
    """Record that the run has ended, and what stopped it; `left` says what the end of it means for other pipelines.

    Writes `ledger.events`.
    """
    data: dict[str, Any] = {"status": status, "submitted": submitted, **left}
    if error is not None or gate is not None:
        data["message"] = error.what if error is not None else gate
    with database.writing(work, run_id) as session:
        add_event(session, pipeline, "run_ended", data, run_id=run_id)


def _rows(first: Plan, standing: Mapping[str, int], review: int) -> dict[str, int]:
    """Return the number of rows by what the run says of them.

    `first` is the run's first plan, `standing` the number of rows by their state at its end.
    """
    return {
        "input": first.input,
        "accepted": standing.get("accepted", 0),
        "review": review,
        "failed": standing.get("failed", 0),
        "pending": standing.get("pending", 0),
        "due": standing.get("due", 0),
        "unchanged": first.rows_by_reason["unchanged"],
        "carried_over": first.rows_by_reason["carried_over"],
        "kept": standing.get("kept", 0),
        "removed": first.removed,
    }


def _status(end: RunEnd, rows: dict[str, int], failed: int, decided: int, max_failed: float) -> Status:
    """Return the status of the run.

    `failed` and `decided` are rows of this call; more than `max_failed` of the decided ones failed makes `failed_rows`.
    """
    if end.error is not None:
        return "error"
    if end.gate is not None:
        return "gate"
    waiting = rows["pending"] or (rows["due"] and end.options.limit is None and not end.options.no_new)
    if waiting:
        return "pending"
    return "failed_rows" if failed > max_failed * decided else "done"


def _close_orders(database: Database, work: Work, resolved: Resolved, end: RunEnd) -> None:
    """Record which orders are done, so that the same command again is a new order.

    Writes the tables of `compare_rows`, `ledger.events`.
    """
    with database.reading(work) as session:
        orders = open_orders(session, resolved)
        if not orders:
            return
        compare_rows(session, resolved, end.snapshot, orders, PlanOptions())
    with database.writing(work, end.run_id) as session:
        close_orders(session, resolved, end.run_id, orders, end.options.where is None)
