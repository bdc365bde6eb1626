"""Draw an answer under review for a person. Nothing in the data or the answer steers the terminal."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import StringIO
from typing import TYPE_CHECKING, Any

from batchpipe.commands.printing.text import count, safe, shown_key
from batchpipe.engine.quality.review import OtherReview, ReviewRow
from batchpipe.schema import exact_json
from batchpipe.schema.typed import ABSENT, FieldForm

if TYPE_CHECKING:
    from rich.console import RenderableType

SYMBOLS = "123456789abcdefghijklmnopqrstuvwxyz"
KEYS = "[a] accept  [c] correct a field  [s] skip  [b] back  [q] leave  [↑ ↓] scroll"
WHY = {
    "ladder": "no rung of the ladder was sure",
    "target": "its answer is not sure enough for [review] target",
    "where": "[review] where holds",
    "sample": "it is in the sample",
}
SHOWN_CHARACTERS = 20_000
HIDDEN = "(hidden until you have chosen)"


@dataclass(slots=True, kw_only=True)
class RowScreen:
    """The state of the screen. `draft` is the document as it would be recorded, `said` what was said of the row before.

    `columns` are the input columns to show; the others are folded unless `unfolded`. `prompt` replaces the keys while a
    question is asked; `options` are the possible replies. `decided` are the fields that the person has set.
    """

    row: ReviewRow
    draft: Mapping[str, Any]
    columns: Sequence[str]
    unfolded: bool = False
    said: str | None = None
    message: str = ""
    prompt: str = ""
    options: Sequence[str] = ()
    scroll: int = 0
    decided: set[str] = field(default_factory=set)

    @property
    def hides(self) -> bool:
        """Return whether the model's answer is hidden: until the person has chosen every field that is."""
        return any(name not in self.draft and name not in self.decided for name in self.row.hidden)


@dataclass(slots=True, kw_only=True)
class Progress:
    """How far a session has come: what was said of which row, and which rows were skipped."""

    pipeline: str
    rows: int
    said: dict[int, str] = field(default_factory=dict)
    skipped: set[int] = field(default_factory=set)

    @property
    def words(self) -> str:
        """Return the progress as text: `2 accepted, 1 corrected, 1 skipped`."""
        spoken = list(self.said.values())
        parts = [f"{spoken.count(word)} {word}" for word in ("accepted", "corrected")]
        return ", ".join([*parts, f"{len(self.skipped)} skipped"])


def screen(shown: RowScreen, progress: Progress, forms: Sequence[FieldForm], size: os.terminal_size) -> list[str]:
    """Return the lines of the screen, cut to its size. The keys are always visible."""
    bottom = _lines([_text(shown.message, "bold red")] if shown.message else [], size.columns)
    bottom += _lines([*_options(shown.options), _text(shown.prompt or _keys(shown), "reverse")], size.columns)
    bottom = bottom[-size.lines :]
    top = _lines([_head(shown, progress)], size.columns)[: max(size.lines - len(bottom), 0)]
    room = size.lines - len(bottom) - len(top)
    body = _lines(_body(shown, forms), size.columns)
    shown.scroll = max(0, min(shown.scroll, len(body) - room))
    visible = body[shown.scroll : shown.scroll + room]
    return [*top, *visible, *[""] * (room - len(visible)), *bottom]


def value_text(value: Any) -> str:
    """Return a value of an answer for a person."""
    if value is ABSENT:
        return "(left out)"
    text = value if isinstance(value, str) else exact_json.dumps(value)
    return safe(text[:SHOWN_CHARACTERS], lines=True) + ("…" if len(text) > SHOWN_CHARACTERS else "")


def said_meanwhile(other: OtherReview, answer: Mapping[str, Any]) -> str:
    """Return what another session said of a row: `bo corrected it meanwhile (label → bug)`."""
    if other.verdict == "withdrawn":
        return f"{safe(other.reviewed_by)} took back a review of it meanwhile"
    return f"{safe(other.reviewed_by)} {changes(answer, other.document)} meanwhile"


