"""A pipeline of a project, as a Python program plans it, runs it and reads its results."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchpipe.commands.plan.chained import ChainPlanner
from batchpipe.commands.results.rows import Filters, take_rows
from batchpipe.engine.run.preview import NO_PROMPT_DIFF
from batchpipe.library.options import Money, positive, row_options, run_call
from batchpipe.library.planned import plan_of_planned
from batchpipe.library.runs import in_thread, run_file
from batchpipe.library.surroundings import Surroundings
from batchpipe.library.values import Plan, Result
from batchpipe.pipeline.model import PipelineFile
from batchpipe.sql.quoting import Sql
from batchpipe.store.database import Work

if TYPE_CHECKING:
    from duckdb import DuckDBPyRelation


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
        options = row_options(
            [file],
            redo=redo,
            keep=keep,
            where=where,
            limit=limit,
            retry_failed=retry_failed,
            no_new=no_new,
            params=params,
        )
        with self.around.context() as context, context.temporary_folder("expected-") as folder:
            planner = ChainPlanner(context=context, folder=folder, due_rows=False, diff=NO_PROMPT_DIFF)
            (planned,) = planner.plans([file], {file.pipeline.name: options})
        if planned.error is not None:
            raise planned.error
        return plan_of_planned(planned, self.around.suggest)

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
        return await in_thread(self._run, options)

    def results(
        self, *, where: str | None = None, current: bool = False, review: bool = False, limit: int | None = None
    ) -> DuckDBPyRelation:
        """Return the output table as it is now, as a DuckDB relation: `.df()`, `.pl()`, `.arrow()`, `.fetchall()`.

        The rows are copied into memory, ordered by key: no file is held. `where` is an SQL condition; `current` takes
        the rows that answer today's input and prompt, `review` those that a person should look at.
        Raises UsageError where there are no results yet.
        """
        filters = Filters(where=where, current=current, review=review, limit=positive(limit))
        work = Work.open()
        try:
            work.connection.execute(Sql("RESET memory_limit; RESET threads"))
            with self.around.context() as context, context.database.reading(work) as session:
                take_rows(session, self._file(), filters)
        except BaseException:
            work.close()
            raise
        return work.connection.cursor().sql(Sql("SELECT * FROM work.taken"))

    def _run(self, stop: threading.Event, **options: Any) -> Result:
        file = self._file()
        return run_file(self.around, file, run_call([file], stop, **options))

    def _file(self) -> PipelineFile:
        return self.around.load(self.path)
