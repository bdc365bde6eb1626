"""Record what a run decides without sending anything: versions, orders, and rows that are carried over or kept."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from batchpipe.engine.batches.submit import include_parts
from batchpipe.engine.ledger.events import add_event
from batchpipe.engine.output.current import judge_kept, refresh_output
from batchpipe.engine.output.output_table import merge_output, refresh_included, writing_output
from batchpipe.engine.output.ownership import output_place, output_table
from batchpipe.engine.output.written import last_written
from batchpipe.engine.plan.matches import bought_sql
from batchpipe.engine.plan.orders import Order, OrderKind, open_orders, orders_asked, withdraw_orders
from batchpipe.engine.plan.overtaken import drop_overtaken
from batchpipe.engine.plan.plan import Plan, PlanOptions
from batchpipe.engine.resolved.contents import why_no_rung
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.engine.votes.cast import record_stored_parts
from batchpipe.engine.votes.slots import slots
from batchpipe.sql.quoting import Sql, number_sql, quote_list, sql
from batchpipe.store.database import Database, Session, Work
from batchpipe.store.queries import query


class FreeDecisions(NamedTuple):
    """What became of the decisions of a plan that cost nothing.

    `repaired` says in words what of the output table was repaired. `overtaken`: others have asked for some of the rows
    since the plan, so that these need a new one.
    """

    repaired: str | None
    overtaken: bool


def record_version(session: Session, resolved: Resolved, run_id: str, git_commit: str | None) -> None:
    """Record the prompt version and the policy, where they are new.

    Writes `ledger.prompt_versions`, `ledger.policies`.
    """
    record_prompt(session, resolved, run_id, git_commit)
    stamp = {"pipeline": resolved.name, "now": session.now, "seq": session.seq}
    session.execute(
        query("insert_policy", pipelines=quote_list(resolved.names)),
        stamp
        | {
            "policy_hash": resolved.policy_hash,
            "recipe": resolved.policy_recipe,
            "key_types": [each.type for each in resolved.key_columns],
            "columns": [each.name for each in resolved.hash_columns],
            "types": [each.type for each in resolved.hash_columns],
            "judge_hash": resolved.judge_hash,
            "policy": _json(resolved.policy),
        },
    )


def record_prompt(session: Session, resolved: Resolved, run_id: str, git_commit: str | None) -> None:
    """Record the prompt version alone, where it is new. An evaluation does so for the pipeline that it evaluates.

    Writes `ledger.prompt_versions`.
    """
    version, names = resolved.version, quote_list(resolved.names)
    stamp = {"pipeline": resolved.name, "now": session.now, "seq": session.seq}
    session.execute(
        query("insert_version", pipelines=names),
        stamp
        | {
            "prompt_version": version.prompt_version,
            "recipe": version.recipe,
            "prompt_hash": version.prompt_hash,
            "schema_hash": version.schema_hash,
            "visible_hash": version.visible_hash,
            "format": resolved.file.pipeline.output.format,
            "sources": _json([{"name": name, "text": text} for name, text in version.sources]),
            "vars": _json(version.variables),
            "queries": _json(version.queries),
            "full_schema": _json(resolved.full_schema),
            "pipeline_toml": resolved.toml,
            "git_commit": git_commit,
            "run_id": run_id,
        },
    )


def record_orders(
    session: Session,
    resolved: Resolved,
    run_id: str,
    asked: Sequence[tuple[OrderKind, str]],
    selection: str | None,
    withdrawn: Sequence[int],
) -> list[Order]:
    """Record the orders that are asked for, withdraw those numbered in `withdrawn`, and return every open order.

    An order that is open already is not recorded again. `selection` is the condition of `--where`.
    Writes `ledger.orders`, `ledger.events`. Raises PipelineError for SQL that cannot be used, UsageError for a number
    of no open order and for a version of the local model that there is not.
    """
    withdraw_orders(session, resolved.names, withdrawn, run_id)
    for order in orders_asked(session, resolved, asked, selection, open_orders(session, resolved)):
        values = {
            "pipeline": resolved.name,
            "order_id": session.new_id(),
            "kind": order.kind,
            "argument": order.argument,
            "selection": selection,
            "run_id": run_id,
            "now": session.now,
            "seq": session.seq,
        }
        session.execute(query("insert_order"), values)
    return open_orders(session, resolved)


def record_free_decisions(
    database: Database,
    work: Work,
    resolved: Resolved,
    run_id: str,
    plan: Plan,
    orders: Sequence[Order],
    options: PlanOptions,
    *,
    with_output: bool = True,
) -> FreeDecisions:
    """Record every decision of `plan` that costs nothing, but those on rows that others have asked for since.

    Without `with_output` the output table is left as it is.
    The first plan of a run also refreshes the output table and closes orders that are done.
    Reads `work.plan`, `work.leading`, `work.pending`, `work.redo`, `work.all_keys`, `work.input`, `work.compared`,
    `work.documents_of_validity`, `work.documents_of_revalidated`, `work.ballots`.
    Writes what `drop_overtaken` writes, `ledger.results`, `ledger.decisions`, `ledger.requests`, `ledger.events`, the
    output table.
    """
    names = quote_list(resolved.names)
    first_look = options.since is None
    if not (
        orders
        or _has_free_decisions(resolved, plan)
        # The rows that `where` leaves out may not be current any more.
        or (first_look and (options.where is not None or _has_stale_rows(database, work, resolved)))
    ):
        return FreeDecisions(repaired=None, overtaken=False)
    repaired = None
    if first_look:
        _judge_kept_rows(database, work, resolved, plan)
    with database.writing(work, run_id) as session:
        overtaken = drop_overtaken(session, resolved, plan, run_id)
        stamp: dict[str, Any] = {"run_id": run_id, "now": session.now, "seq": session.seq}
        ids = {
            "pipeline": resolved.name,
            "prompt_version": resolved.version.prompt_version,
            "policy_hash": resolved.policy_hash,
        }
        # Once the older names of fields have left the pipeline file, a stored answer has to be valid without them.
        answer = Sql("d.output::VARCHAR") if resolved.answer_rules.renames else Sql("r.answer")
        bought = bought_sql(resolved, Sql("r.pipeline"))
        own = {"pipeline": resolved.name}
        again = slots(resolved, "record_validated_again")
        session.execute(query("record_validated_again", answer=answer, bought=bought, **again), stamp | own)
        why_failed = why_no_rung(resolved.input_columns, plan.snapshot.file)
        parts_of = slots(resolved, "record_decisions")
        session.execute(query("record_decisions", pipelines=names, why_failed=why_failed, **parts_of), stamp | ids)
        parts = include_parts(resolved, plan.snapshot)
        session.execute(query("record_followers", **parts, **slots(resolved, "record_followers")), stamp | ids)
        if resolved.panels:
            record_stored_parts(session, resolved, parts, plan.seq + 1, stamp | ids)
        if resolved.has_output and with_output:
            refreshes = first_look and options.where is None
            with writing_output(session, resolved, run_id, refreshes=refreshes) as repaired:
                _write_output(session, resolved, plan, first_look=first_look)
        if first_look and not overtaken:
            close_orders(session, resolved, run_id, orders, options.where is None)
    return FreeDecisions(repaired=repaired, overtaken=overtaken)


def _judge_kept_rows(database: Database, work: Work, resolved: Resolved, plan: Plan) -> None:
    """Judge kept rows by today's checks and types: all, or those for which that is not known.

    Reads the ledger, the output table.
    Writes `work.kept_judged`, and where rows are kept the tables of `judge_kept`.
    """
    work.connection.execute(query("no_kept"))
    if not resolved.has_output or not plan.rows_by_reason["kept"]:
        return
    with database.reading(work) as session:
        place = output_place(session, resolved)
        if place.columns:
            all_kept = _judged_otherwise(session, resolved, place.quoted)
            judge_kept(session, resolved, plan.snapshot, place.quoted, all_kept=all_kept)


def _judged_otherwise(session: Session, resolved: Resolved, table: Sql) -> bool:
    """Return whether `_current` was set last under other checks and types than today's. Reads `ledger.events`."""
    before, _ = last_written(session, resolved, table)
    return before is None or before.judge != resolved.judge_hash


