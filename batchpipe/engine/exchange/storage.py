"""Make room at a provider whose storage is full: what is ours there and no longer needed is deleted.

First go what batches that have ended have left: inputs, and files that requests named. Then result files that are saved
whole and taken in here, the oldest first.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta

from batchpipe.common.errors import GateError
from batchpipe.engine.exchange.file_uploads import discard_uploads
from batchpipe.engine.exchange.run_parts import RunParts
from batchpipe.engine.exchange.uploads import discard_inputs
from batchpipe.engine.ledger.events import OpenBatch, batches_with
from batchpipe.providers import NotSentError, RefusedError, UnavailableError
from batchpipe.store.queries import query

# How many results are deleted before the provider is asked again, and how long a provider keeps them at most.
RESULTS_AT_ONCE = 10
KEPT_FOR = timedelta(days=40)


def make_room(parts: RunParts, chunk_id: str, message: str) -> str | GateError:
    """Delete something at the provider whose storage was full for a chunk; return what, in words, or the gate where
    there is nothing that could be deleted.

    `message` is the provider's.
    Reads `ledger.events`, `ledger.batches`, `ledger.uploads`, the raw folder. Writes `ledger.events`.
    """
    with parts.reading() as session:
        ((batch, _),) = batches_with(session, query("batch_of_chunk"), {"chunk_id": chunk_id})
    left = discard_inputs(parts, [batch]) + discard_uploads(parts, [batch])
    if left:
        return f"{left:,} {'files' if left > 1 else 'file'} of batches that have ended deleted there"
    deleted = _discard_results(parts, batch)
    if deleted:
        results = (
            "the oldest result of a batch, which is" if deleted == 1 else f"the {deleted} oldest results, which are"
        )
        return f"{results} saved here, deleted there"
    return GateError(
        f"the storage of {batch.provider} is full, and nothing of ours is left there that it lets us delete: {message}",
        where=parts.resolved.name,
        hint="Delete files there that nobody needs, or ask for more room. Then run the same command again: nothing is "
        "lost, and nothing was paid.",
    )


def _discard_results(parts: RunParts, batch: OpenBatch) -> int:
    """Delete the oldest results at the account of `batch` that are saved here; return of how many batches.

    Reads `ledger.batches`, `ledger.events`, the raw folder. Writes `ledger.events`.
    """
    provider = parts.providers.of(batch)
    with parts.reading() as session:
        values = {"base_url": batch.base_url, "key_hash": batch.key_hash, "since": session.now - KEPT_FOR}
        kept = batches_with(session, query("results_kept"), values)
    done: dict[str, bool] = {}
    for each, _ in kept:
        if sum(done.values()) == RESULTS_AT_ONCE:
            break
        if each.batch_id is None or parts.raw_folder.results(each.chunk_id) is None:
            continue
        with suppress(NotSentError, UnavailableError):
            try:
                done[each.chunk_id] = provider.discard_results(each.batch_id)
            except RefusedError:
                done[each.chunk_id] = False
    if done:
        with parts.writing() as session:
            for chunk, freed in done.items():
                parts.add_event(session, "results_discarded", {"freed": freed}, chunk_id=chunk)
    return sum(done.values())
