"""Repair the output table of a pipeline: what was changed in it by hand is written again from stored answers."""

from __future__ import annotations

from batchpipe.engine.batches.recover import Recovery
from batchpipe.engine.ledger.renames import record_rename
from batchpipe.engine.output.output_table import Repaired, repair_output
from batchpipe.engine.resolved.recorded_recipes import under_recorded_recipes


class _NothingToRepairError(Exception):
    """The table is as it should be: what was written for the comparison is rolled back."""


def repair(recovery: Recovery) -> Repaired:
    """Compare the output table with stored answers, and write it again where it differs; return what differed.

    The caller holds the pipeline's lock. Reads the ledger. Writes the output table, `ledger.events`. Raises
    PipelineError for a table that this pipeline did not make.
    """
    context, work = recovery.context, recovery.work
    with context.source(recovery.file, {}) as source:
        resolved = context.resolve(recovery.file, source, answers=False)
    try:
        with context.database.writing(work, None) as session:
            record_rename(session, resolved.file, None)
            repaired = repair_output(session, under_recorded_recipes(session, resolved))
            if not repaired.anything:
                raise _NothingToRepairError
    except _NothingToRepairError:
        return Repaired()
    return repaired
