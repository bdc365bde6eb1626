"""Look after batches in flight: poll them, collect those that have ended, search for submits of unknown outcome."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial

from batchpipe.common import telemetry
from batchpipe.common.logs import Event, Level, Tell
from batchpipe.common.progress import Counted, Phase
from batchpipe.engine.batches.collect import CollectedBatch, Collector, EndedBatch
from batchpipe.engine.batches.reconcile import Reconciler
from batchpipe.engine.batches.result_prices import collected_together
from batchpipe.engine.context import Context
from batchpipe.engine.cost.ladder import PriceBook
from batchpipe.engine.exchange.downloads import can_be_saved
from batchpipe.engine.exchange.file_uploads import discard_uploads
from batchpipe.engine.exchange.late_refusals import LateRefusals
from batchpipe.engine.exchange.records import refusal, submitted_batch_data
from batchpipe.engine.exchange.run_parts import RunParts
from batchpipe.engine.exchange.uploads import discard_inputs
from batchpipe.engine.ledger.events import OpenBatch, add_event, open_batches
from batchpipe.engine.waits.questions import Question
from batchpipe.engine.waits.troubled import TroubledBatches
from batchpipe.engine.waits.troubles import TroubleBook
from batchpipe.engine.waits.unaskable import UnaskableBatches
from batchpipe.engine.waits.unreachable import CHECK, UnreachableProviders
from batchpipe.providers import BatchState, NotSentError, RefusedError, UnavailableError
from batchpipe.store.queries import query

DOWNLOADS_AT_ONCE = 4
Failure = NotSentError | UnavailableError | RefusedError
FAILURES: tuple[type[Failure], ...] = (NotSentError, UnavailableError, RefusedError)


@dataclass(slots=True, kw_only=True)
class BatchesInFlight:
    """Looks after the open batches of one pipeline.

    `due_again` says that results made rows due again; `compare_anew` that all rows are to be compared with the ledger
    again, since a chunk was lost or an earlier run's results came. `stop` is the message that stops the run.
    `next_look` is the time of the next poll, naive UTC. `seen` has what the provider has just said of batches, by
    chunk: they are not asked about again. `unaskable` are the batches that nobody can be asked about;
    `unreachable` the providers to which no connection is made, by their base URL.
    """

    collector: Collector
    reconciler: Reconciler
    troubled: TroubledBatches
    late: LateRefusals
    unreachable: UnreachableProviders
    unaskable: UnaskableBatches
    context: Context
    tell: Tell
    open: Sequence[OpenBatch] = ()
    next_look: datetime | None = None
    due_again: bool = False
    compare_anew: bool = False
    stop: str | None = None
    accepted: int = 0
    failed: int = 0
    seen: dict[str, BatchState] = field(default_factory=dict)
    _orphans_marked: bool = field(default=False, init=False)
    _lost: set[str] = field(default_factory=set, init=False)
    _saved_at: datetime | None = field(default=None, init=False)
    _as_of: int | None = field(default=None, init=False)

    @property
    def questions(self) -> Mapping[str, Question]:
        """Return what a person has to decide, by chunk."""
        return self.troubled.questions

    @property
    def is_waited_for(self) -> bool:
        """Return whether an open chunk will come back by itself, without a person."""
        return self.waits_beside(())

    def waits_beside(self, refusing: Collection[str]) -> bool:
        """Return whether an open chunk will come back that was sent to another provider than those `refusing`."""
        asked = [each for each in self.open if each.chunk_id not in {*self.questions, *self.unaskable.errors}]
        others = [each for each in asked if each.provider not in refusing]
        return any(not self.unreachable.lasts(self._url(each)) for each in others)

    @property
    def parts(self) -> RunParts:
        """Return what all steps of this part of the run share."""
        return self.collector.parts

    def look(self, *, force: bool) -> None:
        """Search for lost submits, poll what is open, and collect what has ended.

        That is done once in a poll interval, or with `force`.
        A provider that refuses to answer, or cannot be reached, stands in no other's way.
        """
        now = self.context.clock()
        if not force and self.next_look is not None and now < self.next_look:
            return
        if not self._orphans_marked:
            self._orphans_marked = True
            self.reconciler.mark_orphans()
            self.collector.compress_left()
        self.refresh()
        if self.open:
            self._collect_what_ended()
            discard_inputs(self.parts, self.open)
            discard_uploads(self.parts, self.open)
            self.refresh()
        self.next_look = max(self._look_after(now), self.troubled.asked_until or now) if self.open else None
        self.compare_anew = self.compare_anew or self.troubled.lost
        self.troubled.lost = False

    def _collect_what_ended(self) -> None:
        """Poll the open batches, and collect those that have ended.

        The raw results of every ended batch are kept before the first is recorded: to record may have to wait for the
        database.
        """
        self.troubled.look_anew()
        self._lost = set()
        self.unaskable.find(self.open)
        self._search_orphans()
        known = [each for each in self.open if each.batch_id is not None and each.chunk_id not in self.unaskable.errors]
        answered = [(batch, state) for batch in known if (state := self._ask_about(batch)) is not None]
        ended = [each for each in answered if not self._was_refused(*each)]
        self._save(ended)
        saved = [each for each in ended if self.parts.raw_folder.results(each[0].chunk_id) is not None]
        done = 0
        for group in collected_together(saved):
            done += len(group)
            self._watch(Phase(name="collecting", done=done, total=len(saved)))
            self._collect(group)
        self.unreachable.keep(self._lost)

    def _was_refused(self, batch: OpenBatch, state: BatchState) -> bool:
        """Return whether the provider refused a batch after it had made it; its rows are due again then.

        Writes what `LateRefusals.record` writes.
        """
        if not self.late.record(batch, state, [each.chunk_id for each in self.open]):
            return False
        self.compare_anew = True
        self.tell(Event(kind="batch_refused", level="warning", batch_id=batch.batch_id, detail=_why(state)))
        return True

    def _watch(self, progress: Phase | Counted) -> None:
        """Report to the watcher how much is done, or the counts of the provider."""
        self.context.watch(self.parts.resolved.name, progress)

    def _save(self, ended: Sequence[EndedBatch]) -> None:
        """Download the results of `ended` batches that are not kept yet, several at once."""
        if ended:
            self._watch(Phase(name="collecting", total=len(ended)))
        wait = self.troubled.has_waited
        calls = [partial(self.collector.save, batch, state, waited=wait(batch)) for batch, state in ended]
        answers = self.context.machine.pool(calls, DOWNLOADS_AT_ONCE, FAILURES)
        for (batch, state), answer in zip(ended, answers, strict=True):
            if answer is not None:
                self._results_failed(batch, state, answer)

    def _results_failed(self, batch: OpenBatch, state: BatchState, error: Failure) -> None:
        """Note that the results of `batch` cannot be downloaded now."""
        if isinstance(error, NotSentError):
            self._not_reached(self._url(batch), error)
            return
        if isinstance(error, RefusedError) and error.kind == "account":
            self._refused(batch, error)
            return
        self.troubled.results_failed(batch, state, error)

    def save_ended(self) -> None:
        """Download the results of batches that have ended, once in a poll interval.

        It is called while another process holds the database, so that it records nothing and ignores the provider's
        errors.
        """
        now = self.context.clock()
        if self._saved_at is not None and now < self._look_after(self._saved_at):
            return
        self._saved_at = now
        for batch in self.open:
            if batch.batch_id is None or batch.chunk_id in self.unaskable.errors:
                continue
            if self.parts.raw_folder.results(batch.chunk_id) is not None:
                continue
            with suppress(*FAILURES):
                state = self.parts.providers.of(batch).poll(batch.batch_id)
                if can_be_saved(state):
                    self.collector.save(batch, state)

    def _ask_about(self, batch: OpenBatch) -> BatchState | None:
        """Return the state of `batch` where its results can be asked for; None where not, or not now."""
        url = self._url(batch)
        if url in self._lost or batch.chunk_id in self.unaskable.errors:
            return None
        try:
            return self._poll(batch)
        except NotSentError as error:
            self._not_reached(url, error)
        except UnavailableError as error:
            self.troubled.unanswered(batch, error)
        except RefusedError as error:
            if error.kind != "not_found":
                self._refused(batch, error)
            elif (missing := self.troubled.record_missing(batch, error)) is not None:
                self.unaskable.errors[batch.chunk_id] = missing
        return None

    def _refused(self, batch: OpenBatch, error: RefusedError) -> None:
        """Note that the provider refuses to say what became of a batch. Where it refuses the key, nothing else is asked
        with it in this look.
        """
        theirs = self.unaskable.of_account(batch, self.open) if error.kind == "account" else [batch]
        self.unaskable.refuse(theirs, refusal(error, self.parts.providers.of(batch).key_hash))

    def refresh(self) -> None:
        """Read the open batches, where anything was committed since they were read last.

        Reads `ledger.batches`.
        """
        with self.parts.reading() as session:
            if session.seq != self._as_of:
                self.open = open_batches(session, self.parts.resolved.names)
                self._as_of = session.seq
                if self.open:
                    self.troubled.troubles.read(session)

    def after_submit(self) -> None:
        """Add the batches that were submitted. They are polled for the first time after one poll interval."""
        self.refresh()
        if self.open and self.next_look is None:
            self.next_look = self._look_after(self.context.clock())

    def _look_after(self, now: datetime) -> datetime:
        """Return the moment one poll interval after `now`."""
        return now + timedelta(seconds=self.context.settings.poll_interval)

    def _search_orphans(self) -> None:
        """Search the provider's list for the batches of chunks whose submit had no known outcome."""
        if not any(each.state == "held" for each in self.open):
            return
        found = self.reconciler.search()
        self.troubled.questions |= found.questions
        for batches, refused in found.refused:
            self.unaskable.refuse(batches, refused)
        for url, error in found.not_reached.items():
            self._not_reached(url, error)
        if found.unavailable is not None:
            self.tell(Event(kind="unavailable", level="warning", detail=found.unavailable))
        if found.changed:
            before = {each.chunk_id for each in self.open}
            self.refresh()
            if before - {each.chunk_id for each in self.open}:
                self.compare_anew = True
                self.tell(Event(kind="submit_lost"))

    def _poll(self, batch: OpenBatch) -> BatchState | None:
        """Return the state of `batch` where it has ended, or its results are said to be gone, else None."""
        assert batch.batch_id is not None
        with telemetry.span("poll", self.parts.resolved.name, batch_id=batch.batch_id):
            known = self.seen.pop(batch.chunk_id, None)
            same = known is not None and known.batch_id == batch.batch_id
            state = known if known is not None and same else self.parts.providers.of(batch).poll(batch.batch_id)
        self.troubled.answered(batch, state)
        self._watch(Counted(batch_id=batch.batch_id, counts=state.counts))
        return state if state.ended or state.archived else None

    def _collect(self, group: Sequence[EndedBatch]) -> None:
        """Collect `group` in one transaction, or one by one where anything about them is out of the ordinary."""
        name, together = self.parts.resolved.name, None
        if len(group) > 1:
            with telemetry.span("collect", name, batch_id=",".join(state.batch_id for _, state in group)):
                together = self.collector.collect_together(group)
        if together is None:
            for batch, state in group:
                try:
                    with telemetry.span("collect", name, batch_id=state.batch_id):
                        found = self.collector.collect(batch, state, waited=self.troubled.has_waited(batch))
                except FAILURES as error:
                    self._results_failed(batch, state, error)
                else:
                    self._account_for(batch, state, found)
            return
        for (batch, state), collected in zip(group, together, strict=True):
            self._account_for(batch, state, collected)

    def _account_for(self, batch: OpenBatch, state: BatchState, collected: CollectedBatch) -> None:
        """Update the state of the run after a collected batch, and report it to the watcher."""
        if collected.foreign:
            self._record_foreign(batch, state)
            return
        self._add_up(batch, collected)
        self.tell(_collected_event(state.batch_id, collected))

    def take_in_asked(self, batch: OpenBatch, collected: CollectedBatch) -> None:
        """Update the state of the run after a chunk that was asked in realtime, and report it to the watcher."""
        self._add_up(batch, collected)
        self.tell(replace(_collected_event("", collected), kind="asked", batch_id=None))

    def _add_up(self, batch: OpenBatch, collected: CollectedBatch) -> None:
        """Add what became of a chunk's rows to what became of others."""
        self.accepted += collected.accepted
        self.failed += collected.failed
        self.due_again = self.due_again or collected.due_again + collected.waiting > 0
        # An earlier run may have sent another prompt or another input, so that its rows are compared anew.
        self.compare_anew = self.compare_anew or batch.run_id != self.parts.run_id
        self.stop = self.stop or collected.stop
        for warning in collected.warnings:
            self.tell(Event(kind="warning", level="warning", batch_id=batch.batch_id, detail=warning))

    def _record_foreign(self, batch: OpenBatch, state: BatchState) -> None:
        """Record that a presumed batch belongs to somebody else, or to another of our chunks. The search for this
        chunk's batch goes on.

        If another presumed batch has proved to be the chunk's own meanwhile, the chunk keeps that one. If the provider
        itself said that this batch is the chunk's, there is nothing left to search for, and a person is asked.
        Reads `work.lines`. Writes `ledger.events`.
        """
        data = submitted_batch_data(state)
        ids = {"chunk_id": batch.chunk_id, "batch_id": batch.batch_id}
        with self.parts.reading() as session:
            certain = session.one(query("is_by_reply"), ids)[0]
            owners = session.rows(query("owners_of_lines"), {"batch_id": batch.batch_id})
        if owners or not certain:
            with self.parts.writing() as session:
                if not certain:
                    loses = batch.chunk_id if session.one(query("may_lose_batch"), ids)[0] else None
                    self.parts.add_event(session, "batch_foreign", data, chunk_id=loses)
                for owner, chunk_id in owners:
                    add_event(session, owner, "chunk_adopted", data, run_id=self.parts.run_id, chunk_id=chunk_id)
        if certain:
            self.troubled.foreign(batch)

    def _url(self, batch: OpenBatch) -> str:
        """Return the base URL at which a batch is asked about."""
        return self.parts.providers.of(batch).base_url

    def _not_reached(self, url: str, error: NotSentError) -> None:
        """Note that no connection to the provider at `url` was made, and tell it."""
        self._lost.add(url)
        self.unreachable.meet(url, str(error))
        self.tell(Event(kind="unreachable", level="warning", detail=str(error)))


