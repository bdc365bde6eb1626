"""Run `batchpipe graph`: draw which pipelines read the output tables of which others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from batchpipe.charts.chart import Chart
from batchpipe.charts.network import Node, network
from batchpipe.commands.call.call import Call, load_each
from batchpipe.commands.call.exits import DONE
from batchpipe.commands.printing.text import safe
from batchpipe.common.errors import PipelineError
from batchpipe.engine.context import Context
from batchpipe.pipeline.model import PipelineFile

TITLE = "Pipelines, each to the right of those that it reads"


@dataclass(frozen=True, slots=True, kw_only=True)
class Linked:
    """A pipeline, its output table, and the pipelines whose tables it reads."""

    pipeline: str
    table: str
    reads: Sequence[str]


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
        linked = read_links(context, files)
    if call.json:
        call.out(links_object(linked))
    else:
        call.out(links_chart(linked, {}).file.rstrip("\n") if svg else _text(linked))
    return DONE


def read_links(context: Context, files: Sequence[PipelineFile]) -> list[Linked]:
    """Return `files` and all that they read, each after those that it reads.

    Raises PipelineError for pipelines that read each other in a circle.
    """
    return [
        Linked(
            pipeline=file.pipeline.name,
            table=file.pipeline.table,
            reads=[each.name for each in context.chain.reads(file).upstream],
        )
        for file in _chosen(context, files)
    ]


def links_object(linked: Sequence[Linked]) -> list[dict[str, Any]]:
    """Return the object of `graph --json`."""
    return [{"pipeline": each.pipeline, "table": each.table, "reads": list(each.reads)} for each in linked]


def links_chart(linked: Sequence[Linked], states: Mapping[str, tuple[str, str]]) -> Chart:
    """Return the picture of pipelines. `states` are the words and the colour of some; the others show their tables."""
    nodes = [
        Node(name=each.pipeline, below=below, reads=each.reads, colour=colour)
        for each in linked
        for below, colour in [states.get(each.pipeline, (each.table, "grey"))]
    ]
    return network(TITLE, nodes, ("pipeline", "state" if states else "table", "reads"))


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


def _text(linked: Sequence[Linked]) -> str:
    """Return a line for each pipeline, after those that it reads."""
    width = max(len(each.pipeline) for each in linked)
    lines = []
    for each in linked:
        name, read = each.pipeline, each.reads
        table = f"  (table {each.table})" if each.table != name else ""
        lines.append(f"{name:<{width}}  reads {', '.join(read)}{table}" if read else f"{name}{table}")
    return "\n".join(safe(line) for line in lines)
