"""Sum up the weeks since the local model began to answer: rows, the model's share of them, and the cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal

from batchpipe.commands.printing.text import count, money, share, table
from batchpipe.commands.report.quality import RungQuality
from batchpipe.pipeline.model import PipelineFile
from batchpipe.sql.quoting import quote_list
from batchpipe.store.database import Session
from batchpipe.store.queries import query

PLACES = Decimal("0.000000000000001")


@dataclass(frozen=True, slots=True, kw_only=True)
class WeekSums:
    """A week (UTC, from Monday): the rows that got an answer, all and by rung, and what was paid.

    `usd_per_1000_rows` is None where nothing of the cost is known. `usd_per_1000_right` is the cost of 1,000 right
    rows: of each rung's rows the share is taken as right that is right of its present answers with a true value. It is
    None where a rung of the week has no such answer.
    """

    week: date
    rows: int
    local_rows: int
    cost_usd: Decimal | None
    usd_per_1000_rows: Decimal | None
    by_rung: Mapping[int, int]
    usd_per_1000_right: Decimal | None = None


def read_weeks(session: Session, file: PipelineFile | None) -> tuple[WeekSums, ...]:
    """Return the newest weeks, newest first; none without a local rung.

    Reads `ledger.decisions`, `ledger.results`.
    """
    if file is None or file.pipeline.local is None:
        return ()
    rows = session.dictionaries(query("local_weeks", pipelines=quote_list(file.pipeline.names)))
    return tuple(WeekSums(**{**row, "by_rung": dict(sorted((row["by_rung"] or {}).items()))}) for row in rows)


def with_right_rows(weeks: Sequence[WeekSums], rungs: Sequence[RungQuality]) -> tuple[WeekSums, ...]:
    """Return the weeks with what 1,000 right rows cost; `rungs` say how right the present answers of each rung are."""
    graded: dict[int, tuple[int, int]] = {}
    for each in rungs:
        n, agreed = graded.get(each.rung, (0, 0))
        graded[each.rung] = n + each.right.n, agreed + each.right.agreed
    return tuple(replace(each, usd_per_1000_right=_per_right(each, graded)) for each in weeks)


def _per_right(week: WeekSums, graded: Mapping[int, tuple[int, int]]) -> Decimal | None:
    if week.cost_usd is None or not week.rows or any(not graded.get(rung, (0, 0))[0] for rung in week.by_rung):
        return None
    right = sum(Decimal(rows) * graded[rung][1] / graded[rung][0] for rung, rows in week.by_rung.items())
    return (week.cost_usd * 1000 / right).quantize(PLACES) if right else None


def weeks_table(weeks: Sequence[WeekSums], terminal: bool) -> str:
    """Return the weeks as a table."""
    header, cells = weeks_cells(weeks)
    return table(header, cells, terminal=terminal, right=tuple(range(1, len(header))))


def weeks_cells(weeks: Sequence[WeekSums]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return the header and the cells of the weeks; the first column has the week, the others numbers."""
    above = sorted({rung for each in weeks for rung in each.by_rung if rung})
    cells = [
        (
            each.week.isoformat(),
            count(each.rows),
            share(each.local_rows, each.rows),
            *(share(each.by_rung.get(rung, 0), each.rows) for rung in above),
            money(each.cost_usd),
            money(each.usd_per_1000_rows),
            money(each.usd_per_1000_right) if each.usd_per_1000_right is not None else "",
        )
        for each in weeks
    ]
    rungs = (f"rung {rung}" for rung in above)
    return ("by week", "rows", "by the local model", *rungs, "cost", "per 1,000 rows", "per 1,000 right"), cells
