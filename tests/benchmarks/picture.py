"""The picture of CPU per row against rows: one line for each program, with both scales logarithmic."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from batchpipe.charts.lines import Line, LineWords, lines

from .results import CHANGED, COLLECT, FIRST, FLOOR, LOOP, PROGRAMS, UNCHANGED, Cost, Result

COLOUR_OF = {
    FLOOR: "grey",
    LOOP: "purple",
    FIRST: "blue",
    UNCHANGED: "green",
    CHANGED: "orange",
    COLLECT: "pink",
}


def picture(results: Sequence[Result]) -> str:
    """Return an SVG that needs no other file, of the rows of the fewest bytes and the newest result of each size."""
    costs = _drawn([each.what for each in results if isinstance(each.what, Cost)])
    if not costs:
        raise ValueError("there are no costs to draw")
    words = LineWords(
        title="CPU per row against rows",
        below=f"user and system time of the whole process, rows of {costs[0].row_bytes:,} bytes",
        x="rows (log scale)",
        y="CPU per row in µs (log scale)",
    )
    return lines(
        words, [_line(program, list(group)) for program, group in groupby(costs, lambda each: each.program)], logs=True
    ).file


def _drawn(costs: Sequence[Cost]) -> list[Cost]:
    """Return the newest costs of the rows of the fewest bytes, in the order of `PROGRAMS`, then of rows."""
    row_bytes = min((each.row_bytes for each in costs), default=0)
    newest = {(each.program, each.rows): each for each in costs if each.row_bytes == row_bytes}
    return sorted(newest.values(), key=lambda each: (PROGRAMS.index(each.program), each.rows))


def _line(program: str, costs: Sequence[Cost]) -> Line:
    last = costs[-1].cpu_us_per_row
    words = f"{program}, {last:,.0f} µs" if last >= 100 else f"{program}, {last:.2g} µs"
    places = [(each.rows, each.cpu_us_per_row) for each in costs]
    return Line(name=words, places=places, colour=COLOUR_OF[program], dashed=program == FLOOR)
