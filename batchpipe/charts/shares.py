"""One bar whose parts are shares of a whole: the rows of a pipeline by state, the answers of a rung."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from batchpipe.charts.chart import Chart, box

WIDTH, HEIGHT = 600, 12
GAP = 1.5
LEAST = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BarShare:
    """A part of the whole, with its colour."""

    name: str
    number: int
    colour: str


def shares(title: str, found: Sequence[BarShare]) -> Chart:
    """Return the bar; parts of nothing are left out, and small ones stay visible."""
    whole = sum(each.number for each in found)
    there = [each for each in found if each.number > 0]
    forms = [box("fill-faint", 0, 0, WIDTH, HEIGHT, round_by=3)] if not there else []
    room = WIDTH - GAP * max(len(there) - 1, 0) - LEAST * len(there)
    place = 0.0
    for each in there:
        width = LEAST + room * each.number / whole
        hint = f"{each.name}: {each.number:,} ({each.number / whole:.1%})"
        forms.append(box(f"fill-{each.colour}", place, 0, width, HEIGHT, hint, 2))
        place += width + GAP
    rows = [[each.name, f"{each.number:,}", f"{each.number / whole:.1%}"] for each in there]
    words = ", ".join(f"{each.number:,} {each.name}" for each in there) or "nothing"
    return Chart(
        title=f"{title}: {words}",
        width=WIDTH,
        height=HEIGHT,
        forms=forms,
        header=("", "number", "share"),
        rows=rows,
        right=(1, 2),
        stretched=True,
    )


def progress(title: str, part: float, colour: str = "blue") -> Chart:
    """Return a bar that is filled from 0 to 1."""
    filled = min(max(part, 0.0), 1.0)
    forms = [box("fill-faint", 0, 0, WIDTH, HEIGHT, round_by=3)]
    if filled:
        forms.append(box(f"fill-{colour}", 0, 0, WIDTH * filled, HEIGHT, round_by=3))
    return Chart(
        title=f"{title}: {filled:.0%}",
        width=WIDTH,
        height=HEIGHT,
        forms=forms,
        header=("", "share"),
        rows=[],
        stretched=True,
    )
