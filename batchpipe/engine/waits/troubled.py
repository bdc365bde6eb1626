"""Batches in trouble: not found, past their expiry, without results that can be read. Each wait for one has an end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from batchpipe.common.errors import ProviderError
from batchpipe.common.logs import Event, Tell
from batchpipe.decide.waits import UNREADABLE_WAITS, is_overdue, lasts, life
from batchpipe.engine.context import Context
from batchpipe.engine.ledger.events import OpenBatch, add_event
from batchpipe.engine.output.output_table import merge_output
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.engine.waits.gone import GoneResults, record_gone
from batchpipe.engine.waits.questions import (
    Question,
    ask_foreign,
    ask_overdue,
    ask_presumed_gone,
    ask_unanswered,
    ask_unreadable,
    ask_young_gone,
)
from batchpipe.engine.waits.troubles import TroubleBook
from batchpipe.pipeline.evaluations import evaluated_pipeline
from batchpipe.providers import BatchState, Provider, RefusedError, UnavailableError
from batchpipe.providers.known import KnownProvider
from batchpipe.sql.quoting import number_sql, quote_list, sql
from batchpipe.store.queries import query

EXPIRES_SOON = timedelta(hours=2)
GONE_SOON = timedelta(days=3)


@dataclass(slots=True, kw_only=True)
class TroubledBatches:
    """Decides what is done about open batches of one pipeline that do not come back as they should.

    `questions` has what a person has to decide, by chunk; it is made anew at every look. `asked_until` (naive UTC) is
    when a pause ends that the provider asks for. `lost` says that results were gone, so that rows are due again.
    """

    resolved: Resolved
    provider: Callable[[OpenBatch], Provider]
    known_of: Callable[[OpenBatch], KnownProvider]
    context: Context
    troubles: TroubleBook
    tell: Tell
    questions: dict[str, Question] = field(default_factory=dict)
    asked_until: datetime | None = None
    lost: bool = False
    _warned: set[str] = field(default_factory=set, init=False)

    @property
    def _named(self) -> str:
        """Return the name that commands know the pipeline by: for an evaluation that of the pipeline it evaluates."""
        return evaluated_pipeline(self.resolved.name)

    def look_anew(self) -> None:
        """Forget what is asked of a person: what is still to be asked is found again."""
        self.questions, self.asked_until = {}, None

    def unanswered(self, batch: OpenBatch, error: UnavailableError) -> None:
        """Note that the provider did not answer when it was asked about `batch`.

        Writes `ledger.events`.
        """
        self.tell(Event(kind="unavailable", level="warning", detail=str(error) + self.wait_for(error)))
        trouble, overdue = self.troubles.meet(batch, "unanswered", str(error)), self.is_overdue(batch, None)
        wait = UNREADABLE_WAITS * self.context.reconcile_wait
        if overdue or lasts(trouble.looks, trouble.since, self.context.clock(), wait):
            self.questions[batch.chunk_id] = ask_unanswered(self._named, batch, str(error), overdue=overdue)

    def answered(self, batch: OpenBatch, state: BatchState) -> None:
        """Handle what the provider says of `batch`: tell a person what matters, and ask one if the batch never ends.

        Writes `ledger.events`.
        """
        self.troubles.relieve(batch, "not_found", "unanswered")
        if batch.missing_since is not None:
            self.record_event(batch, "batch_found", {})
        self.warn(batch, state)
        if not state.ended and not state.archived and self.is_overdue(batch, state):
            self.questions[batch.chunk_id] = ask_overdue(self._named, batch)

    def wait_for(self, error: UnavailableError) -> str:
        """Wait for the pause that the provider asks for; return the text that says until when."""
        if error.retry_after_seconds is None:
            return ""
        until = self.context.clock() + timedelta(seconds=error.retry_after_seconds)
        self.asked_until = max(until, self.asked_until or until)
        return f"; asked to wait until {self.asked_until:%H:%M:%S} UTC"

    def results_failed(self, batch: OpenBatch, state: BatchState, error: RefusedError | UnavailableError) -> None:
        """Note that the results of `batch` cannot be downloaded now: they are gone, or are asked for again.

        Writes `ledger.events`, `ledger.decisions`, the output table.
        """
        now, wait = self.context.clock(), self.context.reconcile_wait
        until = self.wait_for(error) if isinstance(error, UnavailableError) else ""
        old = self._age(batch, state) >= self._kept_for(batch)
        if isinstance(error, RefusedError) and (state.archived or old):
            trouble = self.troubles.meet(batch, "gone", str(error))
            if lasts(trouble.looks, trouble.since, now, 0.0 if old else wait):
                self._record_gone(batch, str(error), young=not old)
            return
        self.tell(Event(kind="unavailable", level="warning", detail=str(error) + until))
        trouble = self.troubles.meet(batch, "unreadable", str(error))
        if lasts(trouble.looks, trouble.since, now, UNREADABLE_WAITS * wait):
            self.questions[batch.chunk_id] = ask_unreadable(self._named, batch, str(error))

    def has_waited(self, batch: OpenBatch) -> bool:
        """Return whether this look ends the wait for the results of `batch`: what is there of them is taken then."""
        trouble = self.troubles.met(batch, "unreadable")
        wait = UNREADABLE_WAITS * self.context.reconcile_wait
        return trouble is not None and lasts(trouble.looks + 1, trouble.since, self.context.clock(), wait)

    def foreign(self, batch: OpenBatch) -> None:
        """Note that no result of the chunk's own batch is one that was asked for; if that lasts, ask a person.

        Writes `ledger.events`.
        """
        trouble = self.troubles.meet(batch, "foreign", "none of its results was asked for with it")
        if lasts(trouble.looks, trouble.since, self.context.clock(), self.context.reconcile_wait):
            self.questions[batch.chunk_id] = ask_foreign(self._named, batch)

    def _record_gone(self, batch: OpenBatch, message: str, *, young: bool) -> None:
        """Record that the results of `batch` are gone: they are paid for, and its rows have one attempt less.

        Where the batch is only presumed, a person has to decide; also at the first batch that is younger than the
        provider keeps results.
        Reads `ledger.events`, `ledger.requests`. Writes `ledger.events`, `ledger.decisions`, the output table.
        """
        resolved = self.resolved
        if batch.state == "presumed":
            self.questions[batch.chunk_id] = ask_presumed_gone(self._named, str(batch.batch_id))
            return
        why = "the provider no longer has its results"
        gone = GoneResults(batch=batch, kind="batch_gone", data={"why": message, "young": young}, why=why)
        if young and not self._asked_before():
            self.questions[batch.chunk_id] = ask_young_gone(self._named, batch, message)
            return
        with self.troubles.writing() as session:
            record_gone(session, resolved.file.pipeline, [gone], self.troubles.run_id)
            kept = query("accepted_in_commit", seq=number_sql(session.seq))
            if session.one(sql("SELECT count(*) FROM ({kept})", kept=kept))[0]:
                merge_output(session, resolved, kept)
        self.lost = True
        days = self._kept_for(batch).days
        kept_for = "" if young else f"{days} day" if days == 1 else f"{days} days"
        self.tell(Event(kind="batch_gone", level="warning", batch_id=batch.batch_id, detail=kept_for))

    def _asked_before(self) -> bool:
        """Return whether a person has answered about results that were gone too early, in this pipeline.

        Reads `ledger.events`.
        """
        with self.troubles.reading() as session:
            names = quote_list(self.resolved.names)
            return bool(session.one(query("young_gone_before", pipelines=names))[0])

    def record_missing(self, batch: OpenBatch, error: RefusedError) -> ProviderError | None:
        """Record that the provider does not find `batch`; return the error of one that was not found for
        `reconcile_wait` seconds.

        A 404 may pass. One that lasts is of a key of another workspace, and its rows must not be bought again. Since
        when it lasts is recorded: a call from cron looks once, and the run must still come to a stop. Only where the
        key is that of the batch, and the batch is older than the provider keeps results by the provider's own clock,
        its results are gone.
        Writes `ledger.events`.
        """
        assert batch.batch_id is not None
        now, wait = self.context.clock(), self.context.reconcile_wait
        if batch.missing_since is None:
            self.record_event(batch, "batch_missing", {"message": error.message})
        trouble = self.troubles.meet(batch, "not_found", error.message)
        same_key = batch.key_hash == self.provider(batch).key_hash
        if same_key and self._age(batch, None, error.answered_at) >= self._kept_for(batch):
            if lasts(trouble.looks, trouble.since, now, 0.0):
                self._record_gone(batch, error.message, young=False)
            return None
        if now - (batch.missing_since or now) >= timedelta(seconds=wait):
            return ProviderError(
                f"the batch {batch.batch_id} is not found: {error.message}",
                where=f"workspace {batch.workspace or 'unknown'}, key {batch.key_hash}",
                hint="Use the key of the workspace that made the batch; until then its rows stay pending. "
                f"To give the batch up: batchpipe recover {self._named} --abandon",
            )
        self.tell(Event(kind="batch_not_found", level="warning", batch_id=batch.batch_id))
        return None

    def warn(self, batch: OpenBatch, state: BatchState) -> None:
        """Tell, once in a run, of a batch that expires soon or is past it, of results that are gone soon, and of a
        state that the protocol does not have.
        """
        if batch.chunk_id in self._warned:
            return
        now = state.answered_at or self.context.clock()
        what = None
        if state.ended:
            until = (state.created_at or batch.prepared_at) + self._kept_for(batch)
            if until - now <= GONE_SOON:
                what = f"the results of {batch.batch_id} are kept until {until:%Y-%m-%d %H:%M} UTC only"
        elif state.expires_at is not None and state.expires_at <= now:
            what = f"{batch.batch_id} expired at {state.expires_at:%Y-%m-%d %H:%M} UTC, and has not ended"
        elif state.expires_at is not None and state.expires_at - now <= EXPIRES_SOON:
            when = f"{state.expires_at:%Y-%m-%d %H:%M} UTC"
            what = f"{batch.batch_id} expires at {when}, with all requests not done by then"
        elif state.unknown_state is not None:
            what = f"{batch.batch_id} is in a state that is not known, `{state.unknown_state}`: it is waited for"
        if what is not None:
            self._warned.add(batch.chunk_id)
            self.tell(Event(kind="warning", level="warning", detail=what))

    def _kept_for(self, batch: OpenBatch) -> timedelta:
        """Return how long the provider keeps the results of a batch, from the time at which it was made."""
        return timedelta(seconds=self.known_of(batch).batch_limits.results_seconds)

    def _age(self, batch: OpenBatch, state: BatchState | None, answered_at: datetime | None = None) -> timedelta:
        """Return the age of a batch by the provider's clock, where it is known; else by ours."""
        created_at = (state.created_at if state is not None else None) or batch.created_at
        answered_at = answered_at or (state.answered_at if state is not None else None)
        if created_at is not None and answered_at is not None:
            return answered_at - created_at
        return self.context.clock() - batch.prepared_at

    def is_overdue(self, batch: OpenBatch, state: BatchState | None) -> bool:
        """Return whether `batch` should have ended more than a day ago."""
        times = (state.created_at, state.expires_at) if state is not None else (batch.created_at, batch.expires_at)
        return is_overdue(self._age(batch, state), life(*times))

    def record_event(self, batch: OpenBatch, kind: str, data: Mapping[str, str]) -> None:
        """Record what happened to the chunk of `batch`.

        Writes `ledger.events`.
        """
        with self.troubles.writing() as session:
            add_event(session, self.resolved.name, kind, data, run_id=self.troubles.run_id, chunk_id=batch.chunk_id)
