"""The first page: five figures, a line for each pipeline, batches in flight, spend by day, the last runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from batchpipe.charts.chart import dollars_mark
from batchpipe.charts.columns import ChartColumn, columns
from batchpipe.charts.shares import progress
from batchpipe.commands.printing.text import count, duration, moment, money, share
from batchpipe.commands.report.read import Report, read_reports
from batchpipe.commands.status.html import run_status, runs_table, states_chart, states_legend
from batchpipe.commands.status.read import OpenChunk, Run, Status, read_statuses
from batchpipe.commands.status.states import Named
from batchpipe.engine.ledger.overview import DaySpend, newest_runs, spend_by_day
from batchpipe.html.blocks import Block, Cell, Command, Figure, Figures, Picture, Section, Sentences, Table, Text
from batchpipe.html.links import SERVED
from batchpipe.pages.page import Query
from batchpipe.pages.site import Site

DAYS = 14
LAST_RUNS = 10
MOST_MODELS = 5
LIFE_SECONDS = 86_400
AT_PROVIDER = ("in_flight", "canceling", "ended", "presumed")


def home_sections(site: Site, query: Query) -> Sequence[Section]:
    """Return the sections of the first page. What takes long, the rightness of answers, comes with a later look."""
    statuses: list[Status] = site.read(("statuses",), lambda: read_all(site)).value
    runs, days = site.read(("home",), lambda: _read_ledger(site)).value
    reports = site.soon(("reports",), lambda: _read_reports(site))
    known = {each.pipeline: each for each in reports.value} if reports is not None else None
    sections = [Section(blocks=[Figures(found=_figures(statuses, known))], bare=True)]
    problems: list[Block] = [
        Sentences(found=[f"{stem}.toml: {error}"], tone="bad") for stem, error in site.files()[1].items()
    ]
    if not statuses:
        new = Command(words="There is no pipeline yet. To make one:", command=site.call.suggest("new NAME"))
        return [Section(title="Pipelines", blocks=[*problems, new])]
    sections.append(Section(title="Pipelines", blocks=[_pipelines(statuses, known), states_legend(), *problems]))
    alone = not any(each.batches for each in statuses)  # a table of batches needs the whole width
    sections.append(Section(title="At the provider", blocks=[_in_flight(statuses)], half=alone))
    sections.append(Section(title="Spend by day (UTC)", blocks=_days(days), half=alone))
    table = runs_table([(each["pipeline"], _run(each)) for each in runs], SERVED, named=True)
    sections.append(Section(title="Last runs", blocks=[table]))
    return sections


def home_value(site: Site, query: Query) -> list[dict[str, Any]]:
    """Return what `status --json` prints."""
    return [asdict(each) for each in read_all(site)]


def read_all(site: Site) -> list[Status]:
    """Return the status of every pipeline of the project and of the ledger."""
    with site.context() as context:
        return read_statuses(context, named_files(site), everything=True)


def named_files(site: Site) -> list[Named]:
    """Return every pipeline that has a file."""
    files, problems = site.files()
    found = [Named(name=each.pipeline.name, names=tuple(each.pipeline.names), file=each) for each in files]
    return found + [Named(name=stem, names=(stem,)) for stem in problems]


def in_flight_table(batches: Sequence[tuple[str, OpenChunk]], *, named: bool) -> Table:
    """Return the batches at the provider: their age as a part of the day that they may take."""
    header = (*(["pipeline"] if named else []), "rung", "requests", "state", "age of 24 h", "", "at most")
    rows: list[Sequence[Text]] = []
    for pipeline, each in batches:
        rows.append(
            [
                *([Cell(text=pipeline, href=SERVED.page(pipeline), strong=True)] if named else []),
                f"{each.rung} {each.model}",
                count(each.requests),
                each.state.replace("_", " "),
                Cell(text="", chart=progress("age", each.age_seconds / LIFE_SECONDS)),
                duration(each.age_seconds),
                money(each.max_usd),
            ]
        )
    first = 1 if named else 0
    right = (first + 1, first + 5)
    return Table(title="batches at the provider", header=header, rows=rows, right=right, empty="Nothing is in flight.")


def days_chart(title: str, found: Sequence[DaySpend], now: datetime, days: int) -> Picture:
    """Return the spend of the last `days`, by model; models beyond the first few are one part."""
    sums: dict[str, Decimal] = {}
    for each in found:
        sums[each.model] = sums.get(each.model, Decimal(0)) + (each.cost_usd or 0)
    models = sorted(sums, key=lambda each: (-sums[each], each))
    names = models[:MOST_MODELS] + (["others"] if len(models) > MOST_MODELS else [])
    bars = []
    for number in range(days - 1, -1, -1):
        day = (now - timedelta(days=number)).date()
        parts = [0.0] * max(len(names), 1)
        for each in found:
            if each.day == day:
                parts[min(models.index(each.model), len(names) - 1)] += float(each.cost_usd or 0)
        bars.append(ChartColumn(name=f"{day:%m-%d}", parts=parts))
    chart = columns(title, names or ["cost"], bars, axis=dollars_mark, cell=lambda each: f"${each:,.4f}", of="day")
    unpriced = sum(each.unpriced for each in found)
    note = f"{count(unpriced, 'result')} are not in these sums: the cost is unknown." if unpriced else ""
    return Picture(chart=chart, note=note)


def _read_ledger(site: Site) -> tuple[list[dict[str, Any]], list[DaySpend]]:
    with site.session() as (_, _, session):
        since = session.now - timedelta(days=DAYS)
        return newest_runs(session, None, LAST_RUNS), spend_by_day(session, None, since)


def _read_reports(site: Site) -> list[Report]:
    with site.context() as context:
        return read_reports(context, named_files(site), everything=True)


def _figures(statuses: Sequence[Status], reports: Mapping[str, Report] | None) -> list[Figure]:
    rows: dict[str, int] = {}
    for each in statuses:
        for state, number in each.rows.items():
            rows[state] = rows.get(state, 0) + number
    flying = [batch for each in statuses for batch in each.batches if batch.state in AT_PROVIDER]
    spent = sum((each.cost_usd or Decimal(0) for each in statuses), Decimal(0))
    saved = sum((each.saved_usd for each in (reports or {}).values()), Decimal(0))
    review = next((each.pipeline for each in statuses if each.rows["review"]), None)
    batches = count(len(flying), "batch", "batches")
    return [
        Figure(value=count(rows.get("accepted", 0) + rows.get("kept", 0)), words="rows answered"),
        Figure(
            value=money(spent),
            words="spent" + (", " if saved > 0 else ""),
            good=f"{money(saved)} saved against realtime" if saved > 0 else "",
            href="/spend",
        ),
        Figure(
            value=count(sum(each.requests for each in flying)),
            words=f"requests in {batches} at the provider",
            href="/batches",
        ),
        Figure(
            value=count(rows.get("review", 0)),
            words="answers wait for a person",
            href=SERVED.page(review, "review") if review else None,
        ),
        Figure(value=count(rows.get("failed", 0)), words="rows failed"),
    ]


def _pipelines(statuses: Sequence[Status], reports: Mapping[str, Report] | None) -> Table:
    header = ("pipeline", "rows", "answered", "to review", "failed", "right", "per 1,000", "spent", "last run")
    rows = [_pipeline(each, reports) for each in statuses]
    return Table(title="pipelines", header=header, rows=rows, right=(2, 3, 4, 5, 6, 7))


def _pipeline(found: Status, reports: Mapping[str, Report] | None) -> list[Text]:
    name, rows = found.pipeline, found.rows
    last = found.runs[0] if found.runs else None
    review: Text = "0"
    if rows["review"]:
        review = Cell(text=f"{rows['review']:,} →", href=SERVED.page(name, "review"), pill=True)
    failed: Text = "0"
    if rows["failed"]:
        failed = Cell(text=count(rows["failed"]), href=SERVED.page(name, "rows", state="failed"))
    status: Text = "never"
    if last is not None:
        shown = run_status(last.status)
        status = Cell(text=shown.text, state=shown.state, below=moment(last.started_at))
    right, each = _rightness(name, reports)
    return [
        Cell(text=name, href=SERVED.page(name), strong=True, below=_below(found)),
        Cell(text="", chart=states_chart(name, rows)),
        count(rows["accepted"] + rows["kept"]),
        review,
        failed,
        right,
        each,
        money(found.cost_usd),
        status,
    ]


def _below(found: Status) -> str:
    """Return what keeps a pipeline from going on."""
    words = ["paused"] if found.paused else []
    words += [f"waits for {', '.join(found.waits_for)}"] if found.waits_for else []
    return "; ".join(words)


def _rightness(name: str, reports: Mapping[str, Report] | None) -> tuple[Text, Text]:
    """Return the share of right answers, and the cost of 1,000 answers."""
    if reports is None:
        return Cell(text="…", tone="soft"), Cell(text="…", tone="soft")
    found = reports.get(name)
    if found is None:
        return "", ""
    cost = money(found.usd_per_1000_accepted) if found.usd_per_1000_accepted is not None else ""
    right = found.quality.right if found.quality is not None else None
    if right is None and found.quality is not None and found.quality.evaluated is not None:
        right = found.quality.evaluated.right
    if right is None:
        return Cell(text="no gold", tone="soft"), cost
    return share(right.agreed, right.n), cost


def _in_flight(statuses: Sequence[Status]) -> Table:
    flying = [(each.pipeline, batch) for each in statuses for batch in each.batches]
    return in_flight_table(flying, named=True)


def _days(found: Sequence[DaySpend]) -> list[Block]:
    if not found:
        return [Sentences(found=[f"Nothing was spent in the last {DAYS} days."], tone="soft")]
    return [
        days_chart("Spend by day", found, datetime.combine(max(each.day for each in found), datetime.min.time()), DAYS)
    ]


def _run(found: Mapping[str, Any]) -> Run:
    return Run(**{name: found[name] for name in Run.__dataclass_fields__})
