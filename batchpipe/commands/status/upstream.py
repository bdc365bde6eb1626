"""Print the pipelines that a pipeline waits for, because it reads their output tables and they are not complete."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from batchpipe.commands.printing.text import safe
from batchpipe.common.errors import PipelineError
from batchpipe.engine.upstream.completeness import Completenesses
from batchpipe.pipeline.model import PipelineFile


@dataclass(frozen=True, slots=True, kw_only=True)
class Awaited:
    """A pipeline that is waited for.

    `wait` is in_flight (it becomes complete by itself), due (it has to be run), review (a person is waited for), or
    circle (it never becomes complete). `why` says what is left of it, `hint` the command that goes on.
    """

    pipeline: str
    wait: str
    why: str
    hint: str


def read_awaited(others: Completenesses, file: PipelineFile | None) -> list[Awaited]:
    """Return the pipelines that `file` reads and that are not complete. Reads the ledger, and no source."""
    if file is None or file.pipeline.input.upstream == "any":
        return []
    reviewed = file.pipeline.input.upstream == "reviewed"
    try:
        upstream = others.chain.reads(file).upstream
        others.chain.ordered([file])
    except PipelineError as error:
        return [Awaited(pipeline=file.pipeline.name, wait="circle", why=error.what, hint=error.hint or "")]
    found = [others.of(each, reviewed=reviewed) for each in upstream]
    return [
        Awaited(pipeline=each.pipeline, wait=each.wait, why=each.why, hint=each.hint)
        for each in found
        if each.wait != "none"
    ]


def awaited_lines(found: Sequence[Awaited], name: str, suggest: Callable[[str], str]) -> list[str]:
    """Return what is waited for, and how to go on, in sentences."""
    lines = [
        f"It cannot run: {safe(each.why)}. {safe(each.hint)}"
        if each.wait == "circle"
        else f"It waits for {safe(each.pipeline)}: {safe(each.why)}. {safe(each.hint)}"
        for each in found
    ]
    if any(each.wait == "due" for each in found):
        lines.append(f"To run them all, in order: {suggest(f'run {name} --with-upstream')}")
    return lines
