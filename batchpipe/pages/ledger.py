"""Show runs, batches and spend, of one pipeline and of the whole project."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from batchpipe.commands.printing.text import count, duration, moment, money
from batchpipe.commands.status.html import run_status, runs_table
from batchpipe.commands.status.read import Run
from batchpipe.common.errors import UsageError
from batchpipe.engine.ledger.overview import DaySpend, newest_batches, newest_runs, one_run, spend_by_day
from batchpipe.html.blocks import Cell, Command, Figure, Figures, Pairs, Section, Table, Text
from batchpipe.html.links import SERVED
from batchpipe.pages.home import days_chart
from batchpipe.pages.page import Query
from batchpipe.pages.pipeline import named_pipeline
from batchpipe.pages.site import Site

RUNS = 100
BATCHES = 200
DAYS = 30
RUN_PARTS = ("run_id", "pipeline", "started_at", "ended_at", "version", "status", "message", "submitted", "results")


def runs_sections(site: Site, query: Query) -> Sequence[Section]:
    """Return the newest runs of a pipeline."""
    named = named_pipeline(site, query.pipeline)
    with site.session() as (_, _, session):
        found = newest_runs(session, named.names, RUNS)
    fields = Run.__dataclass_fields__
    runs = [(each["pipeline"], Run(**{name: each[name] for name in fields})) for each in found]
    return [Section(title="Runs", blocks=[runs_table(runs, SERVED, named=False)])]


def run_sections(site: Site, query: Query) -> Sequence[Section]:
    """Return one run: when, what it sent and collected, what it cost by model, and its events."""
    found = run_value(site, query)
    took = (found["ended_at"] - found["started_at"]).total_seconds() if found["ended_at"] else None
    status = run_status(found["status"])
    figures = [
        Figure(value=count(found["submitted"]), words="requests sent"),
        Figure(value=count(found["results"]), words="results collected"),
        Figure(value=money(found["cost_usd"]), words="what was collected cost"),
        Figure(value=duration(took) if took is not None else "open", words="from begin to end"),
    ]
    pairs: list[tuple[str, Text]] = [
        ("status", Cell(text=status.text, state=status.state)),
        ("started", moment(found["started_at"])),
        ("ended", moment(found["ended_at"]) or "not yet"),
        ("batchpipe", found["version"] or ""),
        ("run id", Cell(text=found["run_id"], code=True)),
    ]
    pairs += [("message", found["message"])] if found["message"] else []
    models: list[Sequence[Text]] = [
        [
            each["model"] or "unknown",
            count(each["requests"]),
            count(each["input_tokens"]),
            count(each["output_tokens"]),
            money(each["cost_usd"]),
        ]
        for each in found["by_model"]
    ]
    events: list[Sequence[Text]] = [
        [each["kind"], count(each["number"]), _second(each["first_at"]), _second(each["last_at"])]
        for each in found["events"]
    ]
    by_model = Table(
        title="what was collected by model",
        header=("model", "results", "tokens in", "tokens out", "cost"),
        rows=models,
        right=(1, 2, 3, 4),
        empty="This run collected nothing.",
    )
    told = Table(title="events", header=("event", "times", "first", "last"), rows=events, right=(1,))
    return [
        Section(blocks=[Figures(found=figures)], bare=True),
        Section(title="Run", blocks=[Pairs(found=pairs)], half=True),
        Section(title="Collected by model", blocks=[by_model], half=True),
        Section(title="Events", blocks=[told]),
    ]


def run_value(site: Site, query: Query) -> dict[str, Any]:
    """Return one run. Raises UsageError where there is no such run."""
    named = named_pipeline(site, query.pipeline)
    with site.session() as (_, _, session):
        found = one_run(session, named.names, query.path["run"])
    if found is None:
        see = site.call.suggest(f"status {query.pipeline}")
        raise UsageError("there is no such run", where=query.path["run"], hint=f"The last runs: {see}")
    return asdict(found)


def batches_sections(site: Site, query: Query) -> Sequence[Section]:
    """Return open batches, then the newest others, of every pipeline."""
    with site.session() as (_, _, session):
        found, now = newest_batches(session, None, BATCHES), session.now
    rows: list[Sequence[Text]] = []
    for each in found:
        begun = each.created_at or each.submitted_at or each.prepared_at
        end = each.collected_at or each.ended_at or now
        state = Cell(text=each.state.replace("_", " "), state="blue" if each.is_open else "grey")
        rows.append(
            [
                Cell(text=each.pipeline, href=SERVED.page(each.pipeline), strong=True),
                state,
                f"{each.rung} {each.model}",
                count(each.requests),
                moment(begun),
                duration((end - begun).total_seconds()),
                money(each.expected_usd),
                money(each.max_usd),
                Cell(text=each.batch_id or each.chunk_id, code=True),
            ]
        )
    header = ("pipeline", "state", "rung", "requests", "begun", "took", "expected", "at most", "id")
    table = Table(title="batches", header=header, rows=rows, right=(3, 5, 6, 7), empty="Nothing was sent yet.")
    return [Section(title="Batches", blocks=[table])]


def batches_value(site: Site, query: Query) -> list[dict[str, Any]]:
    """Return open batches, then the newest others."""
    with site.session() as (_, _, session):
        return [asdict(each) for each in newest_batches(session, None, BATCHES)]


def spend_sections(site: Site, query: Query) -> Sequence[Section]:
    """Return what was spent by day and by model in the last days."""
    days = query.number("days", DAYS, 400) or DAYS
    with site.session() as (_, _, session):
        now = session.now
        found = spend_by_day(session, None, _since(now, days))
    picture = days_chart("Spend by day", found, now, days)
    spent = sum((each.cost_usd or Decimal(0) for each in found), Decimal(0))
    realtime = sum((each.realtime_usd for each in found), Decimal(0))
    figures = [
        Figure(value=money(spent), words=f"spent in {count(days, 'day')}"),
        Figure(value=money(max(realtime - spent, Decimal(0))), words="saved against realtime"),
        Figure(value=count(sum(each.requests for each in found)), words="results"),
    ]
    rows: list[Sequence[Text]] = [
        [f"{each.day}", each.model, count(each.requests), money(each.cost_usd), money(each.realtime_usd)]
        for each in reversed(found)
    ]
    header = ("day", "model", "results", "cost", "at realtime prices")
    table = Table(title="spend by day and model", header=header, rows=rows, right=(2, 3, 4), empty="Nothing was spent.")
    more = Command(words="By pipeline, rung and version:", command=site.call.suggest("report"))
    return [
        Section(blocks=[Figures(found=figures)], bare=True),
        Section(title="Spend by day (UTC)", blocks=[picture], half=True),
        Section(title="By model", blocks=[_models(found)], half=True),
        Section(title="By day and model", blocks=[table, more]),
    ]


def spend_value(site: Site, query: Query) -> list[dict[str, Any]]:
    """Return what was spent by day and model."""
    days = query.number("days", DAYS, 400) or DAYS
    with site.session() as (_, _, session):
        return [asdict(each) for each in spend_by_day(session, None, _since(session.now, days))]


def _models(found: Sequence[DaySpend]) -> Table:
    sums: dict[str, tuple[int, Decimal, Decimal]] = {}
    for each in found:
        requests, cost, realtime = sums.get(each.model, (0, Decimal(0), Decimal(0)))
        cost += each.cost_usd or Decimal(0)
        sums[each.model] = (requests + each.requests, cost, realtime + each.realtime_usd)
    ordered: Mapping[str, Any] = dict(sorted(sums.items(), key=lambda each: -each[1][1]))
    rows: list[Sequence[Text]] = [
        [model, count(requests), money(cost), money(realtime)] for model, (requests, cost, realtime) in ordered.items()
    ]
    header = ("model", "results", "cost", "at realtime prices")
    return Table(title="spend by model", header=header, rows=rows, right=(1, 2, 3), empty="Nothing was spent.")


def _since(now: datetime, days: int) -> datetime:
    return now.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=days - 1)


def _second(value: datetime) -> str:
    return f"{value:%Y-%m-%d %H:%M:%S} UTC"
