"""Run the statements of `[output] after` once results were committed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from batchpipe.engine.batches.run_parts import RunParts
from batchpipe.engine.context import Context
from batchpipe.pipeline.model import PipelineFile
from batchpipe.sql.quoting import quote_list
from batchpipe.store.queries import query


def run_after(context: Context, file: PipelineFile, parts: RunParts, params: Mapping[str, Any]) -> None:
    """Run the statements of `[output] after`, where results were committed since they ran last.

    They run again where a crash came between the commit and them.
    Reads `ledger.events`, `ledger.decisions`. Writes `ledger.events`.
    """
    statements = file.pipeline.output.after
    if not statements:
        return
    with parts.reading() as session:
        if not session.one(query("after_is_due", pipelines=quote_list(parts.resolved.names)))[0]:
            return
        seq = session.seq
    with context.source(file, params) as source:
        source.attach_databases()
        source.run_statements(statements, "[output] after", context.environment)
    with parts.writing() as session:
        parts.add_event(session, "after_done", {"up_to": seq}, chunk_id=None)
