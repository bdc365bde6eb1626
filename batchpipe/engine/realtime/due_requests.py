"""Make what sends the due requests of a plan: in batches, and by realtime calls where a rung asks for them."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from batchpipe.common.logs import Tell
from batchpipe.engine.batches.asked import ChunkAsker
from batchpipe.engine.batches.in_flight import BatchesInFlight
from batchpipe.engine.batches.sending import DueRequests
from batchpipe.engine.batches.submit import Submitter
from batchpipe.engine.context import Context
from batchpipe.engine.exchange.run_parts import RunParts
from batchpipe.engine.ledger.events import OpenBatch
from batchpipe.engine.plan.planner import Planner


def make_due_requests(
    parts: RunParts,
    context: Context,
    planner: Planner,
    in_flight: BatchesInFlight,
    tell: Tell,
    max_usd: Decimal | None,
) -> DueRequests:
    """Return what sends the due requests of `planner`'s plans.

    `max_usd` bounds the call (US dollars). What makes realtime calls is made, and imported, when the first is to be
    made.
    """
    planner.max_usd = max_usd
    submitter = Submitter(parts=parts, account_url=context.account_url, account=context.account)

    def realtime() -> ChunkAsker:
        """Return what asks chunks by realtime calls."""
        from batchpipe.engine.realtime import chunks

        return chunks.RealtimeChunks(submitter=submitter, in_flight=in_flight, context=context, planner=planner)

    return DueRequests(
        submitter=submitter, planner=planner, context=context, max_usd=max_usd, tell=tell, realtime=realtime
    )


def take_in_asked(in_flight: BatchesInFlight, found: Sequence[OpenBatch]) -> None:
    """Take in the chunks that a killed process was asking; `found` are the open ones.

    It is called once at the start of a run, which holds the pipeline's lock.
    Writes what the recording of results writes. Raises LockedError where a process without this lock still asks one.
    """
    names = in_flight.parts.resolved.names
    left = [each for each in found if each.state == "asking" and each.pipeline in names]
    if not left:
        return
    from batchpipe.engine.realtime.closing import ChunkClosing
    from batchpipe.engine.realtime.journal import closing_left

    closing = ChunkClosing(collector=in_flight.collector)
    for batch in left:
        with closing_left(in_flight.parts.raw_folder, batch.chunk_id):
            collected = closing.close(batch)
        if collected is not None:
            in_flight.take_in_asked(batch, collected)
