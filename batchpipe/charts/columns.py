"""Columns side by side, each a whole or a pile of parts: spend by day and model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from batchpipe.charts.chart import Chart, box, line, number_mark, text
from batchpipe.charts.scales import Scale, linear

WIDTH, HEIGHT = 620, 240
LEFT, RIGHT, TOP, BOTTOM = 64, 8, 12, 30
LABEL_WIDTH, WIDEST = 58, 48
LETTER_WIDTH, LINE, LONGEST_NAME = 8.5, 18, 40  # of the legend
PARTS = ("blue", "purple", "amber", "green", "pink", "grey")


@dataclass(frozen=True, slots=True, kw_only=True)
class ChartColumn:
    """A column called `name`; `parts` are the values of its parts, in the order of the chart's `names`."""

    name: str
    parts: Sequence[float]


def columns(
    title: str,
    names: Sequence[str],
    found: Sequence[ChartColumn],
    *,
    axis: Callable[[float], str] = number_mark,
    cell: Callable[[float], str] = number_mark,
    of: str = "",
) -> Chart:
    """Return columns, in order; `names` are those of the parts, `of` is the head of the columns' names.

    `axis` writes a value for the axis, `cell` for the table.
    """
    sums = [sum(each.parts) for each in found]
    legend, top = _legend(names) if len(names) > 1 else ([], TOP)
    scale = linear([*sums, 0.0], HEIGHT - BOTTOM, top, ticks=4, zero=True)
    room = (WIDTH - LEFT - RIGHT) / max(len(found), 1)
    every = max(1, -(-LABEL_WIDTH // max(int(room), 1)))
    forms = legend
    for tick in scale.ticks:
        forms.append(line("line-faint", LEFT, scale.at(tick), WIDTH - RIGHT, scale.at(tick)))
        forms.append(text(LEFT - 8, scale.at(tick) + 4, axis(tick), "fill-soft", "end"))
    for number, each in enumerate(found):
        left = LEFT + number * room
        width = min(room * 0.7, WIDEST)
        forms += _pile(scale, each, names, left + (room - width) / 2, width, cell)
        if number % every == 0:
            forms.append(text(round(left + room / 2, 1), HEIGHT - 10, each.name, "fill-soft", "middle"))
    several = len(names) > 1
    header = [of, *names, *(["all"] if several else [])]
    rows = [
        [each.name, *map(cell, each.parts), *([cell(whole)] if several else [])]
        for each, whole in zip(found, sums, strict=True)
    ]
    numbers = tuple(range(1, len(header)))
    return Chart(title=title, width=WIDTH, height=HEIGHT, forms=forms, header=header, rows=rows, right=numbers)


def _legend(names: Sequence[str]) -> tuple[list[str], int]:
    """Return the names of the parts with their colours, in lines above the columns, and where the columns may begin."""
    forms: list[str] = []
    x, y = float(LEFT), 14
    for number, whole in enumerate(names):
        name = whole if len(whole) <= LONGEST_NAME else f"{whole[: LONGEST_NAME - 1]}…"
        width = 18 + len(name) * LETTER_WIDTH
        if x > LEFT and x + width > WIDTH - RIGHT:
            x, y = float(LEFT), y + LINE
        forms.append(box(_fill(number), x, y - 10, 11, 11, "", 2))
        forms.append(text(x + 16, y, name, "fill-soft"))
        x += width + 12
    return forms, y + 14


def _fill(number: int) -> str:
    """Return the class of the colour of a part."""
    return f"fill-{PARTS[min(number, len(PARTS) - 1)]}"


def _pile(
    scale: Scale, column: ChartColumn, names: Sequence[str], left: float, width: float, cell: Callable[[float], str]
) -> list[str]:
    forms, below = [], 0.0
    for number, part in enumerate(column.parts):
        if part > 0:
            top, bottom = scale.at(below + part), scale.at(below)
            hint = f"{column.name}, {names[number]}: {cell(part)}"
            forms.append(box(_fill(number), left, top, width, max(bottom - top, 1), hint, 2))
        below += part
    return forms
