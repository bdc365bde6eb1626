"""Read what was spent and what it bought, from the prices and decisions in the ledger, as values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from batchpipe.commands.printing.agreement import agreement_object
from batchpipe.commands.printing.caching import CacheSavings, read_cache_use
from batchpipe.commands.report.estimate_accuracy import PastEstimate, RunEstimate, read_estimates
from batchpipe.commands.report.quality import ReportQuality, read_quality
from batchpipe.commands.report.rungs import rungs_object
from batchpipe.commands.report.weeks import WeekSums, read_weeks, with_right_rows
from batchpipe.commands.status.read import Run, last_runs, with_ledger, with_links
from batchpipe.commands.status.states import Named, rows_by_state
from batchpipe.commands.status.waits import read_booked
from batchpipe.engine.context import Context
from batchpipe.engine.gold.agreement import Agreement, read_agreement
from batchpipe.providers.known import with_provider
from batchpipe.sql.quoting import Sql, number_sql, quote_list, sql
from batchpipe.store.database import Session
from batchpipe.store.queries import query

LAST = 10
PLACES = Decimal("1E-15")
SUMS = (
    "requests",
    "answered",
    "valid",
    "accepted",
    "review",
    "escalated",
    "failed",
    "retries",
    "unpriced",
    "input_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
    "cache_read_tokens",
    "output_tokens",
    "thinking_tokens",
    "cost_usd",
    "realtime_usd",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sums:
    """Counts and sums of results. Every count is of requests that have a result.

    `valid`: passed schema, casts and checks. `accepted`: valid and not sent further. `review`: kept although `accept`
    is false. `escalated`: sent their row up a rung. `failed`: ended their row. `retries`: later tries of a request.
    `unpriced`: without a known cost; they count as nothing in US dollars, and `cost_usd` is None where no result has
    one. `input_tokens` are uncached.
    """

    requests: int
    answered: int
    valid: int
    accepted: int
    review: int
    escalated: int
    failed: int
    retries: int
    unpriced: int
    input_tokens: int
    cache_write_5m_tokens: int
    cache_write_1h_tokens: int
    cache_read_tokens: int
    output_tokens: int
    thinking_tokens: int
    cost_usd: Decimal | None
    realtime_usd: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class RungSums:
    """The sums of one rung's model."""

    rung: int | None
    provider: str | None
    model: str | None
    sums: Sums


@dataclass(frozen=True, slots=True, kw_only=True)
class DaySums:
    """The sums of one UTC day, by the day of recording."""

    day: date
    sums: Sums


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionSums:
    """The sums of one prompt version."""

    version: str | None
    git_commit: str | None
    sums: Sums


