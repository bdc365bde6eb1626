"""Show a run to the person who watches it: its events, its present state, its first plan, and the question about it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from batchpipe.commands.call.call import Call
from batchpipe.commands.plan.due_work import work_text
from batchpipe.commands.printing.text import count, money, safe
from batchpipe.commands.run.display import BatchView, Display, LimitView, RunView
from batchpipe.commands.run.expected_end import seconds_left
from batchpipe.commands.status.states import Named, awaited_room, rows_by_state
from batchpipe.common.logs import Event
from batchpipe.common.progress import Counted, Phase, Progress
from batchpipe.engine.cost.budget import has_limit, project_limits, tightest
from batchpipe.engine.cost.estimate import Times, recent_times
from batchpipe.engine.ledger.events import OpenBatch, open_load, spent
from batchpipe.engine.plan.plan import Plan
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.engine.run.pipeline_run import PipelineRun
from batchpipe.providers.known import with_provider
from batchpipe.sql.quoting import quote_list
from batchpipe.store.queries import query

# The largest share of the time that counting the rows again may take.
SHARE_OF_TIME = 0.05
# The seconds between two pictures that a phase asks for.
PICTURE_SECONDS = 0.25


@dataclass(slots=True, kw_only=True)
class LastRead:
    """What was last read of a pipeline, and when it may be read again (`time.monotonic`).

    `answered` says how far the realtime calls are that are being made.
    """

    input: int | None = None
    rows: dict[str, int] = field(default_factory=dict)
    cost_usd: Decimal | None = None
    limit: LimitView | None = None
    waits: str | None = None
    times: Times | None = None
    phase: Phase | None = None
    counts: dict[str, Mapping[str, int]] = field(default_factory=dict)
    stale: bool = True
    not_before: float = 0.0


@dataclass(slots=True, kw_only=True)
class RunViews:
    """Makes views of runs. The ledger is only read after an event, and never while a phase is under way.

    `began_at` (naive UTC) is when the first view was made.
    """

    began_at: datetime | None = field(default=None, init=False)
    _seen: dict[str, LastRead] = field(default_factory=dict, init=False)

    def of(self, pipeline: str) -> LastRead:
        """Return what was last read of a pipeline."""
        return self._seen.setdefault(pipeline, LastRead())

    def take(self, pipeline: str, progress: Progress) -> None:
        """Note what a run does now, or the counts of the provider."""
        seen = self.of(pipeline)
        if isinstance(progress, Phase):
            seen.phase = progress
        else:
            seen.counts[progress.batch_id] = progress.counts

    def views(self, runs: Sequence[PipelineRun], *, reads: bool) -> list[RunView]:
        """Return a view of each run. With `reads` no phase is under way, and the ledger may be read.

        Reads the ledger.
        """
        self.began_at = self.began_at or runs[0].context.clock()
        return [self._view(run, reads) for run in runs]

    def _view(self, run: PipelineRun, reads: bool) -> RunView:
        seen = self.of(run.name)
        if reads:
            seen.phase = None
            if seen.stale and run.run_id and not run.finished and time.monotonic() >= seen.not_before:
                self._read(run, seen)
        now = run.context.clock()
        batches = [_batch_view(each, seen.counts) for each in run.open]
        further = run.plan.estimate.further_waves if run.plan is not None else 0
        left = seconds_left([each.since for each in batches], further, seen.times, now)
        return RunView(
            pipeline=run.name,
            step=_step(run, seen.phase),
            input=seen.input,
            rows=seen.rows,
            batches=batches,
            cost_usd=seen.cost_usd,
            limit=seen.limit,
            waits=None if run.finished else seen.waits,
            elapsed_seconds=(now - (self.began_at or now)).total_seconds(),
            left_seconds=None if run.finished else left,
            batches_before=seen.times.batches if seen.times is not None else 0,
        )

    def _read(self, run: PipelineRun, seen: LastRead) -> None:
        began = time.monotonic()
        names, pipelines = tuple(run.file.pipeline.names), quote_list(run.file.pipeline.names)
        budget = run.file.pipeline.budget
        with run.context.database.reading(run.work) as session:
            seen.rows = rows_by_state(session, Named(name=run.name, names=names))
            totals = session.dictionaries(query("run_totals", pipelines=pipelines), {"run_id": run.run_id})
            seen.waits = awaited_room(session, pipelines)
            if run.plan is not None:
                seen.times = recent_times(session, run.resolved)
            if has_limit(run.file, run.options.max_usd):
                paid = spent(session, names, run.run_id)
                further = project_limits(session, run.file, run.run_id)
                limit = tightest(budget, run.options.max_usd, paid, open_load(session, names, run.run_id), further)
                if limit is not None:
                    seen.limit = LimitView(limit.name, limit.spent_usd, limit.allowed_usd)
        none_known = totals[0]["unpriced"] and totals[0]["unpriced"] == totals[0]["attempts"]
        seen.cost_usd, seen.stale = None if none_known else totals[0]["cost_usd"], False
        seen.not_before = time.monotonic() + (time.monotonic() - began) / SHARE_OF_TIME


@dataclass(slots=True, kw_only=True)
class Watcher:
    """The link from a run to its display and its person."""

    call: Call
    display: Display
    yes: bool
    _views: RunViews = field(default_factory=RunViews, init=False)
    _runs: Sequence[PipelineRun] = field(default=(), init=False)
    _shown_at: float = field(default=0.0, init=False)

    def tell(self, pipeline: str, event: Event) -> None:
        """Show an event, and note that the pipeline's counts are out of date."""
        self._views.of(pipeline).stale = True
        self.display.tell(pipeline, event)

    def watch(self, pipeline: str, progress: Progress) -> None:
        """Take in what a run does now, and show it, a few times a second at most."""
        self._views.take(pipeline, progress)
        if isinstance(progress, Counted) or not self.call.talks_to_person or not self._runs:
            return
        if time.monotonic() - self._shown_at >= PICTURE_SECONDS:
            self._draw(reads=False)

    def confirm(self, resolved: Resolved, whole: Callable[[], Plan]) -> bool:
        """Show the plan to the person at the terminal. Ask where its cost is above the limit in the settings.

        The emulator costs nothing: nobody is asked.
        """
        call = self.call
        if not call.talks_to_person:
            return True
        plan = whole()
        self._views.of(resolved.name).input = plan.input
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
        self._runs = runs
        if self.call.talks_to_person:
            self._draw(reads=True)

    def _draw(self, *, reads: bool) -> None:
        self.display.show(self._views.views(self._runs, reads=reads), self._runs[0].context.clock())
        self._shown_at = time.monotonic()


