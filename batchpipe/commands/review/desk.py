"""Open the rows of a pipeline that a person should see, for the terminal, a file and a page alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any

from batchpipe.engine.context import Context
from batchpipe.engine.quality.review import Desk
from batchpipe.pipeline.model import PipelineFile


@contextmanager
def open_desk(context: Context, file: PipelineFile, params: Mapping[str, Any], which: str = "open") -> Iterator[Desk]:
    """Yield the desk with the rows to review (`open`), also those reviewed before (`again`), or all answered ones
    (`every`).
    """
    with closing(context.work()) as work, context.temporary_folder("review-") as folder:
        with context.source(file, params) as source:
            resolved = context.resolve(file, source)
            snapshot = source.snapshot(folder / "input.parquet", resolved.input_columns)
        snapshot.make_room(work.memory)
        desk = Desk(context=context, work=work, resolved=resolved, snapshot=snapshot)
        desk.choose(which)
        yield desk
