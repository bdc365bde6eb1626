"""Read what pages show of the ledger: spend by day and model, failed rows by error, batches, runs, answers by rung.

Every function takes the names of the pipelines; None stands for all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from batchpipe.sql.quoting import Sql, quote_list, sql
from batchpipe.store.database import Session
from batchpipe.store.queries import query

MOST_ERRORS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class DaySpend:
    """What one model's results of a UTC day came to. `cost_usd` is None where no cost of them is known."""

    day: date
    model: str
    requests: int
    cost_usd: Decimal | None
    realtime_usd: Decimal
    unpriced: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedRow:
    """A row that failed in the end. `key` is a JSON list of texts."""

    key: str
    error: str | None
    model: str | None
    rung: int | None
    attempts: int
    decided_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """A chunk with its batch, open or not. Times are naive UTC."""

    pipeline: str
    chunk_id: str
    batch_id: str | None
    state: str
    is_open: bool
    rung: int
    model: str
    requests: int
    expected_usd: Decimal | None
    max_usd: Decimal | None
    prepared_at: datetime
    submitted_at: datetime | None
    created_at: datetime | None
    expires_at: datetime | None
    ended_at: datetime | None
    collected_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OneRun:
    """A call of `run`. `by_model` are the sums of what it collected, `events` its kinds of events with their number."""

    run_id: str
    pipeline: str
    started_at: datetime
    ended_at: datetime | None
    version: str | None
    status: str
    message: str | None
    submitted: int
    results: int
    cost_usd: Decimal | None
    realtime_usd: Decimal
    by_model: Sequence[dict[str, Any]]
    events: Sequence[dict[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class RungAnswer:
    """What the model of a rung answered to the row called `key`; `output` is the document as JSON text."""

    key: str
    rung: int
    model: str | None
    output: str


def spend_by_day(session: Session, names: Sequence[str] | None, since: datetime) -> list[DaySpend]:
    """Return what was spent since a time, by UTC day and model, oldest day first.

    Reads `ledger.results`, `ledger.batches`.
    """
    statement = query("spend_by_day", chosen=_chosen(names, Sql("r.pipeline")))
    return [DaySpend(**each) for each in session.dictionaries(statement, {"since": since})]


def failed_by_error(session: Session, names: Sequence[str], number: int = MOST_ERRORS) -> list[tuple[str, int]]:
    """Return the errors of failed rows with the number of rows, the most frequent first.

    Reads `ledger.row_state`.
    """
    return session.rows(query("failed_by_error", pipelines=quote_list(names)), {"count": number})


def failed_rows(
    session: Session, names: Sequence[str], *, error: str | None, limit: int, offset: int = 0
) -> list[FailedRow]:
    """Return failed rows by key, of one error where it is given.

    Reads `ledger.row_state`.
    """
    values = {"error": error, "count": limit, "offset": offset}
    rows = session.dictionaries(query("failed_rows", pipelines=quote_list(names)), values)
    return [FailedRow(**each) for each in rows]


def newest_batches(session: Session, names: Sequence[str] | None, number: int) -> list[Batch]:
    """Return the open batches, then the newest others.

    Reads `ledger.batches`.
    """
    statement = query("newest_batches", chosen=_chosen(names, Sql("pipeline")))
    return [Batch(**each) for each in session.dictionaries(statement, {"count": number})]


def newest_runs(session: Session, names: Sequence[str] | None, number: int) -> list[dict[str, Any]]:
    """Return the newest runs with their pipeline, newest first.

    Reads `ledger.runs`, `ledger.spend`.
    """
    return session.dictionaries(query("newest_runs", chosen=_chosen(names, Sql("pipeline"))), {"count": number})


def one_run(session: Session, names: Sequence[str], run_id: str) -> OneRun | None:
    """Return one run; None where there is no such run.

    Reads `ledger.runs`, `ledger.spend`, `ledger.events`.
    """
    parts, values = {"pipelines": quote_list(names)}, {"run_id": run_id}
    found = session.dictionaries(query("one_run", **parts), values)
    if not found:
        return None
    return OneRun(
        **found[0],
        by_model=session.dictionaries(query("run_by_model", **parts), values),
        events=session.dictionaries(query("run_events", **parts), values),
    )


def rung_answers(session: Session, names: Sequence[str], keys: Sequence[str]) -> list[RungAnswer]:
    """Return the newest valid answer of each rung to each of `keys` (JSON lists of texts), the highest rung first.

    Reads `ledger.requests`, `ledger.results`.
    """
    rows = session.dictionaries(query("rung_answers", pipelines=quote_list(names)), {"keys": list(keys)})
    return [RungAnswer(**each) for each in rows]


def _chosen(names: Sequence[str] | None, column: Sql) -> Sql:
    """Return SQL for the pipelines that are meant; all are those that no evaluation made."""
    if names is None:
        return sql("NOT contains({column}, ':')", column=column)
    return sql("{column} IN ({names})", column=column, names=quote_list(names))
