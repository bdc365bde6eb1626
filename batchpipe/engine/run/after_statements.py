"""Run the statements of `[output] after` once results were committed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from batchpipe.engine.context import Context
from batchpipe.engine.exchange.run_parts import RunParts
from batchpipe.engine.source.source import Source
from batchpipe.engine.source.statements import Step, run_steps, steps_of
from batchpipe.pipeline.model import PipelineFile
from batchpipe.sql.quoting import quote_list
from batchpipe.store.queries import query


def run_after(context: Context, file: PipelineFile, parts: RunParts, params: Mapping[str, Any]) -> None:
    """Run the statements of `[output] after` that have not seen the newest results, each of them once.

    Statements that ran before a failed one do not run again, except those whose effect ends with the session, like
    ATTACH. After a kill between a statement and its record the statement runs again.
    Reads `ledger.events`, `ledger.decisions`, `ledger.reviews`. Writes `ledger.events`.
    """
    if not file.pipeline.output.after:
        return
    with parts.reading() as session:
        newest, all_up_to, up_to = session.one(query("after_is_due", pipelines=quote_list(parts.resolved.names)))
        seq = session.seq
    if newest <= all_up_to:
        return
    steps = steps_of(file, file.pipeline.output.after, "[output] after", context.environment)
    done = {each.identity for each in steps if up_to.get(each.identity, 0) >= newest}
    with context.source(file, params) as source:
        _run(source, steps, done, parts, seq)
    with parts.writing() as session:
        parts.add_event(session, "after_done", {"up_to": seq}, chunk_id=None)


def _run(source: Source, steps: Sequence[Step], done: set[str], parts: RunParts, seq: int) -> None:
    """Run the steps that are not `done`, and record each; those of a transaction when it has ended.

    Writes `ledger.events`.
    """
    open_steps: list[Step] = []
    in_transaction = False
    last = steps[-1]
    source.attach_databases()
    for step in steps:
        if step.identity in done and not step.of_session:
            continue
        run_steps(source.connection, [step], source.file.root)
        in_transaction = step.opens or (in_transaction and not step.closes)
        open_steps.append(step)
        if in_transaction or step is last:
            continue
        if all(each.of_session for each in open_steps):
            open_steps.clear()
            continue
        with source.without_databases(), parts.writing() as session:
            for each in open_steps:
                parts.add_event(
                    session, "after_statement_done", {"statement": each.identity, "up_to": seq}, chunk_id=None
                )
        open_steps.clear()
