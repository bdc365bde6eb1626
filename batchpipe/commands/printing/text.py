"""Format values for people and programs: money, counts, durations, tables, JSON."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any

from batchpipe.common.money import money as money  # what is printed is formatted by this module alone

# Categories that a terminal may act on: controls, format (bidi), surrogates, separators of lines.
SHOWN_KEY = 80  # characters of a key
_UNSHOWN = ("Cc", "Cf", "Cs", "Zl", "Zp")
# What stands before the text of a line: the indent, and a short name with two spaces after it.
_LEAD = re.compile(r"\s*(?:\S+(?: \S+){0,2}?  +)?(?=\S)")
# Joiners inside words and emoji of many scripts are harmless.
_HARMLESS = "\u200c\u200d"


def count(number: int, noun: str | None = None, plural: str | None = None) -> str:
    """Return a number as `1,234`; with a noun as `1 row`, `1,234 rows`, `2 batches`."""
    if noun is None:
        return f"{number:,}"
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def duration(seconds: float) -> str:
    """Return seconds as `45 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`."""
    whole = max(0, round(seconds))
    for size, name, below, below_name in (
        (86_400, "d", 3_600, "h"),
        (3_600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if whole >= size:
            rest = whole % size // below
            return f"{whole // size} {name}" + (f" {rest} {below_name}" if rest else "")
    return f"{whole} s"


def moment(value: datetime | None) -> str:
    """Return a time of the ledger (naive UTC) as `2026-07-01 12:30 UTC`."""
    return f"{value:%Y-%m-%d %H:%M} UTC" if value is not None else ""


def share(part: float, whole: float) -> str:
    """Return a share as `87.5%`; empty where the whole is 0."""
    return f"{100 * part / whole:.1f}%" if whole else ""


def shown_path(path: Path, folder: Path) -> str:
    """Return `path` as a person would write it from `folder`."""
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path)


def safe(text: object, *, lines: bool = False) -> str:
    """Return `text` of a model or of data so that nothing in it steers the terminal.

    With `lines` line breaks and tabs stay.
    """
    kept = "\n\t" if lines else ""
    shown = str(text).replace("\r\n", "\n")
    if shown.isascii() and shown.isprintable():
        return shown
    return "".join(
        each if each in kept or each in _HARMLESS or unicodedata.category(each) not in _UNSHOWN else _escaped(each)
        for each in shown
    )


def shortened(text: str, width: int) -> str:
    """Return `text` cut to `width` characters."""
    return text if len(text) <= width else text[: max(width - 1, 0)] + "…"


def key_text(key: str) -> str:
    """Return a key, a JSON list, as the values of its columns with commas between them; it is not made `safe`."""
    return ", ".join(str(each) for each in json.loads(key))


def shown_key(key: str, width: int | None = SHOWN_KEY) -> str:
    """Return a key for people, `safe`: the text of a single column, else the JSON list; cut to `width`, if given."""
    values = json.loads(key)
    text = safe(values[0] if len(values) == 1 else json.dumps(values, ensure_ascii=False))
    return text if width is None else shortened(text, width)


def wrapped(text: str, width: int, *, begin: int | None = None) -> str:
    """Return `text` with its long lines broken between words, what follows indented under where the line's text begins.

    That is at the column `begin`, or where it shows. A command to type (`batchpipe ...` up to the end of its line) is
    never broken, nor is a line with control codes.
    """
    return "\n".join(_broken(line, width, begin) for line in text.split("\n"))


def painted(text: str, word: str, style: str, *, begin: int = 0) -> list[str]:
    """Return the lines of `text` with control codes that colour the first `word` from `begin` on, unless colours are
    switched off by NO_COLOR.
    """
    from rich.console import Console
    from rich.text import Text

    shown = Text(text)
    place = text.find(word, begin)
    if place >= 0:
        shown.stylize(style, place, place + len(word))
    into = StringIO()
    Console(file=into, force_terminal=True).print(shown, soft_wrap=True)
    return into.getvalue().rstrip("\n").split("\n")


def _broken(line: str, width: int, begin: int | None) -> str:
    if _width(line) <= width or "\x1b" in line:
        return line
    if begin is None:
        lead = _LEAD.match(line)
        begin = len(lead[0]) if lead is not None else 0
    indent = " " * begin if 0 < begin <= width // 2 else " " * (len(line) - len(line.lstrip()) + 2)
    words = line[begin:].split(" ")
    for number, word in enumerate(words):
        if word.strip("`") == "batchpipe":
            words[number:] = [" ".join(words[number:])]
            break
    done, present = [], line[:begin] + words[0]
    for word in words[1:]:
        if _width(present) + 1 + _width(word) <= width or not present.strip():
            present = f"{present} {word}"
        else:
            done.append(present.rstrip())
            present = indent + word
    return "\n".join([*done, present])


def table(
    header: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    terminal: bool = False,
    right: Sequence[int] = (),
) -> str:
    """Return a table as text, with colours for a terminal. The columns in `right` are aligned right.

    Cells are made `safe`, None is empty. No cell is read as markup.
    """
    cells = [["" if each is None else safe(each) for each in row] for row in rows]
    return _rich_table(header, cells, right) if terminal else _plain_table(header, cells, right)


def pairs(rows: Sequence[tuple[str, object]], *, indent: str = "  ") -> str:
    """Return aligned lines of a name and a value. Lines whose value is None or empty are left out."""
    shown = [(name, safe(value)) for name, value in rows if value not in (None, "")]
    width = max((len(name) for name, _ in shown), default=0)
    return "\n".join(f"{indent}{name:<{width}}  {value}" for name, value in shown)


def table_value(value: Any) -> str | None:
    """Return a value of a table for people; None for NULL. It is not made `safe`.

    Numbers have all their digits, a time is UTC to the second, and what is nested is JSON.
    """
    match value:
        case None | str():
            return value
        case Decimal() if value.is_finite():
            return _number(value)
        case datetime():
            return f"{value:%Y-%m-%d %H:%M:%S}"
        case bytes():
            return _bytes_text(value)
        case bool() | Mapping() | list() | tuple():
            return json_text(value, ascii_only=False)
    return str(value)


def json_text(value: Any, *, ascii_only: bool = True) -> str:
    """Return `value` as one line of JSON. Money is a number with all its digits, a time is ISO 8601 in UTC."""
    if isinstance(value, Mapping):
        pairs_of = ((json.dumps(str(key), ensure_ascii=ascii_only), each) for key, each in value.items())
        return "{" + ", ".join(f"{key}: {json_text(each, ascii_only=ascii_only)}" for key, each in pairs_of) + "}"
    if isinstance(value, list | tuple | set | frozenset):
        return "[" + ", ".join(json_text(each, ascii_only=ascii_only) for each in value) + "]"
    return _json_scalar(value, ascii_only)


def _json_scalar(value: Any, ascii_only: bool) -> str:
    match value:
        case Decimal():
            return _number(value) if value.is_finite() else "null"
        case float():
            return json.dumps(value) if math.isfinite(value) else "null"
        case None | bool() | int() | str():
            return json.dumps(value, ensure_ascii=ascii_only)
        case datetime():
            return json.dumps(value.isoformat() + ("Z" if value.tzinfo is None else ""))
        case date() | time():
            return json.dumps(value.isoformat())
        case bytes():
            return json.dumps(_bytes_text(value), ensure_ascii=ascii_only)
    return json.dumps(str(value), ensure_ascii=ascii_only)


def _bytes_text(value: bytes) -> str:
    return value.decode("utf-8", "backslashreplace")


def _number(value: Decimal) -> str:
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _escaped(character: str) -> str:
    code = ord(character)
    short = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}.get(character)
    return short or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}")


def _plain_table(header: Sequence[str], cells: Sequence[Sequence[str]], right: Sequence[int]) -> str:
    lines = [list(header), *(list(row) for row in cells)]
    widths = [max(_width(line[column]) for line in lines) for column in range(len(header))]
    return "\n".join(
        "  ".join(
            " " * (widths[column] - _width(cell)) + cell
            if column in right
            else cell + " " * (widths[column] - _width(cell))
            for column, cell in enumerate(line)
        ).rstrip()
        for line in lines
    )


def _width(text: str) -> int:
    """Return how many columns of a terminal `text` takes: wide characters take two, combining characters none."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(each) else 2 if unicodedata.east_asian_width(each) in "WF" else 1 for each in text
    )


def _rich_table(header: Sequence[str], cells: Sequence[Sequence[str]], right: Sequence[int]) -> str:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for column, name in enumerate(header):
        shown.add_column(Text(name), justify="right" if column in right else "left", overflow="fold")
    for row in cells:
        shown.add_row(*(Text(cell) for cell in row))
    text = StringIO()
    Console(file=text, force_terminal=True).print(shown)
    return text.getvalue().strip("\n")
