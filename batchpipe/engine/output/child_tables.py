"""Keep the tables of `[output.rows]`: each is a view over the output table, so that no commit can leave it behind.

A view is the pipeline's own where its comment has the mark; a view that is no longer asked for is dropped.
"""

from __future__ import annotations

from hashlib import md5

from batchpipe.common.errors import PipelineError
from batchpipe.engine.output.ownership import OutputPlace
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.pipeline.model import ADDED_COLUMNS
from batchpipe.schema.child_rows import item_rows_sql
from batchpipe.sql.quoting import folded, quote_identifier, quote_literal, quote_table, shown_table, sql, table_parts
from batchpipe.store.database import Session
from batchpipe.store.output_marks import read_mark
from batchpipe.store.queries import query


def ensure_child_tables(session: Session, resolved: Resolved, place: OutputPlace) -> None:
    """Make the views of the list fields, or make them anew where their definition is another one now.

    Reads `ledger.meta`. Writes views of the output table. Raises PipelineError for a table or view that this pipeline
    did not make.
    """
    wanted = resolved.file.pipeline.output.rows
    if not wanted and not place.views:
        return
    known = {folded(f"{schema}.{name}"): (schema, name, comment) for schema, name, comment in place.views}
    own = {each: found for each, found in known.items() if _is_own(found[2], place, resolved)}
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
        if present is None and session.one(query("stands_there"), {"schema": folded(schema), "name": folded(name)})[0]:
            raise _not_own(resolved, field, schema, name)
        view = quote_table(f"{schema}.{name}")
        session.execute(sql("CREATE SCHEMA IF NOT EXISTS {schema}", schema=quote_identifier(schema)))
        session.execute(sql("CREATE OR REPLACE VIEW {view} AS {rows}", view=view, rows=rows))
        session.execute(sql("COMMENT ON VIEW {view} IS {comment}", view=view, comment=quote_literal(comment)))
    for schema, name, _ in own.values():
        session.execute(sql("DROP VIEW {view}", view=quote_table(f"{schema}.{name}")))


def _is_own(comment: str | None, place: OutputPlace, resolved: Resolved) -> bool:
    mark = read_mark(comment)
    return mark is not None and mark.database == place.mark.database and mark.pipeline in resolved.names


def _not_own(resolved: Resolved, field: str, schema: str, name: str) -> PipelineError:
    return PipelineError(
        f"the database has a table {shown_table(schema, name)} that this pipeline did not make; it is not touched",
        where=resolved.file.where(f"[output.rows] {field}"),
        hint=f'Write another name: {field} = "..."; or drop the table if nobody needs it.',
    )
