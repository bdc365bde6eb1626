"""The chart of cost against accuracy that tuning draws, as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log10

from batchpipe.evaluation.ladder_cost import LadderResult
from batchpipe.evaluation.tuning import Tuning

WIDTH, HEIGHT = 760, 460
LEFT, RIGHT, TOP, BOTTOM = 72, 24, 84, 64
TICKS = 6

# Name, light and dark value of each colour. CSS variables are not used: not every viewer knows them.
COLOURS = (
    ("paper", "#ffffff", "#0d1117"),
    ("ink", "#1f2328", "#e6edf3"),
    ("soft", "#59636e", "#9198a1"),
    ("faint", "#d0d7de", "#30363d"),
    ("curve", "#0969da", "#58a6ff"),
    ("chosen", "#bc4c00", "#f0883e"),
    ("goal", "#1a7f37", "#3fb950"),
)
FORMS = """
text { font: 13px system-ui, sans-serif; } .title { font-size: 16px; font-weight: 600; }
.bold { stroke-width: 2; } .open { fill: none; } .dashes { stroke-width: 1.5; stroke-dasharray: 6 4; }
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """The scales of the chart.

    The x axis has US dollars per 1,000 rows from 0 to `most_usd`, with a tick every `usd_step`; the y axis has accuracy
    from `low` to `high`, with a tick every `step`.
    """

    most_usd: float
    usd_step: float
    low: float
    high: float
    step: float

    def x(self, usd: float) -> float:
        """Return the x of a cost in US dollars per 1,000 rows."""
        return round(LEFT + usd / self.most_usd * (WIDTH - LEFT - RIGHT), 1)

    def y(self, accuracy: float) -> float:
        """Return the y of an accuracy."""
        return round(HEIGHT - BOTTOM - (accuracy - self.low) / (self.high - self.low) * (HEIGHT - TOP - BOTTOM), 1)


def curve_svg(tuning: Tuning, models: Sequence[str], title: str) -> str:
    """Return the chart as an SVG that needs no other file; all its numbers are of the measured rows.

    `models` are the models of the rungs, in order.
    """
    frame = _frame(tuning)
    n = tuning.measured.accuracy.n
    which = "that were not used for tuning" if tuning.held_out else "that tested the ladders"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        f'role="img" aria-label="{_escaped(title)}">',
        f"<title>{_escaped(title)}</title>",
        f"<style>{_style()}</style>",
        f'<rect class="fill-paper" width="{WIDTH}" height="{HEIGHT}"/>',
        _text(LEFT, 28, title, "title fill-ink"),
        _text(LEFT, 48, f"accuracy and cost on the {n:,} gold rows {which}", "fill-soft"),
        *_axes(frame),
        *_target(frame, tuning.target),
        *_curve(frame, tuning),
        *_singles(frame, tuning, models),
        *_chosen(frame, tuning),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _frame(tuning: Tuning) -> Frame:
    shown = _shown(tuning)
    values = [tuning.target, *(each.accuracy.value for each in shown)]
    values += [tuning.measured.accuracy.low, tuning.measured.accuracy.high]
    most_usd = max(float(each.usd_per_1000) for each in shown) or 1.0
    usd_step, step = _step(most_usd), _step(max(max(values) - min(values), 0.01))
    low, high = floor(min(values) / step) * step, min(ceil(max(values) / step) * step, 1.0)
    return Frame(most_usd=most_usd * 1.08, usd_step=usd_step, low=low, high=max(high, low + step), step=step)


def _shown(tuning: Tuning) -> list[LadderResult]:
    return [tuning.measured, *tuning.singles, *(each.measured for each in tuning.curve)]


def _step(span: float) -> float:
    """Return the distance of ticks: 1, 2 or 5 times a power of ten, so that about `TICKS` of them fill the span."""
    power = 10.0 ** floor(log10(span / TICKS))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power * TICKS >= span * 0.999)


