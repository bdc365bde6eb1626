"""The picture of CPU per row against rows: one line for each program, with both scales logarithmic."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby
from math import ceil, floor, log10

from .results import CHANGED, COLLECT, FIRST, FLOOR, LOOP, PROGRAMS, UNCHANGED, Cost, Result

WIDTH, HEIGHT = 820, 480
LEFT, RIGHT, TOP, BOTTOM = 78, 178, 72, 62
LABEL_GAP = 17
TICK_GAP = 44
STEPS = (1, 2, 5)

# Colours by what they are for, on light paper and on dark; no CSS variables, which not every viewer knows.
COLOURS = (
    ("paper", "#ffffff", "#0d1117"),
    ("ink", "#1f2328", "#e6edf3"),
    ("soft", "#59636e", "#9198a1"),
    ("faint", "#d0d7de", "#30363d"),
    ("floor", "#59636e", "#b1bac4"),
    ("loop", "#8250df", "#bc8cff"),
    ("first", "#0969da", "#58a6ff"),
    ("unchanged", "#1a7f37", "#3fb950"),
    ("changed", "#bc4c00", "#f0883e"),
    ("collect", "#bf3989", "#ff7bbf"),
)
COLOUR_OF = {
    FLOOR: "floor",
    LOOP: "loop",
    FIRST: "first",
    UNCHANGED: "unchanged",
    CHANGED: "changed",
    COLLECT: "collect",
}
FORMS = """
text { font: 13px system-ui, sans-serif; } .title { font-size: 16px; font-weight: 600; }
.bold { stroke-width: 2; } .open { fill: none; } .dashes { stroke-dasharray: 6 4; }
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """The logarithmic scales: rows from `fewest` to `most`, and µs a row from `low` to `high`."""

    fewest: float
    most: float
    low: float
    high: float

    def x(self, rows: float) -> float:
        return round(LEFT + log10(rows / self.fewest) / log10(self.most / self.fewest) * (WIDTH - LEFT - RIGHT), 1)

    def y(self, us: float) -> float:
        return round(HEIGHT - BOTTOM - log10(us / self.low) / log10(self.high / self.low) * (HEIGHT - TOP - BOTTOM), 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """The label at the end of a line, which ends at `x`, `y`."""

    words: str
    colour: str
    x: float
    y: float


def picture(results: Sequence[Result]) -> str:
    """Return an SVG that needs no other file, of the rows of the fewest bytes and the newest result of each size."""
    costs = _drawn([each.what for each in results if isinstance(each.what, Cost)])
    if not costs:
        raise ValueError("there are no costs to draw")
    frame = _frame(costs)
    title = "CPU per row against rows"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        f'role="img" aria-label="{title}">',
        f"<title>{title}</title>",
        f"<style>{_style()}</style>",
        f'<rect class="fill-paper" width="{WIDTH}" height="{HEIGHT}"/>',
        _text(LEFT, 28, title, "title fill-ink"),
        _text(
            LEFT, 48, f"user and system time of the whole process, rows of {costs[0].row_bytes:,} bytes", "fill-soft"
        ),
        *_axes(frame, sorted({each.rows for each in costs})),
        *_lines(frame, costs),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _drawn(costs: Sequence[Cost]) -> list[Cost]:
    """Return the newest costs of the rows of the fewest bytes, in the order of `PROGRAMS`, then of rows."""
    row_bytes = min((each.row_bytes for each in costs), default=0)
    newest = {(each.program, each.rows): each for each in costs if each.row_bytes == row_bytes}
    return sorted(newest.values(), key=lambda each: (PROGRAMS.index(each.program), each.rows))


def _frame(costs: Sequence[Cost]) -> Frame:
    rows, us = [each.rows for each in costs], [each.cpu_us_per_row for each in costs]
    alone = min(rows) == max(rows)
    low, high = _round(min(us), up=False), _round(max(us), up=True)
    return Frame(
        fewest=min(rows) / 2 if alone else min(rows),
        most=max(rows) * 2 if alone else max(rows),
        low=low,
        high=high if high > low else low * 10,
    )


def _round(value: float, *, up: bool) -> float:
    """Return the next of 1, 2 and 5 times a power of ten."""
    power = 10.0 ** floor(log10(value))
    steps = [step * power for step in (*STEPS, 10)]
    return next(step for step in steps if step >= value) if up else next(step for step in steps[::-1] if step <= value)


def _style() -> str:
    """Return the CSS: a class `fill-` and a class `line-` for each colour, in its light and in its dark value."""
    light = [f".fill-{name} {{ fill: {colour}; }} .line-{name} {{ stroke: {colour}; }}" for name, colour, _ in COLOURS]
    dark = [f".fill-{name} {{ fill: {colour}; }} .line-{name} {{ stroke: {colour}; }}" for name, _, colour in COLOURS]
    return "\n".join([FORMS, *light, "@media (prefers-color-scheme: dark) {", *dark, "}"])


def _text(x: float, y: float, words: str, kind: str = "fill-ink", anchor: str = "start", turn: str = "") -> str:
    return f'<text x="{x}" y="{y}" class="{kind}" text-anchor="{anchor}"{turn}>{escape(words)}</text>'


def _line(kind: str, x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="{kind}" x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"/>'


def _axes(frame: Frame, rows: Sequence[int]) -> Iterator[str]:
    bottom, right, middle = HEIGHT - BOTTOM, WIDTH - RIGHT, (TOP + HEIGHT - BOTTOM) / 2
    for tick in _ticks(frame):
        yield _line("line-faint", LEFT, frame.y(tick), right, frame.y(tick))
        yield _text(LEFT - 8, frame.y(tick) + 4, f"{tick:,.10g}", anchor="end")
    shown = -TICK_GAP
    for count in rows:
        x = frame.x(count)
        yield _line("line-faint", x, TOP, x, bottom)
        if x - shown >= TICK_GAP:
            yield _text(x, bottom + 20, short(count), anchor="middle")
            shown = round(x)
    yield _line("line-soft", LEFT, bottom, right, bottom)
    yield _line("line-soft", LEFT, TOP, LEFT, bottom)
    yield _text((LEFT + right) / 2, HEIGHT - 16, "rows (log scale)", anchor="middle")
    yield _text(
        20, middle, "CPU per row in µs (log scale)", anchor="middle", turn=f' transform="rotate(-90 20 {middle})"'
    )


def _ticks(frame: Frame) -> Iterator[float]:
    """Return 1, 2 and 5 times each power of ten, or the powers alone if there are many."""
    steps = STEPS if frame.high / frame.low <= 20_000 else STEPS[:1]
    for power in range(floor(log10(frame.low)), ceil(log10(frame.high)) + 1):
        for tick in (step * 10.0**power for step in steps):
            if frame.low * 0.999 <= tick <= frame.high * 1.001:
                yield tick


def short(count: int) -> str:
    """Return a round number as `20k` or `1M`, any other number as it is."""
    for unit, letter in ((1_000_000, "M"), (1_000, "k")):
        if count >= unit and count % (unit // 10) == 0:
            return f"{count / unit:g}{letter}"
    return f"{count:,}"


def _lines(frame: Frame, costs: Sequence[Cost]) -> Iterator[str]:
    labels = []
    for program, group in groupby(costs, key=lambda each: each.program):
        those, colour = list(group), COLOUR_OF[program]
        places = [(frame.x(each.rows), frame.y(each.cpu_us_per_row)) for each in those]
        joined = " ".join(f"{x},{y}" for x, y in places)
        dashes = " dashes" if program == FLOOR else ""
        yield f'<polyline class="line-{colour} bold open{dashes}" points="{joined}"/>'
        yield from (f'<circle class="fill-{colour}" cx="{x}" cy="{y}" r="3.5"/>' for x, y in places)
        last = those[-1].cpu_us_per_row
        words = f"{program}, {last:,.0f} µs" if last >= 100 else f"{program}, {last:.2g} µs"
        labels.append(Label(words=words, colour=colour, x=places[-1][0], y=places[-1][1]))
    for _, ending in groupby(sorted(labels, key=lambda each: (each.x, each.y)), key=lambda each: each.x):
        yield from _labels(list(ending))


def _labels(labels: Sequence[Label]) -> Iterator[str]:
    """Yield the labels of lines, moved apart where they would overlap."""
    for label, y in zip(labels, spread([each.y for each in labels]), strict=True):
        yield _line(f"line-{label.colour}", label.x + 5, label.y, label.x + 15, y)
        yield _text(label.x + 18, round(y + 4, 1), label.words, f"fill-{label.colour}")


def spread(places: Sequence[float]) -> list[float]:
    """Return ascending places moved apart to `LABEL_GAP`, each group of neighbours around its own middle."""
    groups: list[list[float]] = []
    for place in places:
        groups.append([place])
        while len(groups) > 1 and _ends(groups[-2])[1] + LABEL_GAP > _ends(groups[-1])[0]:
            later = groups.pop()
            groups[-1] += later
    return [round(_ends(group)[0] + number * LABEL_GAP, 1) for group in groups for number in range(len(group))]


def _ends(group: Sequence[float]) -> tuple[float, float]:
    """Return the places of the first and the last label of a group, within the picture."""
    length = (len(group) - 1) * LABEL_GAP
    first = sum(group) / len(group) - length / 2
    first = min(max(first, float(TOP)), HEIGHT - BOTTOM - length)
    return first, first + length
