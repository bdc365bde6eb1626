"""Show the first rows of an output table in HTML, beside a report."""

from __future__ import annotations

from contextlib import closing
from typing import Any

from batchpipe.commands.printing.text import count, shortened, table_value
from batchpipe.commands.results.rows import Filters, python_rows, take_rows
from batchpipe.common.errors import BatchpipeError
from batchpipe.engine.context import Context
from batchpipe.html.blocks import Section, Sentences, Table
from batchpipe.pipeline.model import PipelineFile

SHOWN_ROWS = 200
SHOWN_CELL = 300
NOT_SHOWN = ("_custom_id", "_batch_id", "_completed_at", "_cost_usd")
LEFT_OUT = f"Rows are left out: add --with-rows to have the first {SHOWN_ROWS} of each pipeline in the file."


def rows_section(context: Context, file: PipelineFile) -> Section:
    """Return the first rows of the output table, by key.

    Reads the output table.
    """
    with closing(context.work()) as work:
        try:
            with context.database.reading(work) as session:
                taken = take_rows(session, file, Filters(limit=SHOWN_ROWS))
            rows = list(python_rows(work, taken.output))
        except BatchpipeError as error:
            return Section(title="Rows", blocks=[Sentences(found=[f"{error}"], tone="soft")])
    shown = [number for number, name in enumerate(taken.output.names) if name not in NOT_SHOWN]
    cells = [[cell_text(row[number]) for number in shown] for row in rows]
    table = Table(title="rows", header=[taken.output.names[number] for number in shown], rows=cells)
    words = f"{count(taken.rows)} of {count(taken.matching, 'row')}, by key."
    return Section(title="Rows", blocks=[Sentences(found=[words], tone="soft"), table])


def cell_text(value: Any) -> str:
    """Return a value of the output table as a cell, cut where it is long."""
    return shortened(table_value(value) or "", SHOWN_CELL)
