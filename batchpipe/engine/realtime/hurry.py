"""When requests are asked in realtime although their rung is one of batches: the last few of a job."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from batchpipe.engine.plan.orders import Order
from batchpipe.engine.plan.plan import FRESH_REASONS, Plan, PlanOptions
from batchpipe.engine.plan.planner import Planner
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.engine.source.snapshot import Snapshot
from batchpipe.sql.quoting import quote_list
from batchpipe.store.database import Work

# `--no-wait` waits for a pause between realtime calls that is no longer than this.
SHORT_PAUSE = timedelta(seconds=60)


def plan_in_mode(
    planner: Planner,
    resolved: Resolved,
    snapshot: Snapshot,
    orders: Sequence[Order],
    options: PlanOptions,
    *,
    in_flight: bool,
) -> Plan:
    """Return the plan, under `resolved`; anew with every rung in realtime where only the last few requests are left.

    `in_flight` says that batches of the pipeline are open.
    Reads `work.due`, and what `Planner.plan` reads. Writes what `Planner.plan` writes.
    """
    planner.resolved = resolved
    plan = planner.plan(snapshot, orders, options)
    if in_flight or not is_last_few(planner.work, resolved, plan):
        return plan
    planner.resolved = resolved.in_realtime
    return planner.plan(snapshot, orders, options)


def is_last_few(work: Work, resolved: Resolved, plan: Plan) -> bool:
    """Return whether the plan's requests are so few as `[retry] stragglers` says, and all of a second or later wave.

    Reads `work.due`.
    """
    if not 0 < plan.requests <= resolved.file.pipeline.retry.stragglers or plan.held is not None:
        return False
    fresh = f"SELECT count(*) FROM work.due WHERE reason IN ({quote_list(FRESH_REASONS)})"
    return work.connection.execute(fresh).fetchone() == (0,)


def asks_soon(resolved: Resolved, wakes: Iterable[datetime | None], now: datetime) -> bool:
    """Return whether realtime calls go on after one of the pauses that end at `wakes`, and the pause is short."""
    if all(each.mode == "batch" for each in resolved.rungs):
        return False
    return any(each is not None and each - now <= SHORT_PAUSE for each in wakes)
