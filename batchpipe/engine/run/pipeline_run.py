"""Run one pipeline in steps: look at what is in flight, collect, plan, submit, until nothing is due.

Retries, escalations, recovery after a crash and the second call from cron have no paths of their own: they are what the
next plan finds due, with a reason.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial

from batchpipe.common import telemetry
from batchpipe.common.errors import BatchpipeError, DatabaseError, GateError, ProviderError
from batchpipe.common.logs import Event
from batchpipe.engine.batches.free_decisions import record_free_decisions, record_orders, record_version
from batchpipe.engine.batches.in_flight import BatchesInFlight, look_after_batches
from batchpipe.engine.batches.sending import DueRequests
from batchpipe.engine.context import Context
from batchpipe.engine.exchange.run_parts import RunParts
from batchpipe.engine.ledger.events import OpenBatch, is_paused
from batchpipe.engine.ledger.locks import MOMENTS_SECONDS, own_folder, pipeline_lock
from batchpipe.engine.ledger.raw_folder import raw_folder_of
from batchpipe.engine.ledger.renames import linked_with, with_history
from batchpipe.engine.plan.history_gate import keys_gate
from batchpipe.engine.plan.orders import Order
from batchpipe.engine.plan.plan import Plan, PlanOptions
from batchpipe.engine.plan.planner import Planner
from batchpipe.engine.realtime.due_requests import make_due_requests, take_in_asked
from batchpipe.engine.realtime.local_run import begin_local, left_of, record_local
from batchpipe.engine.realtime.modes import RungModes, asks_soon, cancel_late, has_late
from batchpipe.engine.resolved.recorded_recipes import under_recorded_recipes
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.engine.run.after_statements import run_after
from batchpipe.engine.run.ending import RAISE, end_where_unreachable, is_held, others_come_back, sum_up, what_stopped
from batchpipe.engine.run.first_look import FirstLook, record_saved_calls, save_while_waiting
from batchpipe.engine.run.next_step import PLANS_AT_ONCE, RunState, next_step
from batchpipe.engine.run.options import RunOptions
from batchpipe.engine.run.pilot import PilotGate
from batchpipe.engine.run.pilot_summary import PilotSummary
from batchpipe.engine.run.previous_version import PreviousVersionRun, begin_previous_version_run
from batchpipe.engine.run.result import RunResult, end_event
from batchpipe.engine.run.run_start import record_start, refuse_paused
from batchpipe.engine.source.snapshot import Snapshot
from batchpipe.engine.upstream.wait import wait_for_upstream
from batchpipe.engine.votes.cast import votes_went_up
from batchpipe.engine.waits.questions import gate_of
from batchpipe.pipeline.model import PipelineFile
from batchpipe.providers import BatchState
from batchpipe.store.database import Work


@dataclass(slots=True, kw_only=True)
class PipelineRun:
    """Leads one pipeline through a run.

    `tell` is called with each event. `confirm` may refuse what is to be sent; it is called with a function that makes
    the plan of it. `prepared` is a resolved pipeline and its rows: then nothing is read, as an evaluation brings its
    own. `after` are the runs of the same call that end first, since this one reads their tables; `waits_for` are
    pipelines that were not complete then. `wake_at` (naive UTC) is when the next step is to be taken; None is at once.
    `stopped` is the error that rows of one provider wait for while the run goes on with others.
    """

    context: Context
    file: PipelineFile
    options: RunOptions
    tell: Callable[[str, Event], None]
    confirm: Callable[[Resolved, Callable[[], Plan]], bool]
    prepared: tuple[Resolved, Snapshot] | None = None
    after: Sequence[PipelineRun] = ()
    run_id: str = ""
    plan: Plan | None = None
    finished: bool = False
    interrupted: bool = False
    gate: str | None = None
    gate_hint: str | None = None
    waits_for: Sequence[str] = ()
    result: RunResult | None = None
    error: BatchpipeError | None = None
    open: Sequence[OpenBatch] = ()
    wake_at: datetime | None = None
    stopped: BatchpipeError | None = None
    resolved: Resolved = field(init=False)
    work: Work = field(init=False)
    snapshot: Snapshot = field(init=False)
    _stack: ExitStack = field(default_factory=ExitStack, init=False)
    _first_plan: Plan | None = field(default=None, init=False)
    _orders: Sequence[Order] = field(default=(), init=False)
    planner: Planner = field(init=False)
    _in_flight: BatchesInFlight = field(init=False)
    _due_requests: DueRequests = field(init=False)
    _began_at_commit: int = field(default=0, init=False)
    _pilot: PilotGate = field(init=False)
    _previous_run: PreviousVersionRun | None = field(default=None, init=False)
    _parts: RunParts = field(init=False)
    summary: PilotSummary | None = field(default=None, init=False)
    _begun: bool = field(default=False, init=False)
    _looked: bool = field(default=False, init=False)
    _ended: bool = field(default=False, init=False)
    _span: telemetry.OpenSpan | None = field(default=None, init=False)

    @property
    def name(self) -> str:
        """Return the pipeline's name."""
        return self.file.pipeline.name

    def announce(self, event: Event) -> None:
        """Count the event, and tell it with the run's id."""
        telemetry.count_event(self.name, event)
        self.tell(self.name, event.of_run(self.run_id))

    def step(self) -> None:
        """Do what can be done now; then `finished` is set, or `wake_at` for the next step.

        Raises GateError if a gate stops the run, and the other errors of its steps.
        """
        if self._span is None:
            self._span = telemetry.begin_span("run", self.name)
            self._stack.callback(self._span.end)
        with self._span.as_parent():
            self._advance()

    def _advance(self) -> None:
        """Take one step: begin, look at what is in flight, plan, submit, and choose the next step."""
        if not self._begun:
            if self._waits():
                return
            self._begin()
        with self.context.database.reading(self.work) as session:
            paused = is_paused(session, self.file.pipeline.names)
        if paused and (self._looked or not self.options.resume):
            refuse_paused(self.name)
        self._in_flight.look(force=not self._looked)
        self._looked = True
        if self._in_flight.stop is not None:
            raise ProviderError(
                self._in_flight.stop,
                where=self.name,
                hint="Remove the cause, then run the same command again: no row is lost; 20 at most are sent first.",
            )
        cancel_late(self._in_flight, self.options.by)
        record_saved_calls(self.context, self.work, self.planner.resolved)
        self._plan_what_is_due()
        if not self.finished:
            self._send()
            if self._previous_run is not None and self._pilot_holds:
                self._previous_run.submit(self._in_flight)
            run_after(self.context, self.file, self._parts, self.options.params)
            self.open = self._in_flight.open
            self._take_next_step()

    def _waits(self) -> bool:
        """Return whether the run ends at once, because a pipeline that it reads has requests in flight.

        Raises GateError where one of them has rows that are due or wait for a person.
        """
        found = wait_for_upstream(self.context, self.file, self.announce) if self.prepared is None else None
        if found is not None:
            self.waits_for, self.gate_hint, self.finished = found.pipelines, None if self.after else found.hint, True
            self.open = save_while_waiting(self.context, self.file, self.context.providers_of(self.file), self.announce)
            if found.gate is not None:
                raise found.gate
        return self.finished

    def _begin(self) -> None:
        """Take the pipeline's lock, record the run, read the input, and make what the steps need.

        Writes `ledger.events`. Raises LockedError where another run is at work, GateError where the pipeline is paused.
        """
        context, database = self.context, self.context.database
        database.make_folder("spill")
        wait = MOMENTS_SECONDS if self.prepared else 0.0
        self._stack.enter_context(pipeline_lock(database.make_folder("locks"), self.name, context.clock(), wait))
        self._begun = True
        self.work = self._stack.enter_context(closing(context.work()))
        providers = context.providers_of(self.file)
        first = FirstLook(context=context, work=self.work, file=self.file, providers=providers, tell=self.announce)
        first.read()
        if first.paused and not self.options.resume:
            first.save()
            refuse_paused(self.name)
        self.run_id, self._began_at_commit, links = record_start(database, self.work, self.name, resumes=first.paused)
        self._stack.enter_context(own_folder(partial(database.make_folder, "work", self.name, self.run_id)))
        self.file = with_history(self.file, links)
        self.announce(Event(kind="run_started"))
        if self.prepared is not None:
            self.resolved, self.snapshot = self.prepared
            with database.writing(self.work, self.run_id) as session:
                self.resolved = under_recorded_recipes(session, self.resolved)
                record_version(session, self.resolved, self.run_id, context.git_commit())
        else:
            self.resolved, self.snapshot = first.read_input(self.run_id, self.options)
            self.open = first.open
        self._prepare_steps(first.states)
        self.planner.linked = linked_with(self.resolved.file, self.resolved.names, first.links)
        take_in_asked(self._in_flight, first.open)

    def _prepare_steps(self, seen: dict[str, BatchState]) -> None:
        """Record the orders, and make the planner, the pilot's gate, and what submits, collects and reconciles.

        `seen` has what the provider has just said of batches.
        Writes `ledger.orders`, `ledger.events`.
        """
        context, database, asked = self.context, self.context.database, self.options.orders
        with database.writing(self.work, self.run_id) as session:
            self._orders = record_orders(
                session, self.resolved, self.run_id, asked, self.options.where, self.options.withdraw
            )
        prices, folder = context.prices(), database.make_folder("work", self.name, self.run_id)
        self.planner = Planner(resolved=self.resolved, database=database, work=self.work, folder=folder, prices=prices)
        self.planner.watch = partial(context.watch, self.name)
        begin_local(context, self.planner, self.snapshot, self.run_id)
        parts = self._parts = RunParts(
            resolved=self.resolved,
            database=database,
            work=self.work,
            raw_folder=raw_folder_of(database),
            providers=context.providers_of(self.file),
            run_id=self.run_id,
            files=self._stack.enter_context(context.request_files(self.resolved, self.options.params, folder)),
            pool=context.machine.pool,
            monotonic=context.machine.monotonic,
        )
        self._in_flight = look_after_batches(parts, context, prices, self.announce, seen)
        database.while_waiting.append(self._in_flight.save_ended)
        self._stack.callback(database.while_waiting.remove, self._in_flight.save_ended)
        self._pilot = PilotGate(
            resolved=self.resolved, context=context, work=self.work, run_id=self.run_id, tell=self.announce
        )
        self._pilot.begin(rows=self.options.pilot, approve=self.options.approve)
        self._due_requests = make_due_requests(
            parts, context, self.planner, self._in_flight, self.announce, self.options.max_usd
        )

    def _send(self) -> None:
        """Send what is due; where somebody else has asked for the same meanwhile, plan anew first."""
        for _ in range(PLANS_AT_ONCE):
            self._due_requests.submit(self._in_flight)
            if not self._due_requests.overtaken:
                return
            self._plan_what_is_due()

    def _plan_what_is_due(self) -> None:
        """Plan where nothing is planned yet, where rows became due again, or where all rows are to be compared anew.

        Retries and escalations of a pilot's rows wait for its approval.
        """
        due, in_flight, through = self._due_requests, self._in_flight, self._due_requests.is_through
        stuck = in_flight.due_again and (through or is_held(in_flight, due)) and not (due.all_sent or self._pilot_holds)
        if self.plan is None or due.overtaken or (in_flight.compare_anew and through) or stuck:
            in_flight.compare_anew = in_flight.due_again = False
            left = left_of(self.options.limit, due.submitted - in_flight.late.sent, self.planner)
            self._take_plan(replace(self.options.plan, limit=left, sample=self._pilot.sample()))
        elif in_flight.due_again and (through or self._later_plan_waits):
            in_flight.due_again = False
            if self._pilot_holds:  # retries and escalations of a pilot wait for its approval
                if self._previous_run is not None:
                    self._previous_run.plan_again = True
                return
            since = self._first_plan.seq if self._first_plan else None
            self._take_plan(PlanOptions(where=self.options.where, since=since))

    def _take_plan(self, options: PlanOptions) -> None:
        """Plan, record what costs nothing, and take over the due requests.

        Raises GateError where the input lost its keys without `--approve`, or where the person does not confirm.
        """
        late = has_late(self._in_flight)
        modes = RungModes(planner=self.planner, resolved=self.resolved, by=self.options.by, has_late=late)
        plan = modes.plan(self.snapshot, self._orders, options, in_flight=bool(self._in_flight.open))
        if self._first_plan is None:
            self._first_plan = plan
            if not self.options.approve:
                gate = keys_gate(self.context.database, self.work, self.resolved, plan)
                if gate is not None:
                    raise gate
            from batchpipe.engine.run.votes_ahead import whole_plan

            if not self.confirm(self.resolved, whole_plan(self.planner, self.context, plan, self.options)):
                raise GateError("not confirmed: nothing was sent", where=self.name, hint="Run again, or with --yes.")
        self.plan, database = plan, self.context.database
        free = record_free_decisions(database, self.work, self.resolved, self.run_id, plan, self._orders, options)
        for said in filter(None, (free.repaired, record_local(self.planner, self._parts, plan), plan.waits)):
            self.announce(Event(kind="notice", level="warning", detail=said))
        self._in_flight.compare_anew |= free.overtaken
        self._in_flight.due_again |= free.overtaken or votes_went_up(self.work, self.resolved)
        if plan.held is None:
            self.planner.forget()
        self._due_requests.load(plan)
        if self._pilot_holds and self._previous_run is None:
            stack, snapshot, of_run, in_flight = self._stack, self.snapshot, self.options, self._in_flight
            self._previous_run = begin_previous_version_run(
                self.context, stack, snapshot, of_run.plan, in_flight, self.announce, of_run.max_usd
            )

    @property
    def _later_plan_waits(self) -> bool:
        """Return whether a later plan waits for room in a budget: rows that became due since go up together with it."""
        return self._due_requests.no_room is not None and self.plan is not self._first_plan

    @property
    def _pilot_holds(self) -> bool:
        """Return whether a pilot holds rows back."""
        return self.plan is not None and self.plan.held is not None

    def _take_next_step(self) -> None:
        """Take the next step of the table of states: end, plan again, or wait until `wake_at`."""
        previous = self._previous_run if self._pilot_holds else None
        due_requests = [self._due_requests, *([previous.due_requests] if previous is not None else [])]
        left = [each for each in due_requests if not each.all_sent]
        gates = [each.gate for each in left if each.gate is not None and each.wake_at is None]
        pauses_until = self._pauses_until()
        end_where_unreachable(self._in_flight, due_requests, pauses_until, no_wait=self.options.no_wait)
        wakes = [pauses_until, *(each.wake_at for each in left)]
        state = RunState(
            pilot_holds=self._pilot_holds,
            all_sent=self._due_requests.all_sent,
            in_flight=others_come_back(self._in_flight, due_requests),
            previous_sends=previous is not None and not previous.done,
            gated=bool(gates),
            pausing=pauses_until is not None,
            due_again=self._in_flight.due_again,
            compare_anew=self._in_flight.compare_anew,
            no_wait=self.options.no_wait,
            asks_soon=asks_soon(self.planner.resolved, wakes, self.context.clock()),
        )
        step = next_step(state).step
        self.stopped = what_stopped(self._in_flight, due_requests)
        if step == "end_pilot" and self.stopped is None:
            self._end_pilot()
            return
        self.finished = step in ("finish", "stop_at_gate", "end_pilot")
        if step == "stop_at_gate":
            self.gate, self.gate_hint = gates[0], RAISE
        if self.finished and self._in_flight.questions:
            self.gate, self.gate_hint = gate_of(self._in_flight.questions.values())
        if self.finished and self.stopped is not None:
            raise self.stopped
        self.wake_at = None if step == "plan_again" else self._wake_at(pauses_until, due_requests)

    def _wake_at(self, pauses_until: datetime | None, due_requests: Sequence[DueRequests]) -> datetime:
        """Return when to look again: the earliest moment that is waited for, else one poll interval from now."""
        wakes = (pauses_until, self._in_flight.next_look, *(each.wake_at for each in due_requests))
        # Where only other pipelines use up `max_queued`, nothing of its own says when chunks may go up again.
        look_again = self.context.clock() + timedelta(seconds=self.context.settings.poll_interval)
        return min((each for each in wakes if each is not None), default=look_again)

    def _end_pilot(self) -> None:
        """Close the gate now that the pilot has come back, unless it opens by itself; then all is planned anew."""
        self.summary = self._pilot.close(self.planner, self.options.plan)
        if self.summary is None:
            self.plan, self.wake_at = None, None
            return
        self.gate, self.finished = self.summary.gate_reason, True
        self.gate_hint = f"To go on: batchpipe run {self.name} --approve"

    def _pauses_until(self) -> datetime | None:
        """Return when the next row that pauses after a transient error is due; None where none does that is waited for.

        Where that moment has come rows are due again, unless what is planned has to go first, or a pilot holds them.
        """
        moment = self.plan.deferred_until if self.plan is not None else None
        passed = moment is not None and moment <= self.context.clock()
        if passed and (self._pilot_holds or not (self._due_requests.is_through or self._later_plan_waits)):
            return None
        self._in_flight.due_again |= passed
        return moment

    def end(self) -> None:
        """Record the end of the run, sum it up, and release the lock: once, however often it is called.

        A database that cannot be written to becomes the run's error.
        """
        if self._ended:
            return
        self._ended = True
        try:
            self.result = self._sum_up()
        except DatabaseError as error:
            self.error = self.error or error
        finally:
            self.announce(end_event(self.ended(), self.error, self.gate))
            self._stack.close()

    def ended(self) -> RunResult:
        """Return what the run came to, or what little is known of it where its end could not be summed up."""
        if self.result is not None:
            return self.result
        return RunResult.begun_only(self.name, self.run_id, self.gate, self.error, self.waits_for)

    def _sum_up(self) -> RunResult:
        """Return the result of the run, and record its end.

        Writes `ledger.events`.
        """
        due_requests = [] if self._first_plan is None else [self._due_requests]
        due_requests += [] if self._previous_run is None else [self._previous_run.due_requests]
        return sum_up(self, self._first_plan, due_requests, self._began_at_commit)
