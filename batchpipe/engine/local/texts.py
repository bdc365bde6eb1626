"""The text that the local model reads of a row: its columns, one below the other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import isfinite

from batchpipe.engine.source.snapshot import InputColumn
from batchpipe.sql.quoting import Sql, joined, number_sql, quote_literal, sql


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


def usable_embedding_sql(embedding: Sql, width: Sql) -> Sql:
    """Return SQL for whether a column of numbers, as text, has `width` finite numbers."""
    return sql(
        "coalesce(len({numbers}) = {width} AND len(list_filter({numbers}, lambda x: isfinite(x))) = {width}, false)",
        numbers=sql("TRY_CAST({embedding} AS DOUBLE[])", embedding=embedding),
        width=width,
    )


def read_by_sql(embedding: Sql, width: int) -> Sql:
    """Return SQL for whether a model of this `width` can read a row: one that reads texts alone can read every row."""
    return usable_embedding_sql(embedding, number_sql(width)) if width else Sql("true")


def embeddings_of(texts: Sequence[str | None], width: int) -> list[list[float]] | None:
    """Return the `width` numbers of each row that DuckDB wrote as text; None where the model reads none.

    A row without so many finite numbers has zeros, which say nothing.
    """
    return [_numbers(text, width) for text in texts] if width else None


def _numbers(text: str | None, width: int) -> list[float]:
    try:
        found = [float(number) for number in (text or "").strip("[]").split(",")]
    except ValueError:  # NULL among them, or no number at all
        found = []
    return found if len(found) == width and all(map(isfinite, found)) else [0.0] * width


def _below_each_other(texts: Iterable[Sql]) -> Sql:
    parts = [sql("coalesce({text}, '')", text=each) for each in texts]
    return joined(" || chr(10) || ", parts)
