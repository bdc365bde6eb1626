"""Run `batchpipe run`: submit what is due, wait, collect, and go on until nothing is due."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import replace
from datetime import datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import duckdb

from batchpipe.commands.call.call import WAIT_SECONDS, Call, load_each
from batchpipe.commands.call.exits import BUG, INTERRUPTED, worst
from batchpipe.commands.call.failure import bug, write_bug_report
from batchpipe.commands.call.moments import moment_to_come
from batchpipe.commands.call.options import RunRequest
from batchpipe.commands.call.params import split_params, typed_params
from batchpipe.commands.plan.due_work import rows_options
from batchpipe.commands.run.display import Display, Lines, live_view
from batchpipe.commands.run.result import FinishedPipeline, code_of, interrupted_text, result_object, result_text
from batchpipe.commands.run.views import Watcher
from batchpipe.commands.run.without_file import possible_names, save_and_tell
from batchpipe.common.errors import LockedError, PipelineError, UsageError
from batchpipe.common.logs import Event
from batchpipe.engine.context import Context
from batchpipe.engine.ledger.events import open_batches
from batchpipe.engine.run.options import RunOptions
from batchpipe.engine.run.pipeline_run import PipelineRun
from batchpipe.engine.run.result import RunResult
from batchpipe.engine.run.runner import run_pipelines
from batchpipe.pipeline.model import PipelineFile
from batchpipe.project.project import Selection, refuse_same_names

COMMAND_LINE = "the command line"
PATIENCE_SECONDS = 1_800.0
LONGEST_WAIT_SECONDS = 1e9  # thirty years
LAST_LOOK_SECONDS = 3.0


def _ended(run: PipelineRun) -> FinishedPipeline:
    """Return the end of a run as it is printed, also after an interrupt."""
    table, batches = run.file.pipeline.table, tuple(run.open)
    return FinishedPipeline(
        result=run.ended(), table=table, gate_hint=run.gate_hint, batches=batches, summary=run.summary
    )


def run(call: Call, request: RunRequest) -> int:
    """Run the pipelines that `request` names, and print their results.

    Return the exit code that counts of all pipelines.
    """
    wait = _checked_wait(request, call.machine.clock())
    max_usd = dollars(request.max_usd)
    try:
        selection = call.select(request.pipelines, all=request.all)
        files, broken = _files(call, selection)
        params = typed_params(files, split_params(request.params))
    except (PipelineError, UsageError):
        save_and_tell(call, None if request.all else possible_names(request.pipelines, call.root))
        raise
    if request.all or broken:
        known = [name for each in files for name in each.pipeline.names]
        save_and_tell(call, None if request.all else possible_names(list(broken), call.root), known)
    patience = WAIT_SECONDS if request.no_wait else PATIENCE_SECONDS
    with run_display(call) as display:
        watcher = Watcher(call=call, display=display, yes=request.yes)
        with call.context(patience, say=lambda text: display.tell("", Event(kind="notice", detail=text))) as context:
            context.ask, context.watch = watcher.ask if call.talks_to_person else None, watcher.watch
            if call.settings.notify is not None:
                from batchpipe.engine.notices.deliver import require_trust

                require_trust(context)
            runs = _runs(context, watcher, files, request, params, max_usd)
            _run_all(call, context, runs, wait, watcher)
            database = context.database.path
            by_path = {**{each.file.path: _ended(each) for each in runs}, **broken}
            ended = [by_path[path] for path in _printed([each.file.path for each in runs], selection.paths)]
            if call.settings.notify is not None and not call.interrupted():
                from batchpipe.commands.run.notices import tell_ends

                tell_ends(context, ended, {each.name: each.file.pipeline.names for each in runs}, call.warn)
    single = selection.single and len(ended) == 1
    _print(call, ended, single, database, pending_ok=request.pending_ok)
    if call.interrupted():
        call.warn(interrupted_text(ended, call))
        return INTERRUPTED
    return worst(code_of(each, pending_ok=request.pending_ok) for each in ended)


def _printed(run: Sequence[Path], selected: Sequence[Path]) -> list[Path]:
    """Return the files in the order in which they are printed: as they were named, unless a chain has another order."""
    as_named = [path for path in selected if path in run]
    return list(selected) if as_named == list(run) else list(dict.fromkeys([*run, *selected]))


def _runs(
    context: Context,
    watcher: Watcher,
    files: Sequence[PipelineFile],
    request: RunRequest,
    params: Mapping[str, Mapping[str, Any]],
    max_usd: Decimal | None,
) -> list[PipelineRun]:
    """Return the runs of `files`, each after those whose tables it reads, and with `--with-upstream` these too.

    The options about rows hold for the named pipelines only. Raises PipelineError for pipelines that read each other in
    a circle.
    """
    chain, by = context.chain, moment_to_come(request.by, context.clock())
    chosen = chain.with_upstream(files) if request.with_upstream else chain.ordered(files)
    named = {file.path for file in files}
    runs: dict[Path, PipelineRun] = {}
    for file in chosen:
        given = file.path in named
        options = _options(request, params[file.pipeline.name], max_usd, context.clock()) if given else None
        runs[file.path] = PipelineRun(
            context=context,
            file=file.with_realtime(request.realtime),
            options=options or RunOptions(max_usd=max_usd, no_wait=request.no_wait, by=by),
            tell=watcher.tell,
            confirm=watcher.confirm,
            after=[runs[each.path] for each in chain.reads(file).upstream if each.path in runs],
        )
    return list(runs.values())


def _run_all(call: Call, context: Context, runs: Sequence[PipelineRun], wait: float | None, watcher: Watcher) -> None:
    """Run to the end, or to an interrupt, which DuckDB may turn into an error of its own."""
    try:
        watcher.show(runs)
        run_pipelines(context, runs, wait_seconds=wait, show=watcher.show)
    except (KeyboardInterrupt, RuntimeError, duckdb.Error):
        if not call.interrupted():
            raise
        if call.debug:
            call.warn(traceback.format_exc().rstrip())
        _look_again(context, runs)


def _look_again(context: Context, runs: Sequence[PipelineRun]) -> None:
    """Read after an interrupt what is in flight: the run may have been about to record it.

    Reads `ledger.batches`.
    """
    context.database.wait_seconds = LAST_LOOK_SECONDS
    work = context.work()
    with contextlib.suppress(LockedError), closing(work.connection), context.database.reading(work) as session:
        for run in runs:
            run.open = open_batches(session, run.file.pipeline.names)


def _print(call: Call, ended: Sequence[FinishedPipeline], single: bool, database: Path, *, pending_ok: bool) -> None:
    """Print the errors and the results; with `--quiet` only the results of pipelines where something is wrong."""
    errors = [each.result.error for each in ended if each.result.error is not None and not call.interrupted()]
    for error in errors:
        if call.debug:
            call.warn("".join(traceback.format_exception(error)).rstrip())
        if error.exit_code == BUG:
            call.warn(str(bug(write_bug_report(error, database.parent / ".batchpipe" / "logs", call.command))))
    if not call.json:
        for error in errors:
            call.complain(error)
        shown = [each for each in ended if not call.quiet or code_of(each, pending_ok=pending_ok)]
        if shown:
            call.out("\n\n".join(result_text(each, call, database) for each in shown))
        return
    first = ended[0]
    if single and first.not_begun and not call.interrupted():
        assert first.result.error is not None
        raise first.result.error
    again = call.command if call.interrupted() else None
    call.emit([result_object(each, again) for each in ended], single)


def _files(call: Call, selection: Selection) -> tuple[list[PipelineFile], dict[Path, FinishedPipeline]]:
    """Return the files to run. A file that cannot be read does not stop the others, unless it is the only one."""
    files, problems = load_each(selection, call.root, call.settings.budget)
    refuse_same_names(files)
    broken = {}
    for path, found in problems.items():
        error = PipelineError.from_problems(found)
        if len(selection.paths) == 1:
            raise error
        broken[path] = FinishedPipeline(result=RunResult.begun_only(path.stem, "", None, error), table=path.stem)
    return files, broken


def run_display(call: Call) -> AbstractContextManager[Display]:
    """Return the display of a run: live for a person, else in lines."""
    log_format = call.settings.log_format
    if call.talks_to_person and log_format == "text" and not call.quiet:
        return live_view(call.stderr, call.machine.clock)
    lines = Lines(write=call.write, clock=call.machine.clock, log_format=log_format, quiet=call.quiet)
    return nullcontext(lines)


def _options(request: RunRequest, params: Mapping[str, Any], max_usd: Decimal | None, now: datetime) -> RunOptions:
    return replace(
        rows_options(request, params, now),
        pilot=request.pilot,
        max_usd=max_usd,
        no_wait=request.no_wait,
        approve=request.approve,
        resume=request.resume,
    )


def _checked_wait(request: RunRequest, now: datetime) -> float | None:
    """Return the seconds of `--wait`, or until the time of `--by`. `now` is naive UTC.

    Raises UsageError for options that exclude each other, and for a time that is none.
    """
    given = {"--wait": request.wait is not None, "--no-wait": request.no_wait, "--by": request.by is not None}
    names = [name for name, is_given in given.items() if is_given]
    if len(names) > 1:
        what = f"{names[0]} and {names[1]} exclude each other"
        raise UsageError(what, where=COMMAND_LINE, hint="Give one of them.")
    by = moment_to_come(request.by, now)
    return (by - now).total_seconds() if by is not None else wait_seconds(request.wait)


def dollars(text: str | None) -> Decimal | None:
    """Return `--max-usd` as US dollars.

    Raises UsageError for text that is not an amount.
    """
    if text is None:
        return None
    try:
        value = Decimal(text.removeprefix("$"))
    except InvalidOperation:
        value = Decimal(-1)
    if not value.is_finite() or value < 0:
        hint = "Write US dollars like --max-usd 2.50."
        raise UsageError(f"{text!r} is not an amount of money", where="--max-usd", hint=hint)
    return value


def wait_seconds(text: str | None) -> float | None:
    """Return `45m`, `2h`, `90s` or `90` as seconds.

    Raises UsageError for anything else.
    """
    if text is None:
        return None
    units = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
    number, unit = (text[:-1], text[-1]) if text[-1:] in units else (text, "s")
    try:
        seconds = float(number) * units[unit]
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= LONGEST_WAIT_SECONDS:
        raise UsageError(f"{text!r} is not a duration", where="--wait", hint="Write it like 45m, 2h or 90s.")
    return seconds
