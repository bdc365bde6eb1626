"""Lines over two axes, each named at its end; the axes may be logarithmic."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

from batchpipe.charts.chart import Chart, dot, line, number_mark, path, text
from batchpipe.charts.scales import Scale, linear, logarithmic, spread

WIDTH, HEIGHT = 820, 480
LEFT, RIGHT, TOP, BOTTOM = 78, 178, 72, 62
LABEL_GAP = 17
TICK_GAP = 44


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line through `places`, called `name`, with its colour."""

    name: str
    places: Sequence[tuple[float, float]]
    colour: str
    dashed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LineWords:
    """The words of a chart of lines: title, a line below it, the names of both axes."""

    title: str
    below: str
    x: str
    y: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Label:
    """The name at the end of a line, which ends at `x`, `y`."""

    words: str
    colour: str
    x: float
    y: float


def lines(
    words: LineWords,
    found: Sequence[Line],
    *,
    logs: bool = False,
    y_text: Callable[[float], str] = number_mark,
    y_cell: Callable[[float], str] | None = None,
) -> Chart:
    """Return the chart. With `logs` both scales are logarithmic, and the ticks across are the values themselves.

    `y_text` writes a value for the axis, `y_cell` for the table. Raises ValueError where there is no line.
    """
    places = [place for each in found for place in each.places]
    if not places:
        raise ValueError("there are no lines to draw")
    across, up = sorted({x for x, _ in places}), [y for _, y in places]
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    if logs:
        alone = across[0] == across[-1]
        low, high = (across[0] / 2, across[0] * 2) if alone else (across[0], across[-1])
        x = Scale(low=low, high=high, begin=LEFT, end=right, ticks=across, logarithmic=True)
        y = logarithmic(up, bottom, TOP)
    else:
        x, y = linear(across, LEFT, right), linear(up, bottom, TOP)
    forms = [text(LEFT, 28, words.title, "title fill-ink"), text(LEFT, 48, words.below, "fill-soft")]
    forms += _axes(words, x, y, y_text)
    labels = []
    for each in found:
        drawn = [(x.at(one), y.at(other)) for one, other in each.places]
        forms.append(path(f"line-{each.colour} bold{' dashes' if each.dashed else ''}", drawn))
        forms += [dot(f"fill-{each.colour}", *place, 3.5) for place in drawn]
        labels.append(_Label(words=each.name, colour=each.colour, x=drawn[-1][0], y=drawn[-1][1]))
    for _, ending in groupby(sorted(labels, key=lambda each: (each.x, each.y)), key=lambda each: each.x):
        forms += _names(list(ending))
    cell = y_cell or y_text
    by_x = [dict(each.places) for each in found]
    rows = [[number_mark(one), *(cell(each[one]) if one in each else "" for each in by_x)] for one in across]
    header = (words.x, *(each.name for each in found))
    return Chart(
        title=words.title,
        width=WIDTH,
        height=HEIGHT,
        forms=forms,
        header=header,
        rows=rows,
        right=tuple(range(len(header))),
    )


def _axes(words: LineWords, x: Scale, y: Scale, y_text: Callable[[float], str]) -> list[str]:
    right, bottom, middle = WIDTH - RIGHT, HEIGHT - BOTTOM, (TOP + HEIGHT - BOTTOM) / 2
    forms = []
    for tick in y.ticks:
        forms.append(line("line-faint", LEFT, y.at(tick), right, y.at(tick)))
        forms.append(text(LEFT - 8, y.at(tick) + 4, y_text(tick), anchor="end"))
    shown = -TICK_GAP
    for tick in x.ticks:
        place = x.at(tick)
        forms.append(line("line-faint", place, TOP, place, bottom))
        if place - shown >= TICK_GAP:
            forms.append(text(place, bottom + 20, number_mark(tick), anchor="middle"))
            shown = round(place)
    forms += [line("line-soft", LEFT, bottom, right, bottom), line("line-soft", LEFT, TOP, LEFT, bottom)]
    forms.append(text((LEFT + right) / 2, HEIGHT - 16, words.x, anchor="middle"))
    forms.append(text(20, middle, words.y, anchor="middle", turn=f"rotate(-90 20 {middle})"))
    return forms


def _names(labels: Sequence[_Label]) -> list[str]:
    """Return the names of lines, moved apart where they would overlap."""
    forms = []
    moved = spread([each.y for each in labels], LABEL_GAP, float(TOP), float(HEIGHT - BOTTOM))
    for label, y in zip(labels, moved, strict=True):
        forms.append(line(f"line-{label.colour}", label.x + 5, label.y, label.x + 15, y))
        forms.append(text(label.x + 18, round(y + 4, 1), label.words, f"fill-{label.colour}"))
    return forms
