"""A pipeline of a project, as a Python program plans it, runs it and reads its results."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal, InvalidOperation
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchpipe.commands.call.params import declared_params
from batchpipe.commands.plan.chained import ChainPlanner, waiting_object, waiting_text
from batchpipe.commands.plan.due_work import work_text
from batchpipe.commands.plan.plan import plan_object, plan_text
from batchpipe.commands.results.rows import Filters, take_rows
from batchpipe.common.errors import UsageError
from batchpipe.engine.run.options import RunOptions
from batchpipe.engine.run.preview import NO_PROMPT_DIFF
from batchpipe.library.runs import RunCall, run_file
from batchpipe.library.surroundings import Surroundings
from batchpipe.library.values import Plan, Result, plan_of
from batchpipe.pipeline.model import PipelineFile
from batchpipe.store.database import Work

if TYPE_CHECKING:
    from duckdb import DuckDBPyRelation

Money = Decimal | float | str


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A pipeline of a project; `batchpipe.Project(...).pipeline(NAME)` makes it. Its file is read anew by each call."""

    around: Surroundings
    path: Path

    @property
    def name(self) -> str:
        """Return the pipeline's name."""
        return self._file().pipeline.name

    def __repr__(self) -> str:
        return f"<batchpipe pipeline {self.path}>"

    def plan(
        self,
        *,
        redo: str | None = None,
        keep: str | None = None,
        where: str | None = None,
        limit: int | None = None,
        retry_failed: bool = False,
        no_new: bool = False,
        params: Mapping[str, Any] | None = None,
    ) -> Plan:
        """Return what `run` with the same options would do now, and what it would cost. Nothing is sent or recorded.

        Raises PipelineError and InputError where the file or its input is wrong.
        """
        file = self._file()
        options = RunOptions(
            params=_params(file, params),
            redo=redo,
            keep=keep,
            where=where,
            limit=_positive(limit),
            retry_failed=retry_failed,
            no_new=no_new,
        )
        with self.around.context() as context, context.temporary_folder("expected-") as folder:
            planner = ChainPlanner(context=context, folder=folder, due_rows=False, diff=NO_PROMPT_DIFF)
            (planned,) = planner.plans([file], {file.pipeline.name: options})
        if planned.found is None:
            assert planned.error is not None, "a pipeline is planned, or an error says why not"
            raise planned.error
        value, found = plan_object(planned.found), planned.found
        if planned.waits_for:
            return plan_of(
                waiting_object(planned, value),
                plan_text(found, self._suggest, waiting_text(planned, self._suggest)),
            )
        return plan_of(value, plan_text(found, self._suggest, work_text(found.resolved, found.plan)))

    def run(
        self,
        *,
        max_usd: Money | None = None,
        wait: bool | float | timedelta = True,
        redo: str | None = None,
        keep: str | None = None,
        where: str | None = None,
        limit: int | None = None,
        retry_failed: bool = False,
        no_new: bool = False,
        withdraw: Sequence[int] = (),
        pilot: int | None = None,
        approve: bool = False,
        resume: bool = False,
        params: Mapping[str, Any] | None = None,
        progress: bool | None = None,
    ) -> Result:
        """Submit what is due, wait for it and collect it, until nothing is due; return what that came to.

        Nobody is asked before rows are sent: `max_usd` (US dollars) bounds the call. `wait` is False to return at once
        (`run --no-wait`), or seconds. `progress` shows the run at a terminal too, and with False nowhere; a notebook
        shows it by itself. The events go to the logger `batchpipe`. The other options are those of the command `run`.

        Raises the error that stopped the run. Ctrl-C raises KeyboardInterrupt: the same call goes on from there.
        """
        given = dict(locals())
        given.pop("self")
        return self._run(threading.Event(), **given)

    async def run_async(self, **options: Any) -> Result:
        """Run as `run` does, with its options, in a thread of its own, so that an event loop goes on meanwhile.

        A task that is canceled stops the run within about a second; the same call goes on from there.
        """
        stop = threading.Event()
        running = asyncio.get_running_loop().run_in_executor(None, partial(self._stoppable, stop, options))
        try:
            found = await asyncio.shield(running)
        except asyncio.CancelledError:
            stop.set()
            await asyncio.wait([running])
            raise
        assert found is not None, "only a canceled task stops the run"
        return found

    def results(
        self, *, where: str | None = None, current: bool = False, review: bool = False, limit: int | None = None
    ) -> DuckDBPyRelation:
        """Return the output table as it is now, as a DuckDB relation: `.df()`, `.pl()`, `.arrow()`, `.fetchall()`.

        The rows are copied into memory, ordered by key: no file is held. `where` is an SQL condition; `current` takes
        the rows that answer today's input and prompt, `review` those that a person should look at.
        Raises UsageError where there are no results yet.
        """
        filters = Filters(where=where, current=current, review=review, limit=_positive(limit))
        work = Work.open()
        try:
            work.connection.execute("RESET memory_limit; RESET threads")
            with self.around.context() as context, context.database.reading(work) as session:
                take_rows(session, self._file(), filters)
        except BaseException:
            work.close()
            raise
        return work.connection.cursor().sql("SELECT * FROM work.taken")

    def _stoppable(self, stop: threading.Event, options: Mapping[str, Any]) -> Result | None:
        """Run in a thread of an event loop; return None where the run was stopped."""
        with contextlib.suppress(KeyboardInterrupt):
            return self._run(stop, **options)
        return None

    def _run(
        self,
        stop: threading.Event,
        *,
        max_usd: Money | None = None,
        wait: bool | float | timedelta = True,
        limit: int | None = None,
        pilot: int | None = None,
        params: Mapping[str, Any] | None = None,
        progress: bool | None = None,
        **options: Any,
    ) -> Result:
        file = self._file()
        asked = RunOptions(
            params=_params(file, params),
            max_usd=dollars(max_usd),
            no_wait=wait is False,
            limit=_positive(limit),
            pilot=_positive(pilot, "pilot"),
            **options,
        )
        call = RunCall(options=asked, wait_seconds=_seconds(wait), progress=progress, stop=stop)
        return run_file(self.around, file, call)

    def _file(self) -> PipelineFile:
        return self.around.load(self.path)

    def _suggest(self, words: str) -> str:
        """Return a command to type that does the same."""
        return f"batchpipe {words}" + (f" {self.around.options}" if self.around.options else "")


