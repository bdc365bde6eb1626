"""Send what is due: several chunks at once while the limits allow it, and act on the outcome of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal

from batchpipe.common.errors import GateError
from batchpipe.common.logs import Event, Tell
from batchpipe.common.progress import Phase
from batchpipe.decide.chunking import intersect_ranges, subtract_ranges
from batchpipe.decide.waits import LONGEST_REFUSAL
from batchpipe.engine.batches.asked import AskedChunk, ChunkAsker
from batchpipe.engine.batches.in_flight import BatchesInFlight
from batchpipe.engine.batches.next_chunks import ChunkChooser, NoRoom
from batchpipe.engine.batches.submit import SentChunk, Submitter
from batchpipe.engine.context import Context
from batchpipe.engine.cost.budget import has_limit
from batchpipe.engine.cost.reserves import Reserves, read_reserves
from batchpipe.engine.exchange.late_refusals import PAUSE_POLLS, SmallerChunks, read_smaller_chunks
from batchpipe.engine.exchange.queue_waits import QueueWait, record_budget_wait
from batchpipe.engine.exchange.queues import FullQueues, read_full_queues
from batchpipe.engine.exchange.records import refused_for_long, stop_after_losses, too_late_again
from batchpipe.engine.exchange.sent_to import AllRefusedError
from batchpipe.engine.exchange.storage import make_room
from batchpipe.engine.plan.overtaken import PlanOvertakenError
from batchpipe.engine.plan.plan import Plan
from batchpipe.engine.plan.planner import Planner
from batchpipe.engine.waits.unreachable import RungWaits
from batchpipe.providers import Mode
from batchpipe.sql.quoting import Sql, quote_list
from batchpipe.store.queries import query

TOO_LATE_IN_A_ROW = 12
MODES: tuple[Mode, ...] = ("batch", "realtime")


@dataclass(slots=True, kw_only=True)
class DueRequests:
    """Sends the due requests of the present plan in their order.

    `no_room` says which budget the rest does not fit into now. `submitted` and `batches` count what was sent in this
    run, `asked` what of it was asked in realtime. `overtaken`: another process has asked for the same since the plan,
    so that nothing is sent before a new plan. `realtime` makes what asks requests in realtime. `waits` says which rungs
    nothing is sent for now.
    """

    submitter: Submitter
    planner: Planner
    context: Context
    max_usd: Decimal | None
    tell: Tell
    realtime: Callable[[], ChunkAsker]
    no_room: NoRoom | None = None
    submitted: int = 0
    asked: int = 0
    batches: int = 0
    overtaken: bool = False
    _asking: ChunkAsker | None = field(default=None, init=False)
    _scattered: bool = field(default=False, init=False)
    _too_late_in_a_row: int = field(default=0, init=False)
    _plan: Plan | None = field(default=None, init=False)
    _pending: list[tuple[int, int]] = field(default_factory=list, init=False)
    _size_cap: int | None = field(default=None, init=False)
    _wake_at: datetime | None = field(default=None, init=False)
    _submitted_before: int = field(default=0, init=False)
    _reserves: Reserves | None = field(default=None, init=False)
    _waits_for: tuple[object, ...] = field(default=(), init=False)
    _said: NoRoom | None = field(default=None, init=False)
    _refused_since: datetime | None = field(default=None, init=False)
    _refused_late_since: datetime | None = field(default=None, init=False)
    _accepted: int = field(default=0, init=False)
    _smaller: SmallerChunks | None = field(default=None, init=False)
    _full: FullQueues = field(default_factory=dict, init=False)
    _batches_before: int = field(default=0, init=False)
    _queue: QueueWait = field(init=False)
    waits: RungWaits = field(init=False)

    def __post_init__(self) -> None:
        self._queue = QueueWait(parts=self.submitter.parts, tell=self.tell)
        clock, seconds = self.context.clock, min(self.context.settings.poll_interval, 5.0)
        self.waits = RungWaits(resolved=self.planner.resolved, clock=clock, tell=self.tell, seconds=seconds)

    def load(self, plan: Plan) -> None:
        """Take over the due requests of a new plan.

        Reads `work.to_send`. Writes `work.sends`.
        """
        self._plan, self.no_room, self._reserves, self.overtaken = plan, None, None, False
        self._smaller = None
        self._batches_before = self.batches
        self._pending = [(0, plan.requests)] if plan.requests else []
        ranges = Sql("SELECT rung, min(number), max(number) + 1 FROM work.to_send GROUP BY rung")
        rows = self.submitter.parts.work.connection.execute(ranges).fetchall()
        self.waits.rungs = {rung: (first, stop) for rung, first, stop in rows}
        files = self.submitter.parts.files
        if files is not None and plan.requests:
            files.provide(self.submitter.parts.work.connection, plan.snapshot, query("positions_to_send"))
        self.planner.number_sends()

    @property
    def all_sent(self) -> bool:
        """Return whether no request of the plan is left to send."""
        return not self._pending

    @property
    def is_through(self) -> bool:
        """Return whether all is sent but what is for providers that cannot be reached."""
        return not self.waits.reachable(self._pending)

    @property
    def goes_on(self) -> bool:
        """Return whether anything was sent just now, or is to be after a pause of a provider that can be reached."""
        moves = self.submitted > self._submitted_before or self._wake_at is not None
        return moves or self.waits.until(self.waits.reachable(self._pending)) is not None

    @property
    def wake_at(self) -> datetime | None:
        """Return when the first pause ends after which anything is sent (naive UTC); None without a pause."""
        return self._wake_at or self.waits.until(self.waits.rungs_of(self._pending))

    def submit(self, in_flight: BatchesInFlight) -> None:
        """Send chunks while the limits allow it; `no_room` or `wake_at` then say what the rest waits for.

        What is for a provider that cannot be reached, asks to wait, or refuses everything stands in no other's way.
        """
        self.waits.drop_ended()
        self._submitted_before, now = self.submitted, self.context.clock()
        if self._wake_at is not None and now >= self._wake_at:
            self._wake_at = self.no_room = None
        if self.no_room is not None and self._waits_for == self._room_changes(in_flight):
            return
        self.no_room = self._reserves = None
        self._take_late_refusals(in_flight, now)
        self._submitted_before = self.submitted
        if self.all_sent or self.overtaken or self._wake_at is not None:
            return
        while any(self._send_next(mode) for mode in MODES):
            pass
        if self._scattered:
            self._scattered, in_flight.compare_anew, in_flight.due_again = False, True, True
        in_flight.after_submit()
        self._waits_for = self._room_changes(in_flight)
        self._pending = self.waits.left(self._pending)
        self._wait_for_others(in_flight, now)

    def _wait_for_others(self, in_flight: BatchesInFlight, now: datetime) -> None:
        """Say what fills the queue where nothing of this run makes room in it. A learned limit is tried again later."""
        if self.all_sent or in_flight.is_waited_for:
            self._queue.end()
        if self.all_sent or self.overtaken or self.wake_at or self.no_room or in_flight.is_waited_for:
            return
        if self._full:
            self._full = {}
            self._wake_at = self.context.clock() + timedelta(seconds=PAUSE_POLLS * self.context.settings.poll_interval)
        self._queue.wait(sum(stop - start for start, stop in self._pending), now, in_flight.unaskable.errors)

    def _take_late_refusals(self, in_flight: BatchesInFlight, now: datetime) -> None:
        """Wait where the provider refused a batch afterwards because its queue was full. What it refused was not sent.

        Raises ProviderError where that goes on for a day without a result.
        """
        for name, error in in_flight.late.stops.items():
            self.waits.refuse(name, error)
        self.submitted -= in_flight.late.sent
        self.batches -= len(in_flight.late.own)
        until, refused = in_flight.late.take()
        if in_flight.accepted != self._accepted:
            self._accepted, self._refused_late_since = in_flight.accepted, None
        if until is None:
            return
        self._refused_late_since = self._refused_late_since or now
        self._smaller = None
        self._wake_at = until if self._wake_at is None else max(self._wake_at, until)
        if now - self._refused_late_since >= LONGEST_REFUSAL:
            raise refused_for_long(self._refused_late_since, str(refused[-1][1]))

    def _room_changes(self, in_flight: BatchesInFlight) -> tuple[object, ...]:
        """Return what room in a budget depends on: the open chunks, the day, and the rungs that ask for it."""
        return (self.context.clock().date(), *self.waits.free(), *(each.chunk_id for each in in_flight.open))

    @property
    def _asks(self) -> ChunkAsker:
        """Return what asks requests in realtime, which is made at its first use."""
        self._asking = self._asking or self.realtime()
        return self._asking

    def _pending_in(self, mode: Mode) -> list[tuple[int, int]]:
        """Return what may be sent now of the rungs in this mode, as ranges of numbers."""
        rungs = self.planner.resolved.rungs
        own = [self.waits.rungs[each] for each in self.waits.free() if rungs[each - 1].mode == mode]
        return intersect_ranges(self._pending, own)

    def _send_next(self, mode: Mode) -> bool:
        """Send the chunks in this mode that may go up together; return whether others may follow at once.

        Reads the ledger.
        """
        pending = self._pending_in(mode)
        if self._plan is None or not pending or self.overtaken:
            return False
        with self.context.database.reading(self.submitter.parts.work) as session:
            # After a batch whose requests all failed with one error, only a few requests are sent at first.
            names = quote_list(self.submitter.parts.resolved.names)
            cautious = bool(session.one(query("stopped_by_batch", pipelines=names))[0])
            if self._reserves is None and has_limit(self.submitter.parts.resolved.file, self.max_usd):
                self._reserves = read_reserves(session, self.submitter.parts.resolved)
            if self._smaller is None:
                resolved = self.submitter.parts.resolved
                self._smaller, self._full = read_smaller_chunks(session, resolved), read_full_queues(session, resolved)
            chooser = self._chooser(self._plan, pending, mode, cautious=cautious)
            found = chooser.choose(session)
        self.no_room = found.no_room or self.no_room
        if not found.chunks:
            self._say_what_waits()
            return False
        rungs = {each.rung for each in found.chunks}
        go_on = False
        try:
            if mode == "realtime":
                asked = self._asks.send(
                    self._plan, lambda *now: chooser.choose(*now).chunks, chooser.cache_marks, rungs
                )
                go_on = asked is not None and self._goes_on_after(asked)
            else:
                self._say_upload(len(found.chunks), len(self._plan.chunks))
                sent = self.submitter.send(
                    self._plan, lambda *now: chooser.choose(*now).chunks, chooser.cache_marks, rungs
                )
                self._after(sent)
                go_on = bool(sent)
        except AllRefusedError as error:
            self.waits.refuse(error.name, error.error)
            return True
        except PlanOvertakenError as error:
            self.overtaken, self.planner.linked, self.planner.leaves_out = True, error.linked, True
            self.tell(Event(kind="overtaken"))
            return False
        if self.submitter.parts.leave_out_changed(self._plan.snapshot):
            self.overtaken, self.planner.leaves_out = True, True
            self.tell(Event(kind="file_changed", level="warning"))
            return False
        self._cut_rest_anew()
        return go_on and not cautious

    def _say_upload(self, chunks: int, planned: int) -> None:
        """Report to the watcher how many chunks go up now, and about how many are planned."""
        going = self.batches - self._batches_before + chunks
        phase = Phase(name="uploading", done=going, total=max(going, planned))
        self.context.watch(self.submitter.parts.resolved.name, phase)

    def _cut_rest_anew(self) -> None:
        """Cut what is left into chunks anew where a budget has cut one: its rest is no batch of its own.

        Reads `work.to_send`.
        """
        plan = self._plan
        if plan is None or self._reserves is None or len(self._pending) != 1:
            return
        first, stop = self._pending[0]
        if stop == plan.requests and all(each.start != first for each in plan.chunks):
            sent = [each for each in plan.chunks if each.start + each.count <= first]
            self._plan = replace(plan, chunks=(*sent, *self.planner.chunks_from(first)))

    def _goes_on_after(self, asked: AskedChunk) -> bool:
        """Update the state after a chunk that was asked in realtime; return whether the next one may follow at once."""
        rung = self.waits.rung_of(asked.start)
        if asked.whole_until > asked.start:
            self._pending = list(subtract_ranges(self._pending, [(asked.start, asked.whole_until)]))
        self._scattered = self._scattered or asked.is_scattered
        self.submitted += asked.asked
        self.asked += asked.asked
        if asked.left:
            self.planner.number_sends()
        if asked.lost:
            self.tell(Event(kind="calls_lost", level="warning", requests=asked.lost, detail=asked.lost_message))
        if asked.stop is not None:
            self.waits.refuse(self.waits.provider_at(asked.start), asked.stop)
        if asked.not_sent is None:
            self.waits.reached(rung)
        else:
            self.waits.not_reached(rung, asked.not_sent)
        if asked.wait_seconds:
            self.waits.asked_to_wait(rung, asked.wait_message, asked.wait_seconds, model_only=True)
        return True

    def _chooser(self, plan: Plan, pending: Sequence[tuple[int, int]], mode: Mode, *, cautious: bool) -> ChunkChooser:
        """Return what chooses the next chunks. With `cautious` it allows one small chunk at a time."""
        most = self._asks.size if mode == "realtime" else self._size_cap
        return ChunkChooser(
            resolved=self.planner.resolved,
            run_id=self.submitter.parts.run_id,
            max_usd=self.max_usd,
            plan=plan,
            cache_marks=self.planner.cache_marks,
            pending=tuple(pending),
            rungs=self.waits.rungs,
            most=most,
            smaller=self._smaller or SmallerChunks(),
            full=self._full,
            cautious=cautious,
            reserves=self._reserves,
            was_cut=self._said is not None,
            mode=mode,
        )

    @property
    def gate(self) -> str | None:
        """Return which budget stops the rest; None where none does."""
        return self.no_room.text if self.no_room is not None else None

    def _say_what_waits(self) -> None:
        """Tell and record, once for the same requests, that they wait for room in a budget.

        Writes `ledger.events`.
        """
        found = self.no_room
        if found is None or not found.waits or found == self._said:
            return
        self._said = found
        limit, parts = found.limit, self.submitter.parts
        record_budget_wait(parts, self.tell, found.requests, limit.name, limit.left_usd, found.text)

    def _after(self, sent: Sequence[SentChunk]) -> None:
        """Go on, make chunks smaller, or wait, by what became of the chunks that went up together.

        Raises ProviderError where submits fail again and again, after all outcomes are accounted for.
        """
        done = [each for each in sent if self._is_done(each)]
        self._pending = list(subtract_ranges(self._pending, [(each.start, each.start + each.count) for each in done]))
        if any(each.outcome not in ("sent", "unknown") for each in sent):
            self.planner.number_sends()
        for each in sent:
            if each.stop is not None:
                self.waits.refuse(self.waits.provider_at(each.start), each.stop)
        self._stop_if_without_end(sent)
        if self._too_late_in_a_row >= TOO_LATE_IN_A_ROW:
            raise too_late_again(self.context.database.folder)
        full = next((each for each in sent if each.outcome == "storage_full"), None)
        if full is not None:
            freed = make_room(self.submitter.parts, full.chunk_id, full.message)
            if isinstance(freed, GateError):
                self.waits.refuse(self.waits.provider_at(full.start), freed)
            else:
                self.tell(Event(kind="storage_freed", level="warning", detail=freed))

    def _stop_if_without_end(self, sent: Sequence[SentChunk]) -> None:
        """Raise ProviderError if submit after submit is lost, or has been put off for a day.

        Reads `ledger.events`.
        """
        unknown = next((each for each in sent if each.outcome == "unknown"), None)
        if unknown is not None:
            with self.submitter.parts.reading() as session:
                stop_after_losses(session, self.submitter.parts.resolved.names, unknown.message)
        since, waits = self._refused_since, next((each for each in sent if each.outcome == "wait"), None)
        if waits is not None and since is not None and self.context.clock() - since >= LONGEST_REFUSAL:
            self.waits.refuse(self.waits.provider_at(waits.start), refused_for_long(since, waits.message))

    def _is_done(self, sent: SentChunk) -> bool:
        """Return whether the requests of a chunk are no longer to be sent; tell its outcome."""
        if sent.outcome in ("sent", "unknown"):
            self.submitted += sent.count
            self.batches += 1
            self.waits.reached(self.waits.rung_of(sent.start))
            self._refused_since, self._too_late_in_a_row = None, 0
            kind = "submitted" if sent.outcome == "sent" else "submit_unknown"
            self.tell(Event(kind=kind, requests=sent.count, detail=sent.message))
            return True
        if sent.outcome == "refused_size":
            return self._is_refused_alone(sent)
        if sent.outcome == "too_late":
            self._too_late_in_a_row += 1
            self.tell(Event(kind="too_late", level="warning", requests=sent.count, detail=sent.message))
        elif sent.outcome == "wait":
            self._refused_since, self._smaller = self._refused_since or self.context.clock(), None
            seconds = sent.retry_after_seconds or self.context.settings.poll_interval
            self.waits.asked_to_wait(self.waits.rung_of(sent.start), sent.message, seconds)
        elif sent.outcome == "not_sent":
            self.waits.not_reached(self.waits.rung_of(sent.start), sent.message)
        return False

    def _is_refused_alone(self, sent: SentChunk) -> bool:
        """Halve a chunk that was refused whole, until the request at fault is found; return whether the chunk is done.

        A chunk of one request has failed, and is done.
        Writes `ledger.decisions` for a chunk of one request.
        """
        if sent.count > 1:
            half = sent.count // 2
            self._size_cap = half if self._size_cap is None else min(self._size_cap, half)
            self.tell(Event(kind="chunk_refused", level="warning", requests=half, detail=sent.message))
            return False
        self.submitter.fail_single(sent.chunk_id, sent.message)
        self._size_cap = None
        self.tell(Event(kind="request_refused", level="warning", detail=sent.message))
        return True
