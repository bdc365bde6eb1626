"""The pages of one pipeline that are made of its report, its evaluations and its versions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from batchpipe.commands.call.options import DiffRequest
from batchpipe.commands.diff.diff import diff_object
from batchpipe.commands.diff.html import diff_sections
from batchpipe.commands.diff.read import Asking, read_diff
from batchpipe.commands.printing.text import count, moment, money
from batchpipe.commands.report.html import report_sections
from batchpipe.commands.report.read import Report, read_reports, report_object
from batchpipe.commands.status.html import states_chart, states_legend
from batchpipe.commands.status.read import OpenOrder, Status, read_statuses
from batchpipe.commands.status.states import Named
from batchpipe.commands.status.upstream import awaited_lines
from batchpipe.commands.status.waits import wait_lines
from batchpipe.common.errors import BatchpipeError, UsageError
from batchpipe.engine.quality.answer_diff import answering_models
from batchpipe.engine.resolved.versions import KnownVersion, known_versions
from batchpipe.html.blocks import (
    Ask,
    Block,
    Cell,
    Choice,
    Choices,
    Command,
    Heading,
    Pairs,
    Picture,
    Section,
    Sentences,
    Table,
    Text,
)
from batchpipe.html.links import SERVED
from batchpipe.pages.chains import chain_section
from batchpipe.pages.home import in_flight_table
from batchpipe.pages.page import Query
from batchpipe.pages.site import Site
from batchpipe.pipeline.model import PipelineFile
from batchpipe.sql.quoting import Sql, quote_list
from batchpipe.store.queries import query as statement

CHANGED_ROWS = 30
_BEING_COUNTED = Section(title="Rows", blocks=[Sentences(found=["The rows are being counted …"], tone="soft")])
_BEING_READ = Section(blocks=[Sentences(found=["The report is being read …"], tone="soft")])


def overview_sections(site: Site, query: Query) -> Sequence[Section]:
    """Return the overview of a pipeline: where its rows stand, the ladder, what it cost, what waits.

    What is not read within a moment comes with a later look.
    """
    named = named_pipeline(site, query.pipeline)
    later = site.soon(("report", named.name), lambda: read_report(site, named), fresh=True)
    known = site.soon(("status", named.name), lambda: _read_status(site, named), fresh=True)
    again = site.call.suggest(f"eval {named.name} --models all")
    sections = list(report_sections(later.value, named.file, SERVED, again)) if later is not None else [_BEING_READ]
    if known is None:
        return [*sections[:1], _BEING_COUNTED, *sections[1:]]
    status: Status = known.value
    sections.insert(1, Section(title="Rows", blocks=_standing(site, named, status)))
    flying: list[Block] = [in_flight_table([(named.name, each) for each in status.batches], named=False)]
    if status.batches and not site.door.read_only:
        flying.append(_cancel(named.name, status))
    sections.insert(3, Section(title="At the provider", blocks=flying, half=True))
    sections.insert(4, Section(title="Orders and budget", blocks=_orders(site, named, status), half=True))
    further = [chain_section(site, named), _local_section(site, named, status)]
    sections[5:5] = [each for each in further if each is not None]
    return sections


def _local_section(site: Site, named: Named, status: Status) -> Section | None:
    """Return the versions of the local model: what each one was trained on, and how it stands; None without one."""
    if not status.local:
        return None
    rows: list[Sequence[Text]] = []
    for each in status.local:
        tested = {True: "passed on gold", False: "did not pass on gold", None: "no promise"}[each.passed]
        state = Cell(text=tested, state="green" if each.passed else "grey")
        if each.set_aside is not None:
            state = Cell(text=f"set aside: {each.set_aside}", state="red")
        rows.append(
            [
                Cell(text=each.model, strong=True),
                state,
                count(each.rows),
                count(each.audited),
                count(each.trained_on) if each.trained_on is not None else "unknown",
                f"{each.accuracy:.1%}" if each.accuracy is not None else "unknown",
                moment(each.trained_at) or "unknown",
            ]
        )
    header = ("version", "test", "rows that stand", "audited", "trained on answers", "right out of fold", "trained")
    blocks: list[Block] = [Table(title="versions of the local model", header=header, rows=rows, right=(2, 3, 4, 5))]
    why = "Audited rows were asked of the next rung too, and its answer stands."
    blocks.append(Sentences(found=[why], tone="soft"))
    for each in status.local:
        if each.set_aside is not None and each.rows:
            again = site.call.suggest(f"run {named.name} --redo {each.model}")
            blocks.append(Command(words=f"To ask the rows of {each.model} again:", command=again))
    return Section(title="The local rung", blocks=blocks)


def _standing(site: Site, named: Named, status: Status) -> list[Block]:
    """Return how the rows stand, and what the pipeline waits for."""
    found: list[Block] = [Picture(chart=states_chart(named.name, status.rows)), states_legend()]
    lines = [each.strip() for each in wait_lines(status.troubles, named.name, site.call.suggest)]
    lines += awaited_lines(status.upstream, named.name, site.call.suggest)
    lines += [f"It waits: {status.waits}."] if status.waits else []
    lines += [f"The run of {status.holder} holds the pipeline."] if status.holder else []
    found += [Sentences(found=lines)] if lines else []
    if status.paused:
        found.append(Command(words="It is paused; to go on:", command=site.call.suggest(f"run {named.name} --resume")))
    return found


def overview_value(site: Site, query: Query) -> dict[str, Any]:
    """Return what `report NAME --json` prints."""
    with site.context() as context:
        [found] = read_reports(context, [named_pipeline(site, query.pipeline)], everything=False)
    return report_object(found)


def versions_sections(site: Site, query: Query) -> Sequence[Section]:
    """Return two versions side by side: the prompts, fixed and broken rows, changed rows."""
    file = site.file(query.pipeline)
    with site.session() as (_, _, session):
        known = known_versions(session, file.pipeline.names)
        answered = {each for (each,) in session.rows(statement("answered_versions", pipelines=_names(file)))}
        models = answering_models(session, file.pipeline.names)
    choice: list[Block] = [_versions_table(known, answered)]
    if len(known) > 1 or (known and len(models) > 1):
        choice.append(_versions_form(file.pipeline.name, known, [each.name for each in models], query))
    sections = [Section(title="Prompt versions", blocks=choice)]
    if len(known) < 2 and not (query.values.get("from_model") or query.values.get("to_model")):
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


def read_report(site: Site, named: Named) -> Report:
    """Return the report of a pipeline."""
    with site.context() as context:
        [report] = read_reports(context, [named], everything=False)
    return report


def _read_status(site: Site, named: Named) -> Status:
    with site.context() as context:
        [status] = read_statuses(context, [named], everything=False)
    return status


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
    limits: Mapping[str, Any] = {}
    if budget is not None:
        limits = {"ever": budget.max_usd, "a day": budget.max_usd_per_day, "a month": budget.max_usd_per_month}
    shown: list[tuple[str, Text]] = [(name, money(limit)) for name, limit in limits.items() if limit is not None]
    if shown:
        blocks += [Heading(text="Budget"), Pairs(found=shown)]
    else:
        blocks.append(Sentences(found=["The file sets no budget."], tone="soft"))
    blocks.append(Command(words="To run it:", command=site.call.suggest(f"run {named.name}")))
    return blocks


def _order(found: OpenOrder) -> str:
    argument = "" if found.kind == "retry_failed" else f" {found.argument}"
    selection = f" --where {found.selection}" if found.selection else ""
    return f"--{found.kind.replace('_', '-')}{argument}{selection}"


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


def _versions_form(name: str, known: Sequence[KnownVersion], models: Sequence[str], query: Query) -> Choices:
    """Return the form of two versions and, where several models answered, of two models."""
    versions = [each.version for each in known]
    values = query.values
    alone = bool(values.get("from_model") or values.get("to_model")) and not values.get("from")
    before = versions[-1] if alone or len(versions) == 1 else versions[-2]
    found = [
        Choice(label="compare", name="from", value=values.get("from") or before, values=versions),
        Choice(label="with", name="to", value=values.get("to") or versions[-1], values=versions),
    ]
    if len(models) > 1:
        by = [("answers of", "from_model"), ("and of", "to_model")]
        found += [
            Choice(label=label, name=each, value=values.get(each, ""), values=models, none="every model")
            for label, each in by
        ]
    return Choices(action=SERVED.page(name, "versions") or "", found=found)
