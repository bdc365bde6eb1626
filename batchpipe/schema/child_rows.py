"""The table of the items of a list field: its columns, and the SQL that makes its rows out of the output table."""

from __future__ import annotations

from collections.abc import Sequence

from batchpipe.schema.columns import Column
from batchpipe.sql.quoting import Sql, folded, joined, quote_identifier, sql
from batchpipe.sql.types import Many, Struct

INDEX = "_index"
VALUE = "value"
ITEM = "_item"


def item_columns(column: Column) -> list[tuple[str, str]]:
    """Return the columns that the items of a list field give, with their types: `value` for plain items.

    Raises ValueError where the field is no list.
    """
    if not isinstance(column.shape, Many):
        raise ValueError(f"{column.name} is {column.type}, not a list")
    item = column.shape.item
    return [(name, shape.sql) for name, shape in item.fields] if isinstance(item, Struct) else [(VALUE, item.sql)]


def clashing(column: Column, taken: Sequence[str]) -> str | None:
    """Return a column of the items that is also one of the `taken` names, which are compared without case."""
    names = {folded(each) for each in (*taken, INDEX)}
    return next((name for name, _ in item_columns(column) if folded(name) in names), None)


def item_rows_sql(relation: Sql, column: Column, keys: Sequence[str], added: Sequence[str]) -> Sql:
    """Return a SELECT of the items of a list field, one row each: the key, `_index` from 1, the item, what is added."""
    named = [quote_identifier(each) for each in (*keys, *added)]
    is_struct = isinstance(column.shape, Many) and isinstance(column.shape.item, Struct)
    items = [
        sql("t.{item}.{name} AS {name}", item=quote_identifier(ITEM), name=quote_identifier(name))
        if is_struct
        else sql("t.{item} AS {name}", item=quote_identifier(ITEM), name=quote_identifier(name))
        for name, _ in item_columns(column)
    ]
    own = [sql("t.{name}", name=quote_identifier(each)) for each in keys]
    further = [sql("t.{name}", name=quote_identifier(each)) for each in added]
    return sql(
        "SELECT {columns} FROM (SELECT {named}, generate_subscripts({field}, 1) AS {index}, unnest({field}) AS {item} "
        "FROM {relation}) t",
        columns=joined(", ", [*own, sql("t.{index}", index=quote_identifier(INDEX)), *items, *further]),
        named=joined(", ", named),
        field=quote_identifier(column.name),
        index=quote_identifier(INDEX),
        item=quote_identifier(ITEM),
        relation=relation,
    )
