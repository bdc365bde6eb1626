"""Review at the terminal: show one row after the other, and record each review at once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from batchpipe.commands.review.screen import SYMBOLS, Progress, RowScreen, said_meanwhile, screen, value_text
from batchpipe.commands.review.terminal import (
    BACKSPACE,
    CLEAR,
    DOWN,
    ENDED,
    ENTER,
    ESCAPE,
    RESIZED,
    UP,
    Terminal,
)
from batchpipe.common.errors import LockedError
from batchpipe.engine.quality.review import Desk, ReviewRow, RowReview
from batchpipe.schema.typed import ABSENT, FieldForm

Move = Literal["on", "back", "leave"]
OVERTAKEN = "a run has answered this row again meanwhile: skip it, and review it in the next session"
CHOOSE = "choose the hidden fields first, by [c]: what the model says is shown when you have chosen"
NOTHING = "0"
SHOWN_OPTIONS = 12


@dataclass(slots=True, kw_only=True)
class Walk:
    """A session at `terminal` over the rows of `desk`."""

    desk: Desk
    terminal: Terminal
    progress: Progress
    _documents: dict[int, dict[str, Any]] = field(default_factory=dict)
    _unfolded: bool = False

    def walk(self) -> None:
        """Show the rows from the first to the last, or until the person leaves."""
        number = 0
        while number < self.desk.rows:
            step = self._visit(self.desk.row(number))
            if step == "leave":
                return
            number = max(0, number - 1) if step == "back" else number + 1

    def _visit(self, row: ReviewRow) -> Move:
        """Show one row until the person accepts it, corrects it, skips it, goes back or leaves."""
        draft = dict(self._documents.get(row.number, row.document))
        said = self.progress.said.get(row.number)
        shown = RowScreen(row=row, draft=draft, columns=self.desk.shown_columns, unfolded=self._unfolded, said=said)
        while True:
            match self._key(shown):
                case "a" if shown.hides:
                    shown.message = CHOOSE
                case "a":
                    shown.message = self._take(row, shown.draft)
                    if not shown.message:
                        return "on"
                case "o" if row.number in self.desk.meanwhile:
                    self.desk.overrule(row.number)
                    shown.message = self._take(row, shown.draft)
                    if not shown.message:
                        return "on"
                case "i":
                    shown.unfolded = self._unfolded = not shown.unfolded
                case "c":
                    shown.message = self._correct(shown)
                case "s":
                    if row.number not in self.progress.said:
                        self.progress.skipped.add(row.number)
                    return "on"
                case "b":
                    if row.number:
                        return "back"
                    shown.message = "this is the first row"
                case "q" | "ended":
                    return "leave"

    def _key(self, shown: RowScreen) -> str:
        """Return the next key that is not a resize and does not scroll."""
        while True:
            self.terminal.draw(screen(shown, self.progress, self.desk.forms, self.terminal.size))
            key = self.terminal.key()
            half = max(1, self.terminal.size.lines // 2)
            if key == UP:
                shown.scroll -= half
            elif key == DOWN:
                shown.scroll += half
            elif key != RESIZED:
                return key

    def _take(self, row: ReviewRow, draft: Any) -> str:
        """Record the draft. Return why it was not recorded; empty where it was."""
        [(document, error)] = self.desk.validate([(row.number, draft)])
        if document is None:
            return f"not taken: {error}"
        accepted = document == row.answer
        try:
            overtaken = self.desk.record([RowReview(number=row.number, document=document, accepted=accepted)])
        except LockedError as error:
            return f"not recorded, try again: {error.what}"
        if row.number in self.desk.meanwhile:
            return f"{said_meanwhile(self.desk.meanwhile[row.number], row.answer)}: [o] overrule it, or [s] skip"
        if overtaken:
            return OVERTAKEN
        self._documents[row.number] = dict(document)
        self.progress.said[row.number] = "accepted" if accepted else "corrected"
        self.progress.skipped.discard(row.number)
        return ""

    def _correct(self, shown: RowScreen) -> str:
        """Let the person set a field of the draft. Return what is wrong with the row then; empty where nothing is."""
        shown.message = ""
        form = self._field(shown)
        if form is None:
            return ""
        before = shown.draft.get(form.name, ABSENT)
        few = form.allowed is not None and len(form.allowed) <= len(SYMBOLS)
        value = self._chosen(shown, form) if few else self._typed(shown, form, before)
        shown.prompt, shown.options = "", ()
        if value is None:
            return ""
        draft = dict(shown.draft)
        if value[0] is ABSENT:
            draft.pop(form.name, None)
        else:
            draft[form.name] = value[0]
        shown.draft = draft
        shown.decided.add(form.name)
        if shown.hides:
            return ""
        [(_, error)] = self.desk.validate([(shown.row.number, draft)])
        return error

    def _field(self, shown: RowScreen) -> FieldForm | None:
        forms = self.desk.forms
        if len(forms) == 1:
            return forms[0]
        place = self._place(shown, "which field?  (Esc: none)", [form.name for form in forms])
        return forms[place] if place is not None else None

    def _chosen(self, shown: RowScreen, form: FieldForm) -> tuple[Any] | None:
        """Return the chosen one of the allowed values, in a tuple; None where the person pressed Esc."""
        allowed = form.allowed or ()
        nothing = form.value("") if form.optional or "null" in form.types else None
        can_be_nothing = form.optional or "null" in form.types
        place = self._place(
            shown,
            f"{form.name}: which value?  (Esc: as it was)",
            [value_text(each) for each in allowed],
            none=can_be_nothing,
        )
        if place is None:
            return None
        return (nothing,) if place < 0 else (allowed[place],)

    def _place(self, shown: RowScreen, prompt: str, names: Sequence[str], *, none: bool = False) -> int | None:
        """Return the place of the name whose symbol is typed; -1 for none of them, None for Esc."""
        symbols = SYMBOLS[: len(names)]
        shown.prompt = prompt
        shown.options = [*([f"{NOTHING} (none)"] if none else []), *map("{} {}".format, symbols, names)]
        try:
            while True:
                key = self._key(shown)
                if key in (ESCAPE, ENDED):
                    return None
                if none and key == NOTHING:
                    return -1
                if len(key) == 1 and key in symbols:
                    return symbols.index(key)
        finally:
            shown.prompt, shown.options = "", ()

    def _typed(self, shown: RowScreen, form: FieldForm, before: Any) -> tuple[Any] | None:
        """Return a typed value, in a tuple; None for Esc. Of many allowed values the matching ones are shown."""
        names = [each if isinstance(each, str) else json.dumps(each) for each in form.allowed or ()]
        text = "" if names else form.text(before)
        while True:
            fitting = [each for each in names if text.casefold() in each.casefold()]
            shown.options = [value_text(each) for each in fitting[:SHOWN_OPTIONS]]
            more = f"   {len(fitting):,} values fit" if names else ""
            shown.prompt = f"{form.name}: {value_text(text)}▏{more}   (Enter takes it, Ctrl-U clears, Esc: as it was)"
            key = self._key(shown)
            if key in (ESCAPE, ENDED):
                return None
            if key == ENTER:
                only = fitting[0] if text and len(fitting) == 1 else text
                return (form.value(only),)
            if key == CLEAR:
                text = ""
            elif key == BACKSPACE:
                text = text[:-1]
            elif len(key) == 1 and (key.isprintable() or key == "\t"):
                text += key
