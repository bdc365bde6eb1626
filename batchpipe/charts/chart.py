"""A chart: a picture in SVG, and the table of its numbers. The forms of the picture have classes, which CSS colours."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

# Name, light and dark value of each colour. CSS variables are not used: not every viewer of a file knows them.
COLOURS = (
    ("paper", "#ffffff", "#161b22"),
    ("ink", "#1f2328", "#e6edf3"),
    ("soft", "#59636e", "#9198a1"),
    ("faint", "#d8dee4", "#30363d"),
    ("grey", "#818b98", "#8b949e"),
    ("blue", "#0969da", "#58a6ff"),
    ("green", "#2da44e", "#3fb950"),
    ("amber", "#d4890b", "#e3a11b"),
    ("orange", "#bc4c00", "#f0883e"),
    ("purple", "#8250df", "#a371f7"),
    ("pink", "#bf3989", "#ff7bbf"),
    ("red", "#cf222e", "#f85149"),
)
FORMS = """
.chart text { font: 12px system-ui, sans-serif; } .chart .title { font-size: 16px; font-weight: 600; }
.chart .strong { font-weight: 600; } .chart .bold { stroke-width: 2; } .chart .open { fill: none; }
.chart .dashes { stroke-width: 1.5; stroke-dasharray: 6 4; }
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A picture with its title, and its numbers as a table; `right` are the columns of numbers.

    A `stretched` one fills the width that there is.
    """

    title: str
    width: int
    height: int
    forms: Sequence[str]
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    right: Sequence[int] = ()
    stretched: bool = False

    @property
    def svg(self) -> str:
        """Return the picture for a page, whose style sheet colours it."""
        return "\n".join([self._open(), f"<title>{escaped(self.title)}</title>", *self.forms, "</svg>"])

    @property
    def file(self) -> str:
        """Return the picture as a file that needs no other, in light and dark."""
        paper = f'<rect class="fill-paper" width="{self.width}" height="{self.height}"/>'
        style = f"<style>{style_sheet()}</style>"
        parts = [self._open(), f"<title>{escaped(self.title)}</title>", style, paper, *self.forms, "</svg>"]
        return "\n".join(parts) + "\n"

    def _open(self) -> str:
        kind, bar = ("chart bar", ' preserveAspectRatio="none"') if self.stretched else ("chart", "")
        size = f'viewBox="0 0 {self.width} {self.height}" width="{self.width}" height="{self.height}"'
        label = f'role="img" aria-label="{escaped(self.title)}"'
        return f'<svg xmlns="http://www.w3.org/2000/svg" class="{kind}"{bar} {size} {label}>'


def style_sheet() -> str:
    """Return the CSS of all charts: a class `fill-` and a class `line-` for each colour, in light and dark."""
    light = [f".fill-{name} {{ fill: {colour}; }} .line-{name} {{ stroke: {colour}; }}" for name, colour, _ in COLOURS]
    dark = [f".fill-{name} {{ fill: {colour}; }} .line-{name} {{ stroke: {colour}; }}" for name, _, colour in COLOURS]
    return "\n".join([FORMS, *light, "@media (prefers-color-scheme: dark) {", *dark, "}"])


def swatches() -> str:
    """Return the CSS of the dots and squares that name the colours of charts, in light and dark."""
    light = [f".dot.fill-{name}, .square.fill-{name} {{ background: {colour}; }}" for name, colour, _ in COLOURS]
    dark = [f".dot.fill-{name}, .square.fill-{name} {{ background: {colour}; }}" for name, _, colour in COLOURS]
    return "\n".join([*light, "@media (prefers-color-scheme: dark) {", *dark, "}"])


def escaped(text: str) -> str:
    """Return the text escaped for XML, without control characters, which XML cannot hold."""
    return escape("".join(each if each.isprintable() else " " for each in text), quote=True)


def text(x: float, y: float, words: str, kind: str = "fill-ink", anchor: str = "start", turn: str = "") -> str:
    """Return a text; `anchor` says which of its ends is at `x`, `turn` is an SVG transform."""
    turned = f' transform="{turn}"' if turn else ""
    return f'<text x="{x}" y="{y}" class="{kind}" text-anchor="{anchor}"{turned}>{escaped(words)}</text>'


def line(kind: str, x1: float, y1: float, x2: float, y2: float) -> str:
    """Return a straight line."""
    return f'<line class="{kind}" x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"/>'


def box(kind: str, x: float, y: float, width: float, height: float, hint: str = "", round_by: float = 0) -> str:
    """Return a rectangle; `hint` is what it says under the pointer."""
    shown = f"<title>{escaped(hint)}</title>" if hint else ""
    size = f'width="{round(max(width, 0), 1)}" height="{round(max(height, 0), 1)}"'
    return f'<rect class="{kind}" x="{round(x, 1)}" y="{round(y, 1)}" {size} rx="{round_by}">{shown}</rect>'


def dot(kind: str, x: float, y: float, radius: float, hint: str = "") -> str:
    """Return a circle; `hint` is what it says under the pointer."""
    shown = f"<title>{escaped(hint)}</title>" if hint else ""
    return f'<circle class="{kind}" cx="{x}" cy="{y}" r="{radius}">{shown}</circle>'


def path(kind: str, places: Iterable[tuple[float, float]]) -> str:
    """Return a line through `places`."""
    joined = " ".join(f"{x},{y}" for x, y in places)
    return f'<polyline class="{kind} open" points="{joined}"/>'


def dollars_mark(value: float) -> str:
    """Return US dollars for an axis."""
    return f"${value:,.4g}" if value < 1000 else f"${value:,.0f}"


def percent(value: float) -> str:
    """Return a share from 0 to 1 for an axis."""
    return f"{value * 100:.4g}%"


def number_mark(value: float) -> str:
    """Return a number for an axis: `20k`, `1M`, else as it is."""
    for unit, letter in ((1_000_000, "M"), (1_000, "k")):
        if value >= unit and value % (unit / 10) == 0:
            return f"{value / unit:g}{letter}"
    return f"{value:,.10g}"
