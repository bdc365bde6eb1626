"""The text that the local model reads of a row: its columns, one below the other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from batchpipe.engine.source.snapshot import InputColumn
from batchpipe.sql.quoting import Sql, joined, quote_literal, sql


def text_sql(columns: Sequence[InputColumn]) -> Sql:
    """Return SQL, over the snapshot, for the text of a row."""
    return _below_each_other(each.text for each in columns)


def stored_text_sql(columns: Sequence[InputColumn], names: Sql, texts: Sql) -> Sql:
    """Return SQL for the text of a row out of two lists: the `names` of its columns, and their `texts`.

    It is NULL where a column is not among them.
    """
    known = [sql("list_contains({names}, {name})", names=names, name=quote_literal(each.name)) for each in columns]
    text = _below_each_other(
        sql("{texts}[list_position({names}, {name})]", texts=texts, names=names, name=quote_literal(each.name))
        for each in columns
    )
    return sql("CASE WHEN {known} THEN {text} END", known=joined(" AND ", known), text=text)


def embedding_sql(column: InputColumn | None) -> Sql:
    """Return SQL, over the snapshot, for a row's column of numbers as text; NULL where the model reads none."""
    return Sql("NULL::VARCHAR") if column is None else column.text


def stored_embedding_sql(column: InputColumn | None, names: Sql, texts: Sql) -> Sql:
    """Return SQL for the same out of the `names` of columns and their `texts`."""
    if column is None:
        return Sql("NULL::VARCHAR")
    return sql("{texts}[list_position({names}, {name})]", texts=texts, names=names, name=quote_literal(column.name))


def embeddings_of(texts: Sequence[str | None]) -> list[list[float]] | None:
    """Return the numbers that DuckDB wrote as text; None where the model reads none."""
    if not texts or texts[0] is None:
        return None
    return [[float(number) for number in text.strip("[]").split(",")] if text else [] for text in texts]


def _below_each_other(texts: Iterable[Sql]) -> Sql:
    parts = [sql("coalesce({text}, '')", text=each) for each in texts]
    return joined(" || chr(10) || ", parts)
