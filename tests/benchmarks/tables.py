"""The results as text: lines for the terminal, and Markdown for the docs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from .results import FLOOR, PROGRAMS, Cost, Part, Profile, Result, Taken

MEGABYTE, GIGABYTE = 1_000_000, 1_000_000_000
BEGIN, END = "<!-- benchmarks -->\n", "<!-- /benchmarks -->"
PAGE = "batchpipe/docs/reference/benchmarks.md"
PICTURE = "batchpipe/docs/pictures/cost.svg"
PICTURE_ON_PAGE = "../pictures/cost.svg"
# Between these two the cost of one more row is taken, and above the second peak memory is held against it.
FEWER, MORE = 20_000, 200_000

COST_HEAD = (
    "| program | rows | bytes a row | CPU per row (µs) | times the floor | CPU (s) | wall (s) | peak memory (MB) | "
    "database (MB) |\n|---|---:|---:|---:|---:|---:|---:|---:|---:|"
)
GROWTH_HEAD = (
    "| program | bytes a row | CPU of one more row (µs) | times the floor | rows | times the peak memory | rows |\n"
    "|---|---:|---:|---:|---|---:|---|"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """The growth of a program's costs: CPU of one more row, its ratio to the floor's, and the growth of peak memory.

    CPU is that between the first two numbers of rows, memory between the others.
    """

    program: str
    row_bytes: int
    cpu_rows: tuple[int, int]
    us_per_row: float
    times_floor: float | None
    memory_rows: tuple[int, int]
    times_memory: float


def cost_line(cost: Cost, beside: Iterable[Cost]) -> str:
    """Return a line of the table; `beside` holds the floor of the same size."""
    size = (FLOOR, cost.rows, cost.row_bytes, cost.chunk)
    floors = [each for each in beside if (each.program, each.rows, each.row_bytes, each.chunk) == size]
    figures = (
        f"{cost.rows:,}",
        f"{cost.row_bytes:,}",
        f"{cost.cpu_us_per_row:,.1f}",
        f"{cost.cpu_seconds / floors[0].cpu_seconds:.1f}" if floors else "",
        f"{cost.cpu_seconds:,.2f}",
        f"{cost.wall_seconds:,.1f}",
        f"{cost.memory_bytes / MEGABYTE:,.0f}",
        f"{cost.database_bytes / MEGABYTE:,.0f}" if cost.database_bytes else "",
    )
    return f"| {cost.program} | {' | '.join(figures)} |"


def growths(costs: Sequence[Cost]) -> list[Growth]:
    """Of each program that was measured at two numbers of rows in one call.

    CPU between 20,000 and 200,000, memory between 200,000 and the most; where these were not measured, between the
    fewest and the most.
    """
    ends, memory_ends = _by_program(costs, FEWER, MORE), _by_program(costs, MORE, None)
    found = []
    for (row_bytes, program), (fewer, more) in ends.items():
        at = {each.rows: each for each in costs if (each.program, each.row_bytes) == (FLOOR, row_bytes)}
        measured = fewer.rows in at and more.rows in at
        slope, floor = _slope(fewer, more), _slope(at[fewer.rows], at[more.rows]) if measured else 0.0
        first, last = memory_ends[row_bytes, program]
        found.append(
            Growth(
                program=program,
                row_bytes=row_bytes,
                cpu_rows=(fewer.rows, more.rows),
                us_per_row=slope,
                times_floor=slope / floor if slope > 0 and floor > 0 else None,
                memory_rows=(first.rows, last.rows),
                times_memory=last.memory_bytes / first.memory_bytes,
            )
        )
    return found


def _by_program(costs: Sequence[Cost], fewer: int, more: int | None) -> dict[tuple[int, str], tuple[Cost, Cost]]:
    """Return two costs of each program and size of row: those at `fewer` and `more` rows, else at the fewest
    and most.
    """
    found = {}
    for key in dict.fromkeys((each.row_bytes, each.program) for each in costs):
        those = sorted((each for each in costs if (each.row_bytes, each.program) == key), key=lambda each: each.rows)
        at = {each.rows: each for each in those}
        first, last = at.get(fewer), those[-1] if more is None else at.get(more)
        if first is None or last is None or first.rows >= last.rows:
            first, last = those[0], those[-1]
        if first.rows < last.rows:
            found[key] = (first, last)
    return found


def _slope(fewer: Cost, more: Cost) -> float:
    return (more.cpu_seconds - fewer.cpu_seconds) / (more.rows - fewer.rows) * 1e6


def growth_lines(costs: Sequence[Cost]) -> list[str]:
    """Return the table of `growths`; "" if there are none."""
    lines = []
    for each in growths(costs):
        figures = (
            f"{each.row_bytes:,}",
            f"{each.us_per_row:,.1f}",
            "" if each.times_floor is None else f"{each.times_floor:.2f}",
            "{:,} to {:,}".format(*each.cpu_rows),
            f"{each.times_memory:.2f}",
            "{:,} to {:,}".format(*each.memory_rows),
        )
        lines.append(f"| {each.program} | {' | '.join(figures)} |")
    return [*GROWTH_HEAD.split("\n"), *lines] if lines else []


def profile_lines(profile: Profile) -> Iterator[str]:
    """Return two tables: by statement, with the sum of those not listed, and by function."""
    whole, profiled = profile.cpu_seconds, profile.profiled_seconds
    listed = sum(each.cpu_seconds for each in profile.statements)
    yield f"{whole:,.2f} s of CPU in all; by statement of DuckDB:"
    yield ""
    yield from _parts("statement", profile.statements, whole)
    yield _part("other statements", whole - profile.other_seconds - listed, "", whole)
    yield _part("everything else", profile.other_seconds, "", whole)
    yield ""
    yield (
        "By Python function, each thread's CPU in the function itself and in what it calls of DuckDB, under a "
        f"profiler with which the run takes {profiled:,.2f} s:"
    )
    yield ""
    yield from _parts("function", profile.functions, profiled)


def _parts(what: str, parts: Sequence[Part], whole_seconds: float) -> Iterator[str]:
    yield from (f"| {what} | CPU (s) | of all | calls |", "|---|---:|---:|---:|")
    for each in parts:
        name = each.name.replace("`", "'").replace("|", "\\|")
        yield _part(f"`{name}`", each.cpu_seconds, f"{each.calls:,}", whole_seconds)


def _part(name: str, seconds: float, calls: str, whole_seconds: float) -> str:
    return f"| {name} | {seconds:,.3f} | {seconds / whole_seconds:.1%} | {calls} |"


def section(results: Sequence[Result]) -> str:
    """What stands between the markers of the page: each call's table, the picture, the profiles."""
    paragraphs = []
    costs = [(each.taken, each.what) for each in results if isinstance(each.what, Cost)]
    for taken, group in groupby(costs, key=lambda each: each[0]):
        those = sorted((cost for _, cost in group), key=_order)
        lines = [*COST_HEAD.split("\n"), *(cost_line(each, those) for each in those)]
        paragraphs += [f"{_taken(taken)}, {_batches(those)}:", "\n".join(lines)]
        if grown := growth_lines(those):
            paragraphs.append("\n".join(grown))
    if costs:
        paragraphs.append(f"![CPU per row against rows, a line for each program]({PICTURE_ON_PAGE})")
    for each in results:
        if isinstance(each.what, Profile):
            head = f"Where the CPU of a first run of {each.what.rows:,} rows of {each.what.row_bytes:,} bytes goes"
            body = "\n".join(profile_lines(each.what))
            paragraphs.append(f"## {head}\n\n{_taken(each.taken)}:\n\n{body}")
    return "\n\n".join(paragraphs) + "\n"


