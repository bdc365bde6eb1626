"""Choose the mode in which the rungs of a plan are asked: as the file says, or in realtime for the last few requests
and for a deadline.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from batchpipe.common.logs import Event
from batchpipe.decide.deadline import BatchTime, batch_time, is_late, misses
from batchpipe.engine.batches.in_flight import BatchesInFlight
from batchpipe.engine.ledger.events import OpenBatch
from batchpipe.engine.plan.orders import Order
from batchpipe.engine.plan.plan import FRESH_REASONS, Hurry, Plan, PlanOptions
from batchpipe.engine.plan.planner import Planner
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.engine.resolved.rungs import rung_problems
from batchpipe.engine.source.snapshot import Snapshot
from batchpipe.providers import NotSentError, RefusedError, RungSettings, UnavailableError
from batchpipe.sql.quoting import Sql, quote_list, sql
from batchpipe.store.database import Session, Work
from batchpipe.store.queries import query

# The longest pause between realtime calls for which `--no-wait` still waits.
SHORT_PAUSE = timedelta(seconds=60)


@dataclass(frozen=True, slots=True, kw_only=True)
class RungModes:
    """Plans with each rung in the mode that fits. `by` (naive UTC) is when the answers are to be there.

    `has_late`: a batch of this run was canceled because it was late; from then on everything is asked in realtime.
    """

    planner: Planner
    resolved: Resolved
    by: datetime | None = None
    has_late: bool = False

    def plan(self, snapshot: Snapshot, orders: Sequence[Order], options: PlanOptions, *, in_flight: bool) -> Plan:
        """Return the plan, anew where rungs of batches are asked in realtime: the last few, or what would be too late.

        `in_flight` says that batches of the pipeline are open.
        Reads `work.due`, `work.to_send`, the ledger, and what `Planner.plan` reads. Writes what `Planner.plan` writes.
        """
        self.planner.resolved = self.resolved
        plan = self.planner.plan(snapshot, orders, options)
        if self.has_late or (not in_flight and is_last_few(self.planner.work, self.resolved, plan)):
            self.planner.resolved = asked_at_once(self.resolved, range(1, len(self.resolved.rungs) + 1))
            return self.planner.plan(snapshot, orders, options)
        late = {
            rung: time for rung, time in self._late_rungs(plan).items() if may_be_asked_at_once(self.resolved, rung)
        }
        if not late:
            return plan
        self.planner.resolved = asked_at_once(self.resolved, late)
        assert self.by is not None
        names = {rung: self.resolved.providers.full_name(self.resolved.rungs[rung - 1]) for rung in late}
        times = {names[rung]: time for rung, time in late.items()}
        hurry = Hurry(by=self.by, times=times, batch_usd=plan.estimate.cost_usd)
        return replace(self.planner.plan(snapshot, orders, options), hurry=hurry)

    def _late_rungs(self, plan: Plan) -> Mapping[int, BatchTime]:
        """Return the rungs whose batches would not be back in time, with the time that they take.

        Batches of what is due are sent now. Those of a higher rung that rows are expected to reach are sent when the
        ones before them are back.
        Reads `work.to_send`, `ledger.batches`.
        """
        if self.by is None or not plan.requests:
            return {}
        planner, by = self.planner, self.by
        due = {
            rung
            for (rung,) in planner.work.connection.execute(Sql("SELECT DISTINCT rung FROM work.to_send")).fetchall()
        }
        rungs = sorted(due | {each.rung for each in plan.estimate.rungs})
        with planner.database.reading(planner.work) as session:
            now = session.now
            times = {
                rung: read_batch_time(session, self.resolved.rungs[rung - 1])
                for rung in rungs
                if self.resolved.rungs[rung - 1].mode == "batch"
            }
        late = {rung: time for rung, time in times.items() if rung in due and misses(time, now, by)}
        sent = now + timedelta(
            seconds=max((times[each].seconds for each in times.keys() & due - late.keys()), default=0)
        )
        for rung in sorted(times.keys() - due):
            if misses(times[rung], sent, by):
                late[rung] = times[rung]
            else:
                sent += timedelta(seconds=times[rung].seconds)
        return late


def may_be_asked_at_once(resolved: Resolved, number: int) -> bool:
    """Return whether the provider of a rung takes its requests as realtime calls: not those with more room for an
    answer than only batches have.
    """
    rung = replace(resolved.rungs[number - 1], mode="realtime")
    found = rung_problems(
        resolved.providers,
        rung,
        output_format=resolved.file.pipeline.output.format,
        sent_schema=resolved.sent_schema(rung),
    )
    return all(each.level != "error" for each in found)


def asked_at_once(resolved: Resolved, numbers: Collection[int]) -> Resolved:
    """Return the same pipeline with those of the rungs `numbers` asked in realtime that can be."""
    rungs = tuple(
        replace(each, mode="realtime") if number in numbers and may_be_asked_at_once(resolved, number) else each
        for number, each in enumerate(resolved.rungs, start=1)
    )
    return replace(resolved, rungs=rungs)


def asks_soon(resolved: Resolved, wakes: Iterable[datetime | None], now: datetime) -> bool:
    """Return whether realtime calls go on after one of the pauses that end at `wakes`, and the pause is short."""
    if all(each.mode == "batch" for each in resolved.rungs):
        return False
    return any(each is not None and each - now <= SHORT_PAUSE for each in wakes)


def read_batch_time(session: Session, rung: RungSettings) -> BatchTime:
    """Return how long batches of a rung's model take.

    Reads `ledger.batches`.
    """
    return batch_time(*session.one(query("batch_times"), {"provider": rung.provider, "model": rung.model}))


def has_late(in_flight: BatchesInFlight) -> bool:
    """Return whether a batch of this run was canceled because it was late."""
    return _late(in_flight.parts.resolved.name) in in_flight.context.shared


def _late(pipeline: str) -> tuple[str, str]:
    """Return the key of what is shared about late batches: the chunks that are being canceled."""
    return "late", pipeline


def cancel_late(in_flight: BatchesInFlight, by: datetime | None) -> None:
    """Ask the provider to cancel batches that take longer than 90% of the others did, where there is a deadline.

    What they have finished is kept; the rest is due again when they have ended. A batch is asked once. One that nobody
    can be asked about is left, and so is one whose model cannot be asked in realtime.
    Reads `ledger.batches`. Writes `ledger.events`.
    """
    if by is None:
        return
    key = _late(in_flight.parts.resolved.name)
    asked = in_flight.context.shared.get(key, set())
    assert isinstance(asked, set)
    if back := asked - {each.chunk_id for each in in_flight.open}:
        asked -= back
        in_flight.due_again = in_flight.compare_anew = True
    flying = [
        each
        for each in in_flight.open
        if each.state == "in_flight" and each.batch_id is not None and each.chunk_id not in in_flight.unaskable.errors
    ]
    if not flying:
        return
    parts = in_flight.parts
    with parts.reading() as session:
        now = session.now
        late = [
            each
            for each in flying
            if is_late(
                batch_time(*session.one(query("batch_times"), {"provider": each.provider, "model": each.model})),
                each.created_at or each.submitted_at or each.prepared_at,
                now,
            )
        ]
    kept = _only_in_batches(parts.resolved) if late else set()
    for each in late:
        if (each.provider, each.model) in kept:
            continue
        in_flight.context.shared[key] = asked
        asked.add(each.chunk_id)
        _cancel(in_flight, each)


def _only_in_batches(resolved: Resolved) -> set[tuple[str, str]]:
    """Return the providers and models of the rungs that cannot be asked in realtime."""
    return {
        (resolved.provider_of(each).name, each.model)
        for number, each in enumerate(resolved.rungs, start=1)
        if not may_be_asked_at_once(resolved, number)
    }


def _cancel(in_flight: BatchesInFlight, batch: OpenBatch) -> None:
    """Ask for the end of a batch: the intent is recorded before, the answer after it.

    Writes `ledger.events`.
    """
    parts, ids = in_flight.parts, {"batch_id": batch.batch_id}
    with parts.writing() as session:
        parts.add_event(session, "cancel_requested", ids, chunk_id=batch.chunk_id)
    try:
        state = parts.providers.of(batch).cancel(str(batch.batch_id))
        kind, answer = "cancel_answered", {"outcome": "ended" if state.ended else "canceling", "message": None}
    except (NotSentError, RefusedError, UnavailableError) as error:
        kind, answer = "cancel_failed", {"outcome": "failed", "message": str(error)}
    with parts.writing() as session:
        parts.add_event(session, kind, ids | answer, chunk_id=batch.chunk_id)
    in_flight.tell(Event(kind="late", level="warning", batch_id=batch.batch_id, requests=batch.requests))
    in_flight.refresh()


def is_last_few(work: Work, resolved: Resolved, plan: Plan) -> bool:
    """Return whether the plan's requests are so few as `[retry] stragglers` says, and all of a second or later wave.

    Reads `work.due`.
    """
    if not 0 < plan.requests <= resolved.file.pipeline.retry.stragglers or plan.held is not None:
        return False
    fresh = sql("SELECT count(*) FROM work.due WHERE reason IN ({reasons})", reasons=quote_list(FRESH_REASONS))
    return work.connection.execute(fresh).fetchone() == (0,)