@dataclass(frozen=True, slots=True, kw_only=True)
class InFlight:
    """What is not collected yet. `max_usd` is the most that it can cost; None where a price is not known."""

    batches: int
    requests: int
    max_usd: Decimal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportedCost:
    """What a gateway says that results cost, and what is computed for the same; None where that is not known."""

    provider: str
    results: int
    reported_usd: Decimal
    computed_usd: Decimal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The report of one pipeline. `rows_answered` have an accepted answer; the US dollars are per 1,000 of them.

    `booked_usd`: the most that was paid for what brought no answer: batches whose results are gone, and lost calls.
    `reviewed`: how often people agreed with the answers that they reviewed. `quality`: how many answers are right.
    `reported`: what gateways themselves say of the cost.
    """

    pipeline: str
    since: datetime | None
    total: Sums
    saved_usd: Decimal
    rows_answered: int
    usd_per_1000_accepted: Decimal | None
    in_flight: InFlight
    estimate: PastEstimate | None
    estimates: Sequence[RunEstimate]
    rungs: Sequence[RungSums]
    versions: Sequence[VersionSums]
    runs: Sequence[Run]
    days: Sequence[DaySums]
    reviewed: Agreement
    caching: Sequence[CacheSavings]
    booked_usd: Decimal = Decimal(0)
    reported: Sequence[ReportedCost] = ()
    quality: ReportQuality | None = None
    weeks: Sequence[WeekSums] = ()


def read_reports(context: Context, named: Sequence[Named], *, everything: bool) -> list[Report]:
    """Return the report of each pipeline. `everything` adds the pipelines that only the ledger knows.

    All sums are read in one session; then the quality of each pipeline with `[eval]`.
    """
    work = context.work()
    try:
        with context.database.reading(work) as session:
            named = with_links(session, named)
            meant = with_ledger(session, named) if everything else named
            found = [_read(session, each) for each in meant]
    finally:
        work.close()
    whole = []
    for each, given in zip(found, meant, strict=True):
        costs = {
            (rung.rung, with_provider(rung.provider, rung.model or "")): rung.sums.cost_usd or Decimal(0)
            for rung in each.rungs
        }
        quality = read_quality(context, given, each.usd_per_1000_accepted, costs)
        weeks = with_right_rows(each.weeks, quality.rungs) if quality is not None else each.weeks
        whole.append(replace(each, quality=quality, weeks=weeks))
    return whole


def _read(session: Session, named: Named) -> Report:
    """Return the report of one pipeline.

    Reads the ledger. Writes `work.paid`, `work.versions`.
    """
    pipelines = quote_list(named.names)
    session.execute(query("paid", pipelines=pipelines))
    session.execute(query("paid_versions", pipelines=pipelines))
    total = _sums(session.dictionaries(query("paid_sums", groups=Sql(""), grouped=Sql("")))[0])
    rows = rows_by_state(session, named)
    answered = rows["accepted"] + rows["kept"]
    batches, requests, max_usd = session.one(query("in_flight", pipelines=pipelines))
    estimate, estimates = read_estimates(session, pipelines)
    return Report(
        pipeline=named.name,
        since=session.one(Sql("SELECT min(recorded_at) FROM work.paid"))[0],
        total=total,
        saved_usd=total.realtime_usd - (total.cost_usd or 0),
        rows_answered=answered,
        usd_per_1000_accepted=(
            (total.cost_usd * 1000 / answered).quantize(PLACES) if answered and total.cost_usd is not None else None
        ),
        in_flight=InFlight(batches=batches, requests=requests, max_usd=max_usd if batches else Decimal(0)),
        estimate=estimate,
        estimates=estimates,
        rungs=_rungs(session),
        versions=_versions(session),
        runs=last_runs(session, named, LAST),
        days=_days(session),
        reviewed=read_agreement(session, named.names),
        caching=read_cache_use(session, pipelines, with_provider),
        booked_usd=read_booked(session, named.names),
        weeks=read_weeks(session, named.file),
        reported=[ReportedCost(**each) for each in session.dictionaries(query("reported_costs", pipelines=pipelines))],
    )


def _rungs(session: Session) -> list[RungSums]:
    """Return the sums of each rung and model.

    Reads `work.paid`.
    """
    grouped = Sql("GROUP BY rung, provider, model ORDER BY rung, provider, model")
    statement = query("paid_sums", groups=Sql("rung, provider, model,"), grouped=grouped)
    return [
        RungSums(rung=each["rung"], provider=each["provider"], model=each["model"], sums=_sums(each))
        for each in session.dictionaries(statement)
    ]


def _versions(session: Session) -> list[VersionSums]:
    """Return the sums of each prompt version.

    Reads `work.paid`, `work.versions`.
    """
    grouped = Sql("LEFT JOIN work.versions USING (prompt_version) GROUP BY version, git_commit, seq ORDER BY seq")
    statement = query("paid_sums", groups=Sql("version, git_commit,"), grouped=grouped)
    return [
        VersionSums(version=each["version"], git_commit=each["git_commit"], sums=_sums(each))
        for each in session.dictionaries(statement)
    ]


def _days(session: Session) -> list[DaySums]:
    """Return the sums of the newest days.

    Reads `work.paid`.
    """
    statement = query(
        "paid_sums",
        groups=Sql("recorded_at::DATE AS day,"),
        grouped=sql("GROUP BY day ORDER BY day DESC LIMIT {last}", last=number_sql(LAST)),
    )
    return [DaySums(day=each["day"], sums=_sums(each)) for each in session.dictionaries(statement)]


def _sums(row: Mapping[str, Any]) -> Sums:
    return Sums(**{name: row[name] for name in SUMS})


def report_object(found: Report) -> dict[str, Any]:
    """Return the object of `report --json`, with the shares of its sums."""
    shown = asdict(replace(found, quality=None)) | {"quality": rungs_object(found.quality)}
    shown["total"] = _with_shares(shown["total"])
    shown["reviewed"] = agreement_object(found.reviewed)
    for name in ("rungs", "versions", "days"):
        for each in shown[name]:
            each.update(_with_shares(each.pop("sums")))
    for each in shown["estimates"]:
        each.update(each.pop("estimate"))
    return shown


def _with_shares(sums: Mapping[str, Any]) -> dict[str, Any]:
    """Return sums with their shares of `requests`; None where there are no requests."""
    whole = sums["requests"]
    shares = {f"{name}_share": sums[name] / whole if whole else None for name in ("valid", "accepted", "escalated")}
    return {**sums, **shares}
