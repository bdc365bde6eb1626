"""Show a report in HTML: the figures, the ladder, what other ladders would cost, runs, days."""

from __future__ import annotations

from collections.abc import Sequence

from batchpipe.charts.chart import dollars_mark
from batchpipe.charts.columns import ChartColumn, columns
from batchpipe.charts.points import Point, Words, points
from batchpipe.charts.shares import BarShare, shares
from batchpipe.commands.eval.quality import SEVERAL
from batchpipe.commands.printing.agreement import agreement_line
from batchpipe.commands.printing.caching import came_to_text
from batchpipe.commands.printing.gold import MADE_UP, judged_notes, reviewed_notes
from batchpipe.commands.printing.text import count, moment, money, share
from batchpipe.commands.report.quality import Evaluated, ReportQuality, RungQuality, SubLadder
from batchpipe.commands.report.read import Report, RungSums
from batchpipe.commands.report.rungs import rung_sentences
from batchpipe.commands.report.weeks import weeks_cells
from batchpipe.commands.report.words import booked_text, reported_text, tokens_text
from batchpipe.commands.status.html import runs_table
from batchpipe.engine.gold.agreement import Agreed
from batchpipe.html.blocks import (
    Block,
    Command,
    Figure,
    Figures,
    Pairs,
    Picture,
    RungBlock,
    Rungs,
    Section,
    Sentences,
    Table,
    Text,
)
from batchpipe.html.links import Links
from batchpipe.pipeline.model import PipelineFile
from batchpipe.pipeline.sending import LOCAL
from batchpipe.providers.known import with_provider


def report_sections(found: Report, file: PipelineFile | None, links: Links, again: str) -> list[Section]:
    """Return the sections of one pipeline's report. `file` has the conditions of the ladder, where it can be read.

    `again` is the command that evaluates every model.
    """
    sections = [Section(blocks=[Figures(found=_figures(found, links))], bare=True)]
    sections.append(Section(title="Ladder", blocks=[_ladder(found, file)]))
    sections += _quality(found.quality, again)
    runs = runs_table([(found.pipeline, each) for each in found.runs], links, named=False)
    sections.append(Section(title="Runs", blocks=[runs], half=True))
    sections.append(Section(title="Spend by day (UTC)", blocks=_days(found), half=True))
    if found.weeks:
        header, cells = weeks_cells(found.weeks)
        weeks = Table(title="by week", header=header, rows=cells, right=tuple(range(1, len(header))))
        sections.append(Section(title="By week", blocks=[weeks]))
    if len(found.versions) > 1:
        sections.append(Section(title="By prompt version", blocks=[_versions(found)], half=True))
    if found.estimates:
        sections.append(Section(title="How good the estimates were", blocks=[_estimates(found)], half=True))
    sections.append(Section(title="In detail", blocks=[Pairs(found=_details(found))]))
    return sections


def _figures(found: Report, links: Links) -> list[Figure]:
    name = found.pipeline
    figures = [Figure(value=count(found.rows_answered), words="rows answered", href=links.page(name, "rows"))]
    right = found.quality.right if found.quality is not None else None
    known = found.quality.evaluated if found.quality is not None else None
    if right is not None:
        figures.append(Figure(value=_percent(right), words=f"right, {_ends(right)}", href=links.page(name, "quality")))
    elif known is not None:
        words = f"right, {_ends(known.right)}, by the evaluation of {known.version}"
        figures.append(Figure(value=_percent(known.right), words=words, href=links.page(name, "quality")))
    saved = f"{money(found.saved_usd)} saved" if found.saved_usd > 0 else ""
    figures.append(Figure(value=money(found.total.cost_usd), words="spent" + (", " if saved else ""), good=saved))
    if found.usd_per_1000_accepted is not None:
        figures.append(Figure(value=money(found.usd_per_1000_accepted), words="per 1,000 answered"))
    reviewed = found.reviewed.total
    if reviewed.n:
        words = f"of {count(reviewed.n, 'reviewed answer')} were right as they stood"
        figures.append(Figure(value=_percent(reviewed), words=words, href=links.page(name, "quality")))
    return figures


def _ladder(found: Report, file: PipelineFile | None) -> Block:
    """Return a bar for each rung that has results: what stands, what went up, what failed."""
    graded = {(each.rung, each.model): each for each in (found.quality.rungs if found.quality is not None else ())}
    rungs = [_rung(each, graded.get((each.rung or 0, _model(each))), file) for each in found.rungs]
    if not rungs:
        return Sentences(found=["Nothing has come back yet."], tone="soft")
    return Rungs(found=rungs)


def _rung(found: RungSums, graded: RungQuality | None, file: PipelineFile | None) -> RungBlock:
    sums = found.sums
    stands = sums.accepted
    rest = sums.requests - sums.accepted - sums.review - sums.escalated - sums.failed
    parts = [
        BarShare(name="stand", number=stands, colour="green"),
        BarShare(name="to review", number=sums.review, colour="amber"),
        BarShare(name="went up", number=sums.escalated, colour="purple"),
        BarShare(name="failed", number=sums.failed, colour="red"),
        BarShare(name="tried again", number=max(rest, 0), colour="pink"),
    ]
    is_local = found.rung == 0 and found.provider == LOCAL
    words = [count(sums.requests, "row" if is_local else "request"), f"{share(stands, sums.requests)} stand"]
    words += [f"{share(sums.escalated, sums.requests)} went up"] if sums.escalated else []
    words += [f"{count(sums.review)} to review"] if sums.review else []
    words += [f"{count(sums.failed)} failed"] if sums.failed else []
    if graded is not None and graded.right.n:
        words.append(f"right {share(graded.right.agreed, graded.right.n)} of {count(graded.right.n)}")
    models = file.pipeline.models if file is not None else ()
    there = found.rung is not None and 0 < found.rung <= len(models)
    accept = models[found.rung - 1].accept if there and found.rung is not None else None
    if is_local and file is not None and file.pipeline.local is not None:
        accept = file.pipeline.local.accept
    name = _model(found) or "unknown"
    return RungBlock(
        number=str(found.rung) if found.rung is not None else "?",
        model=name,
        condition=accept or "",
        chart=shares(f"rung {found.rung}, {name}", parts),
        words=" · ".join(words),
        cost=money(sums.cost_usd),
    )


