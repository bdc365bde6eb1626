"""Ask chunks of due requests by realtime calls: the intent is committed, the calls are made, the answers recorded."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass

from batchpipe.common import telemetry
from batchpipe.common.errors import BatchpipeError
from batchpipe.common.progress import Phase
from batchpipe.engine.batches.asked import AskedChunk
from batchpipe.engine.batches.in_flight import BatchesInFlight
from batchpipe.engine.batches.next_chunks import NextChunk
from batchpipe.engine.batches.submit import AskingChunk, ChooseChunks, IntentAge, Submitter
from batchpipe.engine.context import Context
from batchpipe.engine.exchange.addresses import unknown_model
from batchpipe.engine.exchange.records import refusal
from batchpipe.engine.ledger.events import open_batches
from batchpipe.engine.ledger.raw_folder import keep_chunks
from batchpipe.engine.plan.cache_marks import CacheMarks
from batchpipe.engine.plan.plan import Plan
from batchpipe.engine.plan.planner import Planner
from batchpipe.engine.realtime.asking import Asked, ChunkAsking, RealtimeCall
from batchpipe.engine.realtime.closing import ChunkClosing
from batchpipe.engine.realtime.journal import CallJournal, journal_of
from batchpipe.engine.realtime.limiter import limiter_of
from batchpipe.engine.source.request_files import ChangedFileError
from batchpipe.engine.votes.slots import slots
from batchpipe.media.places import filled
from batchpipe.providers import Provider, RefusedError
from batchpipe.sql.quoting import Sql, quote_literal, sql
from batchpipe.store.database import streamed_rows
from batchpipe.store.queries import query

# The number of requests in the first chunk, and the most in any chunk. In between, a chunk has as many as are answered
# within some time.
FIRST_SIZE, MOST_SIZE, SECONDS_OF_CHUNK = 40, 1_000, 10.0


def next_size(size: int, answered: int, seconds: float) -> int:
    """Return how many requests the next chunk has, after one of `size` of which `answered` were, in so many seconds."""
    if not answered:
        return size
    pace = int(answered / max(seconds, 0.01) * SECONDS_OF_CHUNK)
    return max(FIRST_SIZE, min(pace, MOST_SIZE, 10 * size))


@dataclass(slots=True, kw_only=True)
class RealtimeChunks:
    """Asks chunks of one pipeline by realtime calls.

    `planner` made the plan, and knows the mode of each rung. `size` is how many requests the next chunk may have.
    """

    submitter: Submitter
    in_flight: BatchesInFlight
    context: Context
    planner: Planner
    size: int = FIRST_SIZE

    def send(
        self, plan: Plan, choose: ChooseChunks, cache_marks: CacheMarks, rungs: Collection[int]
    ) -> AskedChunk | None:
        """Ask the chunk that `choose` returns, and return what became of it; None where the limits allow none any more.

        Reads `work.to_send`, `work.due`, `work.shared`, `work.sends`, `work.ladder`.
        Writes `work.chunk`, and drops it; the raw folder, and what the recording of results writes.
        Raises DatabaseError where the disk fails, PlanOvertakenError where somebody else has asked for the same since
        the plan.
        """
        parts = self.submitter.parts
        age = IntentAge(clock=parts.database.clock, monotonic=parts.monotonic)
        committed = self.submitter.commit_asking(plan, choose, cache_marks, rungs, age)
        if committed is None:
            return None
        chunk_id, chunk, sent_to = committed
        with parts.reading() as session:
            keep_chunks(session, parts.raw_folder, [chunk_id], parts.database.path.name)
            batch = next(each for each in open_batches(session, parts.resolved.names) if each.chunk_id == chunk_id)
        unmarked = bool(cache_marks.by_rung) and chunk.caching.step == "none"
        calls = self._calls(sent_to.provider, plan, chunk_id, unmarked=unmarked)
        parts.work.connection.execute(Sql("DROP TABLE work.chunk"))
        journal = journal_of(parts.raw_folder, chunk_id)
        with journal.held():
            asked = self._ask(committed, calls, age, journal)
            self.size = next_size(self.size, asked.answered, age.seconds)
            collected = ChunkClosing(collector=self.in_flight.collector).close(batch)
        if collected is not None:
            self.in_flight.take_in_asked(batch, collected)
        return AskedChunk(
            start=chunk.start,
            count=chunk.count,
            left=tuple(asked.left) if len(calls) == chunk.count else self._all_left(chunk, calls, asked),
            lost=asked.lost,
            lost_message=asked.lost_message,
            wait_seconds=asked.wait_seconds,
            is_own_wait=asked.is_own_wait,
            not_sent=asked.message if asked.ending == "not_sent" else None,
            message=asked.message,
            stop=asked.stop,
        )

    def _all_left(self, chunk: NextChunk, calls: list[RealtimeCall], asked: Asked) -> tuple[int, ...]:
        """Return the numbers that were not asked, with those whose files have changed since the plan."""
        called = {each.number for each in calls}
        numbers = range(chunk.start, chunk.start + chunk.count)
        return tuple(sorted({*asked.left, *(each for each in numbers if each not in called)}))

    def _calls(self, provider: Provider, plan: Plan, chunk_id: str, *, unmarked: bool) -> list[RealtimeCall]:
        """Return the calls of a chunk. With `unmarked` they lose the cache marks that they were rendered with.

        Reads `work.chunk`, `work.to_send` and the file of rendered requests.
        """
        rendered = sql("read_parquet({plan})", plan=quote_literal(str(plan.rendered)))
        statement = query(
            "calls_of_chunk",
            rendered=rendered,
            chunk_id=quote_literal(chunk_id),
            **slots(self.planner.resolved, "calls_of_chunk"),
        )
        parts = self.submitter.parts
        connection, files = parts.work.connection, parts.files
        read = files.of_chunk(connection, plan.snapshot, chunk_id) if files is not None else None
        rows = streamed_rows(connection.execute(statement))
        plain: Callable[[bytes], bytes] = provider.unmarked if unmarked else _as_it_is
        calls = []
        for custom_id, number, params in rows:
            with suppress(ChangedFileError):
                sent = plain(params) if read is None else filled(plain(params), read)
                calls.append(RealtimeCall(custom_id, number, sent))
        return calls

    def _ask(self, committed: AskingChunk, calls: list[RealtimeCall], age: IntentAge, journal: CallJournal) -> Asked:
        """Make the calls of a chunk. No session is open meanwhile.

        Writes the raw folder.
        """
        parts = self.submitter.parts
        provider, known = committed.sent_to.provider, committed.sent_to.known
        rung = known.named(self.planner.resolved.rungs[committed.chunk.rung - 1])

        def progress(answered: int) -> None:
            """Report to the watcher how many requests of the chunk have an answer."""
            phase = Phase(name="asking", done=answered, total=len(calls))
            self.context.watch(parts.resolved.name, phase)

        def refused(error: RefusedError) -> BatchpipeError:
            """Return the error of a refusal; a model or a path that is not found may mean that the address is wrong."""
            if error.kind == "not_found":
                return unknown_model(error, known, committed.sent_to.url, rung.model, where="provider")
            return refusal(error, provider.key_hash)

        limiter = limiter_of(self.context, provider, rung.model, known.concurrency)
        asking = ChunkAsking(
            provider=provider,
            headers=dict(provider.batch_headers(rung)),
            journal=journal,
            limiter=limiter,
            age=age,
            clock=parts.database.clock,
            progress=progress,
            refusal=refused,
        )
        with (
            journal.with_room(min(len(calls), int(limiter.state.most))),
            telemetry.span("ask", parts.resolved.name, requests=len(calls)),
        ):
            return asking.ask(calls, parts.pool)


def _as_it_is(params: bytes) -> bytes:
    """Return params with the marks that they have."""
    return params
