"""Record the answer of a realtime call that was saved: by who asked, or by another process that finds it."""

from __future__ import annotations

from pathlib import Path

import duckdb

from batchpipe.common.errors import DatabaseError
from batchpipe.engine.batches.collect import Collector
from batchpipe.engine.ledger.events import call_is_ended
from batchpipe.providers.known import KnownProvider


def record_saved_answer(
    collector: Collector, chunk_id: str, path: Path, provider: KnownProvider, label: str, model: str
) -> None:
    """Record the one line of `path`, as `Collector.record_answer` does, and compress the file.

    A run takes in what lies in the raw folder, also while a `try` is about to record it: who comes second finds that
    the call has ended, or that the file is compressed.
    Writes `ledger.results`, `ledger.prices`, `ledger.events`, the raw folder.
    """
    try:
        collector.record_answer(chunk_id, path, provider, label, model)
    except (OSError, duckdb.Error, DatabaseError):
        with collector.parts.reading() as session:
            if not call_is_ended(session, chunk_id):
                raise
    collector.parts.raw_folder.compress(chunk_id)
