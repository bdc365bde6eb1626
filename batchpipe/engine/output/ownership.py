"""Whose an output table is: a table is a pipeline's own where the mark in its comment says so, and nowhere else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from batchpipe.common.errors import PipelineError
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.pipeline.model import ADDED_COLUMNS
from batchpipe.pipeline.sending import CONFIDENCE_COLUMN
from batchpipe.sql.quoting import (
    Sql,
    folded,
    folded_sql,
    joined,
    quote_identifier,
    quote_literal,
    quote_table,
    shown_table,
    sql,
    table_parts,
    type_sql,
)
from batchpipe.store.database import Session
from batchpipe.store.output_marks import OutputMark, marked_comment, read_mark
from batchpipe.store.queries import query


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputPlace:
    """The place of the output table: its schema and name, and what stands there.

    `columns` are the names and DuckDB types of the table or view, none where there is nothing. `comment` is that of a
    table. `mark` is the one that this pipeline writes. `views` are all views with a mark: schema, name and comment.
    `added` are indexes and constraints, which no output table has by itself: in words, and whether each can refuse a
    row.
    """

    schema: str
    name: str
    columns: list[tuple[str, str]]
    comment: str | None
    mark: OutputMark
    views: Sequence[tuple[str, str, str]] = ()
    added: Sequence[tuple[str, bool]] = ()

    @property
    def shown(self) -> str:
        """Return the two-part name as events and messages bear it."""
        return f"{self.schema}.{self.name}"

    @property
    def refuses(self) -> bool:
        """Return whether the table can refuse a row."""
        return any(refuses for _, refuses in self.added)

    @property
    def quoted(self) -> Sql:
        """Return the two-part name, quoted."""
        return quote_table(self.shown)


def output_place(session: Session, resolved: Resolved) -> OutputPlace:
    """Return what stands in the place of the output table, however its name is written there.

    Reads `ledger.meta`. Raises PipelineError for a table or view that is not this pipeline's own.
    """
    schema, name = table_parts(resolved.table)
    if session.empty:
        return OutputPlace(
            schema=schema, name=name, columns=[], comment=None, mark=OutputMark("", resolved.name), views=[]
        )
    there = query("output_place", schema=folded_sql(Sql("schema_name")), table=folded_sql(Sql("table_name")))
    found = {"schema": folded(schema), "table": folded(name)}
    database, written, comment, columns, added, views = session.one(there, found)
    place = OutputPlace(
        schema=written[0] if written else schema,
        name=written[1] if written else name,
        columns=[(each["name"], each["kind"]) for each in columns or ()],
        comment=comment,
        mark=OutputMark(database, resolved.name),
        views=[(each["schema"], each["name"], each["comment"]) for each in views or ()],
        added=[(each["words"], each["refuses"]) for each in added or ()],
    )
    if place.columns and not is_own(comment, place.mark, resolved):
        raise _not_own(place, resolved)
    return place


def table_columns(resolved: Resolved) -> list[tuple[str, str]]:
    """Return the names and DuckDB types of the output table's columns, in order."""
    return [
        *((each.name, each.type) for each in resolved.key_columns),
        *((each.name, each.type) for each in resolved.columns),
        *((each.name, each.type) for each in resolved.include_columns),
        *ADDED_COLUMNS,
        *resolved.vote_columns.items(),
        *(((CONFIDENCE_COLUMN, "DOUBLE"),) if resolved.local is not None else ()),
    ]


def described_columns(session: Session, resolved: Resolved) -> list[tuple[str, str]]:
    """Return the output table's columns with their types as DuckDB writes them."""
    columns = joined(
        ", ",
        (
            sql("NULL::{kind} AS {name}", kind=type_sql(kind), name=quote_identifier(name))
            for name, kind in table_columns(resolved)
        ),
    )
    return [(row[0], row[1]) for row in session.rows(sql("DESCRIBE SELECT {columns}", columns=columns))]


def is_own(comment: str | None, mark: OutputMark, resolved: Resolved) -> bool:
    """Return whether a comment has a mark of this database, and of this pipeline or one that it continues."""
    found = read_mark(comment)
    return found is not None and found.database == mark.database and found.pipeline in resolved.names


def other_pipeline(comment: str | None, mark: OutputMark) -> str:
    """Return a sentence on the other pipeline of this database that made a table; no word where none did."""
    found = read_mark(comment)
    if found is None or found.database != mark.database:
        return ""
    other = found.pipeline
    return f'{other} made it: if {mark.pipeline} is {other} under a new name, write renamed_from = "{other}". '


def _not_own(place: OutputPlace, resolved: Resolved) -> PipelineError:
    """Return the error for a table or view that this pipeline did not make, with the ways out."""
    comment = quote_literal(marked_comment(place.comment, place.mark))
    own = sql("COMMENT ON TABLE {table} IS {comment}", table=place.quoted, comment=comment)
    shown = shown_table(place.schema, place.name)
    return PipelineError(
        f"the database has a table {shown} that this pipeline did not make; it is not touched",
        where=resolved.file.where("[output] table"),
        hint=f'{other_pipeline(place.comment, place.mark)}Set another: table = "...". If it is the pipeline\'s own and '
        f"lost its comment, as by EXPORT and IMPORT: {own}",
    )


def output_table(resolved: Resolved) -> Sql:
    """Return the output table's two-part name, quoted."""
    return quote_table(".".join(table_parts(resolved.table)))
