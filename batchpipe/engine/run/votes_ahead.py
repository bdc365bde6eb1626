"""Plan what follows from votes that stored answers complete: rows that go up are asked in the same run.

A run records such votes and plans again. `plan`, and a run that a person has to confirm, do the same in a copy of what
the ledger has of the pipeline, which nobody else sees.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import duckdb

from batchpipe.common import modes
from batchpipe.engine.batches.free_decisions import record_free_decisions, record_orders, record_version
from batchpipe.engine.context import Context
from batchpipe.engine.cost.estimate import Estimate
from batchpipe.engine.cost.forecast import RungUsd
from batchpipe.engine.ledger.events import NO_RUN
from batchpipe.engine.plan.orders import OrderKind
from batchpipe.engine.plan.plan import Plan, PlanOptions
from batchpipe.engine.plan.planner import Planner
from batchpipe.engine.realtime.modes import RungModes
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.engine.run.options import RunOptions
from batchpipe.engine.run.previous_version import make_planner
from batchpipe.engine.votes.cast import votes_went_up
from batchpipe.pipeline.evaluations import SEPARATOR
from batchpipe.sql.quoting import Sql, quote_identifier, quote_list, quote_literal, sql
from batchpipe.store.database import Database, Work
from batchpipe.store.disk import disk_error, storage_error
from batchpipe.store.migration import empty_image
from batchpipe.store.queries import query

COPY = Sql("ahead")


def with_votes_ahead(
    context: Context,
    planned_by: Planner,
    resolved: Resolved,
    plan: Plan,
    options: RunOptions,
    asked: Sequence[tuple[OrderKind, str]],
    folder: Path,
) -> Plan:
    """Return `plan` with the requests of rows that a vote sends up. A plan whose votes send none up stays as it is.

    `planned_by` made the plan of `resolved`, of which `work.voted` is left. `asked` are the orders that were asked for
    on the way to it. `folder` gets the copy of the database. A pilot that holds rows back holds these back too.
    Reads the database file, `work.voted`. Writes `work.went_up`, in a working database of its own.
    """
    if plan.held is not None or not votes_went_up(planned_by.work, resolved):
        return plan
    modes.make_folder(folder, below=folder)
    database = _copied(context.database, planned_by.work, folder, resolved.names)
    with closing(context.work()) as work:
        planner = make_planner(context, work, resolved, folder)
        planner.database, planner.local, planner.hints = database, planned_by.local, planned_by.hints
        with database.writing(work, NO_RUN) as session:
            record_version(session, resolved, NO_RUN, None)
            orders = record_orders(session, resolved, NO_RUN, asked, options.where, options.withdraw)
        by_modes = RungModes(planner=planner, resolved=resolved, by=options.by)
        ask = options.plan
        last = by_modes.plan(plan.snapshot, orders, ask, in_flight=True)
        whole, first = plan, last
        while votes_went_up(work, resolved):
            record_free_decisions(database, work, resolved, NO_RUN, last, orders, ask, with_output=False)
            work.connection.execute(query("went_up"))
            ask = PlanOptions(where=options.where, since=first.seq)
            last = by_modes.plan(plan.snapshot, orders, ask, in_flight=True)
            whole = _joined(whole, last, _reasons(work))
        return whole


def whole_plan(planner: Planner, context: Context, plan: Plan, options: RunOptions) -> Callable[[], Plan]:
    """Return what makes, out of the first `plan` of a run, the plan with all that the run is going to send.

    The run has recorded its orders. Reads the ledger, `work.voted`.
    """

    def made() -> Plan:
        with context.temporary_folder("votes-") as folder:
            asked = replace(options, withdraw=())
            return with_votes_ahead(context, planner, planner.resolved, plan, asked, (), folder / "votes")

    return made


def _copied(database: Database, work: Work, folder: Path, names: Sequence[str]) -> Database:
    """Return a database of its own in `folder` with what the ledger holds now for the pipeline of these `names`.

    Nothing else is copied: no output table, and no row of another pipeline.
    Reads the ledger. Raises DatabaseError where there is no room for the copy.
    """
    path = folder / database.path.name
    families = quote_list(sorted({each.partition(SEPARATOR)[0] for each in names}))
    with database.reading(work) as session:
        try:
            path.write_bytes(empty_image())
            modes.settle(path)
            session.execute(sql("ATTACH {path} AS {copy}", path=quote_literal(str(path)), copy=COPY))
            try:
                for table, of_pipelines in session.rows(query("tables_of_ledger")):
                    name = sql("ledger.{table}", table=quote_identifier(table))
                    of_these = sql("WHERE split_part(pipeline, ':', 1) IN ({families})", families=families)
                    copied = {"copy": COPY, "name": name, "which": of_these if of_pipelines else Sql("")}
                    session.execute(sql("DELETE FROM {copy}.{name}", copy=COPY, name=name))
                    session.execute(sql("INSERT INTO {copy}.{name} BY NAME SELECT * FROM {name} {which}", **copied))
            finally:
                session.execute(sql("DETACH {copy}", copy=COPY))
        except OSError as error:
            raise disk_error(error, path) from error
        except duckdb.Error as error:
            raise storage_error(error, path) from error
    return replace(database, path=path, gives_way=False, while_waiting=[])


def _reasons(work: Work) -> Counter[str]:
    """Return what the rows that went up come to: their number by reason. Reads `work.went_up`, `work.plan`."""
    return Counter(dict(work.connection.execute(query("reasons_of_went_up")).fetchall()))


def _joined(plan: Plan, later: Plan, reasons: Mapping[str, int]) -> Plan:
    """Return `plan` together with `later`, which has its rows that went up by `reasons`."""
    rows = Counter(plan.rows_by_reason)
    rows["escalated"] -= sum(reasons.values())
    rows.update(reasons)
    return replace(
        plan,
        rows_by_reason={word: rows[word] for word in plan.rows_by_reason},
        requests=plan.requests + later.requests,
        followers=plan.followers + later.followers,
        chunks=(*plan.chunks, *later.chunks),
        asked=plan.asked + later.asked,
        asked_chunks=plan.asked_chunks + later.asked_chunks,
        estimate=_sum_of(plan.estimate, later.estimate),
        too_long=(*plan.too_long, *later.too_long),
        media=plan.media or later.media,
        waits=plan.waits or later.waits,
    )


def _sum_of(one: Estimate, other: Estimate) -> Estimate:
    """Return the estimate of both, which go up together; its interval is the sum of the intervals."""
    if not one.rungs or not other.rungs:
        return other if not one.rungs else one
    by_rung = {each.rung: each for each in one.rungs}
    for each in other.rungs:
        by_rung[each.rung] = _rung_sum(by_rung[each.rung], each) if each.rung in by_rung else each
    return replace(
        one,
        input_tokens=one.input_tokens + other.input_tokens,
        output_tokens=one.output_tokens + other.output_tokens,
        cost_usd=_added(one.cost_usd, other.cost_usd),
        max_usd=_added(one.max_usd, other.max_usd),
        realtime_usd=_added(one.realtime_usd, other.realtime_usd),
        low_usd=_added(one.low_usd, other.low_usd),
        high_usd=_added(one.high_usd, other.high_usd),
        rungs=[by_rung[number] for number in sorted(by_rung)],
        seen=max(one.seen, other.seen),
        waves=max(one.waves, other.waves),
        further_waves=max(one.further_waves, other.further_waves),
        caching=(*one.caching, *other.caching),
        more_batches=one.more_batches + other.more_batches,
        stopped=one.stopped or other.stopped,
        full_price=tuple(dict.fromkeys((*one.full_price, *other.full_price))),
    )


def _rung_sum(one: RungUsd, other: RungUsd) -> RungUsd:
    return replace(
        one,
        requests=one.requests + other.requests,
        input_tokens=one.input_tokens + other.input_tokens,
        output_tokens=one.output_tokens + other.output_tokens,
        cost_usd=_added(one.cost_usd, other.cost_usd),
        realtime_usd=_added(one.realtime_usd, other.realtime_usd),
    )


def _added(one: Decimal | None, other: Decimal | None) -> Decimal | None:
    return None if one is None or other is None else one + other
