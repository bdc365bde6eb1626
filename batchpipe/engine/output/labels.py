"""Give the answers of a table's rows back in the order of the rows, for a program that brought the table."""

from __future__ import annotations

from typing import Any

from batchpipe.decide.fingerprint import newest_recipe
from batchpipe.engine.output.ownership import output_place
from batchpipe.engine.resolved.recorded_recipes import under_recorded_recipes
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.engine.source.snapshot import Snapshot, canonical_text, key_sql
from batchpipe.sql.quoting import Sql, joined, quote_identifier, quote_list, sql
from batchpipe.store.database import Database, Session, Work
from batchpipe.store.queries import query


def label_columns(database: Database, work: Work, resolved: Resolved, snapshot: Snapshot, error_column: str) -> Any:
    """Return the fields of each row of `snapshot` and why it failed, in the order of the rows, as an Arrow table.

    A row that is not answered for its input and prompt of today has NULL in every field.
    Reads `ledger.row_state`, the output table, `snapshot`. Writes `work.labelled`.
    """
    with database.reading(work) as session:
        _fill(session, under_recorded_recipes(session, resolved), snapshot, error_column)
    rows = work.connection.cursor().sql(Sql("SELECT * EXCLUDE (position) FROM work.labelled ORDER BY position"))
    return rows.to_arrow_table()


def _fill(session: Session, resolved: Resolved, snapshot: Snapshot, error_column: str) -> None:
    """Fill `work.labelled`.

    Reads `ledger.row_state`, the output table, `snapshot`. Writes `work.labelled`.
    """
    place = output_place(session, resolved)
    types = dict(place.columns)
    recipe = newest_recipe().number
    names = [each.name for each in resolved.key_columns]
    statement = query(
        "labelled_rows",
        fields=joined(", ", (sql("t.{name}", name=quote_identifier(each.name)) for each in resolved.columns)),
        error=quote_identifier(error_column),
        rows=snapshot.relation,
        table=place.quoted,
        table_key=key_sql(canonical_text(quote_identifier(name), types[name], recipe) for name in names),
        pipelines=quote_list(resolved.names),
    )
    session.execute(statement)