def _style() -> str:
    """Return the CSS: a class `fill-` and a class `line-` for each colour, in its light and in its dark value."""
    light = [f".fill-{name} {{ fill: {colour}; }} .line-{name} {{ stroke: {colour}; }}" for name, colour, _ in COLOURS]
    dark = [f".fill-{name} {{ fill: {colour}; }} .line-{name} {{ stroke: {colour}; }}" for name, _, colour in COLOURS]
    return "\n".join([FORMS, *light, "@media (prefers-color-scheme: dark) {", *dark, "}"])


def _text(x: float, y: float, text: str, kind: str = "fill-ink", anchor: str = "start") -> str:
    return f'<text x="{x}" y="{y}" class="{kind}" text-anchor="{anchor}">{_escaped(text)}</text>'


def _escaped(text: str) -> str:
    """Return the text escaped for XML, without control characters, which XML cannot hold."""
    return escape("".join(each if each.isprintable() else " " for each in text), quote=True)


def _line(kind: str, x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="{kind}" x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"/>'


def _axes(frame: Frame) -> list[str]:
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    parts = []
    for tick in range(floor(frame.most_usd / frame.usd_step) + 1):
        usd = tick * frame.usd_step
        parts.append(_text(frame.x(usd), bottom + 20, f"${usd:.4g}", anchor="middle"))
    for tick in range(round((frame.high - frame.low) / frame.step) + 1):
        accuracy = frame.low + tick * frame.step
        parts.append(_line("line-faint", LEFT, frame.y(accuracy), right, frame.y(accuracy)))
        parts.append(_text(LEFT - 8, frame.y(accuracy) + 4, f"{accuracy * 100:.4g}%", anchor="end"))
    parts += [_line("line-soft", LEFT, bottom, right, bottom), _line("line-soft", LEFT, TOP, LEFT, bottom)]
    parts.append(_text((LEFT + right) / 2, HEIGHT - 18, "cost per 1,000 rows (USD)", anchor="middle"))
    parts.append(_text(LEFT, TOP - 10, "accuracy", "fill-soft", anchor="middle"))
    return parts


def _target(frame: Frame, target: float) -> list[str]:
    y = frame.y(target)
    return [
        _line("line-goal dashes", LEFT, y, WIDTH - RIGHT, y),
        _text(WIDTH - RIGHT, y - 6, f"target {target * 100:.4g}%", "fill-goal", anchor="end"),
    ]


def _curve(frame: Frame, tuning: Tuning) -> list[str]:
    shown = sorted((each.measured for each in tuning.curve), key=lambda each: each.usd_per_1000)
    places = [(frame.x(float(each.usd_per_1000)), frame.y(each.accuracy.value)) for each in shown]
    joined = " ".join(f"{x},{y}" for x, y in places)
    points = [f'<circle class="fill-curve" cx="{x}" cy="{y}" r="3"/>' for x, y in places]
    return [f'<polyline class="line-curve bold open" points="{joined}"/>', *points] if places else []


def _singles(frame: Frame, tuning: Tuning, models: Sequence[str]) -> list[str]:
    parts = []
    for each, model in zip(tuning.singles, models, strict=True):
        x, y = frame.x(float(each.usd_per_1000)), frame.y(each.accuracy.value)
        late = x > WIDTH * 0.7
        parts.append(f'<circle class="fill-paper line-ink bold" cx="{x}" cy="{y}" r="5"/>')
        parts.append(_text(x - 10 if late else x + 10, y + 18, f"{model} alone", anchor="end" if late else "start"))
    return parts


def _chosen(frame: Frame, tuning: Tuning) -> list[str]:
    found = tuning.measured
    x, accuracy = frame.x(float(found.usd_per_1000)), found.accuracy
    words = f"{'chosen' if tuning.reached else 'the most accurate'}: {accuracy.value:.1%} for ${found.usd_per_1000:.4g}"
    y, late = frame.y(accuracy.value), x > WIDTH * 0.7
    return [
        _line("line-chosen bold", x, frame.y(accuracy.low), x, frame.y(accuracy.high)),
        f'<circle class="fill-chosen" cx="{x}" cy="{y}" r="7"/>',
        _text(x - 12 if late else x + 12, y + 20, words, anchor="end" if late else "start"),
    ]
