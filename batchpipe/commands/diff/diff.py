"""Run `batchpipe diff`: compare what two prompt versions or models answered to the same rows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from batchpipe.commands.call.call import Call
from batchpipe.commands.call.options import DiffRequest
from batchpipe.commands.call.params import split_params, typed_params
from batchpipe.commands.diff.gold import HEADER as GOLD_HEADER
from batchpipe.commands.diff.gold import gold_lines, gold_notes, gold_object, gold_title
from batchpipe.commands.diff.html import LEFT_OUT, diff_sections
from batchpipe.commands.diff.pages import (
    NOTHING,
    diff_markdown,
    field_words,
    row_counts,
    title,
)
from batchpipe.commands.diff.read import Asking, read_diff
from batchpipe.commands.plan.prompt_diff import block
from batchpipe.commands.printing.text import count, key_text, moment, pairs, safe, shortened, table
from batchpipe.common.errors import UsageError
from batchpipe.engine.ledger.renames import with_histories
from batchpipe.engine.quality.answer_diff import AnswerDiff, DiffSide, FieldChange
from batchpipe.html.links import NO_LINKS
from batchpipe.html.render import one_file, report_path, write_report

SHOWN_VALUE = 200


def diff(call: Call, request: DiffRequest) -> int:
    """Print how two sides differ.

    Raises UsageError where there are no two sides, and for a name that means nothing.
    """
    if request.markdown and call.json:
        raise UsageError("--markdown and --json exclude each other", where="the command line", hint="Give one of them.")
    page = report_path(call.path(request.html), request.html) if request.html is not None else None
    file = call.one_pipeline(request.pipeline, "diff NAME")
    params = typed_params([file], split_params(request.params))[file.pipeline.name]
    with call.context() as context:
        (file,) = with_histories(context.database, context.work, [file])
        found = read_diff(context, file, request, params, Asking(suggest=call.suggest, say=call.say))
    hints = _hints(found, call)
    if page is not None:
        sections = diff_sections(found, hints, NO_LINKS, with_rows=request.with_rows)
        notes = [] if request.with_rows or not found.rows else [LEFT_OUT]
        name = f"batchpipe diff: {title(found)}"
        write_report(page, one_file(name, [(name, sections)], notes, moment(call.machine.clock())))
        call.say(f"written to {page}")
    if call.json:
        call.out(diff_object(found))
    elif request.markdown:
        call.out(diff_markdown(found, hints))
    elif page is None:
        call.out(diff_text(found, hints, call))
    return 0


def _hints(found: AnswerDiff, call: Call) -> list[str]:
    """Return what to run where nothing can be compared."""
    hints = []
    sides = ((found.before, found.only_from), (found.after, found.only_to))
    for side, number in sides:
        if not found.compared and not number:
            see = call.suggest(f"plan {found.pipeline} --to-version {_name(side)}")
            hints.append(f"nothing was answered under {side.label}; what that would cost: {see}")
    if not found.compared and not hints:
        again = call.suggest(f"run {found.pipeline} --redo all")
        hints.append(f"no row was answered under both; to have today's prompt answer every row: {again}")
    return hints


def _name(side: DiffSide) -> str:
    return side.known.version if side.known else side.text.label.split()[0]


def diff_object(found: AnswerDiff) -> dict[str, Any]:
    """Return the object of `diff --json`."""
    cost = found.cost
    return {
        "pipeline": found.pipeline,
        "from": _side_object(found.before),
        "to": _side_object(found.after),
        "prompt": [{"part": each.part, "diff": each.diff} for each in found.prompt],
        "rows": {
            "compared": found.compared,
            "changed": found.changed,
            "unchanged": found.unchanged,
            "carried_over": found.carried_over,
            "input_changed": found.input_changed,
            "only_from": found.only_from,
            "only_to": found.only_to,
        },
        "fields": [_field_object(each) for each in found.fields],
        "added_fields": found.added_fields,
        "removed_fields": found.removed_fields,
        "sample": [
            {
                "key": json.loads(each.key) if each.key else None,
                "input": each.input,
                "from_model": each.from_model,
                "to_model": each.to_model,
                "changes": [{"field": name, "from": old, "to": new} for name, old, new in each.fields],
            }
            for each in found.rows
        ],
        "cost": {
            "rows": cost.rows,
            "from_usd": cost.from_usd,
            "to_usd": cost.to_usd,
            "unpriced": cost.unpriced,
        },
        "gold": gold_object(found.gold) if found.gold is not None else None,
    }


def _side_object(side: DiffSide) -> dict[str, Any]:
    return {
        "label": side.label,
        "version": side.known.version if side.known else None,
        "hash": side.known.hash if side.known else None,
        "git_commit": side.known.git_commit if side.known else None,
        "recorded_at": side.known.recorded_at if side.known else None,
        "model": side.model.name if side.model is not None else None,
    }


def _field_object(change: FieldChange) -> dict[str, Any]:
    value: dict[str, Any] = {"field": change.name, "kind": change.kind, "changed": change.changed}
    if change.kind == "values":
        value["pairs"] = [{"from": old, "to": new, "rows": number} for old, new, number in change.pairs]
        value["other_rows"] = change.other_pairs
    if change.kind == "number":
        value |= {"mean_from": change.mean_before, "mean_to": change.mean_after, "mean_change": change.mean_change}
    return value


def diff_text(found: AnswerDiff, hints: Sequence[str], call: Call) -> str:
    """Return the diff for people. Nothing in it steers the terminal."""
    lines = [title(found), pairs([(each.label, _recorded(each)) for each in (found.before, found.after)])]
    lines.append("  prompt" if found.prompt else "  the prompt is the same")
    lines += [block(each.diff) for each in found.prompt]
    lines += ["", pairs(row_counts(found))]
    if found.gold is not None:
        shown = table(GOLD_HEADER, gold_lines(found.gold), terminal=call.terminal, right=(3, 4))
        lines += ["", f"  {gold_title(found.gold)}", *("    " + line for line in shown.split("\n"))]
        lines += [f"    {safe(each)}" for each in gold_notes(found.gold)]
    for each in found.fields:
        lines += ["", f"  {safe(each.name)}: {field_words(each)}"]
        if each.pairs:
            cells = [(count(number), _value(old), _value(new)) for old, new, number in each.pairs]
            shown = table(("rows", "from", "to"), cells, terminal=call.terminal, right=[0])
            lines += ["    " + line for line in shown.split("\n")]
    for row in found.rows:
        lines += ["", f"  {safe(key_text(row.key)) if row.key else NOTHING}"]
        lines += [f"    {safe(name)}: {_value(old)} → {_value(new)}" for name, old, new in row.fields]
        inputs = [(safe(name), _value(value)) for name, value in row.input.items() if value]
        lines += [pairs(inputs, indent="      ")] if inputs else []
    lines += [f"  {each}" for each in hints]
    return "\n".join(lines)


def _recorded(side: DiffSide) -> str:
    if side.known is None:
        return "never run"
    commit = f", commit {side.known.git_commit}" if side.known.git_commit else ""
    return f"first run {moment(side.known.recorded_at)}{commit}"


def _value(value: str | None) -> str:
    return NOTHING if value is None else shortened(safe(value), SHOWN_VALUE)
