"""Keep the tables of `[output.rows]`: each is a view over the output table, so that no commit can leave it behind.

A view is the pipeline's own where its comment has the mark; a view that is no longer asked for is dropped.
"""

from __future__ import annotations

from hashlib import md5

from batchpipe.common.errors import PipelineError
from batchpipe.engine.output.ownership import OutputPlace, is_own, other_pipeline, output_place
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.pipeline.model import ADDED_COLUMNS
from batchpipe.schema.child_rows import item_rows_sql
from batchpipe.sql.quoting import folded, quote_identifier, quote_literal, quote_table, shown_table, sql, table_parts
from batchpipe.store.database import Session
from batchpipe.store.queries import query


def ensure_child_tables(session: Session, resolved: Resolved, place: OutputPlace) -> None:
    """Make the views of the list fields, or make them anew where their definition is another one now.

    Reads `ledger.meta`. Writes views of the output table. Raises PipelineError for a table or view that this pipeline
    did not make.
    """
    wanted = resolved.file.pipeline.output.rows
    if not wanted and not place.views:
        return
    own = _own_views(place, resolved)
    columns = {each.name: each for each in resolved.columns}
    keys, added = [each.name for each in resolved.key_columns], [each for each, _ in ADDED_COLUMNS]
    for field, table in wanted.items():
        schema, name = table_parts(table)
        rows = item_rows_sql(place.quoted, columns[field], keys, added)
        definition = md5(rows.encode(), usedforsecurity=False).hexdigest()[:8]
        comment = f"One row is an item of {field}. {place.mark} {definition}"
        present = own.pop(folded(f"{schema}.{name}"), None)
        if present is not None and present[2] == comment:
            continue
        if present is None:
            _refuse_what_stands_there(session, resolved, place, field)
        view = quote_table(f"{schema}.{name}")
        session.execute(sql("CREATE SCHEMA IF NOT EXISTS {schema}", schema=quote_identifier(schema)))
        session.execute(sql("CREATE OR REPLACE VIEW {view} AS {rows}", view=view, rows=rows))
        session.execute(sql("COMMENT ON VIEW {view} IS {comment}", view=view, comment=quote_literal(comment)))
    for schema, name, _ in own.values():
        session.execute(sql("DROP VIEW {view}", view=quote_table(f"{schema}.{name}")))


def refuse_foreign_tables(session: Session, resolved: Resolved) -> None:
    """Raise the PipelineError of a run that would find a table or view of somebody else in the place of one of its own.

    Reads `ledger.meta`.
    """
    place = output_place(session, resolved)
    own = _own_views(place, resolved)
    for field, table in resolved.file.pipeline.output.rows.items():
        if not session.empty and folded(".".join(table_parts(table))) not in own:
            _refuse_what_stands_there(session, resolved, place, field)


def _own_views(place: OutputPlace, resolved: Resolved) -> dict[str, tuple[str, str, str]]:
    """Return the views of the pipeline, each as its schema, name and comment, by the two-part name without case."""
    return {folded(f"{each[0]}.{each[1]}"): each for each in place.views if is_own(each[2], place.mark, resolved)}


def _refuse_what_stands_there(session: Session, resolved: Resolved, place: OutputPlace, field: str) -> None:
    schema, name = table_parts(resolved.file.pipeline.output.rows[field])
    if not session.one(query("stands_there"), {"schema": folded(schema), "name": folded(name)})[0]:
        return
    comments = {folded(f"{each[0]}.{each[1]}"): each[2] for each in place.views}
    other = other_pipeline(comments.get(folded(f"{schema}.{name}")), place.mark)
    raise PipelineError(
        f"the database has a table {shown_table(schema, name)} that this pipeline did not make; it is not touched",
        where=resolved.file.where(f"[output.rows] {field}"),
        hint=f'{other}Write another name: {field} = "..."; or drop the table if nobody needs it.',
    )
