"""Print the result of a run, as an object, as text and as an exit code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from batchpipe.commands.call.call import Call
from batchpipe.commands.call.exits import DONE, FAILED_ROWS, GATE, PENDING
from batchpipe.commands.call.failure import failure
from batchpipe.commands.plan.pilot import pilot_object, pilot_text
from batchpipe.commands.printing.text import count, money, pairs, safe, shown_path
from batchpipe.commands.run.display import rows_line
from batchpipe.commands.run.failures import failure_lines, failures_object, key_argument
from batchpipe.common.hints import typed_again
from batchpipe.engine.ledger.events import OpenBatch
from batchpipe.engine.run.pilot_summary import PilotSummary
from batchpipe.engine.run.result import RunResult

ROWS = (
    "input",
    "accepted",
    "review",
    "failed",
    "pending",
    "due",
    "unchanged",
    "carried_over",
    "kept",
    "removed",
)
TOKENS = ("input", "output", "cache_read", "cache_write")
CODES = {"done": DONE, "failed_rows": FAILED_ROWS, "pending": PENDING, "gate": GATE}


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedPipeline:
    """A pipeline's part of a run that is over. `batches` were still open at its end. `gate_hint` says what brings on
    what it stopped at or waits for.
    """

    result: RunResult
    table: str
    gate_hint: str | None = None
    batches: Sequence[OpenBatch] = ()
    summary: PilotSummary | None = None

    @property
    def not_begun(self) -> bool:
        """Return whether an error stopped the pipeline before its run began."""
        return self.result.error is not None and not self.result.run_id


def code_of(ended: FinishedPipeline, *, pending_ok: bool) -> int:
    """Return the exit code of one pipeline."""
    if ended.result.error is not None:
        return ended.result.error.exit_code
    code = CODES[ended.result.status]
    return DONE if code == PENDING and pending_ok else code


def result_object(ended: FinishedPipeline, again: str | None = None) -> dict[str, Any]:
    """Return the object of `run --json`. Counts that the run did not reach are null; `pilot` is there at a pilot's
    gate. `again` is the command that goes on with a run that was interrupted; None where it was not.
    """
    result = ended.result
    error = failure(result.error) if result.error is not None else None
    if error is None and again is not None:
        hint = f"Run the same command again: {again}"
        error = {"code": "interrupted", "message": "interrupted", "where": result.pipeline, "hint": hint}
    further: dict[str, Any] = {"pilot": pilot_object(ended.summary)} if ended.summary is not None else {}
    if result.asked:
        further["in_realtime"] = result.asked
    if result.waits_for:
        further["waits_for"] = list(result.waits_for)
    if result.local is not None:
        further["local"] = dict(result.local)
    if result.failures:
        further["failures"] = failures_object(result.failures)
    return {
        "pipeline": result.pipeline,
        "run_id": result.run_id or None,
        "prompt_version": result.prompt_version,
        "status": result.status,
        "gate": result.gate,
        "rows": {name: result.rows.get(name) for name in ROWS},
        "submitted": result.submitted,
        "batches": result.batches,
        "attempts": result.attempts,
        "tokens": {name: result.tokens.get(name) for name in TOKENS},
        "unpriced": result.unpriced,
        "cost_usd": result.known_cost_usd,
        "realtime_usd": result.realtime_usd,
        "error": error,
        **further,
    }


def result_text(ended: FinishedPipeline, call: Call, database: Path) -> str:
    """Return the last lines of a run: the rows by state, the cost, the table, and what to do next."""
    result = ended.result
    version = f" (prompt {result.prompt_version})" if result.prompt_version else ""
    lines = [f"{result.pipeline}{version}: {_headline(ended, call)}"]
    if result.rows:
        lines.append(pairs(_result_pairs(ended, call, database)))
        lines += failure_lines(result.failures, result.rows["failed"])
    if ended.summary is not None:
        lines.append(pilot_text(ended.summary))
        lines.append(f"  To go on: {call.suggest(f'run {result.pipeline} --approve')}")
    elif result.gate is not None and ended.gate_hint:
        lines.append(f"  {safe(typed_again(ended.gate_hint), lines=True)}")
    lines += [f"  {line}" for line in _next_steps(ended, call)]
    return "\n".join(lines)


def interrupted_text(ended: Sequence[FinishedPipeline], call: Call) -> str:
    """Return what an interrupt leaves behind, and how to go on."""
    lines = ["interrupted: nothing is lost"]
    flying = [each for each in ended if each.batches]
    made = [batch.batch_id is not None for each in flying for batch in each.batches]
    if known := sum(made):
        going_on = count(known, "batch goes", "batches go")
        lines.append(f"  {going_on} on at the provider and will be collected next time")
    if unknown := len(made) - known:
        sent = count(unknown, "batch was", "batches were")
        lines.append(f"  {sent} being sent: the next run looks up what arrived before it sends anything")
    lines.append(f"  run the same command again: {call.command}")
    lines += [f"  to stop what is in flight: {_cancel(each, call)}" for each in flying]
    return "\n".join(lines)


def _cancel(ended: FinishedPipeline, call: Call) -> str:
    return call.suggest(f"cancel {ended.result.pipeline}")


def _headline(ended: FinishedPipeline, call: Call) -> str:
    """Return how the run ended, in a few words."""
    result = ended.result
    if call.interrupted():
        return "interrupted"
    if result.status == "gate":
        return f"stopped: {safe(result.gate or '')}"
    if result.waits_for:
        return f"not begun: it waits for {safe(', '.join(result.waits_for))}"
    if result.status == "pending":
        waiting = result.rows.get("pending", 0)
        due = result.rows.get("due", 0)
        parts = ([f"{count(waiting, 'row')} in flight"] if waiting else []) + (
            [f"{count(due, 'row')} due"] if due else []
        )
        return ", ".join(parts) or "not finished"
    if result.status == "error":
        return "stopped by an error"
    done = "done" if result.submitted or result.attempts else "nothing was due"
    return f"{done}; some rows failed" if result.status == "failed_rows" else done


def _result_pairs(ended: FinishedPipeline, call: Call, database: Path) -> list[tuple[str, object]]:
    result = ended.result
    found: list[tuple[str, object]] = [("rows", _rows(result.rows))]
    if result.submitted:
        found.append(("sent", _sent(result)))
    if result.local is not None and result.local["answered"]:
        answered = count(result.local["answered"], "row")
        found.append(("local", f"{answered} by {result.local['model']} at no cost; {safe(result.local['says'])}"))
    elif result.local is not None:
        found.append(("local", safe(result.local["says"])))
    if result.attempts:
        tokens = f"{count(result.tokens['input'])} in, {count(result.tokens['output'])} out"
        cached = result.tokens["cache_read"]
        found.append(("results", count(result.attempts)))
        found.append(("tokens", tokens + (f", {count(cached)} read from the cache" if cached else "")))
        found.append(("cost", _cost(result)))
    found.append(("table", f"{ended.table} in {shown_path(database, call.start)}"))
    return found


def _sent(result: RunResult) -> str:
    """Return how many requests went in batches, and how many in realtime."""
    in_batches = f"in {count(result.batches, 'batch', 'batches')}"
    if not result.asked:
        return f"{count(result.submitted, 'request')} {in_batches}"
    asked = f"{count(result.asked, 'request')} in realtime"
    return f"{asked}, {count(result.submitted - result.asked)} {in_batches}" if result.batches else asked


def _cost(result: RunResult) -> str:
    """Return what the run cost, and what of it is not known."""
    known = ""
    if result.known_cost_usd is not None:
        known = money(result.cost_usd)
        if not result.asked or result.realtime_usd != result.cost_usd:
            known += f", {money(result.realtime_usd - result.cost_usd)} saved against realtime calls"
    if not result.unpriced:
        return known
    unknown = f"unknown for {count(result.unpriced, 'result')}"
    return f"{known}; {unknown}" if known else unknown


def _rows(rows: Mapping[str, int]) -> str:
    states = rows_line(rows)
    due = f"{count(rows['due'])} due" if rows["due"] else ""
    listed = ", ".join(each for each in (states, due) if each)
    removed = f"; {count(rows['removed'], 'answered row')} left it" if rows["removed"] else ""
    return f"{count(rows['input'])} in the input" + (f": {listed}" if listed else "") + removed


def _next_steps(ended: FinishedPipeline, call: Call) -> list[str]:
    """Return the commands that a person may want next."""
    result, name = ended.result, ended.result.pipeline
    if call.interrupted() or result.error is not None:
        return []
    steps = []
    if result.status == "pending":  # what it waits for is brought on by this command only if the command names it
        hint = ended.gate_hint if result.waits_for else None
        steps.append(safe(typed_again(hint)) if hint else f"to go on: {call.command}")
    if result.rows.get("failed"):
        shown = key_argument(result.failures[0].key) if result.failures else "KEY"
        steps.append(f"failed rows: {call.suggest(f'show {name} {shown}')}")
        steps.append(f"to try them again: {call.suggest(f'run {name} --retry-failed')}")
    if result.rows.get("review"):
        steps.append(f"rows to look at: {call.suggest(f'results {name} --review')}")
    if result.rows.get("accepted") and result.status == "done":
        steps.append(f"to see them: {call.suggest(f'results {name}')}")
    return steps
