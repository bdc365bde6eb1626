"""What reads what: names in boxes, each to the right of those that it reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from batchpipe.charts.chart import Chart, box, escaped, text

LETTER, HEIGHT, ACROSS, DOWN, MARGIN = 9.5, 48, 64, 20, 12
HEAD = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A box with a name and a line below it. It `reads` boxes that come before it; `colour` is that of its edge."""

    name: str
    below: str
    reads: Sequence[str]
    colour: str = "grey"


def network(title: str, nodes: Sequence[Node], header: Sequence[str] = ("name", "", "reads")) -> Chart:
    """Return the picture of `nodes`, which stand in order: each after those that it reads."""
    levels = _levels(nodes)
    columns = [
        [each for each in nodes if levels[each.name] == level] for level in range(max(levels.values(), default=0) + 1)
    ]
    widths = [max((_width(each) for each in column), default=0) for column in columns]
    lefts = [MARGIN + sum(widths[:level]) + ACROSS * level for level in range(len(columns))]
    rows = _rows(nodes, levels)
    places = {
        each.name: (lefts[levels[each.name]], MARGIN + rows[each.name] * (HEIGHT + DOWN), widths[levels[each.name]])
        for each in nodes
    }
    forms = [_arrow(places[one], places[each.name]) for each in nodes for one in each.reads if one in places]
    for each in nodes:
        x, y, width = places[each.name]
        forms.append(box(f"fill-paper line-{each.colour} bold", x, y, width, HEIGHT, round_by=6))
        forms.append(text(x + 12, y + 20, each.name, "fill-ink strong"))
        forms.append(text(x + 12, y + 37, each.below, "fill-soft"))
    return Chart(
        title=title,
        width=lefts[-1] + widths[-1] + MARGIN,
        height=MARGIN * 2 + (max(rows.values(), default=0) + 1) * (HEIGHT + DOWN) - DOWN,
        forms=forms,
        header=list(header),
        rows=[[each.name, each.below, ", ".join(each.reads)] for each in nodes],
    )


def _levels(nodes: Sequence[Node]) -> Mapping[str, int]:
    """Return how far each box is from one that reads no other."""
    levels: dict[str, int] = {}
    for each in nodes:
        levels[each.name] = max((levels[one] + 1 for one in each.reads if one in levels), default=0)
    return levels


def _rows(nodes: Sequence[Node], levels: Mapping[str, int]) -> Mapping[str, int]:
    """Return the row of each box: that of the first one that it reads, or the next one that is free below."""
    rows: dict[str, int] = {}
    free: dict[int, int] = {}
    for each in nodes:
        level = levels[each.name]
        wanted = min((rows[one] for one in each.reads if one in rows), default=0)
        rows[each.name] = max(wanted, free.get(level, 0))
        free[level] = rows[each.name] + 1
    return rows


def _width(node: Node) -> int:
    return round(max(len(node.name), len(node.below)) * LETTER) + 24


def _arrow(begin: tuple[int, int, int], end: tuple[int, int, int]) -> str:
    """Return an arrow from the right side of one box to the left side of another."""
    left, top, middle = begin[0] + begin[2], begin[1] + HEIGHT // 2, end[1] + HEIGHT // 2
    stop = end[0] - HEAD
    turn = (left + stop) // 2
    points = f"{stop},{middle - 4} {end[0]},{middle} {stop},{middle + 4}"
    curve = f"M{left} {top}C{turn} {top} {turn} {middle} {stop} {middle}"
    return f'<path class="line-grey open" d="{escaped(curve)}"/><polygon class="fill-grey arrow" points="{points}"/>'
