"""Show an evaluation in HTML: models and ladder, fields, confusions, calibration, fixed and broken rows, the curve."""

from __future__ import annotations

from collections.abc import Sequence

from batchpipe.charts.points import calibration_points
from batchpipe.charts.tuning_curve import tuning_curve
from batchpipe.commands.eval.judges import HEADER as JUDGES
from batchpipe.commands.eval.judges import RIGHT as JUDGES_RIGHT
from batchpipe.commands.eval.judges import judge_lines
from batchpipe.commands.eval.quality import Quality
from batchpipe.commands.eval.report import (
    HEADER,
    RIGHT,
    EvalReport,
    against_pairs,
    changed_rows,
    confused_lines,
    error_costs,
    field_lines,
    quality_line,
    shown_models,
)
from batchpipe.commands.eval.tune import Tuned, tuned_toml
from batchpipe.commands.printing.text import count, money
from batchpipe.html.blocks import Block, CodeBlock, Figure, Figures, Pairs, Picture, Section, Sentences, Table, Text
from batchpipe.html.render import one_file

CONFUSED = ("field", "gold", "answered", "rows", "of gold")
LEFT_OUT = "Rows are left out: add --with-rows to have the fixed and broken ones in the file."


def eval_file(report: EvalReport, tuned: Tuned | None, stamp: str, *, with_rows: bool) -> str:
    """Return an evaluation as one file. Only `with_rows` shows rows, with what gold and the answers say of them."""
    title = f"batchpipe eval: {report.pipeline} ({report.version})"
    notes = [LEFT_OUT] if not with_rows and report.against is not None else []
    sections = eval_sections(report, with_rows=with_rows) + (tuned_sections(tuned) if tuned is not None else [])
    return one_file(title, [(title, sections)], notes, stamp)


def eval_sections(report: EvalReport, *, with_rows: bool) -> list[Section]:
    """Return the sections of an evaluation."""
    shown = shown_models(report)
    sections = [Section(blocks=[Figures(found=_figures(report))], bare=True)]
    if report.shortfalls:
        words = [f"Not good enough: {each}." for each in report.shortfalls]
        sections.append(Section(blocks=[Sentences(found=words, tone="bad")]))
    models = _table("models and ladder", HEADER, [quality_line(each) for each in shown], RIGHT)
    fields = field_lines(shown)
    blocks: list[Block] = [models]
    blocks += [_table("fields", ("model", "field", "right", "macro-F1"), fields, ())] if fields else []
    costs = error_costs(report, shown)
    blocks += [Sentences(found=[line.strip() for each in costs for line in each.split("\n")])] if costs else []
    sections.append(Section(title="Models", blocks=blocks))
    confused = confused_lines(report.ladder) if report.ladder is not None else []
    if confused:
        table = _table("confusions", CONFUSED, confused, (3, 4))
        sections.append(Section(title="What the ladder confuses most", blocks=[table], half=True))
    if report.judged:
        lines = [list(each) for each in judge_lines(report.judged)]
        note = Sentences(found=["The cost of judges is not part of the costs above."], tone="soft")
        sections.append(
            Section(title="Judges", blocks=[_table("judges", JUDGES, lines, JUDGES_RIGHT), note], half=True)
        )
    sections += [_calibration(each) for each in report.models if each.calibration is not None]
    sections += _against(report, with_rows=with_rows)
    if report.notes:
        sections.append(Section(title="Notes", blocks=[Sentences(found=list(report.notes), listed=True)]))
    return sections


def tuned_sections(found: Tuned) -> list[Section]:
    """Return the curve of cost and accuracy, what is promised, and the lines to paste."""
    models = found.names
    curve = Picture(chart=tuning_curve(found.tuning, models, "Cost against accuracy"))
    words = Sentences(found=[found.tuning.guarantee])
    return [
        Section(title="Cost against accuracy", blocks=[curve, words]),
        Section(title="To paste", blocks=[CodeBlock(text=tuned_toml(found))]),
    ]


def _figures(report: EvalReport) -> list[Figure]:
    figures = [Figure(value=count(report.gold), words="gold rows")]
    if report.ladder is not None:
        right = report.ladder.right
        words = f"right, {right.low:.1%} to {right.high:.1%}"
        figures.append(Figure(value=f"{right.value:.1%}", words=words))
        figures.append(Figure(value=money(report.ladder.usd_per_1000), words="per 1,000 rows"))
        if report.ladder.usd_per_1000_correct is not None:
            figures.append(Figure(value=money(report.ladder.usd_per_1000_correct), words="per 1,000 right rows"))
    return figures


def _calibration(found: Quality) -> Section:
    known = found.calibration
    assert known is not None
    bins = [
        (each.confidence, each.accuracy.value, each.accuracy.low, each.accuracy.high, each.accuracy.n)
        for each in known.bins
    ]
    note = f"{known.error:.1%} away from the accuracy on average, n = {count(known.n)}"
    chart = calibration_points(f"Confidence of {found.model}", bins)
    return Section(title=f"Confidence of {found.model}", blocks=[Picture(chart=chart, note=note)], half=True)


def _against(report: EvalReport, *, with_rows: bool) -> list[Section]:
    found = report.against
    if found is None:
        return []
    blocks: list[Block] = [Pairs(found=[(name, str(value)) for name, value in against_pairs(found)])]
    for title, keys in (("fixed", found.fixed), ("broken", found.broken)):
        if keys and with_rows:
            blocks.append(_table(f"rows {title}", ("key", "gold", "before", "now"), changed_rows(report, keys), ()))
        elif keys:
            blocks.append(Sentences(found=[f"{count(len(keys), 'row')} {title}"]))
    return [Section(title=f"Against {found.label}", blocks=blocks)]


def _table(title: str, header: Sequence[str], lines: Sequence[Sequence[object]], right: Sequence[int]) -> Table:
    rows: list[Sequence[Text]] = [["" if cell is None else str(cell) for cell in line] for line in lines]
    return Table(title=title, header=header, rows=rows, right=right)
