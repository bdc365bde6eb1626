"""Run one pipeline for a program, and return what it came to as a value."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from batchpipe.commands.run.notices import tell_ends
from batchpipe.commands.run.result import FinishedPipeline, result_object
from batchpipe.engine.notices.deliver import require_trust
from batchpipe.engine.plan.plan import Plan as DuePlan
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.engine.run.options import RunOptions
from batchpipe.engine.run.pipeline_run import PipelineRun
from batchpipe.engine.run.runner import run_pipelines
from batchpipe.library.logger import LOGGER
from batchpipe.library.progress import observer
from batchpipe.library.surroundings import RUN_WAIT_SECONDS, WAIT_SECONDS, Surroundings
from batchpipe.library.values import Result, run_result
from batchpipe.pipeline.model import PipelineFile

Confirm = Callable[[Resolved, Callable[[], DuePlan]], bool]
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCall:
    """How a program runs a pipeline: what is asked of it, how long it waits, what it shows, and what may stop it.

    `confirm` may refuse the first plan, by an error of its own. `wait_seconds` of None waits to the end.
    """

    options: RunOptions
    wait_seconds: float | None = None
    progress: bool | None = None
    confirm: Confirm = lambda resolved, whole: True
    stop: threading.Event = field(default_factory=threading.Event)


def run_file(around: Surroundings, file: PipelineFile, call: RunCall) -> Result:
    """Run the pipeline of `file` and return its result.

    Raises the error that stopped the run; KeyboardInterrupt where it was interrupted: all of it can go on then.
    """
    patience = WAIT_SECONDS if call.options.no_wait else RUN_WAIT_SECONDS
    with (
        around.context(patience) as context,
        observer(call.progress, context.clock, call.stop) as observed,
    ):
        context.watch = observed.watch
        require_trust(context)
        run = PipelineRun(context=context, file=file, options=call.options, tell=observed.tell, confirm=call.confirm)
        run_pipelines(context, [run], wait_seconds=call.wait_seconds, show=observed.show)
        observed.show([run])
        ended, result = ended_result(run)
        if around.settings.notify is not None:
            tell_ends(context, [ended], {run.name: file.pipeline.names}, LOGGER.warning)
    if run.error is not None:
        raise run.error
    return result


def ended_result(run: PipelineRun) -> tuple[FinishedPipeline, Result]:
    """Return how a run ended, as a command prints it and as a program gets it."""
    result, table = run.ended(), run.file.pipeline.table
    ended = FinishedPipeline(result=result, table=table, gate_hint=run.gate_hint, summary=run.summary)
    return ended, run_result(result_object(ended), ended.gate_hint if result.gate is not None else None)


async def in_thread(function: Callable[..., Value], options: Mapping[str, Any]) -> Value:
    """Call `function` with an event that stops it and with `options`, in a thread, so that the event loop goes on.

    A task that is canceled sets the event, waits for the end of the call, and raises CancelledError.
    """
    stop = threading.Event()

    def call() -> Value | None:
        """Call the function; return None where it was stopped."""
        with contextlib.suppress(KeyboardInterrupt):
            return function(stop, **options)
        return None

    running = asyncio.get_running_loop().run_in_executor(None, call)
    try:
        found = await asyncio.shield(running)
    except asyncio.CancelledError:
        stop.set()
        await asyncio.wait([running])
        raise
    assert found is not None, "only a canceled task stops the run"
    return found
