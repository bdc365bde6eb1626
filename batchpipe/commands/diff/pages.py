"""Write a diff as Markdown and as a page of HTML. Text of users and models stands escaped in both."""

from __future__ import annotations

import html
from collections.abc import Sequence

from batchpipe.commands.diff.gold import HEADER as GOLD_HEADER
from batchpipe.commands.diff.gold import gold_lines, gold_notes, gold_title
from batchpipe.commands.plan.prompt_diff import key_text
from batchpipe.commands.printing.markdown import code, details, fence, table
from batchpipe.commands.printing.text import count, money, safe, shortened
from batchpipe.engine.quality.answer_diff import AnswerDiff, ChangedRow, FieldChange

NOTHING = "(nothing)"
CELL = 300

STYLE = """
:root { color-scheme: light dark; --line: #8884; --old: #b3261e; --new: #1b6e3a; --soft: #8882; }
@media (prefers-color-scheme: dark) { :root { --old: #ff8a80; --new: #7bd89b; } }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem;
  background: Canvas; color: CanvasText; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
table { border-collapse: collapse; margin: .5rem 0; } td, th { border: 1px solid var(--line); padding: .25rem .6rem;
  text-align: left; vertical-align: top; overflow-wrap: anywhere; white-space: pre-wrap; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
pre { background: var(--soft); padding: .7rem; overflow-x: auto; white-space: pre-wrap; overflow-wrap: anywhere; }
.old { color: var(--old); } .new { color: var(--new); } .place { opacity: .65; }
details { border: 1px solid var(--line); padding: .4rem .8rem; margin: .5rem 0; }
"""


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


def diff_html(found: AnswerDiff, hints: Sequence[str]) -> str:
    """Return a page that needs no other file, in light and dark."""
    parts = [f"<h1>batchpipe diff: {_text(title(found))}</h1>"]
    parts.append(_table([], [each for each in row_counts(found) if each[1]]))
    parts += [f"<p>{_text(each)}</p>" for each in hints]
    if found.gold is not None:
        header = [(name, "number" if name in ("fixed", "broken") else "") for name in GOLD_HEADER]
        parts += [f"<h2>{gold_title(found.gold)}</h2>", _table(header, gold_lines(found.gold))]
        parts += [f"<p>{_text(each)}</p>" for each in gold_notes(found.gold)]
    if found.prompt:
        parts += ["<h2>Prompt</h2>", *(f"<pre>{_diff(each.diff)}</pre>" for each in found.prompt)]
    if found.fields:
        parts.append("<h2>Fields</h2>")
    for each in found.fields:
        parts.append(f"<h3>{_text(each.name)}</h3><p>{_text(field_words(each))}</p>")
        if each.pairs:
            rows = [(_shown(old), _shown(new), count(number)) for old, new, number in each.pairs]
            parts.append(_table([("from", ""), ("to", ""), ("rows", "number")], rows))
    if found.rows:
        parts.append("<h2>Changed rows</h2>")
    parts += [_row_html(row) for row in found.rows]
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    head = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{_text(title(found))}</title><style>{STYLE}</style></head><body>\n"
    )
    return head + "\n".join(parts) + "\n</body></html>\n"


def _row_html(row: ChangedRow) -> str:
    changes = [(name, _shown(old), _shown(new)) for name, old, new in row.fields]
    models = f"<p>{_text(row.from_model)} → {_text(row.to_model)}</p>" if row.from_model != row.to_model else ""
    inputs = [(name, _shown(value)) for name, value in row.input.items() if value is not None]
    return (
        f"<details open><summary>{_text(_key(row))}</summary>{models}"
        + _table([("field", ""), ("from", ""), ("to", "")], changes)
        + (_table([("input", ""), ("as it was sent", "")], inputs) if inputs else "")
        + "</details>"
    )


def _table(header: Sequence[tuple[str, str]], rows: Sequence[Sequence[str]]) -> str:
    """Return a table of plain texts. `header` has (name, class), and is empty for a table without one."""
    classes = [f' class="{kind}"' if kind else "" for _, kind in header] + [""] * 9
    top = "".join(f"<th{classes[number]}>{_text(name)}</th>" for number, (name, _) in enumerate(header))
    body = "".join(
        "<tr>" + "".join(f"<td{classes[number]}>{_text(cell)}</td>" for number, cell in enumerate(row)) + "</tr>\n"
        for row in rows
    )
    return f"<table>{f'<tr>{top}</tr>' if header else ''}\n{body}</table>"


def _diff(diff: str) -> str:
    """Return a unified diff with coloured lines."""
    lines = []
    for line in diff.split("\n"):
        kind = "place" if line.startswith(("---", "+++", "@@")) else {"-": "old", "+": "new"}.get(line[:1], "")
        text = html.escape(safe(line, lines=True))
        lines.append(f'<span class="{kind}">{text}</span>' if kind else text)
    return "\n".join(lines)


def _text(value: object) -> str:
    return html.escape(safe(value, lines=True))


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