def dollars(given: Money | None) -> Decimal | None:
    """Return an amount of US dollars. Raises UsageError for what is none."""
    if given is None:
        return None
    try:
        value = Decimal(str(given).removeprefix("$"))
    except InvalidOperation:
        value = Decimal(-1)
    if isinstance(given, bool) or not value.is_finite() or value < 0:
        hint = "Write US dollars, like max_usd=2.50."
        raise UsageError(f"{given!r} is not an amount of money", where="max_usd", hint=hint)
    return value


def _params(file: PipelineFile, given: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the parameters of the input query. Raises UsageError for one that the file does not declare."""
    return dict(declared_params([file], given or {}, where="params"))


def _positive(number: int | None, name: str = "limit") -> int | None:
    if number is not None and (isinstance(number, bool) or number < 1):
        raise UsageError(
            f"{number!r} is not a number of rows", where=name, hint=f"Write 1 or more, or leave {name} out."
        )
    return number


def _seconds(wait: bool | float | timedelta) -> float | None:
    """Return how long a run waits in seconds; None for to the end. Raises UsageError for what is no duration."""
    if isinstance(wait, bool):
        return None
    seconds = wait.total_seconds() if isinstance(wait, timedelta) else wait
    if not 0 <= seconds < float("inf"):
        hint = "Write True, False, seconds, or a datetime.timedelta."
        raise UsageError(f"{wait!r} is not a duration", where="wait", hint=hint)
    return float(seconds)


Suggest = Callable[[str], str]
