"""Wait for the pipelines whose tables a pipeline reads: until they are complete, its run does not begin."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

from batchpipe.chain.chain import Upstream
from batchpipe.common.errors import GateError
from batchpipe.common.logs import Event, Tell
from batchpipe.engine.context import Context
from batchpipe.engine.upstream.completeness import SHOWN_KEYS, Completeness, Completenesses
from batchpipe.pipeline.model import PipelineFile


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamWait:
    """The pipelines that are waited for, and the commands that bring them on. `gate` is set where one of them does not
    become complete by itself.
    """

    pipelines: Sequence[str]
    hint: str
    gate: GateError | None


def wait_for_upstream(context: Context, file: PipelineFile, tell: Tell) -> UpstreamWait | None:
    """Return what `file` has to wait for; None where all that it reads is complete, or it waits for nothing.

    Rows that ended failed upstream are told of. Reads the ledger.
    """
    upstream = context.chain.reads(file).upstream
    if not upstream:
        return None
    found = unfinished(context, file, upstream)
    for each in found:
        if each.wait == "none" and each.failed:
            tell(Event(kind="notice", level="warning", detail=_failed(each)))
    waits = [each for each in found if each.wait != "none"]
    if not waits:
        return None
    names = [each.pipeline for each in waits]
    both = f"; or both: batchpipe run {file.pipeline.name} --with-upstream"
    for each in waits:
        if each.wait != "in_flight":
            hint = each.hint + (both if each.wait == "due" else "")
            gate = GateError(each.text, where=file.pipeline.name, hint=hint)
            return UpstreamWait(pipelines=names, hint=hint, gate=gate)
    tell(Event(kind="notice", detail="; ".join(each.text for each in waits)))
    return UpstreamWait(pipelines=names, hint=waits[0].hint + both, gate=None)


def unfinished(context: Context, file: PipelineFile, upstream: Sequence[Upstream]) -> list[Completeness]:
    """Return how complete each pipeline is that `file` reads; with `upstream = "any"` nothing is asked.

    Reads what `completeness` reads.
    """
    wanted = file.pipeline.input.upstream
    if wanted == "any":
        return []
    with closing(context.work()) as work, context.database.reading(work) as session:
        others = Completenesses(session=session, chain=context.chain)
        return [others.of(each, reviewed=wanted == "reviewed") for each in upstream]


def _failed(found: Completeness) -> str:
    keys = ", ".join(_shown(each) for each in found.failed_keys)
    rows, are = (f"{found.failed:,} rows", "are") if found.failed > 1 else ("1 row", "is")
    such = " such as" if found.failed > SHOWN_KEYS else ":"
    return f"{found.pipeline} has no answer for {rows}, which {are} not in its table{such} {keys}"


def _shown(key: str) -> str:
    values = json.loads(key)
    return str(values[0]) if len(values) == 1 else json.dumps(values, ensure_ascii=False)
