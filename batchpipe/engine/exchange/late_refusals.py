"""Batches that the provider made, and refused only when it looked at them: as if their submit had been refused.

Nothing of such a batch was bought, and no row of it has lost an attempt. What is at fault is found by smaller chunks,
as after a refusal at the submit; the ledger keeps what was refused, so that the next run goes on from there.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from batchpipe.common.errors import ProviderError
from batchpipe.engine.exchange.records import fail_single, refusal, refusal_data
from batchpipe.engine.exchange.run_parts import RunParts
from batchpipe.engine.ledger.events import OpenBatch
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.providers import BatchState, RefusedError
from batchpipe.sql.quoting import quote_list
from batchpipe.store.database import Session
from batchpipe.store.queries import query

# Refusals of what the chunk holds, and of its size: smaller chunks find the request at fault.
OF_CONTENT = ("invalid", "too_large")
# Refusals that pass.
OF_QUEUE = ("rate_limit", "queue_full")
# How many times the line number in a refusal is followed, before the chunks are halved instead.
TIMES_BY_LINE = 4
# The number of poll intervals in which nothing is sent after the provider's queue was full.
PAUSE_POLLS = 10


@dataclass(slots=True, kw_only=True)
class LateRefusals:
    """Records batches that were refused late, and holds what the run has to do about them.

    `stops` has the refusals that no other chunk can escape, by the name of the provider;
    `pause_until` (naive UTC) is when something may be sent again.
    """

    parts: RunParts
    poll_interval: float
    stops: dict[str, ProviderError] = field(default_factory=dict)
    pause_until: datetime | None = None
    refused: list[tuple[OpenBatch, RefusedError]] = field(default_factory=list)

    @property
    def own(self) -> list[OpenBatch]:
        """Return the batches of this run that were refused since `take` was called last: they count as not sent."""
        return [batch for batch, _ in self.refused if batch.run_id == self.parts.run_id]

    @property
    def sent(self) -> int:
        """Return how many requests of this run were refused since `take` was called last."""
        return sum(each.requests for each in self.own)

    def record(self, batch: OpenBatch, state: BatchState, open_ids: Collection[str]) -> bool:
        """Record that `batch` was refused, where it was; return whether it was.

        `open_ids` are the chunks that are open beside it: where there are none, a full queue means that the chunk
        itself is too large for it.
        Writes `ledger.events`, `ledger.decisions`, the raw folder.
        """
        error = state.ended.refused if state.ended is not None else None
        if error is None or state.ended is None:
            return False
        alone = not set(open_ids) - {batch.chunk_id}
        data: dict[str, Any] = {
            **refusal_data(error),
            "batch_id": state.batch_id,
            "requests": batch.requests,
            "late": True,
            "line": state.ended.line,
            "custom_id": self._named(batch, state.ended.line),
            "smaller": error.kind in OF_CONTENT or (error.kind == "queue_full" and alone),
        }
        with self.parts.writing() as session:
            self.parts.add_event(session, "chunk_refused", data, chunk_id=batch.chunk_id)
            if batch.requests == 1 and error.kind in OF_CONTENT:
                fail_single(session, batch.chunk_id, error.message, self.parts.run_id)
            now = session.now
        self.parts.raw_folder.note(batch.chunk_id, "chunk_refused", data, now)
        self.refused.append((batch, error))
        if error.kind in OF_QUEUE:
            seconds = error.retry_after_seconds or PAUSE_POLLS * self.poll_interval
            until = now + timedelta(seconds=seconds)
            self.pause_until = max(until, self.pause_until or until)
        elif error.kind not in OF_CONTENT:
            self.stops.setdefault(batch.provider, refusal(error, batch.key_hash))
        return True

    def _named(self, batch: OpenBatch, line: int | None) -> str | None:
        """Return the custom id of the request in the line that the provider names; None where it names none of ours.

        Reads `ledger.requests`.
        """
        if line is None or not 0 < line <= batch.requests:
            return None
        with self.parts.reading() as session:
            found = session.rows(query("request_of_line"), {"chunk_id": batch.chunk_id, "before": line - 1})
        return str(found[0][0]) if found else None

    def take(self) -> tuple[datetime | None, Sequence[tuple[OpenBatch, RefusedError]]]:
        """Return until when nothing is sent, and what was refused since this was asked last."""
        found = self.pause_until, tuple(self.refused)
        self.pause_until, self.refused = None, []
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class SmallerChunks:
    """Says how chunks are cut after late refusals: at most `most` requests; the numbers of `alone` each by itself."""

    most: int | None = None
    alone: frozenset[int] = frozenset()

    def whole(self, start: int, count: int) -> int:
        """Return how many of the `count` requests from `start` on are a chunk."""
        if start in self.alone:
            return 1
        until = min((each for each in self.alone if start < each < start + count), default=start + count)
        return min(until - start, self.most or count)


def read_smaller_chunks(session: Session, resolved: Resolved) -> SmallerChunks:
    """Return how the due requests are cut, where the newest chunk that held one of them was refused late.

    The request in the line that the provider named goes by itself, the others beside it as they are. Without a line,
    and where that has not helped a few times, the next chunks have half as many requests. Without a protocol that
    refuses late nothing is read.
    Reads `work.to_send`, `work.due`, `ledger.requests`, `ledger.events`.
    """
    if all(resolved.rules_of(each).limits.create == "blind" for each in resolved.rungs):
        return SmallerChunks()
    rows = session.dictionaries(query("refused_late", pipelines=quote_list(resolved.names)))
    halves = [max(each["requests"] // 2, 1) for each in rows if each["named"] is None or each["times"] >= TIMES_BY_LINE]
    alone = frozenset(each["number"] for each in rows if each["number"] is not None)
    return SmallerChunks(most=min(halves, default=None), alone=alone)
