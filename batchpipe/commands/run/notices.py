"""Tell somebody who did not watch how the pipelines of a call ended."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from batchpipe.commands.run.result import FinishedPipeline
from batchpipe.engine.context import Context
from batchpipe.engine.notices.notices import Notice, Told, tell


def tell_ends(
    context: Context, ended: Sequence[FinishedPipeline], names: Mapping[str, Sequence[str]], say: Callable[[str], None]
) -> list[Notice]:
    """Send the notices that are due about `ended`, and return them; `names` are those of each pipeline in the ledger.

    Reads and writes what `tell` does.
    """
    return tell(context, [_told(each, names) for each in ended], say)


def _told(ended: FinishedPipeline, names: Mapping[str, Sequence[str]]) -> Told:
    """Return what may be told of a pipeline's end."""
    result = ended.result
    return Told(
        pipeline=result.pipeline,
        names=names.get(result.pipeline, (result.pipeline,)),
        rows=result.rows,
        hint=ended.gate_hint if result.gate is not None else result.error.hint if result.error is not None else None,
        error=result.error,
        begun=not ended.not_begun,
    )
