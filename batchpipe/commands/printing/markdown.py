"""Write Markdown for a pull request. Text of users and models stands only in code, and cannot leave it."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence

from batchpipe.commands.printing.text import safe

SHOWN_LINES = 120
SHOWN_CHARACTERS = 6_000


def code(value: object) -> str:
    """Return `value` as inline code, fit for a table's cell. Nothing in it is read as Markdown or HTML."""
    text = safe(value).replace("|", "\\|")
    if not text.strip():
        return "`(empty)`" if text == "" else "`(blank)`"
    ticks = "`" * (_longest_run(text) + 1)
    space = " " if "`" in (text[0], text[-1]) or (text[0] == text[-1] == " ") else ""
    return f"{ticks}{space}{text}{space}{ticks}"


def fence(text: str, language: str = "") -> str:
    """Return `text` as a fenced block, cut where it is long."""
    shown = shortened_lines(safe(text, lines=True))
    ticks = "`" * max(3, _longest_run(shown) + 1)
    return f"{ticks}{language}\n{shown}\n{ticks}"


def details(summary: Sequence[object], body: str) -> str:
    """Return a folded block. Each part of its `summary` is code."""
    shown = " ".join(f"<code>{html.escape(safe(each))}</code>" for each in summary)
    return f"<details><summary>{shown}</summary>\n\n{body}\n\n</details>"


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> str:
    """Return a table of cells that are Markdown already."""
    rule = ["---:" if number in right else "---" for number in range(len(header))]
    return "\n".join(f"| {' | '.join(line)} |" for line in (header, rule, *rows))


def shortened_lines(text: str) -> str:
    """Return `text` cut to what a person reads and a comment may hold, with how much is left out."""
    lines = text.split("\n")
    shown = "\n".join(lines[:SHOWN_LINES])
    if len(shown) > SHOWN_CHARACTERS:
        shown = shown[:SHOWN_CHARACTERS]
    left = len(text) - len(shown)
    return shown if not left else f"{shown}\n… ({left:,} more characters: --json has them)"


def _longest_run(text: str) -> int:
    return max((len(each) for each in re.findall(r"`+", text)), default=0)
