"""Run `batchpipe report`: print what was spent and what it bought, from the prices and decisions in the ledger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from batchpipe.commands.call.call import Call
from batchpipe.commands.printing.agreement import agreement_line, agreement_object
from batchpipe.commands.printing.caching import CacheSavings, came_to_text, read_cache_use
from batchpipe.commands.printing.text import count, moment, money, pairs, share, table
from batchpipe.commands.report.estimate_accuracy import (
    PastEstimate,
    RunEstimate,
    estimates_table,
    expected_text,
    read_estimates,
)
from batchpipe.commands.report.quality import ReportQuality, read_quality
from batchpipe.commands.report.rungs import quality_object, quality_pairs, quality_parts
from batchpipe.commands.status.read import Named, Run, chosen, last_runs, rows_by_state, with_ledger
from batchpipe.commands.status.waits import read_booked
from batchpipe.engine.context import Context
from batchpipe.engine.gold.agreement import Agreement, read_agreement
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
class Report:
    """The report of one pipeline. `rows_answered` have an accepted answer; the US dollars are per 1,000 of them.

    `booked_usd`: the most that was paid for what brought no answer: batches whose results are gone, and lost calls.
    `reviewed`: how often people agreed with the answers that they reviewed. `quality`: how many answers are right.
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
    quality: ReportQuality | None = None


def report(call: Call, arguments: Sequence[str]) -> int:
    """Print the reports; without `arguments` those of every pipeline of the project and of the ledger."""
    named, single = chosen(call, arguments)
    with call.context() as context:
        reports = read_reports(context, named, everything=not arguments)
    if call.json:
        call.emit([_as_json(each) for each in reports], single)
        return 0
    for number, each in enumerate(reports):
        again = call.suggest(f"eval {each.pipeline} --models all")
        call.out(("\n" if number else "") + _text(each, again, call.terminal))
    return 0


def read_reports(context: Context, named: Sequence[Named], *, everything: bool) -> list[Report]:
    """Return the report of each pipeline. `everything` adds the pipelines that only the ledger knows.

    All sums are read in one session; then the quality of each pipeline with `[eval]`.
    """
    work = context.work()
    try:
        with context.database.reading(work) as session:
            meant = with_ledger(session, named) if everything else named
            found = [_read(session, each) for each in meant]
    finally:
        work.close()
    whole = []
    for each, given in zip(found, meant, strict=True):
        costs = {(rung.rung, rung.model): rung.sums.cost_usd or Decimal(0) for rung in each.rungs}
        whole.append(replace(each, quality=read_quality(context, given, each.usd_per_1000_accepted, costs)))
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
        caching=read_cache_use(session, pipelines),
        booked_usd=read_booked(session, named.names),
    )