def _order(cost: Cost) -> tuple[int, int, int]:
    known = PROGRAMS.index(cost.program) if cost.program in PROGRAMS else len(PROGRAMS)
    return cost.row_bytes, cost.rows, known


def _taken(taken: Taken) -> str:
    at = datetime.fromisoformat(taken.at)
    machine = (
        f"{taken.cores} core{'s' if taken.cores != 1 else ''} of {taken.cpu}, "
        f"{taken.memory_bytes / GIGABYTE:.0f} GB of memory, Python {taken.python}, DuckDB {taken.duckdb}"
    )
    return f"`{taken.command}` on {at.day} {at:%B %Y} (UTC), {machine}"


def _batches(costs: Sequence[Cost]) -> str:
    chunks = " and ".join(f"{each:,}" for each in sorted({cost.chunk for cost in costs}))
    return f"in batches of at most {chunks} requests"


def redrawn(page: str, results: Sequence[Result]) -> str:
    """Return the page with the results between its markers. Raises ValueError if the markers are not there."""
    found = re.search(f"{BEGIN}.*?{END}", page, re.DOTALL)
    if found is None:
        raise ValueError(f"no {BEGIN.strip()} ... {END}")
    return page[: found.start()] + BEGIN + section(results) + END + page[found.end() :]
