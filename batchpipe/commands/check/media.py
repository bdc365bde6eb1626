"""Count the files that the input names, and find the rows whose files no rung takes."""

from __future__ import annotations

from batchpipe.engine.context import Context
from batchpipe.engine.media.figures import MediaPlan, media_check
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.engine.source.source import Source


def media_of_input(context: Context, resolved: Resolved, source: Source) -> MediaPlan | None:
    """Return the figures of the files that the input names; None where the prompt has none.

    Reads the whole input, and looks at its files: those that are new or have changed are hashed.
    """
    if not resolved.templates.media:
        return None
    with context.temporary_folder("check-") as folder:
        snapshot = source.snapshot(folder / "input.parquet", resolved.input_columns)
        return media_check(source.connection, resolved, snapshot)
