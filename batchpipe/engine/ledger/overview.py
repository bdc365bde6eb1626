"""Read what pages show of the ledger: spend by day and model, failed rows by error, batches, runs, answers by rung.

Every function takes the names of the pipelines; None stands for all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from batchpipe.providers.known import with_provider
from batchpipe.sql.quoting import Sql, quote_list, sql
from batchpipe.store.database import Session
from batchpipe.store.queries import query

MOST_ERRORS = 50
MOST_REASONS = 3
FIRST_LINE = Sql("left(coalesce(split_part(d.error, chr(10), 1), 'unknown'), 300)")


@dataclass(frozen=True, slots=True, kw_only=True)
class DaySpend:
    """What the results of one model of a provider came to on a UTC day. `cost_usd` is None where no cost is known."""

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
class Failures:
    """A page of failed rows. `matching` counts all of them; `by_error` has the most frequent errors with their rows."""

    by_error: Sequence[tuple[str, int]]
    matching: int
    rows: Sequence[FailedRow]


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
    return [DaySpend(**each) for each in _named(session.dictionaries(statement, {"since": since}))]


def read_failures(
    session: Session, names: Sequence[str], *, error: str | None = None, limit: int, offset: int = 0
) -> Failures:
    """Return failed rows by key, of one error where it is given, and the number of rows of each error.

    Reads `ledger.decisions`, `ledger.requests`, `ledger.batches`. Writes `work.failures`, `work.failed_page`.
    """
    pipelines = quote_list(names)
    session.execute(query("failures", pipelines=pipelines))
    by_error = session.rows(query("failed_by_error", pipelines=pipelines, error=FIRST_LINE), {"count": MOST_ERRORS})
    if error is not None:
        session.execute(query("failures_of_error", pipelines=pipelines, error=FIRST_LINE), {"error": error})
    matching = session.one(Sql("SELECT count(*) FROM work.failures"))[0]
    session.execute(query("failed_page", pipelines=pipelines), {"count": limit, "offset": offset})
    rows = session.dictionaries(query("failed_rows", pipelines=pipelines))
    return Failures(by_error=by_error, matching=matching, rows=[FailedRow(**each) for each in _named(rows)])


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureReason:
    """Says why `rows` rows failed: the first line of the `error` of one of them, and that row's `key` as JSON text.

    The rows' errors differ in nothing but numbers and what stands in quotation marks.
    """

    error: str
    rows: int
    key: str


def failure_reasons(session: Session, names: Sequence[str], snapshot: Sql) -> list[FailureReason]:
    """Return the most frequent reasons why rows of a run stand as failed. `snapshot` is the relation of its input.

    Reads `work.standings`, `ledger.decisions`, `ledger.requests`.
    """
    statement = query("failure_reasons", pipelines=quote_list(names), error=FIRST_LINE, snapshot=snapshot)
    return [FailureReason(**each) for each in session.dictionaries(statement, {"count": MOST_REASONS})]


def newest_batches(session: Session, names: Sequence[str] | None, number: int) -> list[Batch]:
    """Return the open batches, then the newest others.

    Reads `ledger.batches`.
    """
    statement = query("newest_batches", chosen=_chosen(names, Sql("pipeline")))
    return [Batch(**each) for each in _named(session.dictionaries(statement, {"count": number}))]


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
        by_model=_named(session.dictionaries(query("run_by_model", **parts), values)),
        events=session.dictionaries(query("run_events", **parts), values),
    )


def rung_answers(session: Session, names: Sequence[str], keys: Sequence[str]) -> list[RungAnswer]:
    """Return the newest valid answer of each rung to each of `keys` (JSON lists of texts), the highest rung first.

    Reads `ledger.requests`, `ledger.results`.
    """
    rows = session.dictionaries(query("rung_answers", pipelines=quote_list(names)), {"keys": list(keys)})
    return [RungAnswer(**each) for each in rows]


def _named(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return rows with their model as it is shown, with its provider before it, in the place of both."""
    return [
        {name: value for name, value in each.items() if name != "provider"}
        | {"model": None if each["model"] is None else with_provider(each["provider"], each["model"])}
        for each in rows
    ]


def _chosen(names: Sequence[str] | None, column: Sql) -> Sql:
    """Return SQL for the pipelines that are meant; all are those that no evaluation made."""
    if names is None:
        return sql("NOT contains({column}, ':')", column=column)
    return sql("{column} IN ({names})", column=column, names=quote_list(names))
