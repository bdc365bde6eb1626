"""What the nights have cost since the local model answers: rows, its share and the cost by week."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from batchpipe.commands.printing.text import count, money, share, table
from batchpipe.pipeline.model import PipelineFile
from batchpipe.sql.quoting import quote_list
from batchpipe.store.database import Session
from batchpipe.store.queries import query


@dataclass(frozen=True, slots=True, kw_only=True)
class WeekSums:
    """A week (UTC, from Monday): the rows that got an answer, those of them by the local model, and what was paid.

    `usd_per_1000_rows` is None where nothing of the cost is known.
    """

    week: date
    rows: int
    local_rows: int
    cost_usd: Decimal | None
    usd_per_1000_rows: Decimal | None


def read_weeks(session: Session, file: PipelineFile | None) -> tuple[WeekSums, ...]:
    """Return the newest weeks, newest first; none without a local rung.

    Reads `ledger.decisions`, `ledger.results`.
    """
    if file is None or file.pipeline.local is None:
        return ()
    rows = session.dictionaries(query("local_weeks", pipelines=quote_list(file.pipeline.names)))
    return tuple(WeekSums(**row) for row in rows)


def weeks_table(weeks: Sequence[WeekSums], terminal: bool) -> str:
    """Return the weeks as a table."""
    cells = [
        (
            each.week.isoformat(),
            count(each.rows),
            share(each.local_rows, each.rows),
            money(each.cost_usd),
            money(each.usd_per_1000_rows),
        )
        for each in weeks
    ]
    header = ("by week", "rows", "by the local model", "cost", "per 1,000 rows")
    return table(header, cells, terminal=terminal, right=(1, 2, 3, 4))
