"""Stand between a run and the person who watches it: events, the present state, the first plan and the question."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from batchpipe.commands.call.call import Call
from batchpipe.commands.plan.due_work import work_text
from batchpipe.commands.printing.text import count, money, safe
from batchpipe.commands.run.display import BatchView, Display, RunView
from batchpipe.commands.status.read import Named, rows_by_state
from batchpipe.common.logs import Event
from batchpipe.engine.ledger.events import OpenBatch
from batchpipe.engine.plan.plan import Plan
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.engine.run.pipeline_run import PipelineRun
from batchpipe.sql.quoting import quote_list
from batchpipe.store.queries import query

# The largest share of the time that counting the rows again may take.
SHARE_OF_TIME = 0.05


@dataclass(slots=True, kw_only=True)
class LastRead:
    """What was last read of a pipeline, and when it may be read again (`time.monotonic`)."""

    input: int | None = None
    rows: dict[str, int] = field(default_factory=dict)
    cost_usd: Decimal | None = None
    stale: bool = True
    not_before: float = 0.0


@dataclass(slots=True, kw_only=True)
class Watcher:
    """The link from a run to its display and its person. The ledger is only read after an event."""

    call: Call
    display: Display
    yes: bool
    _seen: dict[str, LastRead] = field(default_factory=dict, init=False)

    def tell(self, pipeline: str, event: Event) -> None:
        """Show an event, and note that the pipeline's counts are out of date."""
        self._of(pipeline).stale = True
        self.display.tell(pipeline, event)

    def confirm(self, resolved: Resolved, plan: Plan) -> bool:
        """Show the first plan to the person at the terminal. Ask where its cost is above the limit in the settings.

        The emulator costs nothing: nobody is asked.
        """
        self._of(resolved.name).input = plan.input
        call = self.call
        if not call.talks_to_person:
            return True
        with self.display.asking():
            call.say(f"{resolved.name}\n{work_text(resolved, plan)}")
            cost = plan.estimate.cost_usd
            cheap = cost is not None and cost <= call.settings.confirm_above_usd
            if self.yes or cheap or call.settings.emulator or not plan.requests:
                return True
            about = f"about {money(cost)}" if cost is not None else "a cost that is not known"
            return call.ask(f"Send {count(plan.requests, 'request')} for {about}? [y/N] ")

    def ask(self, question: str) -> bool:
        """Put a question to the person while the display is held back, and return whether the answer is yes."""
        with self.display.asking():
            return self.call.ask(question)

    def show(self, runs: Sequence[PipelineRun]) -> None:
        """Show the present state. A run calls this about once a second; an interrupt that a library swallowed ends the
        run here.
        """
        if self.call.interrupted():
            raise KeyboardInterrupt
        if self.call.talks_to_person:
            self.display.show([self._view(run) for run in runs], runs[0].context.clock())

    def _view(self, run: PipelineRun) -> RunView:
        seen = self._of(run.name)
        if seen.stale and run.run_id and not run.finished and time.monotonic() >= seen.not_before:
            self._read(run, seen)
        return RunView(
            pipeline=run.name,
            step=_step(run),
            input=seen.input,
            rows=seen.rows,
            batches=[_batch_view(each) for each in run.open],
            cost_usd=seen.cost_usd,
        )

    def _read(self, run: PipelineRun, seen: LastRead) -> None:
        began = time.monotonic()
        names = tuple(run.file.pipeline.names)
        with run.context.database.reading(run.work) as session:
            seen.rows = rows_by_state(session, Named(name=run.name, names=names))
            totals = session.dictionaries(query("run_totals", pipelines=quote_list(names)), {"run_id": run.run_id})
        none_known = totals[0]["unpriced"] and totals[0]["unpriced"] == totals[0]["attempts"]
        seen.cost_usd, seen.stale = None if none_known else totals[0]["cost_usd"], False
        seen.not_before = time.monotonic() + (time.monotonic() - began) / SHARE_OF_TIME

    def _of(self, pipeline: str) -> LastRead:
        return self._seen.setdefault(pipeline, LastRead())


def _step(run: PipelineRun) -> str:
    if run.finished:
        return "finished"
    if run.plan is None:
        before = [each.name for each in run.after if not each.finished]
        return f"waiting for {safe(', '.join(before))}" if before else "reading the input"
    return f"waiting for {count(len(run.open), 'batch', 'batches')}" if run.open else "working"


def _batch_view(batch: OpenBatch) -> BatchView:
    return BatchView(
        name=batch.batch_id or batch.chunk_id,
        state=batch.state,
        model=batch.model,
        requests=batch.requests,
        since=batch.created_at or batch.submitted_at or batch.prepared_at,
        expires_at=batch.expires_at,
    )
