"""Tables of pandas, Polars and Arrow: read as rows to label, and given back with the labels as further columns.

pandas and Polars are used through the table that the caller brought: neither is imported for another one.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from batchpipe.common import modes
from batchpipe.common.durable import part_of
from batchpipe.common.errors import InputError, UsageError
from batchpipe.sql.quoting import folded
from batchpipe.store.arrow import arrow

WHERE = "batchpipe.label"
KNOWN = "a pandas DataFrame, a Polars DataFrame or a pyarrow Table"


class Frame(Protocol):
    """A table of a user's library. `names` are its columns, and for pandas the names of its index."""

    @property
    def names(self) -> Sequence[str]:
        """Return the names of the columns that can be read."""
        ...

    def column(self, name: str) -> Any:
        """Return a column as an Arrow array; raises the library's errors for values that Arrow has no type for."""
        ...

    def labelled(self, columns: Any) -> Any:
        """Return the table with the columns of an Arrow table, row by row; of one name, the new column stands."""
        ...


@dataclass(frozen=True, slots=True)
class ArrowFrame:
    """A pyarrow Table."""

    table: Any

    @property
    def names(self) -> Sequence[str]:
        """Return the names of the columns."""
        return list(self.table.column_names)

    def column(self, name: str) -> Any:
        """Return a column."""
        return self.table.column(name)

    def labelled(self, columns: Any) -> Any:
        """Return the table with further columns."""
        found = self.table.drop_columns([each for each in columns.column_names if each in self.table.column_names])
        for name in columns.column_names:
            found = found.append_column(name, columns.column(name))
        return found


@dataclass(frozen=True, slots=True)
class PolarsFrame:
    """A Polars DataFrame."""

    frame: Any

    @property
    def names(self) -> Sequence[str]:
        """Return the names of the columns."""
        return list(self.frame.columns)

    def column(self, name: str) -> Any:
        """Return a column as an Arrow array."""
        return self.frame.get_column(name).to_arrow()

    def labelled(self, columns: Any) -> Any:
        """Return the frame with further columns."""
        return self.frame.with_columns(import_module("polars").from_arrow(columns))


@dataclass(frozen=True, slots=True)
class PandasFrame:
    """A pandas DataFrame; its index stays as it is."""

    frame: Any

    @property
    def names(self) -> Sequence[str]:
        """Return the names of the columns that are texts, then those of the index."""
        columns = [each for each in self.frame.columns if isinstance(each, str)]
        return [*columns, *(each for each in self.frame.index.names if isinstance(each, str) and each not in columns)]

    def column(self, name: str) -> Any:
        """Return a column, or a level of the index, as an Arrow array. NaN is NULL, as pandas has it."""
        held = self.frame[name] if name in self.frame.columns else self.frame.index.get_level_values(name)
        return arrow().Array.from_pandas(held)

    def labelled(self, columns: Any) -> Any:
        """Return a copy of the frame with further columns. Whole numbers and booleans have NULL beside them."""
        pandas = sys.modules["pandas"]
        kinds = {arrow().int64(): pandas.Int64Dtype(), arrow().bool_(): pandas.BooleanDtype()}
        found = self.frame.copy()
        for name in columns.column_names:
            column = columns.column(name)
            # A mapper takes texts out of pandas' own type for them, so it is given where it is needed alone.
            values = column.to_pandas(types_mapper=kinds.get if column.null_count and column.type in kinds else None)
            found[name] = values.set_axis(self.frame.index)
        return found


def frame_of(given: Any) -> Frame:
    """Return the reader of a table. Raises UsageError for anything else."""
    kinds = {f"{each.__module__.partition('.')[0]}.{each.__name__}" for each in type(given).__mro__}
    if "pandas.DataFrame" in kinds:
        return PandasFrame(given)
    if "polars.DataFrame" in kinds:
        return PolarsFrame(given)
    if "pyarrow.Table" in kinds:
        return ArrowFrame(given)
    hints = {
        "polars.LazyFrame": "Collect it first: frame.collect().",
        "pyarrow.RecordBatch": "Make a table of it: pyarrow.Table.from_batches([batch]).",
        "pyspark.DataFrame": "Bring its rows here: frame.toPandas() or frame.toArrow().",
    }
    hint = next((hints[each] for each in kinds if each in hints), f"Give {KNOWN}; DuckDB relations have .arrow().")
    raise UsageError(f"{type(given).__name__} is no table that can be labelled", where=WHERE, hint=hint)


def write_rows(frame: Frame, path: Path, key: Sequence[str], used: str, without: Sequence[str]) -> None:
    """Write the columns of `frame` to the Parquet file `path`, all at once, but those called as in `without`.

    A column that Arrow has no type for is left out, unless it belongs to `key` or the text `used` (prompt and
    conditions) has its name. Raises InputError for such a column, and for one that is there twice.
    """
    left_out = {folded(each) for each in without} - {folded(each) for each in key}
    columns: dict[str, Any] = {}
    for name in _named_once([each for each in frame.names if folded(each) not in left_out]):
        try:
            columns[name] = _writable(frame.column(name))
        except (ValueError, TypeError, NotImplementedError, arrow().ArrowException) as error:
            if name in key or name in used:
                what = f"the column {name!r} cannot be read: {error}"
                hint = "Give it values of one type, such as texts: frame[...].astype(str)."
                raise InputError(what, where=WHERE, hint=hint) from error
    missing = [each for each in key if each not in columns]
    if missing:
        known = ", ".join(columns) or "none"
        raise InputError(f"there is no column {missing[0]!r}", where="key", hint=f"The columns are: {known}.")
    part = part_of(path)
    with open(part, "wb", opener=modes.opener) as file:
        arrow().parquet.write_table(arrow().table(columns), file)
    modes.replace(part, path)


def _named_once(names: Sequence[str]) -> Sequence[str]:
    """Return the names. Raises InputError where two of them are the same."""
    seen: dict[str, str] = {}
    for name in names:
        if folded(name) in seen:
            what = f"there are two columns called {seen[folded(name)]!r} and {name!r}"
            raise InputError(what, where=WHERE, hint="Rename one of them: names are compared without case.")
        seen[folded(name)] = name
    return names


def _writable(column: Any) -> Any:
    """Return an Arrow array that a Parquet file can hold. Raises an error of Arrow for any other one."""
    arrow().parquet.write_table(arrow().table({"column": column.slice(0, 0)}), arrow().BufferOutputStream())
    return column
