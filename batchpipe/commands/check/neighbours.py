"""Check a pipeline file beside the others of its project: their tables, and the older name that it gives."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from batchpipe.commands.printing.text import shown_path
from batchpipe.common.errors import Problem
from batchpipe.pipeline.files import Declared
from batchpipe.pipeline.model import PipelineFile
from batchpipe.sql.quoting import folded


def neighbour_problems(file: PipelineFile, project: Sequence[Declared]) -> Iterator[Problem]:
    """Yield what is wrong with `file` beside the other files of the project."""
    others = [each for each in project if each.path != file.path]
    for other in others:
        taken = {_table(each) for each in other.tables}
        if _table(file.pipeline.table) in taken and other.name != file.pipeline.name:
            yield Problem(
                what=f'the output table "{file.pipeline.table}" is also that of {shown_path(other.path, file.root)}',
                where=file.where("[output] table"),
                hint='Give one of them another: table = "...". Names are compared without case.',
            )
        for field, name in file.pipeline.output.rows.items():
            if _table(name) in taken:
                yield Problem(
                    what=f'the table "{name}" is also one of {shown_path(other.path, file.root)}',
                    where=file.where(f"[output.rows] {field}"),
                    hint=f'Give it another name: {field} = "...". Names are compared without case.',
                )
    for other in others:
        if other.name in file.pipeline.older_names:
            yield Problem(
                what=f'renamed_from is "{other.name}", a pipeline that is still there: '
                + shown_path(other.path, file.root),
                where=file.where("renamed_from"),
                hint="Remove the older file, or remove renamed_from: two pipelines cannot go on with one history.",
            )


def _table(name: str) -> str:
    """Return the table's two-part name as DuckDB compares it."""
    return folded(name if "." in name else f"main.{name}")
