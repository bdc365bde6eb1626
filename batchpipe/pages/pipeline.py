"""The pages of one pipeline that are made of its report, its evaluations and its versions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from batchpipe.charts.shares import Share, shares
from batchpipe.commands.call.options import DiffRequest
from batchpipe.commands.diff.diff import diff_object
from batchpipe.commands.diff.html import diff_sections
from batchpipe.commands.diff.read import Asking, read_diff
from batchpipe.commands.eval.history import history_blocks, history_object, read_history
from batchpipe.commands.printing.text import count, money, share
from batchpipe.commands.report.html import report_sections
from batchpipe.commands.report.read import Report, read_reports, report_object
from batchpipe.commands.status.html import states_chart, states_legend
from batchpipe.commands.status.read import Named, OpenOrder, Status, read_statuses
from batchpipe.commands.status.waits import wait_lines
from batchpipe.common.errors import BatchpipeError, UsageError
from batchpipe.engine.gold.agreement import Agreed, Agreement
from batchpipe.engine.resolved.versions import KnownVersion, known_versions
from batchpipe.html.blocks import (
    Ask,
    Block,
    Cell,
    Command,
    Heading,
    Pairs,
    Picture,
    Search,
    Section,
    Sentences,
    Table,
    Text,
)
from batchpipe.html.links import SERVED
from batchpipe.pages.home import in_flight_table
from batchpipe.pages.page import Query
from batchpipe.pages.site import Site
from batchpipe.pipeline.model import PipelineFile
from batchpipe.sql.quoting import Sql, quote_list
from batchpipe.store.queries import query as statement

CHANGED_ROWS = 30
CHOSEN_WORDS = {"ladder": "no rung was sure", "where": "[review] where holds", "sample": "in the sample"}


def overview_sections(site: Site, query: Query) -> Sequence[Section]:
    """Return the overview of a pipeline: where its rows stand, the ladder, what it cost, what waits."""
    named = named_pipeline(site, query.pipeline)
    status, report = _read(site, named)
    again = site.call.suggest(f"eval {named.name} --models all")
    sections = list(report_sections(report, named.file, SERVED, again))
    head: list[Block] = [Picture(chart=states_chart(named.name, status.rows)), states_legend()]
    lines = [each.strip() for each in wait_lines(status.troubles, named.name, site.call.suggest)]
    lines += [f"It waits: {status.waits}."] if status.waits else []
    lines += [f"The run of {status.holder} holds the pipeline."] if status.holder else []
    head += [Sentences(found=lines)] if lines else []
    if status.paused:
        head.append(Command(words="It is paused; to go on:", command=site.call.suggest(f"run {named.name} --resume")))
    sections.insert(1, Section(title="Rows", blocks=head))
    flying: list[Block] = [in_flight_table([(named.name, each) for each in status.batches], named=False)]
    if status.batches and not site.door.read_only:
        flying.append(_cancel(named.name, status))
    sections.insert(3, Section(title="At the provider", blocks=flying, half=True))
    sections.insert(4, Section(title="Orders and budget", blocks=_orders(site, named, status), half=True))
    return sections


def overview_value(site: Site, query: Query) -> dict[str, Any]:
    """Return what `report NAME --json` prints."""
    with site.context() as context:
        [found] = read_reports(context, [named_pipeline(site, query.pipeline)], everything=False)
    return report_object(found)


def quality_sections(site: Site, query: Query) -> Sequence[Section]:
    """Return what is known of the quality: evaluations by version, rungs, how often people agreed."""
    named = named_pipeline(site, query.pipeline)
    with site.context() as context:
        past = read_history(context, named.names)
        [report] = read_reports(context, [named], everything=False)
    history: list[Block] = history_blocks(past)
    measure = site.call.suggest(f"eval {named.name}")
    history.append(Command(words="To measure again:", command=measure))
    again = site.call.suggest(f"eval {named.name} --models all")
    sections = [Section(title="Evaluations by prompt version", blocks=history)]
    shown = report_sections(report, named.file, SERVED, again)
    wanted = ("Cost against accuracy", "Is each rung worth its cost?", "Quality")
    sections += [each for each in shown if each.title in wanted]
    if report.quality is not None and report.quality.rungs:
        sections.append(Section(title="Present answers by rung", blocks=[_rungs(report)]))
    sections.append(Section(title="How often people agreed with the answers", blocks=_agreement(report.reviewed)))
    tune: list[Block] = [
        Command(words="To find thresholds for the ladder:", command=site.call.suggest(f"eval {named.name} --tune")),
        Command(
            words="Models, confusions and calibration in one file:",
            command=site.call.suggest(f"eval {named.name} --models all --html quality.html"),
        ),
    ]
    sections.append(Section(title="More", blocks=tune))
    return sections


def quality_value(site: Site, query: Query) -> list[dict[str, Any]]:
    """Return what `eval NAME --history --json` prints."""
    with site.context() as context:
        return history_object(read_history(context, named_pipeline(site, query.pipeline).names))


def versions_sections(site: Site, query: Query) -> Sequence[Section]:
    """Return two versions side by side: the prompts, fixed and broken rows, changed rows."""
    file = site.file(query.pipeline)
    with site.session() as (_, _, session):
        known = known_versions(session, file.pipeline.names)
        answered = {each for (each,) in session.rows(statement("answered_versions", pipelines=_names(file)))}
    choice: list[Block] = [_versions_table(known, answered)]
    if len(known) > 1:
        choice.append(_versions_form(file.pipeline.name, known, query))
    sections = [Section(title="Prompt versions", blocks=choice)]
    if len(known) < 2:
        words = "There is one version: nothing to compare yet." if known else "Nothing was sent yet."
        compare = Command(
            words="After an edit of the prompt:", command=site.call.suggest(f"plan {query.pipeline} --diff")
        )
        return [*sections, Section(blocks=[Sentences(found=[words], tone="soft"), compare])]
    said: list[str] = []
    try:
        with site.context() as context:
            found = read_diff(context, file, _request(query), {}, Asking(suggest=site.call.suggest, say=said.append))
    except UsageError as error:
        blocks: list[Block] = [Sentences(found=[error.what, error.hint or ""])]
        return [*sections, Section(title="Comparison", blocks=blocks)]
    return [*sections, *diff_sections(found, said, SERVED, with_rows=True)]


def versions_value(site: Site, query: Query) -> dict[str, Any]:
    """Return what `diff NAME --json` prints."""
    file = site.file(query.pipeline)
    asking = Asking(suggest=site.call.suggest, say=lambda text: None)
    with site.context() as context:
        return diff_object(read_diff(context, file, _request(query, 10), {}, asking))


def named_pipeline(site: Site, name: str) -> Named:
    """Return a pipeline by its name: of its file, or of the ledger alone.

    Raises UsageError where neither knows it.
    """
    try:
        file = site.file(name)
        return Named(name=name, names=tuple(file.pipeline.names), file=file)
    except BatchpipeError:
        with site.session() as (_, _, session):
            known = {each for (each,) in session.rows(statement("known_pipelines"))}
        if name not in known:
            raise
        return Named(name=name, names=(name,))


def _read(site: Site, named: Named) -> tuple[Status, Report]:
    with site.context() as context:
        [status] = read_statuses(context, [named], everything=False)
        [report] = read_reports(context, [named], everything=False)
    return status, report


def _names(file: PipelineFile) -> Sql:
    return quote_list(file.pipeline.names)


def _request(query: Query, rows: int = CHANGED_ROWS) -> DiffRequest:
    values = query.values
    return DiffRequest(
        pipeline=query.pipeline,
        from_version=values.get("from") or None,
        to_version=values.get("to") or None,
        from_model=values.get("from_model") or None,
        to_model=values.get("to_model") or None,
        rows=query.number("rows", rows, 200),
    )


def _cancel(name: str, status: Status) -> Ask:
    requests = sum(each.requests for each in status.batches)
    known = [each.max_usd for each in status.batches]
    most = sum((each for each in known if each is not None), start=Decimal(0))
    return Ask(
        action=f"{SERVED.page(name, 'cancel')}",
        button="Cancel the batches",
        title=f"Pause {name} and cancel its batches?",
        figures=[
            ("batches", count(len(status.batches))),
            ("requests", count(requests)),
            ("at most", money(most if None not in known else None)),
            ("what is finished", "is kept, and paid for"),
        ],
        confirm="Pause and cancel",
    )


def _orders(site: Site, named: Named, status: Status) -> list[Block]:
    blocks: list[Block] = []
    rows: list[Sequence[Text]] = [
        [str(each.number), _order(each), f"{each.recorded_at:%Y-%m-%d %H:%M}"] for each in status.orders
    ]
    blocks.append(Table(title="open orders", header=("number", "order", "since"), rows=rows, empty="No open order."))
    budget = named.file.pipeline.budget if named.file is not None else None
    if budget is not None:
        limits: Mapping[str, Any] = {
            "ever": budget.max_usd,
            "a day": budget.max_usd_per_day,
            "a month": budget.max_usd_per_month,
        }
        blocks.append(Heading(text="Budget"))
        blocks.append(Pairs(found=[(name, money(limit)) for name, limit in limits.items() if limit is not None]))
    else:
        blocks.append(Sentences(found=["The file sets no budget."], tone="soft"))
    blocks.append(Command(words="To run it:", command=site.call.suggest(f"run {named.name}")))
    return blocks


def _order(found: OpenOrder) -> str:
    argument = "" if found.kind == "retry_failed" else f" {found.argument}"
    selection = f" --where {found.selection}" if found.selection else ""
    return f"--{found.kind.replace('_', '-')}{argument}{selection}"


def _rungs(report: Report) -> Table:
    assert report.quality is not None
    rows: list[Sequence[Text]] = []
    for each in report.quality.rungs:
        link = SERVED.page(report.pipeline, "rows", rung=each.rung)
        ends = each.right.interval
        shown = f"{share(each.right.agreed, each.right.n)} ({ends[0]:.1%} to {ends[1]:.1%})" if ends else ""
        rows.append(
            [
                Cell(text=f"{each.rung} {each.model}", href=link),
                count(each.rows),
                count(each.right.n),
                shown,
                money(each.cost_usd),
            ]
        )
    header = ("rung", "rows", "with gold", "right", "cost")
    return Table(title="present answers by rung", header=header, rows=rows, right=(1, 2, 3, 4))


def _agreement(found: Agreement) -> list[Block]:
    if not found.total.n:
        return [Sentences(found=["Nobody has reviewed an answer yet."], tone="soft")]
    groups = (
        ("all", [found.total]),
        ("why it was seen", found.chosen),
        ("field", found.fields),
        ("person", found.people),
    )
    rows: list[Sequence[Text]] = [
        [kind if number == 0 else "", _agreed_name(kind, each), count(each.n), *_agreed(each)]
        for kind, group in groups
        for number, each in enumerate(group)
    ]
    header = ("", "", "reviewed", "right as they stood", "95% interval")
    right, wrong = found.total.agreed, found.total.n - found.total.agreed
    parts = [Share(name="right", number=right, colour="green"), Share(name="corrected", number=wrong, colour="amber")]
    return [
        Picture(chart=shares("reviewed answers", parts)),
        Table(title="agreement", header=header, rows=rows, right=(2, 3, 4)),
    ]


def _agreed_name(kind: str, found: Agreed) -> str:
    if kind == "all":
        return "every reviewed answer"
    return CHOSEN_WORDS.get(found.name, found.name) if kind == "why it was seen" else found.name


def _agreed(found: Agreed) -> tuple[str, str]:
    ends = found.interval
    return share(found.agreed, found.n), f"{ends[0]:.1%} to {ends[1]:.1%}" if ends is not None else ""


def _versions_table(known: Sequence[KnownVersion], answered: set[Any]) -> Table:
    rows: list[Sequence[Text]] = [
        [
            each.version,
            f"{each.recorded_at:%Y-%m-%d %H:%M} UTC",
            each.git_commit or "",
            Cell(text=each.hash[:12], code=True),
            "yes" if each.prompt_version in answered else "no",
        ]
        for each in reversed(known)
    ]
    header = ("version", "first run", "commit", "hash", "has answers")
    return Table(title="prompt versions", header=header, rows=rows, empty="Nothing was sent yet.")


def _versions_form(name: str, known: Sequence[KnownVersion], query: Query) -> Search:
    choices = [each.version for each in known]
    before = query.values.get("from") or choices[-2]
    kept = [(key, value) for key, value in query.values.items() if key in ("to",)]
    return Search(
        action=SERVED.page(name, "versions") or "",
        label="compare with",
        name="from",
        value=before,
        hint="",
        kept=kept,
        choices=choices,
    )