def _model(found: RungSums) -> str:
    return with_provider(found.provider, found.model or "")


def _quality(found: ReportQuality | None, again: str) -> list[Section]:
    """Return what is known of other ladders, and whether each rung is worth its cost."""
    if found is None:
        return []
    known = found.evaluated
    notes = judged_notes(found.judged)
    notes += reviewed_notes(found.reviewed, found.right.n) if found.right is not None else []
    notes += [f"Not compared with gold: {found.problem}"] if found.problem else []
    notes += [MADE_UP] if found.made_up and found.right is not None else []
    ask = Command(words="To see whether each rung is worth its cost:", command=again)
    if known is None or not known.choices:
        blocks: list[Block] = [Sentences(found=notes, tone="soft")] if notes else []
        blocks += [ask] if len(found.rungs) > 1 else []
        return [Section(title="Quality", blocks=blocks)] if blocks else []
    blocks = [Sentences(found=rung_sentences(found, known), listed=True)]
    blocks += [Sentences(found=notes, tone="soft")] if notes else []
    blocks += [] if known.whole else [ask]
    return [
        Section(title="Cost against accuracy", blocks=[_choices(known)], half=True),
        Section(title="Is each rung worth its cost?", blocks=blocks, half=True),
    ]


def _choices(known: Evaluated) -> Picture:
    """Return every choice of rungs by cost and share of right answers."""
    found = [_choice(each, known) for each in known.choices]
    note = (
        f"Every choice of rungs on {count(known.right.n, 'gold row')}, with 95% intervals; by the evaluation of "
        f"{known.version}, {moment(known.evaluated_at)}."
    )
    return Picture(chart=points(Words(title="Cost against accuracy"), found), note=note)


def _choice(found: SubLadder, known: Evaluated) -> Point:
    whole, alone = found == known.full, len(found.rungs) == 1
    ends = found.right.interval
    several = SEVERAL.join(found.models)
    return Point(
        name="this ladder" if whole and not alone else several,
        x=float(found.usd_per_1000),
        y=found.right.share or 0.0,
        low=ends[0] if ends is not None else None,
        high=ends[1] if ends is not None else None,
        colour="amber" if whole else "blue" if alone else "grey",
        strong=whole,
        named=whole or alone,
        hint=f"{several}: {found.right.share or 0:.1%} for {dollars_mark(float(found.usd_per_1000))} per 1,000",
    )


def _days(found: Report) -> list[Block]:
    days = list(reversed(found.days))
    if not days:
        return [Sentences(found=["Nothing was spent yet."], tone="soft")]
    bars = [ChartColumn(name=f"{each.day:%m-%d}", parts=[float(each.sums.cost_usd or 0)]) for each in days]
    chart = columns("Spend by day", ["cost"], bars, axis=dollars_mark, cell=lambda each: f"${each:,.4f}", of="day")
    return [Picture(chart=chart)]


def _versions(found: Report) -> Table:
    header = ("version", "requests", "valid", "accepted", "escalated", "cost")
    rows: list[Sequence[Text]] = []
    for each in found.versions:
        sums = each.sums
        shown = [share(number, sums.requests) for number in (sums.valid, sums.accepted, sums.escalated)]
        name = (each.version or "unknown") + (f" ({each.git_commit})" if each.git_commit else "")
        rows.append([name, count(sums.requests), *shown, money(sums.cost_usd)])
    return Table(title="sums by prompt version", header=header, rows=rows, right=(1, 2, 3, 4, 5))


def _estimates(found: Report) -> Table:
    rows: list[Sequence[Text]] = [
        [moment(each.prepared_at), money(each.estimate.expected_usd), money(each.estimate.actual_usd)]
        for each in found.estimates
    ]
    return Table(title="estimates of runs", header=("run", "expected", "came to"), rows=rows, right=(1, 2))


def _details(found: Report) -> list[tuple[str, Text]]:
    total, flying = found.total, found.in_flight
    saved = (
        f"{money(found.saved_usd)} of {money(total.realtime_usd)} at realtime prices" if total.realtime_usd else None
    )
    held = f"{count(flying.requests, 'request')}, at most {money(flying.max_usd)}" if flying.batches else None
    unknown = f"{count(total.unpriced, 'result')} not in these sums: the cost is unknown" if total.unpriced else None
    pairs: list[tuple[str, str | None]] = [
        ("since", moment(found.since)),
        ("saved", saved),
        ("requests", f"{count(total.requests)}, {count(total.retries)} of them retries"),
        ("tokens", tokens_text(total)),
        ("cache", came_to_text(found.caching)),
        ("in flight", held),
        ("agreed", agreement_line(found.reviewed.total) if found.reviewed.total.n else None),
        ("booked", booked_text(found)),
        ("reported", reported_text(found)),
        ("unknown", unknown),
    ]
    return [(name, words) for name, words in pairs if words]


def _percent(found: Agreed) -> str:
    return share(found.agreed, found.n)


def _ends(found: Agreed) -> str:
    if found.interval is None:
        return ""
    low, high = (share(each, 1) for each in found.interval)
    return f"{low} to {high} of {count(found.n, 'gold row')}"