def look_after_batches(
    parts: RunParts, context: Context, prices: PriceBook, tell: Tell, seen: dict[str, BatchState]
) -> BatchesInFlight:
    """Return what looks after the open batches of a run's pipeline.

    `seen` has what the provider has just said of batches, by chunk.
    """
    resolved = parts.resolved
    troubles = TroubleBook(
        database=parts.database, work=parts.work, pipeline=resolved.name, names=resolved.names, run_id=parts.run_id
    )
    return BatchesInFlight(
        collector=Collector(parts=parts, prices=prices, poll_interval=context.settings.poll_interval),
        reconciler=Reconciler(
            parts=parts, reconcile_wait=context.reconcile_wait, troubles=troubles, account_url=context.account_url
        ),
        troubled=TroubledBatches(
            resolved=resolved,
            provider=parts.providers.of,
            known_of=parts.providers.known_of,
            context=context,
            troubles=troubles,
            tell=tell,
        ),
        late=LateRefusals(parts=parts, poll_interval=context.settings.poll_interval),
        unreachable=UnreachableProviders(
            clock=context.clock,
            hint=f"{CHECK} Then run the same command again: nothing is lost.",
        ),
        unaskable=UnaskableBatches(provider=parts.providers.of, tell=tell),
        context=context,
        tell=tell,
        seen=seen,
    )


def _why(state: BatchState) -> str:
    """Return the provider's reason for the refusal of a batch."""
    return str(state.ended.refused) if state.ended is not None and state.ended.refused is not None else ""


def _collected_event(batch_id: str, collected: CollectedBatch) -> Event:
    """Return the event that tells what became of the rows of a collected batch."""
    rows = {
        "accepted": collected.accepted,
        "due again": collected.due_again,
        "waiting for other members": collected.waiting,
        "failed": collected.failed,
        "canceled": collected.canceled,
    }
    level: Level = "error" if collected.stop else "info"
    return Event(kind="collected", level=level, batch_id=batch_id, rows=rows, cost_usd=collected.cost_usd)
