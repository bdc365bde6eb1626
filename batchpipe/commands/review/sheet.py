"""Review in a spreadsheet: write rows to a CSV file, and read what a person wrote into it.

No cell is a formula. Text that a spreadsheet would take for a formula gets an apostrophe in front, and text that begins
with apostrophes and such a character gets one more, so that the file is read back exactly.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_DOWN, ROUND_HALF_UP, Context, Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from batchpipe.commands.printing.text import safe, shown_key
from batchpipe.commands.review.screen import changes
from batchpipe.common.durable import written_whole
from batchpipe.common.errors import Problem, ReviewError, UsageError
from batchpipe.engine.quality.review import Desk, ReviewRow, RowReview
from batchpipe.schema.typed import ABSENT, FieldForm

SPREADSHEET_DIGITS = 15  # the digits of a number that a spreadsheet keeps
FORMULA = re.compile(r"'*[=+\-@\t\r]")
GUARDED = re.compile(r"'+[=+\-@\t\r]")
WHY, VERDICT, MODEL, TOKEN = "_why", "_verdict", "_model", "_answer"
INPUT = "input."
# The word in a sheet with which a review replaces what another person has said of the row since the export.
OVERRULE = {"overrule", "overruled"}
YES = {"ok", "yes", "y", "x", "1", "true", "accept", "accepted", "correct"}
NO = {"", "skip", "skipped", "0", "no", "false"}
DELIMITERS = ",;\t"


@dataclass(frozen=True, slots=True, kw_only=True)
class SheetLine:
    """A record of the file, and the line where it begins."""

    number: int
    cells: Mapping[str, str]


@dataclass(slots=True, kw_only=True)
class Sheet:
    """The content of a file: a document for each row that was reviewed, with its line.

    `silent` counts the rows that nothing was said of.
    """

    said: list[tuple[SheetLine, ReviewRow, dict[str, Any]]] = field(default_factory=list)
    silent: int = 0
    problems: list[Problem] = field(default_factory=list)


def write_sheet(desk: Desk, target: Path) -> int:
    """Write the rows of `desk` as CSV (UTF-8 with a byte order mark, for spreadsheets), and return their number.

    A file that stood there is replaced once the new one is whole: it may have the work of a person.
    Raises OSError where the file cannot be written.
    """
    forms, key = desk.forms, desk.resolved.file.pipeline.input.key
    inputs = [name for name in desk.shown_columns if name not in key]
    header = [*key, WHY, *(INPUT + name for name in inputs), *(form.name for form in forms), VERDICT, MODEL, TOKEN]
    with written_whole(target) as beside, beside.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL)
        writer.writerow(guarded(each) for each in header)
        for row in desk.all_rows():
            keys = [row.input[name] or "" for name in key]
            texts = [row.input[name] or "" for name in inputs]
            fields = [_cell(form, row) for form in forms]
            cells = [*keys, ", ".join(row.chosen), *texts]
            writer.writerow([*map(guarded, cells), *fields, "", guarded(row.model or ""), row.token])
    return desk.rows


def read_sheet(desk: Desk, path: Path) -> Sheet:
    """Read what the file at `path` says of the rows of `desk`, and what is wrong with it, line by line.

    `desk` has every answered row.
    Raises UsageError for a file that cannot be read or lacks columns.
    """
    rows = list(desk.all_rows())
    by_token = {row.token: row for row in rows}
    by_key = {row.key: row for row in rows}
    sheet, seen = Sheet(), dict[int, int]()
    key = desk.resolved.file.pipeline.input.key
    for line in _lines(desk, path):
        row = by_token.get(line.cells[TOKEN].strip())
        where = f"{path.name}:{line.number}"
        if row is None or not _same_key(row, key, line):
            texts = [_plain(line.cells[each]) for each in key]
            known = by_key.get(json.dumps(texts, separators=(",", ":"), ensure_ascii=False))
            row = known if line.cells[VERDICT].strip().casefold() in OVERRULE else None
            if row is None or row.reviewed_by is None:
                sheet.problems.append(_unknown(line, known, key, where))
                continue
        if row.number in seen:
            what = f"the row {shown_key(row.key, None)} is also in line {seen[row.number]}"
            sheet.problems.append(Problem(what=what, where=where, hint="Keep one of them."))
            continue
        seen[row.number] = line.number
        _take(sheet, desk.forms, line, row, where)
    return sheet


def validate_sheet(desk: Desk, sheet: Sheet, path: Path) -> list[RowReview]:
    """Return the reviews in the sheet.

    Raises ReviewError with every problem; nothing may be recorded then.
    """
    judged = desk.validate([(row.number, document) for _, row, document in sheet.said])
    verdicts = []
    for (line, row, _), (document, error) in zip(sheet.said, judged, strict=True):
        if document is None:
            what = f"the row {shown_key(row.key, None)} is not valid: {error}"
            hint = "Correct the cell; `batchpipe schema` and the pipeline file say what is allowed."
            sheet.problems.append(Problem(what=what, where=f"{path.name}:{line.number}", hint=hint))
        else:
            verdicts.append(RowReview(number=row.number, document=document, accepted=document == row.answer))
    if sheet.problems:
        ordered = sorted(sheet.problems, key=lambda each: int(each.where.rpartition(":")[2]))
        raise ReviewError.from_problems(ordered)
    return verdicts


def guarded(text: str) -> str:
    """Return `text` as a cell that is no formula."""
    return f"'{text}" if FORMULA.match(text) else text


def _plain(cell: str) -> str:
    """Return the text of a cell, without the apostrophe that `guarded` added."""
    return cell[1:] if GUARDED.match(cell) else cell


def _cell(form: FieldForm, row: ReviewRow) -> str:
    """Return a field's value as a cell. A number stays a number, negative or not."""
    value = row.document.get(form.name, ABSENT)
    text = form.text(value)
    return text if isinstance(value, int | float | Decimal) else guarded(text)


