"""Give the answers of a table's rows back in the order of the rows, for a program that brought the table."""

from __future__ import annotations

from typing import Any

from batchpipe.decide.fingerprint import newest_recipe
from batchpipe.engine.output.ownership import output_place
from batchpipe.engine.resolved.recorded_recipes import under_recorded_recipes
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.engine.source.snapshot import Snapshot, canonical_text, key_sql
from batchpipe.schema.columns import Column, leaf_types
from batchpipe.sql.quoting import Sql, joined, quote_identifier, quote_list, sql, type_sql
from batchpipe.sql.types import Many, Scalar, Shape, Struct
from batchpipe.store.database import Database, Session, Work
from batchpipe.store.queries import query

LARGE = {"HUGEINT", "UHUGEINT"}


def label_columns(database: Database, work: Work, resolved: Resolved, snapshot: Snapshot, error_column: str) -> Any:
    """Return the fields of each row of `snapshot` and why it failed, in the order of the rows, as an Arrow table.

    A row that is not answered for its input and prompt of today has NULL in every field.
    Reads `ledger.row_state`, the output table, `snapshot`. Writes `work.labelled`.
    """
    with database.reading(work) as session:
        _fill(session, under_recorded_recipes(session, resolved), snapshot, error_column)
    shown = sql(
        "SELECT {fields}, {error} FROM work.labelled ORDER BY position",
        fields=joined(", ", (_in_arrow(work, each) for each in resolved.columns)),
        error=quote_identifier(error_column),
    )
    return work.connection.cursor().sql(shown).to_arrow_table()


def _in_arrow(work: Work, column: Column) -> Sql:
    """Return SQL for a field in an Arrow table, which has no whole numbers of more than 38 digits.

    HUGEINT and UHUGEINT are DECIMAL(38,0) where all values fit, else text. Reads `work.labelled`.
    """
    name = quote_identifier(column.name)
    if not LARGE & set(leaf_types(column.shape)):
        return name
    number, text = (type_sql(_without_large(column.shape, kind).sql) for kind in ("DECIMAL(38,0)", "VARCHAR"))
    fits = sql(
        "SELECT coalesce(bool_and(TRY_CAST({name} AS {number})::VARCHAR IS NOT DISTINCT FROM {name}::VARCHAR), true) "
        "FROM work.labelled",
        name=name,
        number=number,
    )
    kept = number if work.connection.execute(fits).fetchone() == (True,) else text
    return sql("CAST({name} AS {kept}) AS {name}", name=name, kept=kept)


def _without_large(shape: Shape, kind: str) -> Shape:
    """Return a type with `kind` in the place of the types of large whole numbers."""
    match shape:
        case Many():
            return Many(_without_large(shape.item, kind))
        case Struct():
            return Struct(tuple((name, _without_large(each, kind)) for name, each in shape.fields))
    return Scalar(kind) if shape.sql in LARGE else shape


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
