"""The rows of the benchmark and what came back, in a process of its own.

A process counts in its peak memory what the one that started it held: the one that starts the programs loads no DuckDB.

`rows.py write FILE COUNT ROW_BYTES CHANGED` writes the input as parquet; every row below CHANGED has another text.
`rows.py count FILE TABLE` prints how many rows the table has and how many of them have a label; 0 0 where it is not
there.
"""

from __future__ import annotations

import sys

import duckdb

FILLER = "lorem ipsum dolor sit amet "


def write(path: str, count: int, row_bytes: int, changed: int) -> None:
    filler = FILLER * (row_bytes // len(FILLER) + 1)
    text = f"left('message ' || i || CASE WHEN i < {changed} THEN ' changed ' ELSE ' ' END || $1, {row_bytes})"
    rows = f"SELECT i AS id, {text} AS body FROM range({count}) t(i)"
    duckdb.execute(f"COPY ({rows}) TO '{path}' (FORMAT parquet)", [filler])


def count(path: str, table: str) -> tuple[int, int]:
    with duckdb.connect(path, read_only=True) as database:
        try:
            found = database.execute(f'SELECT count(*), count(label) FROM "{table}"').fetchone()
        except duckdb.CatalogException:
            found = None
    return (found[0], found[1]) if found else (0, 0)


if __name__ == "__main__":
    if sys.argv[1] == "write":
        write(sys.argv[2], *(int(each) for each in sys.argv[3:6]))
    else:
        sys.stdout.write("{} {}\n".format(*count(sys.argv[2], sys.argv[3])))
