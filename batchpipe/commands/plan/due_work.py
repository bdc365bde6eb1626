"""Make the options of a plan for `plan` and `run` alike, and print the work that is due."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from batchpipe.commands.call.moments import moment_to_come
from batchpipe.commands.call.options import RowsRequest
from batchpipe.commands.plan.pilot import held_text
from batchpipe.commands.printing.caching import expected_cache_text
from batchpipe.commands.printing.estimates import cost_text, full_price_text, rungs_text, spans_text, time_text
from batchpipe.commands.printing.media import all_limits, files_text, unfit_lines
from batchpipe.commands.printing.text import count, duration, moment, money, pairs, safe
from batchpipe.engine.plan.plan import REASONS, Plan
from batchpipe.engine.plan.too_long import TooLong
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.engine.run.options import RunOptions

MEANINGS = {
    "pending": "sent, the answer is not there yet",
    "redo": "asked for by --redo or --retry-failed",
    "new": "not answered yet",
    "input_changed": "columns that the prompt or a condition uses have changed",
    "schema_changed": "the output schema has changed",
    "prompt_changed": "the prompt has changed for these rows",
    "check_failed": "the answer fails a check or a bound as it is now",
    "escalated": "go to the next model of the ladder",
    "retry": "had no valid answer and are tried again",
    "carried_over": "get the answer to an identical request: no cost",
    "kept": "have changed, but keep their result: by --keep, [rerun] or a review",
    "failed": "failed in the end; due again with --retry-failed",
    "unchanged": "are answered, nothing that is asked of them has changed",
}


def rows_options(request: RowsRequest, params: Mapping[str, Any], now: datetime) -> RunOptions:
    """Return what `run` and `plan` alike ask of a pipeline whose input query takes `params`. `now` is naive UTC."""
    return RunOptions(
        by=moment_to_come(request.by, now),
        params=params,
        limit=request.limit,
        where=request.where,
        no_new=request.no_new,
        redo=request.redo,
        keep=request.keep,
        retry_failed=request.retry_failed,
        withdraw=request.withdraw,
    )


def work_text(resolved: Resolved, plan: Plan) -> str:
    """Return what is due and what it costs: the head of `run` and the body of `plan`."""
    lines = ["  " + count(plan.input, "row") + " in the input" + (":" if plan.input else "")]
    width = max((len(word) for word in REASONS if plan.rows_by_reason[word]), default=0)
    digits = max((len(count(plan.rows_by_reason[word])) for word in REASONS), default=0)
    for word in REASONS:
        if number := plan.rows_by_reason[word]:
            lines.append(f"    {count(number):>{digits}} {word:<{width}}  {MEANINGS[word]}")
    if plan.removed and not resolved.file.pipeline.input.window:
        lines.append(f"  {count(plan.removed, 'answered row')} left the input; the results stay")
    if not plan.requests:
        lines.append("  nothing to send" + (f": the pilot is {held_text(plan.held)}" if plan.held else ""))
        return "\n".join([*lines, *(unfit_lines(plan.media) if plan.media else ())])
    lines.append(pairs(work_pairs(resolved, plan)))
    return "\n".join([*lines, *(unfit_lines(plan.media) if plan.media else ())])


def work_pairs(resolved: Resolved, plan: Plan) -> list[tuple[str, str]]:
    """Return what is sent, and its cost, cache and time, as (name, words); words are empty where there are none."""
    estimate, chunking = plan.estimate, resolved.file.pipeline.chunking
    batches = plan.batches
    shared = plan.due - plan.requests - plan.followers - (plan.local.answered if plan.local is not None else 0)
    saved = None
    if estimate.realtime_usd is not None and estimate.cost_usd is not None:
        saved = estimate.realtime_usd - estimate.cost_usd
    requests = f"{count(plan.requests, 'request')} in {count(batches, 'batch', 'batches')}"
    if plan.asked:
        asked = f"{count(plan.asked, 'request')} in realtime"
        rest = count(plan.requests - plan.asked)
        requests = f"{asked}, {rest} in {count(batches, 'batch', 'batches')}" if batches else asked
    if batches > chunking.max_in_flight:
        requests += f", {chunking.max_in_flight} at a time"
    limited = plan.due > plan.requests + max(shared, 0)
    return [
        ("send", requests + ("; rows that ask the same are sent once" if shared > 0 and not limited else "")),
        ("pilot", held_text(plan.held) if plan.held else ""),
        ("tokens", f"about {count(estimate.input_tokens)} in, {count(estimate.output_tokens)} out"),
        ("files", "; ".join(files_text(each) for each in plan.media.figures) if plan.media else ""),
        ("limits", "; ".join(all_limits(resolved)) if plan.media else ""),
        ("cost", cost_text(estimate)),
        ("prices", full_price_text(estimate)),
        ("rungs", rungs_text(estimate)),
        ("too long", "; ".join(_too_long_text(each) for each in plan.too_long)),
        ("cache", expected_cache_text(estimate.caching)),
        (
            "saved",
            f"{money(saved)}: realtime calls would cost {money(estimate.realtime_usd)}" if saved else "",
        ),
        ("hurry", hurry_text(plan)),
        ("time", time_text(estimate, chunking) if batches else _realtime_text(resolved, plan)),
    ]


def _realtime_text(resolved: Resolved, plan: Plan) -> str:
    """Return how long realtime calls take. A rung's `background` gives each of them a window; higher rungs may be asked
    in batches.
    """
    windows = {str(each.settings["background"]) for each in resolved.rungs if "background" in each.settings}
    if windows:
        return f"up to {max(windows)}: the window that `background` gives each request"
    hurried = plan.hurry.times if plan.hurry is not None else {}
    modes = [
        "realtime" if each.model in hurried else resolved.rungs[each.rung - 1].mode for each in plan.estimate.rungs
    ]
    later = modes.count("batch")
    if not plan.estimate.further_waves:
        return "minutes: each request is answered at once"
    asked = f"{count(later, 'rung')} asked in batches"
    return f"minutes for these, answered at once; then {spans_text(plan.estimate)} for {asked}"


def hurry_text(plan: Plan) -> str:
    """Return which models are asked in realtime for a deadline, and what that costs; "" where none are."""
    hurry = plan.hurry
    if hurry is None:
        return ""
    found = []
    for model, time in hurry.times.items():
        why = ", assumed: fewer than 5 have ended" if time.is_assumed else f", of the last {time.batches}"
        found.append(f"9 of 10 batches of {safe(model)} take up to {duration(time.seconds)}{why}")
    price = f"{money(plan.estimate.cost_usd)} instead of {money(hurry.batch_usd)} in batches"
    return f"{'; '.join(found)}: asked in realtime, to be back by {moment(hurry.by)}, for {price}"


def _too_long_text(found: TooLong) -> str:
    """Return what becomes of requests that are too long for a model."""
    what = f"{count(found.requests, 'request')} with about {count(found.tokens)} tokens"
    model = f"{found.model}, which takes {count(found.context)}"
    goes = f"no rung takes them: tried on {found.tried}, and they fail at no cost where it refuses them"
    if found.goes_to is not None:
        goes = f"{'they go' if found.certain else 'tried there at no cost, then they go'} to {found.goes_to}"
        goes += f" for {money(found.cost_usd)}"
    return f"{what} for {model}: {goes}"
