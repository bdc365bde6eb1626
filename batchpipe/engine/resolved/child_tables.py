"""Find what is wrong with `[output.rows]`: each names a list field, and a table whose columns have different names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from batchpipe.common.errors import Problem
from batchpipe.common.likeness import nearest
from batchpipe.pipeline.model import ADDED_COLUMNS, PipelineFile
from batchpipe.schema.child_rows import VALUE, clashing
from batchpipe.schema.columns import Column
from batchpipe.sql.types import Many


def child_table_problems(file: PipelineFile, columns: Sequence[Column]) -> Iterator[Problem]:
    """Yield the problems of the tables of list fields; `columns` are those of the fields."""
    by_name = {each.name: each for each in columns}
    taken = [*file.pipeline.input.key, *(name for name, _ in ADDED_COLUMNS)]
    for field in file.pipeline.output.rows:
        where, column = file.where(f"[output.rows] {field}"), by_name.get(field)
        if column is None:
            near = nearest(field, by_name)
            hint = f"Did you mean {near!r}?" if near else f"The fields are: {', '.join(by_name)}."
            yield Problem(what=f"there is no field {field!r}", where=where, hint=hint)
        elif not isinstance(column.shape, Many):
            hint = 'Write type = "array" with items in the field, or remove this line.'
            yield Problem(what=f"{field} is {column.type}: only a list has items", where=where, hint=hint)
        elif (name := clashing(column, taken)) is not None:
            what = f"{name!r} would be two columns of the table: of the items, and of the key or added by batchpipe"
            hint = "Rename the key in the input query (SELECT ... AS ...)"
            hint += "." if name == VALUE else f", or the field {name} of the items."
            yield Problem(what=what, where=where, hint=hint)
