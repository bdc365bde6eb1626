"""Write a SELECT as an Excel workbook: with DuckDB's extension where it is installed, else with openpyxl."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import duckdb

from batchpipe.common.errors import UsageError
from batchpipe.sql.quoting import quote_literal
from batchpipe.store.database import streamed

MOST_ROWS = 1_048_575
MOST_CHARACTERS = 32_767


def save_workbook(connection: duckdb.DuckDBPyConnection, select: str, path: Path, rows: int) -> None:
    """Write `select` (`rows` rows) to `path`.

    Raises UsageError where the rows do not fit, or nothing is installed that can write them.
    """
    if rows > MOST_ROWS:
        what = f"{rows:,} rows do not fit a sheet, which takes {MOST_ROWS:,}"
        raise UsageError(what, where="--to", hint="Write .csv or .parquet, or choose rows with --where or --limit.")
    fitting = _fitting(connection, select)
    if _has_extension(connection):
        connection.execute(f"COPY ({fitting}) TO {quote_literal(str(path))} (FORMAT xlsx, HEADER true)")
    else:
        _save_with_openpyxl(connection, fitting, path)


def _has_extension(connection: duckdb.DuckDBPyConnection) -> bool:
    """Return whether DuckDB's `excel` extension is installed. Nothing is downloaded."""
    try:
        connection.execute("LOAD excel")
    except duckdb.Error:
        return False
    return True


def _fitting(connection: duckdb.DuckDBPyConnection, select: str) -> str:
    """Return `select` with texts cut to the length that a cell takes."""
    described = connection.execute(f"DESCRIBE {select}").fetchall()
    columns = []
    for name, kind, *_ in described:
        column = '"' + name.replace('"', '""') + '"'
        text = kind in ("VARCHAR", "JSON", "UUID", "BLOB", "BIT", "INTERVAL") or "HUGEINT" in kind
        cut = f"left(CAST({column} AS VARCHAR), {MOST_CHARACTERS})"
        zone = f"CAST({column} AS TIMESTAMP)" if kind == "TIMESTAMP WITH TIME ZONE" else column
        columns.append(f"{cut if text else zone} AS {column}")
    return f"SELECT {', '.join(columns)} FROM ({select})"


def _save_with_openpyxl(connection: duckdb.DuckDBPyConnection, select: str, path: Path) -> None:
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
    for row in streamed(cursor):
        cells = []
        for value in row:
            cell = cells_of.WriteOnlyCell(sheet, value=value)
            if isinstance(value, str):
                cell.data_type = "s"
            cells.append(cell)
        sheet.append(cells)
    book.save(path)
