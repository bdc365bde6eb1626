"""Run `batchpipe report`: print what was spent and what it bought, from the prices and decisions in the ledger."""

from __future__ import annotations

from collections.abc import Sequence

from batchpipe.commands.call.call import Call
from batchpipe.commands.printing.agreement import agreement_line
from batchpipe.commands.printing.caching import came_to_text
from batchpipe.commands.printing.text import count, moment, money, pairs, share, table
from batchpipe.commands.report.estimate_accuracy import estimates_table, expected_text
from batchpipe.commands.report.html import report_sections
from batchpipe.commands.report.read import DaySums, Report, RungSums, Sums, VersionSums, read_reports, report_object
from batchpipe.commands.report.rows import LEFT_OUT, rows_section
from batchpipe.commands.report.rungs import quality_pairs, quality_parts
from batchpipe.commands.report.shares import read_shares, shares_object, shares_text
from batchpipe.commands.report.weeks import weeks_table
from batchpipe.commands.report.words import booked_text, reported_text, tokens_text
from batchpipe.commands.status.read import Run, chosen
from batchpipe.commands.status.states import Named
from batchpipe.common.errors import UsageError
from batchpipe.engine.context import Context
from batchpipe.engine.ledger.renames import with_histories
from batchpipe.html.links import NO_LINKS
from batchpipe.html.render import one_file, report_path, write_report
from batchpipe.providers.known import with_provider


def report(
    call: Call,
    arguments: Sequence[str],
    *,
    html: str | None = None,
    with_rows: bool = False,
    shares: str | None = None,
    by: str | None = None,
) -> int:
    """Print the reports; without `arguments` those of every pipeline of the project and of the ledger.

    With `html` they are written to that file; rows are only there `with_rows`. With `shares` the report is about the
    shares of that field, by the values of the column `by`.
    """
    if shares is not None or by is not None:
        return _report_shares(call, arguments, shares, by, html)
    page = report_path(call.path(html), html) if html is not None else None
    named, single = chosen(call, arguments)
    with call.context() as context:
        reports = read_reports(context, named, everything=not arguments)
        if page is not None:
            write_report(page, _file(call, context, reports, named, with_rows=with_rows))
            call.say(f"written to {page}")
    if call.json:
        call.emit([report_object(each) for each in reports], single)
        return 0
    for number, each in enumerate(reports if page is None else ()):
        again = call.suggest(f"eval {each.pipeline} --models all")
        call.out(("\n" if number else "") + _text(each, again, call.terminal))
    return 0


def _report_shares(call: Call, arguments: Sequence[str], field: str | None, by: str | None, html: str | None) -> int:
    """Print the shares of a field. With `--json` the object of the report has them too."""
    if field is None:
        raise UsageError("--by goes with --shares", where="--by", hint="Name the field: --shares label --by plan")
    if html is not None:
        raise UsageError("--shares and --html exclude each other", where="--html", hint="Give one of them.")
    if len(arguments) != 1:
        raise UsageError("the shares of one pipeline are asked for", where="--shares", hint="Name one pipeline.")
    file = call.one_pipeline(arguments[0], "report NAME --shares FIELD")
    with call.context() as context:
        (file,) = with_histories(context.database, context.work, [file])
        found = read_shares(call, context, file, field, by)
        if call.json:
            named = [Named(name=file.pipeline.name, names=tuple(file.pipeline.names), file=file)]
            (whole,) = read_reports(context, named, everything=False)
            call.out(report_object(whole) | shares_object(found))
            return 0
    call.out(shares_text(found, call.terminal))
    return 0


def _file(call: Call, context: Context, reports: Sequence[Report], named: Sequence[Named], *, with_rows: bool) -> str:
    """Return the reports as one file."""
    files = {each.name: each.file for each in named}
    parts = []
    for each in reports:
        file, again = files.get(each.pipeline), call.suggest(f"eval {each.pipeline} --models all")
        sections = report_sections(each, file, NO_LINKS, again)
        if with_rows and file is not None:
            sections.append(rows_section(context, file))
        parts.append((each.pipeline, sections))
    notes = [] if with_rows else [LEFT_OUT]
    title = f"batchpipe report: {', '.join(each.pipeline for each in reports) or 'nothing yet'}"
    return one_file(title, parts, notes, moment(call.machine.clock()))


def _text(found: Report, again: str, terminal: bool) -> str:
    total = found.total
    if not total.requests:
        waiting = f", {count(found.in_flight.requests, 'request')} in flight" if found.in_flight.batches else ""
        booked = pairs([("booked", booked_text(found))])
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
    if found.weeks:
        parts.append(weeks_table(found.weeks, terminal))
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
            ("tokens", tokens_text(total)),
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
            ("booked", booked_text(found)),
            ("reported", reported_text(found)),
            (
                "unknown",
                f"{count(total.unpriced, 'result')} not in these sums: the cost is unknown" if total.unpriced else None,
            ),
        ]
    )


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
    return f"{rung.rung} {with_provider(rung.provider, rung.model or '')}" if rung.rung is not None else "unknown"


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
