"""Points with whiskers over two axes: cost against accuracy, with a curve and a target where there are some."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from batchpipe.charts.chart import Chart, dollars_mark, dot, line, path, percent, text
from batchpipe.charts.scales import Scale, linear, within

WIDTH, HEIGHT = 620, 360
LEFT, RIGHT, TOP, BOTTOM = 64, 24, 24, 52
LATE = 0.68
OPEN, FULL = "fill-paper bold line-", "fill-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A point with the ends of its interval, where it has one. `strong` ones are full and named above; `hint` is what
    the point says under the pointer.
    """

    name: str
    x: float
    y: float
    low: float | None = None
    high: float | None = None
    colour: str = "grey"
    strong: bool = False
    named: bool = True
    hint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """The words of a chart of points: its title and a line below it, the names of the axes, the heads of the table."""

    title: str
    below: str = ""
    x: str = "US dollars per 1,000 rows"
    y: str = "right"


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureFrame:
    """The size of the picture, with the room above its axes."""

    width: int = WIDTH
    height: int = HEIGHT
    top: int = TOP


def points(
    words: Words,
    found: Sequence[Point],
    *,
    curve: Sequence[tuple[float, float]] = (),
    target: float | None = None,
    frame: PictureFrame | None = None,
    x_text: Callable[[float], str] = dollars_mark,
    y_text: Callable[[float], str] = percent,
) -> Chart:
    """Return the chart. `curve` is a line with small dots; `target` is a dashed line at that height."""
    size = frame or PictureFrame()
    heights = [each for point in found for each in (point.y, point.low, point.high) if each is not None]
    heights += [y for _, y in curve] + ([target] if target is not None else [])
    most = max([point.x for point in found] + [x for x, _ in curve] + [0.0]) or 1.0
    x = within(0.0, most * 1.08, LEFT, size.width - RIGHT, ticks=6)
    y = _heights(heights, size)
    forms = _head(words, size) + _axes(words, size, x, y, x_text, y_text)
    if target is not None:
        forms.append(line("line-green dashes", LEFT, y.at(target), size.width - RIGHT, y.at(target)))
        forms.append(text(size.width - RIGHT, y.at(target) - 6, f"target {y_text(target)}", "fill-green", "end"))
    if curve:
        places = [(x.at(across), y.at(up)) for across, up in curve]
        forms.append(path("line-blue bold", places))
        forms += [dot("fill-blue", *place, 3) for place in places]
    for each in sorted(found, key=lambda point: point.strong):
        forms += _point(each, x, y, size)
    rows = [[each.name, x_text(each.x), _with_ends(each, y_text)] for each in found]
    header = ("", words.x, words.y)
    return Chart(
        title=words.title, width=size.width, height=size.height, forms=forms, header=header, rows=rows, right=(1, 2)
    )


def calibration_points(title: str, bins: Sequence[tuple[float, float, float, float, int]]) -> Chart:
    """Return how often answers are right by the confidence that the model gave.

    Each bin has its mean confidence, its share of right answers with the ends of the interval, and its rows.
    """
    size = PictureFrame(width=420, height=340)
    x = within(0.0, 1.0, LEFT, size.width - RIGHT)
    y = within(0.0, 1.0, size.height - BOTTOM, TOP)
    words = Words(title=title, x="confidence", y="right")
    forms = _axes(words, size, x, y, percent, percent)
    forms.append(line("line-soft dashes", x.at(0), y.at(0), x.at(1), y.at(1)))
    for confidence, right, low, high, rows in bins:
        hint = f"{confidence:.0%} sure, {right:.1%} right of {rows:,}"
        across = x.at(confidence)
        forms.append(line("line-blue bold", across, y.at(low), across, y.at(high)))
        forms.append(dot("fill-blue", across, y.at(right), 4.5, hint))
    table = [[f"{each[0]:.1%}", f"{each[1]:.1%} ({each[2]:.1%} to {each[3]:.1%})", f"{each[4]:,}"] for each in bins]
    return Chart(
        title=title,
        width=size.width,
        height=size.height,
        forms=forms,
        header=("confidence", "right", "rows"),
        rows=table,
        right=(0, 1, 2),
    )


def _heights(values: Sequence[float], size: PictureFrame) -> Scale:
    """Return the scale of shares: never above 1."""
    scale = linear(values or [0.0, 1.0], size.height - BOTTOM, size.top, ticks=5)
    ticks = [each for each in scale.ticks if -1e-9 <= each <= 1 + 1e-9]
    if len(ticks) < 2:
        return within(0.0, 1.0, size.height - BOTTOM, size.top)
    return Scale(low=ticks[0], high=ticks[-1], begin=scale.begin, end=scale.end, ticks=ticks)


def _head(words: Words, size: PictureFrame) -> list[str]:
    """Return the title and the line below it, where there is room for them."""
    if size.top < 60:
        return []
    return [text(LEFT, 28, words.title, "title fill-ink"), text(LEFT, 48, words.below, "fill-soft")]


def _axes(
    words: Words,
    size: PictureFrame,
    x: Scale,
    y: Scale,
    x_text: Callable[[float], str],
    y_text: Callable[[float], str],
) -> list[str]:
    bottom, right = size.height - BOTTOM, size.width - RIGHT
    forms = []
    for tick in y.ticks:
        forms.append(line("line-faint", LEFT, y.at(tick), right, y.at(tick)))
        forms.append(text(LEFT - 8, y.at(tick) + 4, y_text(tick), "fill-soft", "end"))
    forms += [text(x.at(tick), bottom + 18, x_text(tick), "fill-soft", "middle") for tick in x.ticks]
    forms += [line("line-soft", LEFT, bottom, right, bottom), line("line-soft", LEFT, y.at(y.high), LEFT, bottom)]
    forms.append(text((LEFT + right) / 2, size.height - 12, words.x, "fill-soft", "middle"))
    forms.append(text(LEFT, y.at(y.high) - 9, words.y, "fill-soft", "middle"))
    return forms


def _point(each: Point, x: Scale, y: Scale, size: PictureFrame) -> list[str]:
    across, up = x.at(each.x), y.at(each.y)
    forms = []
    if each.low is not None and each.high is not None:
        forms.append(
            line(
                f"line-{each.colour} bold" if each.strong else "line-faint bold",
                across,
                y.at(each.low),
                across,
                y.at(each.high),
            )
        )
    hint = each.hint or each.name
    if each.strong:
        forms.append(dot(f"{FULL}{each.colour}", across, up, 7, hint))
    else:
        forms.append(dot(f"{OPEN}{each.colour}", across, up, 5, hint))
    if each.named:
        late = across > size.width * LATE
        place, anchor = (across - 11, "end") if late else (across + 11, "start")
        kind = "fill-ink strong" if each.strong else "fill-soft"
        forms.append(text(round(place, 1), round(up + (18 if each.strong else 4), 1), each.name, kind, anchor))
    return forms


def _with_ends(each: Point, y_text: Callable[[float], str]) -> str:
    if each.low is None or each.high is None:
        return f"{each.y:.1%}" if y_text is percent else y_text(each.y)
    return f"{each.y:.1%} ({each.low:.1%} to {each.high:.1%})"
