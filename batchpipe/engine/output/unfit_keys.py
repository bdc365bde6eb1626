"""Find the stored keys that the key columns' present types cannot hold: the output table has no place for them."""

from __future__ import annotations

from dataclasses import dataclass

from batchpipe.decide.fingerprint import RECIPES, newest_recipe
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.engine.source.snapshot import InputColumn, canonical_text, input_column
from batchpipe.sql.quoting import Sql, joined, number_sql, quote_list, sql, type_sql
from batchpipe.sql.type_tree import type_tree
from batchpipe.store.database import Session
from batchpipe.store.queries import query


@dataclass(frozen=True, slots=True, kw_only=True)
class UnfitKeys:
    """How many answered keys do not fit the present types of the key; `example` is one of them, a JSON list of texts.

    `types`: the key's columns with their present types.
    """

    keys: int
    example: str
    types: tuple[tuple[str, str], ...]

    @property
    def text(self) -> str:
        """Return what is said of them."""
        types = ", ".join(f"{name} is {kind} now" for name, kind in self.types)
        casts = ", ".join(f"CAST({name} AS VARCHAR) AS {name}" for name, _ in self.types)
        return (
            f"{types}, and {self.keys:,} answered keys do not fit it, such as {self.example}: the output table leaves "
            f"them out, the ledger keeps their answers. To have them in the table, write {casts} in the query"
        )


def key_value_sql(number: int, column: InputColumn) -> Sql:
    """Return SQL for the value of one key column out of `q.key`; NULL where its text is none of its type.

    Lists, structs and maps are JSON there, or what DuckDB writes for them, as the first recipe had them.
    """
    text = sql("json_extract_string(q.key, '$[{number}]')", number=number_sql(number))
    plain = sql("TRY_CAST({text} AS {type})", text=text, type=type_sql(column.type))
    if not type_tree(column.type).children:
        return plain
    return sql(
        "CASE WHEN {written} = {text} THEN {plain} "
        "ELSE coalesce(TRY_CAST(TRY_CAST({text} AS JSON) AS {type}), {plain}) END",
        written=canonical_text(column.held(plain), column.type, newest_recipe().number),
        text=text,
        plain=plain,
        type=type_sql(column.type),
    )


def fit_keys_sql(resolved: Resolved) -> Sql:
    """Return SQL for whether a stored key, `q.key`, is one that the key's present types write.

    It may be written as any type and recipe that was recorded wrote it. A key of more columns, or of fewer, is none.
    """
    tests = [
        _fits(number, column, [types[number] for types, _ in resolved.key_types if types])
        for number, column in enumerate(resolved.key_columns)
        if column.type != "VARCHAR"
    ]
    return joined(" AND ", [_has_columns(resolved), *tests])


def fit_keys_now_sql(resolved: Resolved) -> Sql:
    """Return the same for keys that were sent: their types are those of today where these never changed."""
    return fit_keys_sql(resolved) if _changed(resolved) else _has_columns(resolved)


def _has_columns(resolved: Resolved) -> Sql:
    """Return SQL for whether `q.key` has as many columns as the key has today."""
    return sql("json_array_length(q.key) = {columns}", columns=number_sql(len(resolved.key_columns)))


def _changed(resolved: Resolved) -> bool:
    """Return whether the key has been of other types than today's."""
    present = tuple(each.type for each in resolved.key_columns)
    return any(types not in (None, present) for types, _ in resolved.key_types)


def _fits(number: int, column: InputColumn, recorded: list[str]) -> Sql:
    """Return SQL for whether the text of one key column is what some type and recipe writes of its present value."""
    text = sql("json_extract_string(q.key, '$[{number}]')", number=number_sql(number))
    value = key_value_sql(number, column)
    written = [
        canonical_text(input_column(column.name, kind).held(cast), kind, recipe)
        for kind in dict.fromkeys([column.type, *recorded])
        for recipe in RECIPES
        for cast in [value if kind == column.type else sql("TRY_CAST({v} AS {t})", v=value, t=type_sql(kind))]
    ]
    return sql("coalesce({text} IN ({written}), false)", text=text, written=joined(", ", dict.fromkeys(written)))


def unfit_keys(session: Session, resolved: Resolved) -> UnfitKeys | None:
    """Return the answered keys that do not fit the key's types; None where all do, or where the types never changed.

    Reads `ledger.requests`, `ledger.decisions`.
    """
    if not _changed(resolved):
        return None
    statement = query("unfit_keys", fits=fit_keys_sql(resolved), pipelines=quote_list(resolved.names))
    keys, example = session.one(statement)
    if not keys:
        return None
    types = tuple((each.name, each.type) for each in resolved.key_columns)
    return UnfitKeys(keys=keys, example=example, types=types)
