"""Run `batchpipe plan`: print what a run would do, why, and what it would cost. The command sends nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from decimal import Decimal
from typing import Any

from batchpipe.commands.call.call import Call
from batchpipe.commands.call.exits import DONE, GATE, WRONG, worst
from batchpipe.commands.call.failure import failure
from batchpipe.commands.call.options import PlanRequest
from batchpipe.commands.call.params import split_params, typed_params
from batchpipe.commands.plan.chained import ChainPlanner, waiting_object, waiting_text
from batchpipe.commands.plan.due_work import MEANINGS, rows_options, work_pairs, work_text
from batchpipe.commands.plan.markdown import plan_markdown
from batchpipe.commands.plan.pilot import held_object
from batchpipe.commands.plan.prompt_diff import due_rows_text, prompt_diff_object, prompt_diff_text
from batchpipe.commands.printing.estimates import estimate_object
from batchpipe.commands.printing.local_rung import hint_text, local_text
from batchpipe.commands.printing.media import media_object
from batchpipe.commands.printing.raw import unknown_lines, unknown_object
from batchpipe.commands.printing.text import count, money, safe, table
from batchpipe.common.errors import UsageError
from batchpipe.engine.cost.budget import Limit, no_price, periods
from batchpipe.engine.cost.realtime_caching import DearerBatches
from batchpipe.engine.plan.edits import TypeChange
from batchpipe.engine.plan.orders import Order
from batchpipe.engine.plan.plan import REASONS
from batchpipe.engine.plan.prompt_diff import PromptDiffOptions
from batchpipe.engine.resolved.empty_queries import empty_queries
from batchpipe.engine.run.options import RunOptions
from batchpipe.engine.run.preview import Preview
from batchpipe.project.settings_place import price_hint


def plan(call: Call, request: PlanRequest) -> int:
    """Print the plan of each named pipeline, or of all; return 6 where a run stops at a gate,
    and 2 where a run could not keep a budget.
    """
    if request.markdown and call.json:
        raise UsageError("--markdown and --json exclude each other", where="the command line", hint="Give one of them.")
    files, single = call.pipelines(request.pipelines, request.all)
    diff = PromptDiffOptions(
        wanted=request.diff or request.markdown or request.from_version is not None,
        from_version=request.from_version,
        to_version=request.to_version,
    )
    params = typed_params(files, split_params(request.params))
    codes, objects = [], []
    with call.context() as context, context.temporary_folder("expected-") as folder:
        chosen = context.chain.with_upstream(files) if request.with_upstream else context.chain.ordered(files)
        chosen = [each.with_realtime(request.realtime) for each in chosen]
        options = {file.pipeline.name: RunOptions() for file in chosen}
        now = call.machine.clock()
        options |= {file.pipeline.name: rows_options(request, params[file.pipeline.name], now) for file in files}
        single = single and len(chosen) == 1
        planner = ChainPlanner(context=context, folder=folder, due_rows=request.rows, diff=diff)
        for number, each in enumerate(planner.plans(chosen, options)):
            if each.error is not None:
                if single or call.interrupted():
                    raise each.error
                codes.append(each.error.exit_code)
                objects.append({"pipeline": each.file.pipeline.name, "error": failure(each.error)})
                if not call.json:
                    call.complain(each.error)
                continue
            found = each.found
            assert found is not None
            stops = found.over or found.plan.estimate.without_room or found.gate or each.stops
            codes.append(WRONG if found.has_limit_without_price else GATE if stops else DONE)
            whole = plan_object(found, rows=request.rows)
            objects.append(waiting_object(each, whole) if each.waits_for else whole)
            if call.quiet and codes[-1] == DONE:
                continue
            if request.markdown:
                notes = [
                    *([waiting_text(each, call.suggest).splitlines()[0].strip()] if each.waits_for else []),
                    *plan_notes(found, call.suggest),
                ]
                call.out(plan_markdown(found, MEANINGS, work_pairs(found.resolved, found.plan), notes))
            elif not call.json:
                work = waiting_text(each, call.suggest) if each.waits_for else work_text(found.resolved, found.plan)
                text = plan_text(found, call.suggest, work, rows=request.rows, terminal=call.terminal)
                call.out(("\n" if number else "") + text)
    if call.json:
        call.emit(objects, single)
    return worst(codes)


def plan_object(found: Preview, *, rows: bool = False) -> dict[str, Any]:
    """Return the object of `plan --json`. With `rows` it lists the due keys in `due_rows`; `pilot` is there where one
    holds the plan.
    """
    done, estimate = found.plan, found.plan.estimate
    value: dict[str, Any] = {
        "pipeline": found.resolved.name,
        "prompt_version": found.version,
        "rows": {"input": done.input, **{word: done.rows_by_reason[word] for word in REASONS}, "removed": done.removed},
        "due": done.due,
        "requests": found.requests,
        "batches": found.batches,
        **estimate_object(estimate),
    }
    if done.asked:
        value["in_realtime"] = done.asked
    if done.local is not None:
        value["local"] = asdict(done.local)
    if found.resolved.templates.hints:
        value["hints"] = {"model": done.hints, "likely": [asdict(each) for each in found.hint_costs]}
    if found.edits:
        value["edited"] = [asdict(each) for each in found.edits]
    if found.gate is not None:
        value["gate"] = found.gate.what
    if found.dearer:
        value["dearer_batches"] = [asdict(each) for each in found.dearer]
    if done.estimate.limited_by is not None:
        value["limited_by"] = done.estimate.limited_by
    if done.estimate.without_room:
        value["without_room"] = done.estimate.without_room
    if done.too_long:
        value["too_long"] = [asdict(each) for each in done.too_long]
    if done.media is not None:
        value |= media_object(done.media)
    if done.held is not None:
        value["pilot"] = held_object(done.held, found.meanwhile)
    if found.unknown.ours or found.unknown.asks or found.unknown.damaged or found.vanished:
        value["to_take_in"] = unknown_object(found.unknown, found.vanished)
    if done.waits:
        value["left_to_others"] = done.waits
    if found.unaskable:
        value["without_provider"] = [{"what": each.what, "fix": each.hint} for each in found.unaskable]
    empty = empty_queries(found.resolved)
    if empty:
        value["empty_queries"] = [{"what": each.what, "where": each.where, "fix": each.hint} for each in empty]
    if found.type_changes:
        value["type_changes"] = [asdict(each) for each in found.type_changes]
    if rows:
        value["due_rows"] = [{"key": json.loads(each.key), "reason": each.reason} for each in found.due_rows]
    if found.diff is not None:
        value["diff"] = prompt_diff_object(found.diff)
    return value


def plan_text(
    found: Preview, suggest: Callable[[str], str], work: str, *, rows: bool = False, terminal: bool = False
) -> str:
    """Return a plan for people, with its notes; `work` is what it says of the rows and their cost.

    `suggest` completes a command to type.
    """
    new = ", new" if found.version_is_new else ""
    lines = [f"{found.resolved.name} (prompt {found.version}{new})", work]
    lines += [f"  {each}" for each in plan_notes(found, suggest)]
    if found.diff is not None:
        lines.append(prompt_diff_text(found.diff))
    if rows and found.due_rows:
        names = [each.name for each in found.resolved.key_columns]
        header, shown = due_rows_text(names, [(each.key, each.reason) for each in found.due_rows])
        lines += ["", table(header, shown, terminal=terminal)]
    return "\n".join(lines)


def plan_notes(found: Preview, suggest: Callable[[str], str]) -> list[str]:
    """Return the notes on a plan: orders, money, a pause, changed keys."""
    lines = unknown_lines(unknown_object(found.unknown, found.vanished), found.resolved.name, suggest)
    lines += [f"order {each.number} in force: {order_words(each)}" for each in found.open_orders]
    lines += _money_lines(found)
    if found.plan.waits:
        lines.append(safe(found.plan.waits))
    if found.paused:
        again = suggest(f"run {found.resolved.name} --resume")
        lines.append(f"paused by `batchpipe cancel`; to go on: {again}")
    if found.meanwhile is not None and found.meanwhile.requests:
        sent = f"{count(found.meanwhile.requests, 'request')} of new rows, about "
        lines.append(f"meanwhile under the version before: {sent}{money(found.meanwhile.estimate.cost_usd)}")
    if found.plan.local is not None:
        lines.append(local_text(found.plan.local))
    lines += [hint_text(each, found.plan.hints) for each in found.hint_costs]
    for edit in found.edits:
        lines.append(f"{safe(edit.what)}: answers stay, and nothing is paid for it")
        again = suggest(f"run {found.resolved.name} --redo {edit.argument}")
        cost = f"about {money(edit.cost_usd)}, {money(edit.max_usd)} at most"
        lines.append(
            f"  to go by it: {again} sends {count(edit.requests, 'request')}" + (f", {cost}" if edit.requests else "")
        )
    lines += [_dearer(each) for each in found.dearer]
    for nobody in found.unaskable:
        lines += [safe(nobody.what), *(safe(each) for each in (nobody.hint or "").splitlines())]
    lines += [f"{name} is assumed to take batches: its `mode` is not set" for name in found.assumed]
    for query in empty_queries(found.resolved):
        lines += [f"{safe(query.where)}: {safe(query.what)}", f"  {safe(query.hint)}"]
    lines += [_type_change(each) for each in found.type_changes]
    if found.unfit_keys is not None:
        lines.append(safe(found.unfit_keys.text))
    if found.gate is not None:
        lines.append(f"a run stops at the gate: {safe(found.gate.what)}")
        lines.append(safe(found.gate.hint or ""))
    return lines


def _dearer(found: DearerBatches) -> str:
    """Return what is said of a rung whose batches cost more than realtime calls."""
    costs = f"{money(found.batch_usd)} in batches, about {money(found.realtime_usd)} in realtime"
    read = f"all calls but the first {found.writes}" if found.writes > 1 else "all calls but the first"
    return (
        f"batches are the dearer way for {safe(found.model)}: {costs}, where {read} read the "
        f"{count(found.prefix_tokens)} tokens that every request begins with from the cache; to ask so, write "
        f'mode = "realtime" under [[models]] (rung {found.rung})'
    )


def _type_change(change: TypeChange) -> str:
    """Return what is said of a column whose type changed."""
    due = "no row is due for it"
    if change.due:
        cost = f", {money(change.cost_usd)} of the expected cost"
        due = f"{count(change.due, 'row')} with another value for it are due{cost}"
    return f"{safe(change.column)} is {safe(change.now)} now and was {safe(change.before)}: {due}"


def _money_lines(found: Preview) -> list[str]:
    lines = []
    over = {each.name for each in found.over}
    estimate = found.plan.estimate
    models = list(dict.fromkeys(each.model for each in estimate.rungs if each.cost_usd is None))
    for limit in found.limits:
        flight = ""
        if found.in_flight_usd:
            held = f", {money(limit.reserved_usd)} reserved" if limit.reserved_usd != found.in_flight_usd else ""
            flight = f", {money(limit.expected_usd)} expected{held} and {money(found.in_flight_usd)} at most in flight"
        left = f"{money(max(limit.left_usd, Decimal(0)))} left"
        if limit.passed_usd:
            left = f"passed by {money(limit.passed_usd)}"
        if found.has_limit_without_price:
            lines.append(f"{no_price(models, limit.name)}; a run sends nothing")
            continue
        words = f"{limit.name} {money(limit.allowed_usd)}: {left}{flight}"
        no_room = _no_room(found) if limit.name == estimate.limited_by else ""
        lines.append(words + (_over(limit, found) if limit.name in over else no_room))
    if found.plan.requests and estimate.cost_usd is None:
        lines.append(price_hint() if found.has_limit_without_price else f"{no_price(models)}. {price_hint()}")
    return lines


def _no_room(found: Preview) -> str:
    """Return that requests may cost more than the budget has; "" where none do."""
    number = found.plan.estimate.without_room
    return f"; {count(number, 'request')} may cost more: a run sends the others and stops" if number else ""


def _over(limit: Limit, found: Preview) -> str:
    cost = found.plan.estimate.cost_usd
    spans = periods(limit, cost) if cost is not None else None
    return "; the expected cost is above it" + (f": about {count(spans, limit.period)}" if spans else "")


def order_words(order: Order) -> str:
    """Return an order as it was typed: `--redo all --where "..."`."""
    argument = "" if order.kind == "retry_failed" else f" {safe(order.argument)}"
    selection = f" --where {safe(order.selection)}" if order.selection else ""
    return f"--{order.kind.replace('_', '-')}{argument}{selection}"
