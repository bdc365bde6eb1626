"""The page of a pipeline's quality: evaluations by version, models, confusions with their rows, calibration,
thresholds, and how often people agreed with the answers.

What takes long stands in parts that the page fetches once it is shown.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from batchpipe.charts.shares import BarShare, shares
from batchpipe.commands.eval.history import history_blocks, history_object, read_history
from batchpipe.commands.eval.html import eval_sections, tuned_sections
from batchpipe.commands.eval.measured import Measured, confused_rows, confusion_counts, read_measured
from batchpipe.commands.eval.report import EvalReport
from batchpipe.commands.printing.text import count, money, share
from batchpipe.commands.report.html import report_sections
from batchpipe.commands.report.read import Report
from batchpipe.commands.status.states import Named
from batchpipe.common.errors import BatchpipeError
from batchpipe.engine.gold.agreement import Agreed, Agreement, read_agreement
from batchpipe.engine.quality.prepare import table_to_add
from batchpipe.html.blocks import Block, Cell, Command, Picture, Section, Sentences, Table, Text
from batchpipe.html.links import SERVED
from batchpipe.pages.page import Query
from batchpipe.pages.pipeline import named_pipeline, read_report
from batchpipe.pages.site import Site

CHOSEN_WORDS = {"ladder": "no rung was sure", "where": "[review] where holds", "sample": "in the sample"}
MOST_CLASSES = 12
MOST_ROWS = 200
NO_ANSWER = "no answer"
PRESENT = ("Cost against accuracy", "Is each rung worth its cost?", "Quality")


def quality_sections(site: Site, query: Query) -> Sequence[Section]:
    """Return what is known of the quality; the parts that read all answers and all gold rows come later."""
    named = named_pipeline(site, query.pipeline)
    with site.context() as context:
        past = read_history(context, named.names)
    with site.session() as (_, _, session):
        agreement = read_agreement(session, named.names)
    history: list[Block] = history_blocks(past)
    history += _next_evaluation(site, named)
    sections = [Section(title="Evaluations by prompt version", blocks=history)]
    chosen = {name: query.values.get(name) for name in ("field", "gold", "answer")}
    sections.append(Section(later=SERVED.page(named.name, "quality", part="measured", **chosen)))
    sections.append(Section(later=SERVED.page(named.name, "quality", part="present")))
    sections.append(Section(title="How often people agreed with the answers", blocks=_agreement(agreement)))
    return sections


def _next_evaluation(site: Site, named: Named) -> list[Block]:
    """Return the command that evaluates the pipeline again, or what its file lacks for it; nothing without a file."""
    if named.file is None:
        return []
    command = Command(words="To measure again:", command=site.call.suggest(f"eval {named.name}"))
    return [command if named.file.pipeline.eval else Sentences(found=[table_to_add(named.file)], tone="soft")]


def quality_value(site: Site, query: Query) -> list[dict[str, Any]]:
    """Return what `eval NAME --history --json` prints."""
    with site.context() as context:
        return history_object(read_history(context, named_pipeline(site, query.pipeline).names))


def _measured_sections(site: Site, query: Query) -> Sequence[Section]:
    """Return what the newest answers of every evaluated model say, with the rows of a confusion that was chosen."""
    name = query.pipeline
    try:
        found: Measured = site.read(("measured", name), lambda: _read_measured(site, name)).value
    except BatchpipeError as error:
        return [Section(title="Models", blocks=[Sentences(found=[error.what, error.hint or ""], tone="soft")])]
    report = found.report
    measure = site.call.suggest(f"eval {name} --models all")
    if not report.models:
        words = f"No model has answered a gold row of the present prompt yet: there are {count(report.gold)}."
        ask = Command(words="To ask every model of the ladder:", command=measure)
        return [Section(title="Models", blocks=[Sentences(found=[words], tone="soft"), ask])]
    sections = _chosen_rows(report, query)
    sections += [each for each in eval_sections(report, with_rows=False) if "confuses" not in each.title]
    sections += _confusions(report)
    if found.tuned is not None:
        curve, lines = tuned_sections(found.tuned)
        more = Command(words="For another target:", command=site.call.suggest(f"eval {name} --tune --target 0.95"))
        sections += [
            Section(title="Thresholds for the ladder", blocks=curve.blocks),
            Section(title="The ladder with these thresholds", blocks=[*lines.blocks, more]),
        ]
    else:
        ask = Command(words="To let every model answer them:", command=site.call.suggest(f"eval {name} --tune"))
        why = Sentences(found=[f"There is no curve: {found.untuned}."], tone="soft")
        sections.append(Section(title="Thresholds for the ladder", blocks=[why, ask]))
    return sections


def _read_measured(site: Site, name: str) -> Measured:
    file = site.file(name)
    with site.context() as context:
        return read_measured(context, file)


def _present_sections(site: Site, query: Query) -> Sequence[Section]:
    """Return what is known of the answers that stand: other ladders, and the rightness of each rung."""
    named = named_pipeline(site, query.pipeline)
    report = site.read(("report", named.name), lambda: read_report(site, named)).value
    again = site.call.suggest(f"eval {named.name} --models all")
    sections = [each for each in report_sections(report, named.file, SERVED, again) if each.title in PRESENT]
    if report.quality is not None and report.quality.rungs:
        sections.append(Section(title="Present answers by rung", blocks=[_rungs(report)]))
    return sections


QUALITY_PARTS: Mapping[str, Callable[[Site, Query], Sequence[Section]]] = {
    "measured": _measured_sections,
    "present": _present_sections,
}


def _confusions(report: EvalReport) -> list[Section]:
    """Return for each field of classes what was answered in place of what; each number leads to its rows."""
    if report.ladder is None:
        return []
    fields = [name for name, each in report.ladder.fields.items() if each.macro_f1 is not None]
    found = []
    for name in fields:
        counts = confusion_counts(report, name)
        classes = sorted({gold for gold, _ in counts} | {answer for _, answer in counts if answer is not None})
        table = _matrix(report, name, counts, classes) if len(classes) <= MOST_CLASSES else _pairs(report, name, counts)
        title = "Confusions" if len(fields) == 1 else f"Confusions of {name}"
        found.append(Section(title=title, blocks=[table]))
    return found


def _matrix(
    report: EvalReport, name: str, counts: Mapping[tuple[str, str | None], int], classes: Sequence[str]
) -> Table:
    """Return the confusion matrix: a line for each true class, a column for each answer."""
    answers: list[str | None] = [*classes, *([None] if any(answer is None for _, answer in counts) else [])]
    rows: list[Sequence[Text]] = []
    for gold in classes:
        cells = [_counted(report, name, gold, answer, counts.get((gold, answer), 0)) for answer in answers]
        rows.append([Cell(text=gold, strong=True), *cells])
    header = (f"true {name} / answered", *(NO_ANSWER if each is None else each for each in answers))
    return Table(title=f"confusions of {name}", header=header, rows=rows, right=range(1, len(header)))


def _pairs(report: EvalReport, name: str, counts: Mapping[tuple[str, str | None], int]) -> Table:
    """Return the confusions of a field of many classes, the most frequent first."""
    wrong = [(number, gold, answer) for (gold, answer), number in counts.items() if gold != answer]
    wrong.sort(key=lambda each: (-each[0], each[1], each[2] or ""))
    rows: list[Sequence[Text]] = [
        [gold, NO_ANSWER if answer is None else answer, _counted(report, name, gold, answer, number)]
        for number, gold, answer in wrong[:MOST_ROWS]
    ]
    header = (f"true {name}", "answered", "rows")
    return Table(title=f"confusions of {name}", header=header, rows=rows, right=(2,), empty="Every answer is right.")


def _counted(report: EvalReport, name: str, gold: str, answer: str | None, number: int) -> Text:
    if not number:
        return Cell(text="0", tone="soft")
    link = SERVED.page(
        report.pipeline, "quality", field=name, gold=gold, answer=NO_ANSWER if answer is None else answer
    )
    return Cell(text=count(number), href=link, strong=gold != answer)


def _chosen_rows(report: EvalReport, query: Query) -> list[Section]:
    """Return the rows of the confusion that the query string names, each with a link to its story."""
    name, gold, answer = (query.values.get(each) for each in ("field", "gold", "answer"))
    if name is None or gold is None or answer is None or report.ladder is None or name not in report.ladder.fields:
        return []
    found = confused_rows(report, name, gold, answer)
    if not found and answer == NO_ANSWER:
        found = confused_rows(report, name, gold, None)
    rows: list[Sequence[Text]] = []
    for each in found[:MOST_ROWS]:
        key = json.loads(each.key)
        text = key[0] if len(key) == 1 else each.key
        sure = "" if each.confidence is None else f"{each.confidence:.2f}"
        rows.append([Cell(text=text, href=SERVED.row(report.pipeline, key)), gold, answer, sure])
    words = f"{count(len(found), 'gold row')} with {name} {gold} in gold, answered {answer}"
    words += f"; the first {count(MOST_ROWS)} of them" if len(found) > MOST_ROWS else ""
    table = Table(title="chosen rows", header=("key", "gold", "answered", "confidence"), rows=rows, right=(3,))
    return [Section(title="Rows of the chosen confusion", blocks=[Sentences(found=[f"{words}."]), table])]


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
    parts = [
        BarShare(name="right", number=right, colour="green"),
        BarShare(name="corrected", number=wrong, colour="amber"),
    ]
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