def _lines(desk: Desk, path: Path) -> Iterator[SheetLine]:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        what = f"the file cannot be read: {error.strerror}"
        raise UsageError(what, where=str(path), hint="Name a file that --export wrote.") from error
    except UnicodeDecodeError as error:
        hint = "Save it as CSV UTF-8."
        raise UsageError("the file is not UTF-8", where=str(path), hint=hint) from error
    if "\n" not in text:  # a spreadsheet may end lines as the first Macintosh did
        text = text.replace("\r", "\n")
    csv.field_size_limit(max(len(text), 131_072))
    first = text.split("\n", 1)[0]
    delimiter = max(DELIMITERS, key=first.count)
    reader = csv.reader(_physical(text), delimiter=delimiter)
    records = _records(reader, path)
    header = [_plain(each) for each in next(records, [])]
    needed = [*desk.resolved.file.pipeline.input.key, *(form.name for form in desk.forms), VERDICT, TOKEN]
    missing = [name for name in needed if name not in header]
    if missing:
        what = f"the file lacks the column{'s' if len(missing) > 1 else ''} {', '.join(missing)}"
        hint = "Keep the first line as --export wrote it, or export again."
        raise UsageError(what, where=f"{path.name}:1", hint=hint)
    doubled = [name for name in needed if header.count(name) > 1]
    if doubled:
        what = f"the file has the column{'s' if len(doubled) > 1 else ''} {', '.join(doubled)} twice"
        raise UsageError(what, where=f"{path.name}:1", hint="Keep one of them: the one with your corrections.")
    begun = reader.line_num
    for cells in records:
        number, begun = begun + 1, reader.line_num
        if any(cells):
            whole = [*cells, *[""] * (len(header) - len(cells))]
            yield SheetLine(number=number, cells=dict(zip(header, whole, strict=False)))


