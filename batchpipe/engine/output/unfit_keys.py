"""Find the stored keys that the key columns' present types cannot hold: the output table has no place for them."""

from __future__ import annotations

from dataclasses import dataclass

from batchpipe.decide.fingerprint import RECIPES
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.engine.source.keys import key_text_sql, key_value_sql
from batchpipe.engine.source.snapshot import InputColumn, canonical_text, input_column
from batchpipe.sql.quoting import Sql, joined, number_sql, quote_list, sql, type_sql
from batchpipe.sql.recorded import once
from batchpipe.sql.type_tree import type_tree
from batchpipe.store.database import Session
from batchpipe.store.queries import query

_KEY = Sql("q.key")


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
    """Return the same for keys that were sent: where types never changed, only a nested value may not be read back."""
    if _doubtful(resolved):
        return fit_keys_sql(resolved)
    there = (
        sql("{value} IS NOT NULL", value=key_value_sql(number, column, _KEY))
        for number, column in enumerate(resolved.key_columns)
    )
    return joined(" AND ", [_has_columns(resolved), *there])


def _has_columns(resolved: Resolved) -> Sql:
    """Return SQL for whether `q.key` has as many columns as the key has today."""
    return sql("json_array_length(q.key) = {columns}", columns=number_sql(len(resolved.key_columns)))


def _doubtful(resolved: Resolved) -> bool:
    """Return whether the key has been of other types than today's, or has lists, structs or maps."""
    present = tuple(each.type for each in resolved.key_columns)
    changed = any(types not in (None, present) for types, _ in resolved.key_types)
    return changed or any(type_tree(each).children for each in present)


def _fits(number: int, column: InputColumn, recorded: list[str]) -> Sql:
    """Return SQL for whether the text of one key column is what some type and recipe writes of its present value."""
    text, read = key_text_sql(number, _KEY), key_value_sql(number, column, _KEY)
    value = Sql("of_key") if type_tree(column.type).children else read
    written = [
        canonical_text(input_column(column.name, kind).held(cast), kind, recipe)
        for kind in dict.fromkeys([column.type, *recorded])
        for recipe in RECIPES
        for cast in [value if kind == column.type else sql("TRY_CAST({v} AS {t})", v=value, t=type_sql(kind))]
    ]
    same = sql("coalesce({text} IN ({written}), false)", text=text, written=joined(", ", dict.fromkeys(written)))
    return same if value is read else once(value, read, same)


def unfit_keys(session: Session, resolved: Resolved) -> UnfitKeys | None:
    """Return the answered keys that do not fit the key's types; None where all do, or where none can be unfit.

    Reads `ledger.requests`, `ledger.decisions`.
    """
    if not _doubtful(resolved):
        return None
    statement = query("unfit_keys", fits=fit_keys_sql(resolved), pipelines=quote_list(resolved.names))
    keys, example = session.one(statement)
    if not keys:
        return None
    types = tuple((each.name, each.type) for each in resolved.key_columns)
    return UnfitKeys(keys=keys, example=example, types=types)