def _step(run: PipelineRun, phase: Phase | None) -> str:
    """Return what a run does now, in words."""
    if run.finished:
        return "finished"
    if phase is not None:
        return STEPS[phase.name](phase)
    if run.plan is None:
        before = [each.name for each in run.after if not each.finished]
        return f"waiting for {safe(', '.join(before))}" if before else "reading the input"
    return f"waiting for {count(len(run.open), 'batch', 'batches')}" if run.open else "working"


STEPS: Mapping[str, Callable[[Phase], str]] = {
    "reading": lambda phase: "reading the input",
    "comparing": lambda phase: "comparing the rows with what is known",
    "rendering": lambda phase: f"rendering {count(min(phase.done, phase.total))} of {count(phase.total, 'row')}",
    "uploading": lambda phase: f"uploading {count(phase.done)} of {count(phase.total, 'batch', 'batches')}",
    "asking": lambda phase: f"{count(phase.done)} of {count(phase.total, 'request')} answered in realtime",
    "collecting": lambda phase: (
        f"collecting {count(phase.done)} of {count(phase.total, 'batch', 'batches')}"
        if phase.done
        else f"downloading the results of {count(phase.total, 'batch', 'batches')}"
    ),
}


def _batch_view(batch: OpenBatch, counts: Mapping[str, Mapping[str, int]]) -> BatchView:
    known = counts.get(batch.batch_id or "", {})
    return BatchView(
        name=batch.batch_id or batch.chunk_id,
        state=batch.state,
        model=with_provider(batch.provider, batch.model),
        requests=batch.requests,
        since=batch.created_at or batch.submitted_at or batch.prepared_at,
        expires_at=batch.expires_at,
        done=sum(number for state, number in known.items() if state != "processing"),
    )
