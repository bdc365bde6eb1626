"""Choose the next chunks that may go up, within what may be in flight, queued at the provider, and spent."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal

from batchpipe.decide.caching import CacheDecision, CacheMark, decide_caching
from batchpipe.decide.chunking import PASSED_AT_MOST, free_size, is_worth_sending, subtract_ranges
from batchpipe.decide.reserve import largest_fitting
from batchpipe.engine.cost.budget import Limit, project_limits, tightest, unpriced
from batchpipe.engine.cost.reserves import Reserves, sums_of_requests
from batchpipe.engine.exchange.late_refusals import SmallerChunks
from batchpipe.engine.exchange.queues import ChosenLoad, FullQueues, queue_room
from batchpipe.engine.ledger.events import Load, open_load, spent
from batchpipe.engine.plan.cache_marks import UNMARKED, CacheMarks, current_cache_mark
from batchpipe.engine.plan.plan import Plan
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.providers import Mode
from batchpipe.sql.connection import Connection
from batchpipe.store.database import Session
from batchpipe.store.queries import query

# How many chunks go up together, and how many bytes their bodies may have in memory; a single one may have more.
UPLOADS_AT_ONCE = 4
UPLOAD_BYTES = 64_000_000
FIRST_AFTER_STOP = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class NextChunk:
    """Describes a chunk to be sent: `count` requests of `work.to_send` from number `start` on, all of `rung`.

    `caching` says whether the requests bear a cache mark, and for what purpose. `reserve_usd` (US dollars) is held for
    the chunk until its cost is known; None where money is not limited.
    """

    start: int
    count: int
    rung: int
    caching: CacheDecision
    reserve_usd: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenChunks:
    """Holds the chunks that may go up together. `no_room` names the budget that has no room for the rest now."""

    chunks: Sequence[NextChunk]
    no_room: NoRoom | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NoRoom:
    """Says that `requests` do not fit into `limit` now, but at most `fitting` of them.

    With `waits` there is room once what is in flight has ended.
    """

    limit: Limit
    requests: int
    fitting: int
    waits: bool

    @property
    def text(self) -> str:
        """Return the message that a budget is reached, or what the requests wait for."""
        limit = self.limit
        left = f"${max(limit.left_usd, Decimal(0)):.4f} is left"
        if self.waits:
            held = f", ${limit.reserved_usd:.4f} is reserved for what is in flight"
            return f"{self.requests:,} requests wait for room in {limit.name} of ${limit.allowed_usd:f}: {left}{held}"
        if limit.passed_usd:
            return limit.passed_text
        enough = f"enough for {self.fitting:,} of {self.requests:,} requests"
        return (
            f"{limit.name} of ${limit.allowed_usd:f} is reached: {left}, "
            f"{enough if self.fitting else 'less than the next request may cost'}"
        )


@dataclass(slots=True, kw_only=True)
class PassedOver:
    """Holds the ranges of numbers that a budget has no room for now; at most `fitting` requests of one would fit.

    What stands behind them may go up meanwhile.
    """

    ranges: list[tuple[int, int]] = field(default_factory=list)
    fitting: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitsLeft:
    """Holds what is left of each limit; `usd` (US dollars) is None where money is not limited."""

    batches: int
    requests: int
    bytes: int
    usd: Decimal | None

    def less(self, chunk: NextChunk, size: int) -> LimitsLeft:
        """Return what is left after `chunk`, whose requests have `size` bytes."""
        usd = self.usd - chunk.reserve_usd if self.usd is not None and chunk.reserve_usd is not None else self.usd
        return LimitsLeft(
            batches=self.batches - 1, requests=self.requests - chunk.count, bytes=self.bytes - size, usd=usd
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetRoom:
    """Says what is left of the tightest budget (US dollars), for a chunk that would be the `number`-th bounded one."""

    left_usd: Decimal | None
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkChooser:
    """Chooses chunks among the due requests of `plan`.

    `pending` are the ranges of numbers of `work.to_send` that are still to be sent, `rungs` the range of each rung.
    `most` bounds a chunk after one was refused for its size, `smaller` after one was refused late, `full` are queues
    that were full. `cautious` allows one small chunk at a time. `reserves` is what a budget holds for requests; it is
    None where money is not limited. `was_cut` says that the budget has cut a chunk in this run. `mode` is that of the
    rungs that `pending` is of.
    """

    resolved: Resolved
    run_id: str
    max_usd: Decimal | None
    plan: Plan
    cache_marks: CacheMarks
    pending: Sequence[tuple[int, int]]
    rungs: Mapping[int, tuple[int, int]]
    most: int | None
    cautious: bool
    reserves: Reserves | None
    smaller: SmallerChunks
    full: FullQueues
    was_cut: bool = False
    mode: Mode = "batch"

    def choose(self, session: Session, taken: Collection[int] = ()) -> ChosenChunks:
        """Return the next chunks that may go up, by the ledger as it is now.

        `taken` are the sizes of open chunks: no new chunk may have the size of one, since a lost batch is found by its
        size.
        Reads `work.to_send`, `ledger.batches`, `ledger.results`.
        Raises PipelineError where money is limited and a price is not known.
        """
        pipeline, names = self.resolved.file.pipeline, self.resolved.names
        busy = open_load(session, names, self.run_id)
        # What was ever spent is a sum over all results. It is not asked for where no budget limits it.
        limit = None
        if self.reserves is not None:
            further = project_limits(session, self.resolved.file, self.run_id)
            limit = tightest(pipeline.budget, self.max_usd, spent(session, names, self.run_id), busy, further)
        left = self._limits_left(busy, limit)
        chunks: list[NextChunk] = []
        passed = PassedOver()
        current: dict[int, CacheMark | None] = {}
        # A transaction writes to one database only, and sees another one as it was at the transaction's start.
        with session.connection.cursor() as beside:
            while left.batches > 0 and left.requests > 0 and (start := self._start(chunks, passed)) is not None:
                rung = self._rung(start)
                if rung not in current:
                    current[rung] = current_cache_mark(session, self.resolved, self.cache_marks, rung)
                caching = self._caching(current[rung], rung, start, session)
                whole = min(self._whole(start), caching.most)
                count = self._next_count(session, start, whole, busy, left.requests, chunks, taken)
                if not count:
                    break
                room = BudgetRoom(left_usd=left.usd, number=busy.bounded + len(chunks) + 1)
                alone = not busy.batches and not chunks
                fitting, reserve = self._fitting(beside, start, count, room, limit, alone=alone)
                careful = bool(passed.ranges) or (self.was_cut and self._is_known(rung))
                if limit is not None and (not fitting or (careful and not is_worth_sending(fitting, count))):
                    passed.fitting = max(passed.fitting, fitting)
                    passed.ranges += self._without_room(beside, chunks, passed, start, left.usd)
                    if not alone and self._may_fit(beside, start, room, limit):
                        return ChosenChunks(chunks=chunks, no_room=self._no_room(limit, chunks, passed, waits=True))
                    continue
                size = self._bytes(start, fitting)
                if chunks and size > left.bytes:
                    break
                chunks.append(NextChunk(start=start, count=fitting, rung=rung, caching=caching, reserve_usd=reserve))
                left = left.less(chunks[-1], size)
                if caching.alone:
                    break
        if limit is None or not passed.ranges or self._start(chunks, passed) is not None:
            return ChosenChunks(chunks=chunks)
        waits = bool(busy.batches or chunks)
        return ChosenChunks(chunks=chunks, no_room=self._no_room(limit, chunks, passed, waits=waits))

    def _next_count(
        self,
        session: Session,
        start: int,
        whole: int,
        busy: Load,
        left: int,
        chunks: Sequence[NextChunk],
        taken: Collection[int],
    ) -> int:
        """Return how many of the `whole` requests from `start` on make the next chunk; 0 where they wait for the queue.

        `left` is how many may still be queued. Budgets are left out. Reads `work.to_send`, `ledger.batches`.
        """
        rung, asks = self._rung(start), self.mode == "realtime"
        if (busy.requests or chunks) and not asks and not is_worth_sending(left, whole):
            return 0  # more of them fit once what is queued has ended
        sizes = {*taken, *(each.count for each in chunks)} if self._is_blind(rung) and not asks else set()
        return free_size(self._fitting_queue(session, rung, start, min(whole, left), chunks), sizes)

    def _no_room(self, limit: Limit, chunks: Sequence[NextChunk], passed: PassedOver, *, waits: bool) -> NoRoom:
        """Return that `limit` has no room for what is still pending beside `chunks`."""
        requests = sum(stop - first for first, stop in self.pending) - sum(each.count for each in chunks)
        return NoRoom(limit=limit, requests=requests, fitting=passed.fitting, waits=waits)

    def _limits_left(self, busy: Load, limit: Limit | None) -> LimitsLeft:
        """Return what is left of each limit. Realtime calls are no batches: one chunk of them is asked at a time."""
        chunking, usd = self.resolved.file.pipeline.chunking, limit.left_usd if limit else None
        if self.mode == "realtime":
            return LimitsLeft(batches=1, requests=chunking.max_queued, bytes=UPLOAD_BYTES, usd=usd)
        batches = (1 if self.cautious else chunking.max_in_flight) - busy.batches
        return LimitsLeft(
            batches=min(batches, UPLOADS_AT_ONCE),
            requests=chunking.max_queued - busy.requests,
            bytes=UPLOAD_BYTES,
            usd=usd,
        )

    def _fitting_queue(self, session: Session, rung: int, start: int, count: int, chunks: Sequence[NextChunk]) -> int:
        """Return how many of `count` requests from `start` on the queue of the rung's provider has room for.

        Reads `work.to_send`, `ledger.batches`.
        """
        if self.mode == "realtime":
            return count
        resolved = self.resolved
        settings = resolved.rungs[rung - 1]
        provider = resolved.provider_of(settings)
        beside = [each for each in chunks if resolved.provider_of(resolved.rungs[each.rung - 1]) == provider]
        room = queue_room(session, provider, settings, self.full)
        chosen = ChosenLoad(batches=len(beside), requests=sum(each.count for each in beside))
        if room.bytes is None:
            return room.fitting(count, lambda number: number, chosen)
        with session.connection.cursor() as cursor:

            def size(first: int, number: int) -> int:
                """Return the bytes that stand for the tokens of so many requests from number `first` on."""
                stretch = {"start": first, "stop": first + number}
                return int(cursor.execute(query("token_bytes"), stretch).fetchall()[0][0])

            return room.fitting(
                count,
                lambda number: size(start, number),
                replace(chosen, bytes=sum(size(each.start, each.count) for each in beside if each.rung == rung)),
            )

    def _start(self, chunks: Sequence[NextChunk], passed: PassedOver) -> int | None:
        """Return the first number that is neither in a chosen chunk nor passed over yet; None where all are."""
        return next((start for start, _ in self._rest(chunks, passed)), None)

    def _rest(self, chunks: Sequence[NextChunk], passed: PassedOver) -> Iterator[tuple[int, int]]:
        """Return the ranges of numbers that are neither in a chosen chunk nor passed over yet."""
        chosen = [(each.start, each.start + each.count) for each in chunks]
        return subtract_ranges(self.pending, [*chosen, *passed.ranges])

    def _without_room(
        self, beside: Connection, chunks: Sequence[NextChunk], passed: PassedOver, start: int, left_usd: Decimal | None
    ) -> list[tuple[int, int]]:
        """Return the ranges from number `start` on that are passed over, as far as the next one that is to be tried.

        That is the first request behind this chunk that costs at most what is left. After some of them nothing more is
        looked for: what is left is too little for whole batches. Reads `work.to_send`.
        """
        found = None
        if len(passed.ranges) < PASSED_AT_MOST:
            given = {"start": self._end(start), "left_usd": left_usd}
            (found,) = beside.execute(query("next_that_fits"), given).fetchall()[0]
        until = found if found is not None else self.plan.requests
        return [(first, min(stop, until)) for first, stop in self._rest(chunks, passed) if first < until]

    def _end(self, start: int) -> int:
        """Return where the chunk of the plan that `start` is in ends, or what is pending of it."""
        chunk = next(each for each in self.plan.chunks if each.start + each.count > start)
        return min(chunk.start + chunk.count, next(stop for first, stop in self.pending if first <= start < stop))

    def _is_blind(self, rung: int) -> bool:
        """Return whether a lost batch is found by its size, so that no two open chunks have one size."""
        return self.resolved.rules_of(self.resolved.rungs[rung - 1]).limits.create == "blind"

    def _is_known(self, rung: int) -> bool:
        """Return whether there are enough results of `rung` to say what its requests cost."""
        return self.reserves is not None and self.reserves.knows(rung)

    def _whole(self, start: int) -> int:
        """Return how many requests, from `start` on, make a whole chunk."""
        counts = (self._end(start) - start, self.most, FIRST_AFTER_STOP if self.cautious else None)
        return self.smaller.whole(start, min(each for each in counts if each is not None))

    def _fitting(
        self,
        beside: Connection,
        start: int,
        count: int,
        room: BudgetRoom,
        limit: Limit | None,
        *,
        alone: bool,
    ) -> tuple[int, Decimal | None]:
        """Return how many of the `count` requests from `start` on fit into the budget, and what is reserved for them.

        While batches are in flight all of them fit, or none: once those have ended, more of them will.
        Reads `work.to_send`. Raises PipelineError where money is limited and a price is not known.
        """
        if limit is None or self.reserves is None or room.left_usd is None:
            return count, None
        rung, reserves, left_usd = self._rung(start), self.reserves, room.left_usd
        whole = sums_of_requests(beside, start, start + count)
        if whole.unpriced:
            raise unpriced(self.resolved.file, limit, [self.resolved.rungs[rung - 1].model])

        def reserve(requests: int) -> Decimal:
            """Return what is reserved for so many requests."""
            sums = whole if requests == count else sums_of_requests(beside, start, start + requests)
            return reserves.usd(rung, sums, room.number)

        fitting = largest_fitting(count, lambda requests: reserve(requests) <= left_usd, whole_only=not alone)
        return fitting, reserve(fitting) if fitting else None

    def _may_fit(self, beside: Connection, start: int, room: BudgetRoom, limit: Limit) -> bool:
        """Return whether the request with number `start` fits once what is in flight has ended, if that costs nothing.

        Reads `work.to_send`.
        """
        sums = sums_of_requests(beside, start, start + 1)
        least = self.reserves.usd(self._rung(start), sums, room.number) if self.reserves is not None else sums.max_usd
        return least <= limit.left_usd + limit.reserved_usd

    def _rung(self, start: int) -> int:
        """Return the rung of the request with number `start`."""
        return next(rung for rung, (first, stop) in self.rungs.items() if first <= start < stop)

    def _caching(self, mark: CacheMark | None, rung: int, start: int, session: Session) -> CacheDecision:
        """Return whether the chunk from `start` on primes a cache, waits for one, or goes as it is."""
        if mark is None:
            return UNMARKED
        first, last = max(self.rungs[rung][0], start), self.rungs[rung][1]
        due = sum(max(min(stop, last) - max(begin, first), 0) for begin, stop in self.pending)
        return decide_caching(mark, due, session.now)

    def _bytes(self, start: int, count: int) -> int:
        """Return about how many bytes `count` requests have, in the chunk of the plan that `start` is in."""
        chunk = next(each for each in self.plan.chunks if each.start + each.count > start)
        return chunk.bytes * count // chunk.count
