"""Record what a chunk's realtime calls brought: answers, calls that may have been paid for, and requests not asked."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from batchpipe.engine.batches.collect import CollectedBatch, Collector
from batchpipe.engine.batches.result_lines import line_faults
from batchpipe.engine.ledger.events import OpenBatch
from batchpipe.engine.ledger.lost_results import was_asked_whole
from batchpipe.engine.ledger.raw_folder import COMPRESSED
from batchpipe.engine.realtime.journal import asked_ids, cut_torn_line
from batchpipe.pipeline.sending import LOCAL
from batchpipe.providers import BatchState, Ended
from batchpipe.store.disk import refuse_broken_link
from batchpipe.store.queries import query


def came_at(path: Path | None, prepared_at: datetime, now: datetime) -> datetime:
    """Return when the answers of a chunk came, by whose day they are priced: when its results were last written.

    That is between its intent and `now` (naive UTC). A chunk that a killed process has left may be closed days later.
    """
    if path is None:
        return now
    written_at = datetime.fromtimestamp(path.stat().st_mtime, UTC).replace(tzinfo=None)
    return min(max(written_at, prepared_at), now)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkClosing:
    """Closes chunks that no process asks any more: the process has ended, or all of the chunk's calls have.

    A call that was started has an answer, or it is counted as an attempt and booked at the most that it can have cost.
    A request that was not asked, or refused, is due as before. Where the journal was lost or damaged, nobody knows
    which calls were started: every request without an answer counts as one that was.
    """

    collector: Collector

    def close(self, batch: OpenBatch) -> CollectedBatch | None:
        """Record the answers of a chunk; return None for a chunk of which nothing was asked.

        Reads the raw folder, `ledger.requests`. Writes `work.ended`, `work.sent`, `work.lines`, `work.asked`,
        `work.chosen_lines`, `work.received`, and what a collected batch writes. Raises DatabaseError where the disk
        fails, or the journal or the answers are a link that leads to nothing.
        """
        parts = self.collector.parts
        if batch.provider == LOCAL:
            from batchpipe.engine.realtime.local_chunk import close_local_chunk

            return close_local_chunk(parts, batch, parts.raw_folder.results(batch.chunk_id))
        for each in (parts.raw_folder.journal(batch.chunk_id), parts.raw_folder.download(batch.chunk_id)):
            refuse_broken_link(each)
        asked = asked_ids(parts.raw_folder, batch.chunk_id)
        path = parts.raw_folder.results(batch.chunk_id)
        at = came_at(path, batch.prepared_at, parts.database.clock())
        if path is not None and not path.name.endswith(COMPRESSED):
            cut_torn_line(path)
        whole = asked is None or (not asked and was_asked_whole(parts.raw_folder, batch.chunk_id))
        if path is None and not asked and not whole:
            self._drop(batch)
            return None
        if path is None:
            path = parts.raw_folder.write_results(batch.chunk_id, b"")
        state = BatchState(
            batch_id="",
            ended=Ended(at=at, without_line="unanswered"),
            total=batch.requests,
            counts={},
            created_at=batch.prepared_at,
            expires_at=None,
            archived=False,
        )
        return self._collect(batch, state, path, None if whole else asked)

    def _collect(self, batch: OpenBatch, state: BatchState, path: Path, asked: set[str] | None) -> CollectedBatch:
        """Record the lines of the results at `path`, for the requests that were `asked`; None for all of the chunk.

        An answer to a request that was not asked shows that the journal has lost lines, and a start of a request that
        is none of the chunk's that it is damaged: then all of the chunk counts.
        Where every request of the chunk has an answer, the journal is of no use any more.

        Reads `work.sent`, `work.lines`. Writes `work.ended`, `work.sent`, `work.lines`, `work.asked`,
        `work.chosen_lines`, `work.received`.
        """
        collector, connection = self.collector, self.collector.parts.work.connection
        collector.fill_sent([collector.ended_results(batch, state, path)])
        collector.read_lines([path], batch)
        if asked is not None:
            connection.execute(query("asked"), {"custom_ids": sorted(asked)})
            if connection.execute(query("journal_is_damaged")).fetchone() == (False,):
                connection.execute(query("leave_out_not_asked"))
        faults, _ = line_faults(connection)
        is_whole = not faults["missing"] and connection.execute(
            query("all_are_asked"), {"requests": batch.requests}
        ).fetchone() == (True,)
        collector.choose_lines("unanswered")
        collected = collector.validate_and_record([(batch, state)], {**faults, "missing": 0})[0]
        if is_whole:
            collector.parts.raw_folder.journal(batch.chunk_id).unlink(missing_ok=True)
        return collected

    def _drop(self, batch: OpenBatch) -> None:
        """Record that no call of a chunk was made.

        Writes `ledger.events`, the raw folder.
        """
        parts, data = self.collector.parts, {"message": "no realtime call was made"}
        with parts.writing() as session:
            parts.add_event(session, "chunk_not_sent", data, chunk_id=batch.chunk_id)
            now = session.now
        parts.raw_folder.note(batch.chunk_id, "chunk_not_sent", data, now)