def _rungs(session: Session) -> list[RungSums]:
    """Return the sums of each rung and model.

    Reads `work.paid`.
    """
    statement = query("paid_sums", groups=Sql("rung, model,"), grouped=Sql("GROUP BY rung, model ORDER BY rung, model"))
    return [
        RungSums(rung=each["rung"], model=each["model"], sums=_sums(each)) for each in session.dictionaries(statement)
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


def _as_json(found: Report) -> dict[str, Any]:
    """Return a report for `--json`, with the shares of its sums."""
    shown = asdict(replace(found, quality=None)) | {"quality": quality_object(found.quality)}
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


def _booked_text(found: Report) -> str | None:
    """Return what was paid for and brought no answer; None where there is no such thing."""
    return f"{money(found.booked_usd)} at most, paid for what brought no answer" if found.booked_usd else None


def _text(found: Report, again: str, terminal: bool) -> str:
    total = found.total
    if not total.requests:
        waiting = f", {count(found.in_flight.requests, 'request')} in flight" if found.in_flight.batches else ""
        booked = pairs([("booked", _booked_text(found))])
        known = [booked, pairs(quality_pairs(found.quality)), *quality_parts(found.quality, again, terminal)]
        return "\n".join([found.pipeline, f"  nothing was spent yet{waiting}", *(each for each in known if each)])
    parts = [found.pipeline, _summary(found)]
    parts.append(_sums_table("by rung", [(_rung_name(each), each.sums) for each in found.rungs], terminal))
    parts += quality_parts(found.quality, again, terminal)
    if len(found.versions) > 1:
        parts.append(_sums_table("by prompt", [(_version_name(each), each.sums) for each in found.versions], terminal))
    parts.append(_runs_table(found.runs, terminal))
    if found.estimates:
        parts.append(estimates_table(found.estimates, terminal))
    parts.append(_days_table(found.days, terminal))
    return "\n".join(parts)


def _summary(found: Report) -> str:
    total = found.total
    saved = f"{money(found.saved_usd)} of {money(total.realtime_usd)} at realtime prices"
    flying, estimate = found.in_flight, found.estimate
    per_thousand = found.usd_per_1000_accepted
    return pairs(
        [
            ("spent", f"{money(total.cost_usd)} since {moment(found.since)}"),
            ("saved", saved if total.realtime_usd else None),
            ("per 1,000 accepted", money(per_thousand) if per_thousand is not None else None),
            *quality_pairs(found.quality),
            ("rows", f"{count(found.rows_answered)} with an accepted answer"),
            ("requests", f"{count(total.requests)}, {count(total.retries)} of them retries"),
            ("tokens", _tokens(total)),
            ("cache", came_to_text(found.caching)),
            (
                "in flight",
                f"{count(flying.requests, 'request')}, at most {money(flying.max_usd)}" if flying.batches else None,
            ),
            (
                "estimated",
                f"{expected_text(estimate)}, came to {money(estimate.actual_usd)}" if estimate else None,
            ),
            ("agreed", agreement_line(found.reviewed.total) if found.reviewed.total.n else None),
            ("booked", _booked_text(found)),
            (
                "unknown",
                f"{count(total.unpriced, 'result')} not in these sums: the cost is unknown" if total.unpriced else None,
            ),
        ]
    )


def _tokens(sums: Sums) -> str:
    named = (
        (sums.input_tokens, "input"),
        (sums.cache_read_tokens, "cache read"),
        (sums.cache_write_5m_tokens, "cache write 5 min"),
        (sums.cache_write_1h_tokens, "cache write 1 h"),
        (sums.output_tokens, "output"),
        (sums.thinking_tokens, "of it thinking"),
    )
    return ", ".join(f"{number:,} {name}" for number, name in named if number) or "none"


def _sums_table(title: str, rows: Sequence[tuple[str, Sums]], terminal: bool) -> str:
    header = (title, "requests", "retries", "valid", "accepted", "escalated", "cost")
    cells = [
        (
            name,
            count(each.requests),
            count(each.retries),
            share(each.valid, each.requests),
            share(each.accepted, each.requests),
            share(each.escalated, each.requests),
            money(each.cost_usd),
        )
        for name, each in rows
    ]
    return table(header, cells, terminal=terminal, right=tuple(range(1, len(header))))


def _rung_name(rung: RungSums) -> str:
    return f"{rung.rung} {rung.model}" if rung.rung is not None else "unknown"


def _version_name(version: VersionSums) -> str:
    return (version.version or "unknown") + (f" ({version.git_commit})" if version.git_commit else "")


def _runs_table(runs: Sequence[Run], terminal: bool) -> str:
    cells = [
        (
            moment(each.started_at),
            each.status.replace("_", " "),
            count(each.submitted),
            count(each.results),
            money(each.cost_usd),
        )
        for each in runs
    ]
    return table(("by run", "status", "sent", "collected", "cost"), cells, terminal=terminal, right=(2, 3, 4))


def _days_table(days: Sequence[DaySums], terminal: bool) -> str:
    cells = [
        (
            each.day.isoformat(),
            count(each.sums.requests),
            money(each.sums.cost_usd),
            money(each.sums.realtime_usd),
        )
        for each in days
    ]
    return table(("by day", "requests", "cost", "realtime"), cells, terminal=terminal, right=(1, 2, 3))
