"""Sending what is due: chunk by chunk, within what may be in flight, queued at the provider, and spent."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal

from batchpipe import telemetry
from batchpipe.caching import Turn
from batchpipe.engine.budget import Limit, has_limit, tightest
from batchpipe.engine.context import Context
from batchpipe.engine.facts import Load, load, spent
from batchpipe.engine.flight import UNREACHABLE_SECONDS, Flight
from batchpipe.engine.marks import UNMARKED, turn_of
from batchpipe.engine.plan import Plan, Planner
from batchpipe.engine.submit import Sent, Submitter
from batchpipe.errors import PipelineError, ProviderError
from batchpipe.logs import Event, Tell
from batchpipe.sql import quote_list
from batchpipe.store.queries import query

LONGEST_WAIT_SECONDS = 300.0
FIRST_AFTER_STOP = 20


@dataclass(slots=True, kw_only=True)
class Queue:
    """The due requests of the present plan, sent in order. `gate` says why sending stopped."""

    submitter: Submitter
    planner: Planner
    context: Context
    max_usd: Decimal | None
    tell: Tell
    gate: str | None = None
    wake_at: datetime | None = None
    submitted: int = 0
    batches: int = 0
    _plan: Plan | None = field(default=None, init=False)
    _number: int = field(default=0, init=False)
    _size_cap: int | None = field(default=None, init=False)
    _not_sent_since: datetime | None = field(default=None, init=False)

    def load(self, plan: Plan) -> None:
        """Take over a new plan's queue."""
        self._plan, self._number, self.gate = plan, 0, None
        self.planner.number_sends()

    @property
    def exhausted(self) -> bool:
        return self._plan is None or self._number >= self._plan.requests

    def submit(self, flight: Flight) -> None:
        """Send chunks while there is room; says in `gate` or `wake_at` what it waits for."""
        self.gate = None
        now = self.context.clock()
        if self.exhausted or (self.wake_at is not None and now < self.wake_at):
            return
        self.wake_at = None
        cautious = self._cautious()
        while self._send_next(cautious):
            pass
        flight.account()

    def _send_next(self, cautious: bool) -> bool:
        """Send one chunk where there is room; whether another may follow at once."""
        if self._plan is None or self.exhausted:
            return False
        count = self._room(cautious)
        marks, turn = self.planner.marks, self._turn() if count else UNMARKED
        count = min(count, turn.most)
        if count:
            with telemetry.span("submit", self.submitter.resolved.name, requests=count):
                sent = self.submitter.send(self._plan, self._number, count, marks, turn)
            self._after(sent)
        return count > 0 and self.wake_at is None and not cautious

    def _turn(self) -> Turn:
        """Whether the next chunk primes a cache, waits for one, or goes as it is."""
        if not self.planner.marks.by_rung:
            return UNMARKED
        with self.context.database.reading(self.submitter.work) as session:
            return turn_of(session, self.submitter.resolved, self.planner.marks, self._number)

    def _cautious(self) -> bool:
        """After a batch that no row survived, only a few requests go first."""
        names = quote_list(self.submitter.resolved.names)
        with self.context.database.reading(self.submitter.work) as session:
            return bool(session.one(query("stopped_by_batch", pipelines=names))[0])

    def _room(self, cautious: bool) -> int:
        """How many requests may be sent as the next chunk; 0 where one has to wait or a limit is reached."""
        assert self._plan is not None
        resolved = self.submitter.resolved
        chunking = resolved.file.pipeline.chunking
        budget, names, run_id = resolved.file.pipeline.budget, resolved.names, self.submitter.run_id
        with self.context.database.reading(self.submitter.work) as session:
            busy = load(session, names, run_id)
            # What was ever spent is a sum over all results: not asked for where nothing limits it.
            limited = has_limit(budget, self.max_usd)
            limit = tightest(budget, self.max_usd, spent(session, names, run_id), busy) if limited else None
        if busy.batches >= (1 if cautious else chunking.max_in_flight):
            return 0
        chunk = next(each for each in self._plan.chunks if each.start + each.count > self._number)
        count = min(chunk.start + chunk.count - self._number, chunking.max_queued - busy.requests)
        if self._size_cap is not None:
            count = min(count, self._size_cap)
        if cautious:
            count = min(count, FIRST_AFTER_STOP)
        if count <= 0 or limit is None:
            return max(count, 0)
        return self._affordable(count, limit, busy)

    def _affordable(self, count: int, limit: Limit, busy: Load) -> int:
        """How many of the next `count` requests certainly fit what is left of `limit`."""
        fitting, unpriced = self.submitter.work.connection.execute(
            "SELECT count(*) FILTER (so_far <= $left), count(*) FILTER (max_usd IS NULL) FROM ("
            "SELECT max_usd, sum(max_usd) OVER (ORDER BY number) AS so_far FROM work.queue "
            "WHERE number >= $start AND number < $stop)",
            {"left": limit.left_usd, "start": self._number, "stop": self._number + count},
        ).fetchone() or (0, 0)
        if unpriced:
            what = f"{limit.name} cannot be kept: no price is known for a model of the ladder"
            hint = 'Give its price in a file: prices = "prices.toml" under [tool.batchpipe].'
            raise PipelineError(what, where=self.submitter.resolved.file.where("[[models]]"), hint=hint)
        if not fitting and not busy.batches:
            self.gate = (
                f"{limit.name} of ${limit.allowed_usd} is reached: ${max(limit.left_usd, Decimal(0)):.4f} is left, "
                "less than the next request may cost"
            )
        return int(fitting)

    def _after(self, sent: Sent) -> None:
        """Go on, make the chunk smaller, or wait, by what became of the last one."""
        now = self.context.clock()
        if sent.outcome in ("sent", "unknown"):
            self._number += sent.count
            self.submitted += sent.count
            self.batches += 1
            self._not_sent_since = None
            kind = "submitted" if sent.outcome == "sent" else "submit_unknown"
            self.tell(Event(kind=kind, requests=sent.count, words=sent.words))
        elif sent.outcome == "refused_size":
            self._smaller(sent)
        elif sent.outcome == "wait":
            seconds = min(sent.retry_after_seconds or self.context.settings.poll_interval, LONGEST_WAIT_SECONDS)
            self.wake_at = now + timedelta(seconds=seconds)
            self.tell(Event(kind="asked_to_wait", words=sent.words))
        else:
            self._not_sent_since = self._not_sent_since or now
            if (now - self._not_sent_since).total_seconds() >= UNREACHABLE_SECONDS:
                hint = "Check the network and `base_url`, then run the same command again: nothing was sent."
                raise ProviderError(f"the provider cannot be reached: {sent.words}", where="provider", hint=hint)
            self.wake_at = now + timedelta(seconds=min(self.context.settings.poll_interval, 5.0))
            self.tell(Event(kind="unreachable", level="warning", words=sent.words))
        if sent.outcome not in ("sent", "unknown"):
            self.planner.number_sends()

    def _smaller(self, sent: Sent) -> None:
        """Halve a chunk that was refused whole until the offender is found; a single one has failed."""
        if sent.count > 1:
            self._size_cap = sent.count // 2
            self.tell(Event(kind="chunk_refused", level="warning", requests=self._size_cap, words=sent.words))
            return
        self.submitter.fail_single(sent.chunk_id, sent.words)
        self._number += 1
        self._size_cap = None
        self.tell(Event(kind="request_refused", level="warning", words=sent.words))
