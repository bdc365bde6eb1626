"""Compare estimates with what was paid in the end.

The functions read `work.estimated` and `work.versions`, which `report` fills.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from batchpipe.commands.printing.text import count, moment, money, table
from batchpipe.sql.quoting import Sql, number_sql, sql
from batchpipe.store.database import Session
from batchpipe.store.queries import query

LAST = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class PastEstimate:
    """The expected cost of batches when they were prepared, and the actual cost of the same batches.

    `within`: whether the actual cost lies between `low_usd` and `high_usd`, the interval that should hold 90%. All
    three are None where a batch was prepared by a version without intervals.
    """

    batches: int
    requests: int
    expected_usd: Decimal
    low_usd: Decimal | None
    high_usd: Decimal | None
    actual_usd: Decimal
    within: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEstimate:
    """The estimate for what one run sent with one prompt version, whichever run collected it."""

    run_id: str
    prepared_at: datetime
    version: str | None
    estimate: PastEstimate


def read_estimates(session: Session, pipelines: Sql) -> tuple[PastEstimate | None, list[RunEstimate]]:
    """Return the estimate of all collected batches, None where there are none, and the estimates of the newest runs.

    Reads the ledger, `work.versions`. Writes `work.estimated`.
    """
    session.execute(query("estimated", pipelines=pipelines))
    whole = session.dictionaries(query("estimated_sums", groups=Sql(""), grouped=Sql("")))[0]
    return _estimate(whole), _estimates(session)


def _estimate(row: Mapping[str, Any]) -> PastEstimate | None:
    if not row["batches"]:
        return None
    found = {name: row[name] for name in PastEstimate.__dataclass_fields__ if name in row}
    low, high = found["low_usd"], found["high_usd"]
    known = low is not None and high is not None
    return PastEstimate(**found, within=low <= found["actual_usd"] <= high if known else None)


def _estimates(session: Session) -> list[RunEstimate]:
    grouped = sql(
        "LEFT JOIN work.versions USING (prompt_version) "
        "GROUP BY run_id, version ORDER BY min(prepared_at) DESC LIMIT {last}",
        last=number_sql(LAST),
    )
    groups = Sql("run_id::VARCHAR AS run_id, min(prepared_at) AS prepared_at, version,")
    return [
        RunEstimate(run_id=each["run_id"], prepared_at=each["prepared_at"], version=each["version"], estimate=estimate)
        for each in session.dictionaries(query("estimated_sums", groups=groups, grouped=grouped))
        if (estimate := _estimate(each)) is not None
    ]


def estimates_table(estimates: Sequence[RunEstimate], terminal: bool) -> str:
    """Return the table of the runs' estimates and actual costs."""
    cells = [
        (
            moment(each.prepared_at),
            each.version or "unknown",
            count(each.estimate.requests),
            money(each.estimate.expected_usd),
            _between(each.estimate),
            money(each.estimate.actual_usd),
            {True: "within", False: "missed", None: ""}[each.estimate.within],
        )
        for each in estimates
    ]
    header = ("estimated", "prompt", "requests", "expected", "between", "came to", "")
    return table(header, cells, terminal=terminal, right=(2, 3, 4, 5))


def expected_text(estimate: PastEstimate) -> str:
    """Return the expected cost with its interval: `$1.20 ($1.10 to $1.31)`."""
    between = _between(estimate)
    return money(estimate.expected_usd) + (f" ({between})" if between else "")


def _between(estimate: PastEstimate) -> str:
    if estimate.low_usd is None or estimate.high_usd is None:
        return ""
    return f"{money(estimate.low_usd)} to {money(estimate.high_usd)}"
