"""Columns side by side, each a whole or a pile of parts: spend by day and model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from batchpipe.charts.chart import Chart, box, line, plain, text
from batchpipe.charts.scales import Scale, linear

WIDTH, HEIGHT = 620, 240
LEFT, RIGHT, TOP, BOTTOM = 64, 8, 12, 30
LABEL_WIDTH, WIDEST = 58, 48
PARTS = ("blue", "purple", "amber", "green", "pink", "grey")


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column called `name`; `parts` are the values of its parts, in the order of the chart's `names`."""

    name: str
    parts: Sequence[float]


def columns(
    title: str,
    names: Sequence[str],
    found: Sequence[Column],
    *,
    axis: Callable[[float], str] = plain,
    cell: Callable[[float], str] = plain,
    of: str = "",
) -> Chart:
    """Return columns, in order; `names` are those of the parts, `of` is the head of the columns' names.

    `axis` writes a value for the axis, `cell` for the table.
    """
    sums = [sum(each.parts) for each in found]
    scale = linear([*sums, 0.0], HEIGHT - BOTTOM, TOP, ticks=4, zero=True)
    room = (WIDTH - LEFT - RIGHT) / max(len(found), 1)
    every = max(1, -(-LABEL_WIDTH // max(int(room), 1)))
    forms = []
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


def _pile(
    scale: Scale, column: Column, names: Sequence[str], left: float, width: float, cell: Callable[[float], str]
) -> list[str]:
    forms, below = [], 0.0
    for number, part in enumerate(column.parts):
        if part > 0:
            top, bottom = scale.at(below + part), scale.at(below)
            hint = f"{column.name}, {names[number]}: {cell(part)}"
            kind = f"fill-{PARTS[min(number, len(PARTS) - 1)]}"
            forms.append(box(kind, left, top, width, max(bottom - top, 1), hint, 2))
        below += part
    return forms
