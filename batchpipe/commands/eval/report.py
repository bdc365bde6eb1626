"""Print the report of an evaluation, as text and as Markdown."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from batchpipe.commands.eval.gate import Versus
from batchpipe.commands.eval.judges import HEADER as JUDGES
from batchpipe.commands.eval.judges import RIGHT as JUDGES_RIGHT
from batchpipe.commands.eval.judges import judge_lines, refused_answers
from batchpipe.commands.eval.quality import SEVERAL, Outcome, Quality
from batchpipe.commands.printing.markdown import code, details, fence
from batchpipe.commands.printing.markdown import table as markdown_table
from batchpipe.commands.printing.text import count, money, pairs, safe, shortened, shown_key, table
from batchpipe.engine.gold.reviewed_gold import FromReview
from batchpipe.engine.quality.judges import Judged
from batchpipe.evaluation.statistics import Mean, Proportion

SHOWN_ROWS = 10
SHOWN_VALUE = 80
HEADER = ("model", "rung", "n", "right", "macro-F1", "cost", "per 1,000", "per 1,000 right")
RIGHT = (1, 2, 5, 6, 7)


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalReport:
    """Everything that is shown of an evaluation.

    `ladder_rows` and `before_rows` are by key; `notes` stand at the end.
    """

    pipeline: str
    version: str
    gold: int
    reviewed: FromReview
    models: tuple[Quality, ...]
    ladder: Quality | None
    ladder_rows: dict[str, Outcome]
    against: Versus | None
    before_rows: dict[str, Outcome]
    judged: tuple[Judged, ...]
    error_usd: Decimal | None
    notes: tuple[str, ...]
    shortfalls: tuple[str, ...]


def share_with_interval(share: Proportion | Mean) -> str:
    """Return a share with its interval: `91.0% (87.2% to 93.7%)`."""
    return f"{share.value:.1%} ({share.low:.1%} to {share.high:.1%})"


def report_text(report: EvalReport, *, terminal: bool) -> str:
    """Return the report for a person. Each number has its n and its interval."""
    parts = [f"{report.pipeline} {report.version}: {count(report.gold, 'gold row')}"]
    shown = shown_models(report)
    parts.append(table(HEADER, [quality_line(each) for each in shown], terminal=terminal, right=RIGHT))
    fields = field_lines(shown)
    if fields:
        parts.append(table(("model", "field", "right", "macro-F1"), fields, terminal=terminal))
    if report.ladder is not None:
        confused = confused_lines(report.ladder)
        if confused:
            header = ("field", "gold", "answered", "rows", "of gold")
            parts.append("What the ladder confuses most\n" + table(header, confused, terminal=terminal, right=(3, 4)))
    if report.judged:
        parts += _judges(report, terminal)
    parts += [_calibration(each, terminal) for each in report.models if each.calibration is not None]
    parts += error_costs(report, shown)
    if report.against is not None:
        parts.append(pairs(against_pairs(report.against)))
        for title, keys in (("fixed", report.against.fixed), ("broken", report.against.broken)):
            if keys:
                lines = table(("key", "gold", "before", "now"), changed_rows(report, keys), terminal=terminal)
                parts.append(f"{count(len(keys), 'row')} {title}\n{lines}")
    parts += [*report.notes, *(f"Not good enough: {each}." for each in report.shortfalls)]
    return "\n\n".join(parts)


def report_markdown(report: EvalReport) -> str:
    """Return the report for a pull request. Text of files, data or models stands in code."""
    verdict = "not good enough" if report.shortfalls else "good enough"
    parts = [f"### batchpipe eval: {code(report.pipeline)} ({code(report.version)}), {verdict}"]
    parts += [f"- {code(each)}" for each in report.shortfalls]
    shown = shown_models(report)
    lines = [
        [code(cell) if place == 0 else str(cell or "") for place, cell in enumerate(quality_line(each))]
        for each in shown
    ]
    parts.append(markdown_table(HEADER, lines, right=RIGHT))
    if report.judged:
        lines = [[code(field), code(models), *numbers] for field, models, *numbers in judge_lines(report.judged)]
        parts.append(markdown_table(JUDGES, lines, right=JUDGES_RIGHT))
    if report.against is not None:
        parts.append(markdown_table(("", ""), [[name, code(value)] for name, value in against_pairs(report.against)]))
        for title, keys in (("fixed", report.against.fixed), ("broken", report.against.broken)):
            if keys:
                rows = table(("key", "gold", "before", "now"), changed_rows(report, keys))
                parts.append(details([f"{count(len(keys), 'row')} {title}"], fence(rows)))
    parts += [f"- {code(each)}" for each in report.notes]
    return safe("\n\n".join(parts), lines=True) + "\n"


def shown_models(report: EvalReport) -> list[Quality]:
    """Return the models, then the ladder where it has several rungs."""
    ladder = report.ladder
    return [*report.models, *([ladder] if ladder is not None and SEVERAL in ladder.model else [])]


def _name(found: Quality) -> str:
    return f"ladder: {found.model}" if SEVERAL in found.model and found.rung is None else found.model


def quality_line(found: Quality) -> list[object]:
    """Return the cells of a model in the table `HEADER`."""
    scores = [each.macro_f1 for each in found.fields.values() if each.macro_f1 is not None]
    return [
        _name(found),
        found.rung,
        count(found.right.n),
        share_with_interval(found.right),
        f"{scores[0]:.3f}" if len(scores) == 1 and len(found.fields) == 1 else None,
        money(found.cost_usd),
        money(found.usd_per_1000),
        money(found.usd_per_1000_correct) if found.right.hits else None,
    ]


def field_lines(shown: Sequence[Quality]) -> list[list[object]]:
    """Return a line for each model and field, where there are several fields or a mean to show."""
    lines: list[list[object]] = []
    for each in shown:
        if len(each.fields) == 1 and all(field.mean is None for field in each.fields.values()):
            continue
        for name, field in each.fields.items():
            right = share_with_interval(field.accuracy) + (
                f"; mean F1 {share_with_interval(field.mean)}" if field.mean else ""
            )
            lines.append([_name(each), name, right, f"{field.macro_f1:.3f}" if field.macro_f1 is not None else None])
    return lines


def confused_lines(ladder: Quality) -> list[list[object]]:
    """Return what the ladder answered in place of which true value, and how often."""
    return [
        [name, each.gold, "no answer" if each.answer is None else each.answer, count(each.n), count(each.gold_n)]
        for name, field in ladder.fields.items()
        for each in field.confused
    ]


def _judges(report: EvalReport, terminal: bool) -> list[str]:
    wrong = refused_answers(report.ladder_rows.values(), [each.field for each in report.judged], SHOWN_ROWS)
    judges = table(JUDGES, judge_lines(report.judged), terminal=terminal, right=JUDGES_RIGHT)
    parts = [f"Judges (their cost is not part of the costs above)\n{judges}"]
    if wrong:
        header = ("field", "key", "true value", "answer", "the judge's reason")
        parts.insert(0, "Answers that a judge says are wrong\n" + table(header, wrong, terminal=terminal))
    return parts


def _calibration(found: Quality, terminal: bool) -> str:
    known = found.calibration
    assert known is not None
    rows = [
        [
            f"{each.low:.1f} to {each.high:.1f}",
            count(each.accuracy.n),
            f"{each.confidence:.1%}",
            share_with_interval(each.accuracy),
        ]
        for each in known.bins
    ]
    title = (
        f"Confidence of {safe(found.model)}: {known.error:.1%} away from the accuracy on average, n = {count(known.n)}"
    )
    return f"{title}\n{table(('confidence', 'n', 'mean', 'right'), rows, terminal=terminal, right=(1, 2))}"


def error_costs(report: EvalReport, shown: Sequence[Quality]) -> list[str]:
    """Return what 1,000 rows cost with each model and the ladder, wrong rows included, the cheapest first."""
    price = report.error_usd
    whole = [each for each in shown if each.right.n == report.gold and each.usd_per_1000 is not None]
    if price is None or not whole:
        return []
    priced = sorted(
        (
            (each.usd_per_1000 or Decimal(0)) + price * 1000 * (each.right.n - each.right.hits) / each.right.n,
            _name(each),
        )
        for each in whole
    )
    lines = "\n".join(f"  {money(usd)}  {safe(model)}" for usd, model in priced)
    return [f"With {money(price)} for a wrong row, 1,000 rows cost\n{lines}"]


def against_pairs(found: Versus) -> list[tuple[str, object]]:
    """Return how a version compares with the one before it."""
    return [
        ("against", found.label),
        ("before", f"{share_with_interval(found.before.right)}, n = {count(found.before.right.n)}"),
        ("now", f"{share_with_interval(found.after.right)}, n = {count(found.after.right.n)}"),
        ("fixed", count(len(found.fixed))),
        ("broken", count(len(found.broken))),
        ("McNemar", f"p = {found.test.p_value:.3g}"),
        ("cost before", money(found.before.cost_usd)),
        ("cost now", money(found.after.cost_usd)),
    ]


def changed_rows(report: EvalReport, keys: Sequence[str]) -> list[list[object]]:
    """Return the first rows of `keys`: key, gold, the answer before and the answer now."""
    rows: list[list[object]] = []
    for key in keys[:SHOWN_ROWS]:
        now, before = report.ladder_rows[key], report.before_rows[key]
        rows.append([shown_key(key), _values(now.gold), _values(before.answer), _values(now.answer)])
    if len(keys) > SHOWN_ROWS:
        rows.append([f"and {len(keys) - SHOWN_ROWS:,} more", None, None, None])
    return rows


def _values(values: Any) -> str:
    if values is None:
        return "no answer"
    texts = [each if isinstance(each, str) else json.dumps(each, default=str) for each in values.values()]
    return shortened(", ".join(texts), SHOWN_VALUE)