def _records(reader: Any, path: Path) -> Iterator[list[str]]:
    """Yield the records of a file. Raises UsageError where it is no CSV."""
    try:
        yield from reader
    except csv.Error as error:
        # The one mistake that a reader that is not strict finds.
        what, hint = "a cell has a line break and no quotes around it", "Save the file as CSV UTF-8, with quotes."
        raise UsageError(what, where=f"{path.name}:{reader.line_num}", hint=hint) from error


def _physical(text: str) -> Iterator[str]:
    """Yield the lines of a file. Only a line feed ends a line: a cell may hold any other line break."""
    place = 0
    while place < len(text):
        end = text.find("\n", place)
        end = len(text) if end < 0 else end + 1
        yield text[place:end]
        place = end


def _same_key(row: ReviewRow, key: Sequence[str], line: SheetLine) -> bool:
    """Return whether the key's cells are those of the row. A spreadsheet may have written a number differently."""
    return all(_alike(row.input[name] or "", _plain(line.cells[name])) for name in key)


def _alike(text: str, cell: str) -> bool:
    if text == cell or text.strip() == cell.strip():
        return True
    try:
        return Decimal(text) == Decimal(cell)
    except InvalidOperation:
        return False


def _unknown(line: SheetLine, known: ReviewRow | None, key: Sequence[str], where: str) -> Problem:
    shown = ", ".join(line.cells[each] for each in key)
    again = "Export again, and leave this line out here."
    if known is None:
        hint = "Keep the key and _answer of a line together, as --export wrote them. " + again
        return Problem(what=f"there is no answer for the row {shown!r}", where=where, hint=hint)
    what = f"the answer of the row {shown!r} is not the one that was exported"
    if known.reviewed_by is not None:
        said = f"the review {changes(known.answer, known.document)}"
        by = safe(known.reviewed_by)
        what = f"the row {shown!r} was reviewed by {by} since the export, or its answer has changed; {said}"
        again += f" To let this line replace that, write overrule under {VERDICT}."
    return Problem(what=what, where=where, hint=again)


def _take(sheet: Sheet, forms: Sequence[FieldForm], line: SheetLine, row: ReviewRow, where: str) -> None:
    """Read what a line says of its row: nothing, that the row is right, or other values for some fields."""
    document = dict(row.document)
    for form in forms:
        cell = line.cells[form.name]
        if _unbroken(cell) == _unbroken(_cell(form, row)) or _is_rounded(row.document.get(form.name), _plain(cell)):
            continue
        value = form.value(_plain(cell))
        if value is ABSENT:
            document.pop(form.name, None)
        elif value != document.get(form.name, ABSENT):
            document[form.name] = value
    word = line.cells[VERDICT].strip().casefold()
    edited = document != row.document
    if word not in YES | NO | OVERRULE:
        what = f"{line.cells[VERDICT]!r} in {VERDICT} is not a verdict"
        sheet.problems.append(Problem(what=what, where=where, hint="Write ok where the row is right, or nothing."))
    elif word in NO and not edited:
        sheet.silent += 1
    elif not row.same_input:
        what = f"the input of the row {shown_key(row.key, None)} has changed: it is due again"
        sheet.problems.append(Problem(what=what, where=where, hint="Leave the line out; run, and export again."))
    else:
        sheet.said.append((line, row, document))


def _is_rounded(value: Any, cell: str) -> bool:
    """Return whether the cell is the number `value` as a spreadsheet saves it: with the first 15 of its digits."""
    if (
        isinstance(value, bool)
        or not isinstance(value, int | Decimal)
        or len(Decimal(value).as_tuple().digits) <= SPREADSHEET_DIGITS
    ):
        return False
    try:
        given = Decimal(cell)
    except InvalidOperation:
        return False
    return any(
        given == Context(prec=SPREADSHEET_DIGITS, rounding=rounding).create_decimal(value)
        for rounding in (ROUND_HALF_UP, ROUND_DOWN)
    )


def _unbroken(text: str) -> str:
    return text.replace("\r\n", "\n")
