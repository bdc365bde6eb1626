"""Run `batchpipe graph`: draw which pipelines read the output tables of which others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from batchpipe.commands.call.call import Call, load_each
from batchpipe.commands.call.exits import DONE
from batchpipe.commands.printing.text import safe
from batchpipe.common.errors import PipelineError
from batchpipe.engine.context import Context
from batchpipe.pipeline.model import PipelineFile

# Of the drawing, in pixels.
LETTER, HEIGHT, ACROSS, DOWN, MARGIN = 8, 44, 64, 20, 12


def graph(call: Call, arguments: Sequence[str], *, svg: bool = False) -> int:
    """Print the named pipelines, or all of the project, each with those that it reads; with `svg` as a drawing.

    Raises PipelineError for pipelines that read each other in a circle, and where no file can be read.
    """
    selection = call.select(arguments, all=not arguments)
    files, problems = load_each(selection, call.root)
    if not files:
        raise PipelineError.from_problems([each for found in problems.values() for each in found])
    for found in problems.values():
        call.say(f"warning: {found[0].where}: {found[0].what}")
    with call.context() as context:
        chosen = _chosen(context, files)
        reads = {file.pipeline.name: _read(context, file) for file in chosen}
    tables = {file.pipeline.name: file.pipeline.table for file in chosen}
    if call.json:
        call.out([{"pipeline": name, "table": tables[name], "reads": reads[name]} for name in reads])
    else:
        call.out(_drawing(reads, tables) if svg else _text(reads, tables))
    return DONE


def _chosen(context: Context, files: Sequence[PipelineFile]) -> list[PipelineFile]:
    """Return the files in order, with all that they read and that can be read."""
    known = {file.path: file for file in files}
    left = list(files)
    while left:
        for each in context.chain.reads(left.pop()).upstream:
            if each.file is not None and each.path not in known:
                known[each.path] = each.file
                left.append(each.file)
    return context.chain.ordered(list(known.values()))


def _read(context: Context, file: PipelineFile) -> list[str]:
    return [each.name for each in context.chain.reads(file).upstream]


def _text(reads: Mapping[str, Sequence[str]], tables: Mapping[str, str]) -> str:
    """Return a line for each pipeline, after those that it reads."""
    width = max(len(name) for name in reads)
    lines = []
    for name, read in reads.items():
        table = f"  (table {tables[name]})" if tables[name] != name else ""
        lines.append(f"{name:<{width}}  reads {', '.join(read)}{table}" if read else f"{name}{table}")
    return "\n".join(safe(line) for line in lines)


def _levels(reads: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """Return how far each pipeline is from one that reads no other; `reads` stands in order."""
    levels: dict[str, int] = {}
    for name, read in reads.items():
        levels[name] = max((levels[each] + 1 for each in read if each in levels), default=0)
    return levels


def _drawing(reads: Mapping[str, Sequence[str]], tables: Mapping[str, str]) -> str:
    """Return the picture as SVG: what is read stands to the left of what reads it."""
    levels = _levels(reads)
    columns = [[name for name in reads if levels[name] == level] for level in range(max(levels.values()) + 1)]
    widths = [max(len(each) for name in names for each in (name, tables[name])) * LETTER + 24 for names in columns]
    lefts = [MARGIN + sum(widths[:level]) + ACROSS * level for level in range(len(columns))]
    places = {
        name: (lefts[level], MARGIN + row * (HEIGHT + DOWN))
        for level, names in enumerate(columns)
        for row, name in enumerate(names)
    }
    width = lefts[-1] + widths[-1] + MARGIN
    height = MARGIN * 2 + max(len(names) for names in columns) * (HEIGHT + DOWN) - DOWN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        'role="img" font-family="ui-monospace, monospace" font-size="13">',
        "<title>Pipelines, each to the right of those that it reads</title>",
        '<defs><marker id="head" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
        '<path d="M0 0L8 4L0 8z" fill="#667"/></marker></defs>',
    ]
    for name, read in reads.items():
        x, y = places[name]
        for each in (one for one in read if one in places):
            left, top = places[each]
            begin, middle = left + widths[levels[each]], (left + widths[levels[each]] + x) // 2
            parts.append(
                f'<path d="M{begin} {top + HEIGHT // 2}C{middle} {top + HEIGHT // 2} {middle} {y + HEIGHT // 2} '
                f'{x} {y + HEIGHT // 2}" fill="none" stroke="#667" stroke-width="1.5" marker-end="url(#head)"/>'
            )
    for name, (x, y) in places.items():
        parts.append(
            f'<rect x="{x}" y="{y}" width="{widths[levels[name]]}" height="{HEIGHT}" rx="6" fill="#eef" stroke="#445"/>'
            f'<text x="{x + 12}" y="{y + 19}" fill="#112" font-weight="bold">{escape(name)}</text>'
            f'<text x="{x + 12}" y="{y + 35}" fill="#556">{escape(tables[name])}</text>'
        )
    return "\n".join([*parts, "</svg>"])
