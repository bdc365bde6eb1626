"""Run one pipeline for a program, and return what it came to as a value."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from batchpipe.commands.run.notices import tell_ends
from batchpipe.commands.run.result import Ended, result_object
from batchpipe.engine.plan.plan import Plan as DuePlan
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.engine.run.options import RunOptions
from batchpipe.engine.run.pipeline_run import PipelineRun
from batchpipe.engine.run.runner import run_pipelines
from batchpipe.library.logger import LOGGER
from batchpipe.library.progress import observer
from batchpipe.library.surroundings import RUN_WAIT_SECONDS, WAIT_SECONDS, Surroundings
from batchpipe.library.values import Result, result_of
from batchpipe.pipeline.model import PipelineFile

Confirm = Callable[[Resolved, DuePlan], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCall:
    """How a program runs a pipeline: what is asked of it, how long it waits, what it shows, and what may stop it.

    `confirm` may refuse the first plan, by an error of its own. `wait_seconds` of None waits to the end.
    """

    options: RunOptions
    wait_seconds: float | None = None
    progress: bool | None = None
    confirm: Confirm = lambda resolved, plan: True
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
        run = PipelineRun(context=context, file=file, options=call.options, tell=observed.tell, confirm=call.confirm)
        run_pipelines(context, [run], wait_seconds=call.wait_seconds, show=observed.show)
        observed.show([run])
        ended = Ended(result=run.ended(), table=file.pipeline.table, gate_hint=run.gate_hint, summary=run.summary)
        if around.settings.notify is not None:
            tell_ends(context, [ended], {run.name: file.pipeline.names}, LOGGER.warning)
    if run.error is not None:
        raise run.error
    return result_of(result_object(ended), ended.gate_hint if ended.result.gate is not None else None)
