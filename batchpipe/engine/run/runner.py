"""Run several pipelines side by side; the error of one does not stop the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta

import duckdb

from batchpipe.common.errors import BatchpipeError, GateError, GoneDatabaseError
from batchpipe.engine.context import Context
from batchpipe.engine.run.pipeline_run import PipelineRun
from batchpipe.engine.run.result import RunResult
from batchpipe.store.disk import disk_error, is_of_disk, is_of_storage, storage_error

LONGEST_SLEEP_SECONDS = 1.0
# A run whose moment has passed, and which did nothing with it, does not ask the ledger all the time.
LEAST_SLEEP_SECONDS = 0.05
NAMED_BATCHES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOutcome:
    """Holds one pipeline's result; `error` is what stopped it, if anything did."""

    result: RunResult
    error: BatchpipeError | None


def run_pipelines(
    context: Context,
    runs: Sequence[PipelineRun],
    *,
    wait_seconds: float | None,
    show: Callable[[Sequence[PipelineRun]], None],
    sleep: Callable[[float], None] | None = None,
) -> list[RunOutcome]:
    """Take steps of every run until all have finished, or `wait_seconds` have passed; return their outcomes.

    `show` is called about once a second. `sleep` takes the place of the machine's own. An interrupt leaves everything
    resumable: what came so far is recorded, and the locks are released.
    """
    deadline = context.clock() + timedelta(seconds=wait_seconds) if wait_seconds is not None else None
    with ExitStack() as ending:
        for run in runs:
            ending.callback(run.end)
        try:
            while active := [run for run in runs if not run.finished]:
                for run in (each for each in active if may_step(each)):
                    if run.wake_at is None or context.clock() >= run.wake_at:
                        _step(run)
                        _end_for_others(run, runs)
                show(runs)
                if deadline is not None and context.clock() >= deadline:
                    _say_what_waits(runs)
                    for run in active:
                        if run.stopped is not None:
                            _stop(run, run.stopped)
                    break
                _pause(context, runs, sleep or context.machine.sleep)
        except (KeyboardInterrupt, RuntimeError, duckdb.InterruptException) as error:
            # DuckDB may make a RuntimeError of an interrupt.
            stopped = not isinstance(error, RuntimeError) or "interrupt" in str(error).lower()
            for run in runs:
                run.interrupted = stopped and not run.finished
            raise
    return [RunOutcome(result=run.ended(), error=run.error) for run in runs]


def _say_what_waits(runs: Sequence[PipelineRun]) -> None:
    """Note for runs that have not begun, since the time is over, whose ends they wait for."""
    for run in runs:
        if not run.finished and not may_step(run):
            run.waits_for = [each.name for each in run.after if not each.finished]


def may_step(run: PipelineRun) -> bool:
    """Return whether all runs of this call have finished whose tables `run` reads."""
    return all(each.finished for each in run.after)


def _end_for_others(run: PipelineRun, runs: Sequence[PipelineRun]) -> None:
    """Record the end of a run that others of this call wait for: they ask the ledger whether it is complete."""
    if run.finished and any(run is before for each in runs for before in each.after):
        run.end()


def _step(run: PipelineRun) -> None:
    """Take one step of `run`, and keep an error that stops it."""
    try:
        run.step()
    except BatchpipeError as error:
        _stop(run, error)
    except OSError as error:
        if not is_of_disk(error):
            raise
        run.error, run.finished = disk_error(error), True
    except duckdb.Error as error:
        if not is_of_storage(error):
            raise
        run.error, run.finished = storage_error(error, run.context.database.folder), True


def _stop(run: PipelineRun, error: BatchpipeError) -> None:
    """End `run` with the error, or at the gate, that stops it."""
    run.finished = True
    if isinstance(error, GateError):
        run.gate, run.gate_hint = error.what, error.hint
    elif isinstance(error, GoneDatabaseError):
        run.error = GoneDatabaseError(error.what + _in_flight_text(run), where=error.where, hint=error.hint)
    else:
        run.error = error


def _in_flight_text(run: PipelineRun) -> str:
    """Return which batches were in flight at the last look, for a message; nothing where there are none."""
    ids = [each.batch_id for each in run.open if each.batch_id is not None]
    more = f" and {len(ids) - NAMED_BATCHES:,} more" if len(ids) > NAMED_BATCHES else ""
    return f"; in flight: {', '.join(ids[:NAMED_BATCHES])}{more}" if ids else ""


def _pause(
    context: Context,
    runs: Sequence[PipelineRun],
    sleep: Callable[[float], None],
) -> None:
    """Sleep until the first run wants to go on, at most a second, so that the display stays alive."""
    active = [run for run in runs if not run.finished and may_step(run)]
    if not active or any(run.wake_at is None for run in active):
        return
    now = context.clock()
    soonest = min(run.wake_at for run in active if run.wake_at is not None)
    sleep(min(max((soonest - now).total_seconds(), LEAST_SLEEP_SECONDS), LONGEST_SLEEP_SECONDS))