def changes(answer: Mapping[str, Any], document: Mapping[str, Any]) -> str:
    """Return in words what a document makes of the model's answer: `corrected it (label → bug)`."""
    names = [each for each in {**answer, **document} if answer.get(each, ABSENT) != document.get(each, ABSENT)]
    shown = ", ".join(f"{safe(each)} → {value_text(document.get(each, ABSENT))}" for each in names)
    return f"corrected it ({shown})" if names else "accepted it"


def _head(shown: RowScreen, progress: Progress) -> RenderableType:
    from rich.text import Text

    row = shown.row
    why = "; ".join(WHY[word] for word in row.chosen) or "it was asked for"
    by = f"{safe(row.model)}, rung {row.rung}, prompt {row.version}"
    said = f"   you said: {shown.said}" if shown.said else ""
    said = said or (f"   reviewed by {safe(row.reviewed_by)}" if row.reviewed_by else "")
    head = Text()
    head.append(progress.pipeline, "bold")
    head.append(f"   row {row.number + 1:,} of {count(progress.rows)}   {progress.words}\n", "dim")
    head.append(shown_key(row.key, None), "bold cyan")
    head.append(f"   here because {why}{said}\n")
    head.append(f"answered by {by}", "dim")
    return head


def _body(shown: RowScreen, forms: Sequence[FieldForm]) -> list[RenderableType]:
    return [
        _text("input", "bold"),
        _grid(
            [
                ("", safe(name), _input_text(value), "")
                for name, value in shown.row.input.items()
                if shown.unfolded or name in shown.columns
            ]
        ),
        *_folded(shown),
        _text("answer", "bold"),
        _grid([_field(symbol, form, shown) for symbol, form in zip(_symbols(len(forms)), forms, strict=True)]),
    ]


def _keys(shown: RowScreen) -> str:
    """Return the keys: those for other columns only where there are some."""
    if len(shown.columns) == len(shown.row.input):
        return KEYS
    return f"{KEYS}  [i] {'fewer' if shown.unfolded else 'all'} columns"


def _folded(shown: RowScreen) -> list[RenderableType]:
    """Return a line that names the columns that the prompt does not use, where they are folded."""
    folded = [safe(name) for name in shown.row.input if name not in shown.columns]
    if not folded or shown.unfolded:
        return []
    return [_text(f"  … {count(len(folded), 'more column')}: {', '.join(folded)}", "dim")]


def _input_text(value: str | None) -> str:
    return "" if value is None else value_text(value)


def _field(symbol: str, form: FieldForm, shown: RowScreen) -> tuple[str, str, str, str]:
    """Return symbol, name, the model's value, and the value that replaces it."""
    before, after = shown.row.answer.get(form.name, ABSENT), shown.draft.get(form.name, ABSENT)
    if shown.hides:
        chosen = form.name in shown.decided
        return symbol, safe(form.name), HIDDEN, f"→ {value_text(after)}" if chosen else ""
    changed = type(before) is not type(after) or before != after
    return symbol, safe(form.name), value_text(before), f"→ {value_text(after)}" if changed else ""


def _symbols(number: int) -> list[str]:
    return [SYMBOLS[place] if place < len(SYMBOLS) else "" for place in range(number)]


def _options(options: Sequence[str]) -> list[RenderableType]:
    from rich.columns import Columns

    return [Columns([_text(each, "cyan") for each in options], padding=(0, 3))] if options else []


def _grid(rows: Sequence[tuple[str, str, str, str]]) -> RenderableType:
    from rich.table import Table

    grid = Table.grid(padding=(0, 2))
    grid.add_column(width=1)
    grid.add_column(style="dim", overflow="fold", max_width=30)
    grid.add_column(overflow="fold")
    grid.add_column(style="bold yellow", overflow="fold")
    for row in rows:
        grid.add_row(*(_text(each, "") for each in row))
    return grid


def _text(text: str, style: str) -> RenderableType:
    from rich.text import Text

    return Text(text, style=style, overflow="fold")


def _lines(parts: Sequence[RenderableType], width: int) -> list[str]:
    """Return the parts as lines of the given width. Each line ends its own colours."""
    from rich.console import Console

    if not parts:
        return []
    text = StringIO()
    console = Console(file=text, force_terminal=True, width=width, color_system="standard", legacy_windows=False)
    for part in parts:
        console.print(part)
    return text.getvalue().removesuffix("\n").split("\n")