def _write_output(session: Session, resolved: Resolved, plan: Plan, *, first_look: bool) -> None:
    """Write into the output table what this commit decided; the first look sets `_current` of all rows.

    Reads `work.input`, `work.compared`, `work.kept_judged`, the ledger. Writes the output table.
    """
    decided = query("accepted_in_commit", seq=number_sql(session.seq))
    if session.one(sql("SELECT count(*) FROM ({decided})", decided=decided))[0]:
        merge_output(session, resolved, decided)
    if first_look:
        table = output_table(resolved)
        refresh_included(session, resolved, plan.snapshot.relation)
        all_kept = _judged_otherwise(session, resolved, table)
        refresh_output(session, resolved, plan.snapshot, table, all_kept=all_kept)


def _has_free_decisions(resolved: Resolved, plan: Plan) -> bool:
    """Return whether anything of `plan` may have to be recorded, the columns included that the output takes along."""
    changes = plan.input - plan.rows_by_reason["unchanged"] - plan.rows_by_reason["pending"]
    return bool(changes or plan.removed or plan.followers or plan.rows_by_reason["pending"] or resolved.include_columns)


def _has_stale_rows(database: Database, work: Work, resolved: Resolved) -> bool:
    """Return whether the output table has rows that are not current, or was not looked at under today's checks.

    Reads `ledger.events`, the output table.
    """
    if not resolved.has_output:
        return False
    with database.reading(work) as session:
        place = output_place(session, resolved)
        if not place.columns:
            return True
        stale = query("stale_rows", table=place.quoted)
        return _judged_otherwise(session, resolved, place.quoted) or bool(session.one(stale)[0])


def close_orders(session: Session, resolved: Resolved, run_id: str, orders: Sequence[Order], whole: bool) -> None:
    """Close each order that makes no row due any more, unless a request sent before the order is still in flight.

    `whole`: the plan looked at every row. Only then can an order to keep rows be closed.
    Reads `work.redo`, `work.all_keys`, `work.pending`. Writes `ledger.events`.
    """
    for order in orders:
        pending = session.one(query("pending_before"), {"seq": order.seq})[0]
        left = not whole if order.kind == "keep" else session.one(query("redo_left"))[0]
        if not pending and not left:
            add_event(session, resolved.name, "order_done", {"order_id": order.order_id}, run_id=run_id)


def _json(value: Any) -> str:
    """Return `value` as JSON text."""
    return json.dumps(value, default=str)
