"""Write a diff as Markdown. Text of users and models stands escaped in it."""

from __future__ import annotations

from collections.abc import Sequence

from batchpipe.commands.diff.gold import HEADER as GOLD_HEADER
from batchpipe.commands.diff.gold import gold_lines, gold_notes, gold_title
from batchpipe.commands.printing.markdown import code, details, fence, table
from batchpipe.commands.printing.text import count, key_text, money, safe, shortened
from batchpipe.engine.quality.answer_diff import AnswerDiff, ChangedRow, FieldChange

NOTHING = "(nothing)"
CELL = 300


def title(found: AnswerDiff) -> str:
    """Return the title: `triage: v1 → v2`."""
    return f"{found.pipeline}: {safe(found.before.label)} → {safe(found.after.label)}"


def row_counts(found: AnswerDiff) -> list[tuple[str, str]]:
    """Return what was compared and what it cost, as (name, text)."""
    carried = f", {count(found.carried_over)} of them carried over" if found.carried_over else ""
    compared = f"{count(found.changed)} changed, {count(found.unchanged)} the same{carried}"
    cost = found.cost
    unpriced = f"; {count(cost.unpriced, 'result')} without a price" if cost.unpriced else ""
    dollars = f"{money(cost.from_usd)} → {money(cost.to_usd)}"
    return [
        ("answered on both sides", f"{count(found.compared, 'row')}: {compared}" if found.compared else "no row"),
        (f"only {found.before.label}", count(found.only_from, "row") if found.only_from else ""),
        (f"only {found.after.label}", count(found.only_to, "row") if found.only_to else ""),
        ("input changed too", count(found.input_changed, "row") if found.input_changed else ""),
        ("fields added", ", ".join(found.added_fields)),
        ("fields removed", ", ".join(found.removed_fields)),
        ("cost", f"{dollars} for the {count(cost.rows, 'row')} answered on each side{unpriced}" if cost.rows else ""),
    ]


def field_words(change: FieldChange) -> str:
    """Return the change of one field: `7 rows changed, mean 0.8 → 0.7 (-0.1)`."""
    words = f"{count(change.changed, 'row')} changed"
    if change.mean_before is not None and change.mean_after is not None and change.mean_change is not None:
        words += f", mean {change.mean_before:.4g} → {change.mean_after:.4g} ({change.mean_change:+.4g})"
    if change.other_pairs:
        words += f", {count(change.other_pairs, 'row')} in other ways than these"
    return words


def diff_markdown(found: AnswerDiff, hints: Sequence[str]) -> str:
    """Return the diff as Markdown, for a pull request."""
    parts = [f"### batchpipe diff: {code(title(found))}"]
    counts = [[name, words] for name, words in row_counts(found) if words]
    parts.append(table(("", ""), [[code(name), code(words)] for name, words in counts]))
    parts += [f"- {code(each)}" for each in hints]
    if found.gold is not None:
        lines = [[code(name), *rest] for name, *rest in gold_lines(found.gold)]
        parts += [f"**{gold_title(found.gold)}**", table(GOLD_HEADER, lines, right=(3, 4))]
        parts += [f"- {code(each)}" for each in gold_notes(found.gold)]
    if found.prompt:
        parts += ["**Prompt**", fence("\n".join(each.diff for each in found.prompt), "diff")]
    for each in found.fields:
        parts.append(f"{code(each.name)}: {field_words(each)}")
        if each.pairs:
            cells = [[_cell(old), _cell(new), count(number)] for old, new, number in each.pairs]
            parts.append(table(("from", "to", "rows"), cells, right=[2]))
    if found.rows:
        parts.append("**Changed rows**")
    parts += [details([_key(row)], fence(_row_text(row))) for row in found.rows]
    return safe("\n\n".join(parts), lines=True) + "\n"


def _key(row: ChangedRow) -> str:
    return key_text(row.key) if row.key else NOTHING


def _row_text(row: ChangedRow) -> str:
    changes = [f"{name}: {_shown(old)} → {_shown(new)}" for name, old, new in row.fields]
    inputs = [f"{name}: {_shown(value)}" for name, value in row.input.items() if value is not None]
    return "\n".join([*changes, "", *inputs])


def _cell(value: str | None) -> str:
    return code(shortened(value, CELL)) if value is not None else NOTHING


def _shown(value: str | None) -> str:
    return NOTHING if value is None else value
