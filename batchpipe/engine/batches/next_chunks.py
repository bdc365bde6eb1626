"""Choose the next chunks that may go up, within what may be in flight, queued at the provider, and spent."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import duckdb

from batchpipe.common.errors import PipelineError
from batchpipe.decide.caching import CacheDecision, CacheMark, decide_caching
from batchpipe.decide.chunking import free_size, subtract_ranges
from batchpipe.engine.cost.budget import Limit, has_limit, tightest
from batchpipe.engine.ledger.events import load, spent
from batchpipe.engine.plan.cache_marks import UNMARKED, CacheMarks, current_cache_mark
from batchpipe.engine.plan.plan import Plan
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.store.database import Session

# How many chunks go up together, and how many bytes their bodies may have in memory; a single one may have more.
UPLOADS_AT_ONCE = 4
UPLOAD_BYTES = 64_000_000
FIRST_AFTER_STOP = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class NextChunk:
    """Is a chunk to be sent: `count` requests of `work.to_send` from number `start` on, all of `rung`.

    `caching` says whether they bear a cache mark, and what for.
    """

    start: int
    count: int
    rung: int
    caching: CacheDecision


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenChunks:
    """Holds the chunks that may go up together. Where there are none, `gate` may say which limit is reached."""

    chunks: Sequence[NextChunk]
    gate: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitsLeft:
    """Holds what is left of each limit; `usd` (US dollars) is None where money is not limited."""

    batches: int
    requests: int
    bytes: int
    usd: Decimal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkChooser:
    """Chooses chunks among the due requests of `plan`.

    `pending` are the ranges of numbers of `work.to_send` that are still to be sent, `rungs` the range of each rung.
    `most` bounds a chunk after one was refused for its size. `cautious` allows one small chunk at a time.
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

    def choose(self, session: Session, taken: Collection[int] = ()) -> ChosenChunks:
        """Return the next chunks that may go up, by the ledger as it is now.

        `taken` are the sizes of open chunks: no new chunk may have the size of one, since a lost batch is found by its
        size.
        Reads `work.to_send`, `ledger.batches`, `ledger.results`.
        Raises PipelineError where money is limited and a price is not known.
        """
        pipeline, names = self.resolved.file.pipeline, self.resolved.names
        busy = load(session, names, self.run_id)
        # What was ever spent is a sum over all results. It is not asked for where no budget limits it.
        limited = has_limit(pipeline.budget, self.max_usd)
        limit = tightest(pipeline.budget, self.max_usd, spent(session, names, self.run_id), busy) if limited else None
        left = LimitsLeft(
            batches=min((1 if self.cautious else pipeline.chunking.max_in_flight) - busy.batches, UPLOADS_AT_ONCE),
            requests=pipeline.chunking.max_queued - busy.requests,
            bytes=UPLOAD_BYTES,
            usd=limit.left_usd if limit else None,
        )
        chunks: list[NextChunk] = []
        current: dict[int, CacheMark | None] = {}
        # A transaction writes to one database only, and sees another one as it was at the transaction's start.
        with session.connection.cursor() as beside:
            while left.batches > 0 and (start := self._start(chunks)) is not None:
                count = self._count(beside, start, left, limit)
                if not count:
                    gate = (
                        _gate_text(limit) if limit and left.requests > 0 and not busy.batches and not chunks else None
                    )
                    return ChosenChunks(chunks=chunks, gate=gate)
                rung = self._rung(start)
                if rung not in current:
                    current[rung] = current_cache_mark(session, self.resolved, self.cache_marks, rung)
                caching = self._caching(current[rung], rung, start, session)
                sizes = {*taken, *(each.count for each in chunks)}
                count = free_size(min(count, caching.most), sizes)
                size = self._bytes(start, count)
                if not count or (chunks and size > left.bytes):
                    break
                chunks.append(NextChunk(start=start, count=count, rung=rung, caching=caching))
                left = self._less(beside, left, chunks[-1], size)
                if caching.alone:
                    break
        return ChosenChunks(chunks=chunks)

    def _start(self, chunks: Sequence[NextChunk]) -> int | None:
        """Return the first number that is in no chosen chunk yet; None where all are."""
        rest = subtract_ranges(self.pending, [(each.start, each.start + each.count) for each in chunks])
        return next((start for start, _ in rest), None)

    def _end(self, start: int) -> int:
        """Return where the chunk of the plan that `start` is in ends, or what is pending of it."""
        chunk = next(each for each in self.plan.chunks if each.start + each.count > start)
        return min(chunk.start + chunk.count, next(stop for first, stop in self.pending if first <= start < stop))

    def _count(self, beside: duckdb.DuckDBPyConnection, start: int, left: LimitsLeft, limit: Limit | None) -> int:
        """Return how many requests from `start` on may be a chunk; 0 where they have to wait or a limit is reached.

        Reads `work.to_send`. Raises PipelineError where money is limited and a price is not known.
        """
        count = min(self._end(start) - start, left.requests)
        if self.most is not None:
            count = min(count, self.most)
        if self.cautious:
            count = min(count, FIRST_AFTER_STOP)
        if count <= 0 or limit is None:
            return max(count, 0)
        fitting, unpriced = beside.execute(
            "SELECT count(*) FILTER (so_far <= $left), count(*) FILTER (max_usd IS NULL) FROM ("
            "SELECT max_usd, sum(max_usd) OVER (ORDER BY number) AS so_far FROM work.to_send "
            "WHERE number >= $start AND number < $stop)",
            {"left": left.usd, "start": start, "stop": start + count},
        ).fetchone() or (0, 0)
        if unpriced:
            what = f"{limit.name} cannot be kept: no price is known for a model of the ladder"
            hint = 'Give its price in a file: prices = "prices.toml" under [tool.batchpipe].'
            raise PipelineError(what, where=self.resolved.file.where("[[models]]"), hint=hint)
        return int(fitting)

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

    def _less(
        self, beside: duckdb.DuckDBPyConnection, left: LimitsLeft, next_chunk: NextChunk, size: int
    ) -> LimitsLeft:
        """Return what is left of the limits after `next_chunk`, whose requests have `size` bytes.

        Reads `work.to_send`.
        """
        usd = left.usd
        if usd is not None:
            row: Any = beside.execute(
                "SELECT sum(max_usd) FROM work.to_send WHERE number >= $1 AND number < $2",
                [next_chunk.start, next_chunk.start + next_chunk.count],
            ).fetchone()
            usd -= row[0]
        return LimitsLeft(
            batches=left.batches - 1, requests=left.requests - next_chunk.count, bytes=left.bytes - size, usd=usd
        )


def _gate_text(limit: Limit) -> str:
    """Return the message that a budget is reached."""
    return (
        f"{limit.name} of ${limit.allowed_usd} is reached: ${max(limit.left_usd, Decimal(0)):.4f} is left, "
        "less than the next request may cost"
    )
