"""Write a SELECT as an Excel workbook: with DuckDB's extension where it is installed, else with openpyxl."""

from __future__ import annotations

from importlib import import_module
from io import FileIO
from pathlib import Path
from typing import Any

import duckdb

from batchpipe.common.errors import UsageError
from batchpipe.sql.connection import Connection
from batchpipe.sql.quoting import Sql, joined, number_sql, quote_identifier, quote_literal, sql, type_sql
from batchpipe.store.database import streamed_rows

MOST_ROWS = 1_048_575
MOST_CHARACTERS = 32_767
# The types of which a cell holds every value.
HELD = ("BOOLEAN", "TINYINT", "SMALLINT", "INTEGER", "UTINYINT", "USMALLINT", "UINTEGER")
# When an answer came is a time in a cell, although a cell has milliseconds.
COMPLETED_AT = quote_identifier("_completed_at")


class FileToTheEnd(FileIO):
    """A file that takes everything after a write has failed: `failure` is what the system said then.

    An archive that is left in the middle would try to end itself once more, and print what went wrong there.
    """

    failure: OSError | None = None

    def write(self, content: Any, /) -> int:
        """Write all of `content`, unless a write has failed; return its length in bytes."""
        left = memoryview(content).cast("B")
        length = len(left)
        try:
            while left and self.failure is None:
                left = left[super().write(left) :]
        except OSError as error:
            self.failure = error
        return length


def save_workbook(connection: Connection, select: Sql, path: Path, rows: int) -> None:
    """Write `select` (`rows` rows) to `path`.

    Raises UsageError where the rows do not fit, or nothing is installed that can write them.
    """
    if rows > MOST_ROWS:
        what = f"{rows:,} rows do not fit a sheet, which takes {MOST_ROWS:,}"
        raise UsageError(what, where="--to", hint="Write .csv or .parquet, or choose rows with --where or --limit.")
    fitting = _fitting(connection, select)
    if _has_extension(connection):
        connection.execute(
            sql("COPY ({fitting}) TO {path} (FORMAT xlsx, HEADER true)", fitting=fitting, path=quote_literal(str(path)))
        )
    else:
        _save_with_openpyxl(connection, fitting, path)


def _has_extension(connection: Connection) -> bool:
    """Return whether DuckDB's `excel` extension is installed. Nothing is downloaded."""
    try:
        connection.execute(Sql("LOAD excel"))
    except duckdb.Error:
        return False
    return True


def _fitting(connection: Connection, select: Sql) -> Sql:
    """Return `select` with texts cut to the length that a cell takes.

    A column with a value that a cell would change or cannot hold is written as text.
    """
    described = [(quote_identifier(name), kind) for name, kind, *_ in connection.execute(_described(select)).fetchall()]
    asked = joined(", ", (_is_held(column, kind) for column, kind in described))
    held = connection.execute(sql("SELECT {asked} FROM ({select})", asked=asked, select=select)).fetchone() or ()
    columns = []
    for (column, kind), as_it_is in zip(described, held, strict=True):
        if not as_it_is:
            most = number_sql(MOST_CHARACTERS)
            value = sql("left(CAST({column} AS VARCHAR), {most})", column=column, most=most)
        elif kind == "TIMESTAMP WITH TIME ZONE":
            value = sql("CAST({column} AS TIMESTAMP)", column=column)
        else:
            value = column
        columns.append(sql("{value} AS {column}", value=value, column=column))
    return sql("SELECT {columns} FROM ({select})", columns=joined(", ", columns), select=select)


def _described(select: Sql) -> Sql:
    return sql("DESCRIBE {select}", select=select)


def _is_held(column: Sql, kind: str) -> Sql:
    """Return SQL for whether a cell holds every value of a column as it is."""
    if kind in HELD:
        return Sql("true")
    word = "TIMESTAMP" if kind.startswith("TIMESTAMP") else kind.partition("(")[0]
    if word in ("BIGINT", "UBIGINT"):  # a cell's number has 15 digits
        holds = sql("{column} BETWEEN -999999999999999 AND 999999999999999", column=column)
    elif word == "DECIMAL":
        holds = sql("TRY_CAST(CAST({column} AS DOUBLE) AS {kind}) = {column}", column=column, kind=type_sql(kind))
    elif word in ("DOUBLE", "FLOAT"):
        holds = sql("isfinite({column})", column=column)
    elif word in ("DATE", "TIMESTAMP"):  # the first and the last year of a workbook
        holds = sql("{column} >= DATE '1900-01-01' AND {column} < DATE '10000-01-01'", column=column)
        if word == "TIMESTAMP" and column != COMPLETED_AT:
            holds = sql("{holds} AND date_trunc('milliseconds', {column}) = {column}", holds=holds, column=column)
    elif word == "TIME" and kind == word:
        holds = sql("microsecond({column}) % 1000 = 0", column=column)
    else:
        return Sql("false")
    return sql("coalesce(bool_and({column} IS NULL OR coalesce({holds}, false)), true)", column=column, holds=holds)


def _save_with_openpyxl(connection: Connection, select: Sql, path: Path) -> None:
    try:
        openpyxl, cells_of = import_module("openpyxl"), import_module("openpyxl.cell")
    except ImportError as error:
        hint = "Write .csv or .parquet, or install one: pip install openpyxl (or INSTALL excel in DuckDB)."
        what = "writing .xlsx needs DuckDB's excel extension or the package openpyxl, and neither is here"
        raise UsageError(what, where="--to", hint=hint) from error
    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet("results")
    cursor = connection.cursor()
    cursor.execute(select)
    sheet.append([each[0] for each in cursor.description or ()])
    for row in streamed_rows(cursor):
        cells = []
        for value in row:
            cell = cells_of.WriteOnlyCell(sheet, value=value)
            if isinstance(value, str):
                cell.data_type = "s"
            cells.append(cell)
        sheet.append(cells)
    with FileToTheEnd(path, "wb") as file:
        book.save(file)
    if file.failure is not None:
        raise file.failure
