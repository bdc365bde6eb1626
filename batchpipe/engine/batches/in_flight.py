"""Look after batches in flight: poll them, collect those that have ended, search for submits of unknown outcome."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import ParamSpec, TypeVar

from batchpipe.common import telemetry
from batchpipe.common.errors import ProviderError
from batchpipe.common.logs import Event, Level, Tell
from batchpipe.engine.batches.collect import CollectedBatch, Collector, EndedBatch
from batchpipe.engine.batches.reconcile import Reconciler
from batchpipe.engine.batches.run_parts import RunParts
from batchpipe.engine.batches.submit import refusal, submitted_batch_data
from batchpipe.engine.context import Context
from batchpipe.engine.ledger.events import OpenBatch, add_event, open_batches
from batchpipe.providers import BatchState, NotSentError, RefusedError, UnavailableError
from batchpipe.store.queries import query

UNREACHABLE_SECONDS = 60.0
EXPIRES_SOON = timedelta(hours=2)
GONE_SOON = timedelta(days=3)
DOWNLOADS_AT_ONCE = 4
FAILURES = (NotSentError, UnavailableError, RefusedError)
# How many requests' results are collected in one transaction: more rows cost less each, but memory limits them.
MOST_TOGETHER = 100_000

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(slots=True, kw_only=True)
class BatchesInFlight:
    """Looks after the open batches of one pipeline.

    `due_again` says that results made rows due again; `compare_anew` that all rows are to be compared with the ledger
    again, since a chunk was lost or an earlier run's results came. `stop` is the message that stops the run. `unclear`
    maps chunks to batches that a person has to decide about. `next_look` is the time of the next poll, naive UTC.
    `seen` has what the provider has just said of batches, by chunk: they are not asked about again.
    """

    collector: Collector
    reconciler: Reconciler
    context: Context
    tell: Tell
    open: Sequence[OpenBatch] = ()
    next_look: datetime | None = None
    due_again: bool = False
    compare_anew: bool = False
    stop: str | None = None
    unclear: dict[str, str] = field(default_factory=dict)
    accepted: int = 0
    failed: int = 0
    seen: dict[str, BatchState] = field(default_factory=dict)
    _orphans_marked: bool = field(default=False, init=False)
    _warned: set[str] = field(default_factory=set, init=False)
    _unreachable_since: datetime | None = field(default=None, init=False)
    _saved_at: datetime | None = field(default=None, init=False)
    _as_of: int | None = field(default=None, init=False)

    @property
    def parts(self) -> RunParts:
        """Return what all steps of this part of the run share."""
        return self.collector.parts

    def look(self, *, force: bool) -> None:
        """Search for lost submits, poll what is open, and collect what has ended.

        That is done once in a poll interval, or with `force`.
        Raises ProviderError where the provider refuses, or cannot be reached for a minute.
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
            try:
                self._collect_what_ended()
                self._unreachable_since = None
            except NotSentError as error:
                self._stop_if_unreachable(error, now)
            self.refresh()
        self.next_look = self._look_after(now) if self.open else None

    def _collect_what_ended(self) -> None:
        """Poll the open batches, and collect those that have ended.

        The raw results of every ended batch are kept before the first is recorded: to record may have to wait for the
        database.
        """
        self._ask_patiently(self._search_orphans)
        known = [each for each in self.open if each.batch_id is not None]
        ended = [(batch, state) for batch in known if (state := self._ask_about(batch, self._poll, batch)) is not None]
        self._save(ended)
        for group in _groups([each for each in ended if self.parts.raw_folder.results(each[0].chunk_id) is not None]):
            self._collect(group)

    def _save(self, ended: Sequence[EndedBatch]) -> None:
        """Download the results of `ended` batches that are not kept yet, several at once."""
        calls = [partial(self.collector.save, batch) for batch, _ in ended]
        for (batch, _), answer in zip(
            ended, self.context.machine.pool(calls, DOWNLOADS_AT_ONCE, FAILURES), strict=True
        ):
            if answer is not None:
                self._ask_about(batch, _raise, answer)

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
            if batch.batch_id is None or self.parts.raw_folder.results(batch.chunk_id) is not None:
                continue
            with suppress(*FAILURES):
                if self.parts.provider().poll(batch.batch_id).ended:
                    self.collector.save(batch)

    def _ask_about(self, batch: OpenBatch, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R | None:
        """Return what `call` returns for `batch`; None where the provider does not know the batch, or did not answer.

        Raises ProviderError where the provider refuses for another reason.
        """
        try:
            return self._ask_patiently(call, *args, **kwargs)
        except RefusedError as error:
            if error.kind != "not_found":
                raise refusal(error, self.parts.provider().key_hash) from error
            self._record_missing(batch, error)
            return None

    def _ask_patiently(self, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R | None:
        """Return what `call` returns; None where the provider did not answer, which is told."""
        try:
            return call(*args, **kwargs)
        except UnavailableError as error:
            self.tell(Event(kind="unavailable", level="warning", detail=str(error)))
            return None

    def refresh(self) -> None:
        """Read the open batches, where anything was committed since they were read last.

        Reads `ledger.batches`.
        """
        with self.parts.reading() as session:
            if session.seq != self._as_of:
                self.open = open_batches(session, self.parts.resolved.names)
                self._as_of = session.seq

    def after_submit(self) -> None:
        """Take in the batches that were submitted; the first look at them is in a poll interval."""
        self.refresh()
        if self.open and self.next_look is None:
            self.next_look = self._look_after(self.context.clock())

    def _look_after(self, now: datetime) -> datetime:
        """Return the moment one poll interval after `now`."""
        return now + timedelta(seconds=self.context.settings.poll_interval)

    def _search_orphans(self) -> None:
        """Search the provider's list for the batches of chunks whose submit had no known outcome.

        Raises ProviderError where the provider refuses.
        """
        if not any(each.state == "held" for each in self.open):
            return
        try:
            found = self.reconciler.search()
        except RefusedError as error:
            raise refusal(error, self.parts.provider().key_hash) from error
        self.unclear |= found.gone
        if found.changed:
            before = {each.chunk_id for each in self.open}
            self.refresh()
            if before - {each.chunk_id for each in self.open}:
                self.compare_anew = True
                self.tell(Event(kind="submit_lost"))

    def _poll(self, batch: OpenBatch) -> BatchState | None:
        """Return the state of `batch` where it has ended and its results can be had, else None."""
        assert batch.batch_id is not None
        with telemetry.span("poll", self.parts.resolved.name, batch_id=batch.batch_id):
            known = self.seen.pop(batch.chunk_id, None)
            same = known is not None and known.batch_id == batch.batch_id
            state = known if known is not None and same else self.parts.provider().poll(batch.batch_id)
        if batch.missing_since is not None:
            self._record_event(batch, "batch_found", {})
        if state.archived and self.parts.raw_folder.results(batch.chunk_id) is None:
            self._record_gone(batch)
            return None
        self._warn_of_expiry(batch, state)
        return state if state.ended else None

    def _collect(self, group: Sequence[EndedBatch]) -> None:
        """Collect `group` in one transaction, or one by one where anything about them is out of the ordinary."""
        name, together = self.parts.resolved.name, None
        if len(group) > 1:
            with telemetry.span("collect", name, batch_id=",".join(state.batch_id for _, state in group)):
                together = self.collector.collect_together(group)
        if together is None:
            for batch, state in group:
                with telemetry.span("collect", name, batch_id=state.batch_id):
                    found = self._ask_about(batch, self.collector.collect, batch, state)
                if found is not None:
                    self._account_for(batch, state, found)
            return
        for (batch, state), collected in zip(group, together, strict=True):
            self._account_for(batch, state, collected)

    def _account_for(self, batch: OpenBatch, state: BatchState, collected: CollectedBatch) -> None:
        """Take in what a collected batch means for the run, and tell it to who watches."""
        if collected.foreign:
            self._record_foreign(batch, state)
            return
        self.accepted += collected.accepted
        self.failed += collected.failed
        self.due_again = self.due_again or collected.due_again > 0
        # An earlier run may have sent another prompt or another input, so that its rows are compared anew.
        self.compare_anew = self.compare_anew or batch.run_id != self.parts.run_id
        self.stop = self.stop or collected.stop
        for warning in collected.warnings:
            self.tell(Event(kind="warning", level="warning", batch_id=batch.batch_id, detail=warning))
        self.tell(_collected_event(state.batch_id, collected))

    def _record_foreign(self, batch: OpenBatch, state: BatchState) -> None:
        """Record that a presumed batch belongs to somebody else, or to another chunk of ours; the search goes on.

        The chunk keeps the batch that it may have got meanwhile, when another presumed batch turned out to be its own.
        Reads `work.lines`. Writes `ledger.events`.
        """
        data = submitted_batch_data(state)
        with self.parts.writing() as session:
            ids = {"chunk_id": batch.chunk_id, "batch_id": batch.batch_id}
            loses = batch.chunk_id if session.one(query("may_lose_batch"), ids)[0] else None
            self.parts.add_event(session, "batch_foreign", data, chunk_id=loses)
            for owner, chunk_id in session.rows(query("owners_of_lines")):
                add_event(session, owner, "chunk_adopted", data, run_id=self.parts.run_id, chunk_id=chunk_id)

    def _record_gone(self, batch: OpenBatch) -> None:
        """Record that the results of `batch` are gone, so that its rows are due again.

        Where the batch is only presumed, a person has to decide.
        Writes `ledger.events`.
        """
        if batch.state == "presumed":
            self.unclear[batch.chunk_id] = str(batch.batch_id)
            return
        self._record_event(batch, "batch_gone", {"why": "the provider no longer keeps its results"})
        self.compare_anew = True
        self.tell(Event(kind="batch_gone", level="warning", batch_id=batch.batch_id))

    def _record_event(self, batch: OpenBatch, kind: str, data: Mapping[str, str]) -> None:
        """Record what happened to the chunk of `batch`.

        Writes `ledger.events`.
        """
        with self.parts.writing() as session:
            self.parts.add_event(session, kind, data, chunk_id=batch.chunk_id)

    def _warn_of_expiry(self, batch: OpenBatch, state: BatchState) -> None:
        """Tell, once in a run, of a batch that expires soon and of results that are gone soon."""
        if batch.chunk_id in self._warned:
            return
        now = self.context.clock()
        kept_until = state.created_at + timedelta(seconds=self.parts.resolved.rules.limits.results_seconds)
        if not state.ended and state.expires_at is not None and state.expires_at - now <= EXPIRES_SOON:
            what = (
                f"{batch.batch_id} expires at {state.expires_at:%Y-%m-%d %H:%M} UTC, with all requests not done by then"
            )
        elif state.ended and kept_until - now <= GONE_SOON:
            what = f"the results of {batch.batch_id} are kept until {kept_until:%Y-%m-%d %H:%M} UTC only"
        else:
            return
        self._warned.add(batch.chunk_id)
        self.tell(Event(kind="warning", level="warning", detail=what))

    def _record_missing(self, batch: OpenBatch, error: RefusedError) -> None:
        """Record that the provider does not find `batch`.

        A 404 may pass. One that lasts is of a key of another workspace, and its rows must not be bought again. Since
        when it lasts is recorded: a call from cron looks once, and the run must still come to a stop.
        Writes `ledger.events`. Raises ProviderError where the batch was not found for `reconcile_wait` seconds.
        """
        assert batch.batch_id is not None
        now = self.context.clock()
        limits = self.parts.resolved.rules.limits
        made_at = batch.created_at or batch.submitted_at or batch.prepared_at
        if now - made_at >= timedelta(seconds=limits.results_seconds):
            self._record_gone(batch)
            return
        if batch.missing_since is None:
            self._record_event(batch, "batch_missing", {"message": error.message})
        if now - (batch.missing_since or now) >= timedelta(seconds=self.context.reconcile_wait):
            raise ProviderError(
                f"the batch {batch.batch_id} is not found: {error.message}",
                where=f"workspace {batch.workspace or 'unknown'}, key {batch.key_hash}",
                hint="Use the key of the workspace that made the batch; until then its rows stay pending. "
                f"To give the batch up: batchpipe recover {self.parts.resolved.name} --abandon",
            ) from error
        self.tell(Event(kind="batch_not_found", level="warning", batch_id=batch.batch_id))

    def _stop_if_unreachable(self, error: NotSentError, now: datetime) -> None:
        """Raise ProviderError where the provider could not be reached for a minute; tell it until then."""
        since = self._unreachable_since or now
        self._unreachable_since = since
        if now - since >= timedelta(seconds=UNREACHABLE_SECONDS):
            hint = "Check the network and `base_url`, then run the same command again: nothing is lost."
            raise ProviderError(f"the provider cannot be reached: {error}", where="provider", hint=hint) from error
        self.tell(Event(kind="unreachable", level="warning", detail=str(error)))


def _raise(error: Exception) -> None:
    """Raise `error`, as the call would have done that met it in a thread."""
    raise error


def _groups(ended: Sequence[EndedBatch]) -> Iterator[list[EndedBatch]]:
    """Yield groups of batches that may be collected together: of one day, and at most `MOST_TOGETHER` requests.

    A batch that is presumed or archived is alone in its group.
    """
    group: list[EndedBatch] = []
    for batch, state in ended:
        alone = batch.state == "presumed" or state.archived
        same_day = not group or group[0][1].created_at.date() == state.created_at.date()
        if group and (
            alone or not same_day or sum(each.requests for each, _ in group) + batch.requests > MOST_TOGETHER
        ):
            yield group
            group = []
        group.append((batch, state))
        if alone:
            yield group
            group = []
    if group:
        yield group


def _collected_event(batch_id: str, collected: CollectedBatch) -> Event:
    """Return the event that tells what became of the rows of a collected batch."""
    rows = {
        "accepted": collected.accepted,
        "due again": collected.due_again,
        "failed": collected.failed,
        "canceled": collected.canceled,
    }
    level: Level = "error" if collected.stop else "info"
    return Event(kind="collected", level=level, batch_id=batch_id, rows=rows, cost_usd=collected.cost_usd)
