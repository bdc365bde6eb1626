"""Marks in the comments of output tables: which database and which pipeline made a table.

A person may write a comment of their own beside the mark.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from batchpipe.sql.connection import Connection
from batchpipe.sql.quoting import Sql, folded_sql, quote_list, quote_literal, quote_table, sql
from batchpipe.store.queries import query

MARK = re.compile(r"\[batchpipe: database (?P<database>\w+), pipeline (?P<pipeline>[^\]]+)\]")
# The columns that every output table had when marks began.
COLUMNS_OF_OUTPUT = (
    "_model",
    "_rung",
    "_prompt_version",
    "_custom_id",
    "_batch_id",
    "_completed_at",
    "_cost_usd",
    "_review",
    "_current",
)


@dataclass(frozen=True, slots=True)
class OutputMark:
    """Who made an output table: the id that the database drew when it was made, and the pipeline's name."""

    database: str
    pipeline: str

    def __str__(self) -> str:
        return f"[batchpipe: database {self.database}, pipeline {self.pipeline}]"


def read_mark(comment: str | None) -> OutputMark | None:
    """Return the mark in the comment of a table; None if it has none."""
    found = MARK.search(comment or "")
    return OutputMark(found["database"], found["pipeline"]) if found else None


def marked_comment(comment: str | None, mark: OutputMark) -> str:
    """Return `comment` with `mark` in it, in the place of an older mark."""
    words = MARK.sub("", comment or "").strip()
    return f"{words} {mark}" if words else str(mark)


def write_mark(connection: Connection, table: str, comment: str | None, mark: OutputMark) -> None:
    """Mark `table` (its two-part name), whose comment is `comment` so far."""
    text = quote_literal(marked_comment(comment, mark))
    connection.execute(sql("COMMENT ON TABLE {table} IS {text}", table=quote_table(table), text=text))


def mark_output_tables(connection: Connection) -> None:
    """Mark every output table that pipelines of the attached database have made. Reads `ledger.events`."""
    row = connection.execute(Sql("SELECT max(value) FROM ledger.meta WHERE name = 'database'")).fetchone()
    made = query(
        "output_tables_made",
        columns=sql("[{name}]", name=quote_list(COLUMNS_OF_OUTPUT)),
        written=folded_sql(Sql("t.schema_name || '.' || t.table_name")),
        made=folded_sql(Sql("(e.data ->> 'table')")),
    )
    for schema, table, pipeline, comment in connection.execute(made).fetchall():
        write_mark(connection, f"{schema}.{table}", comment, OutputMark(str(row[0]) if row else "", pipeline))
