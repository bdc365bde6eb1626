"""The type of SQL text, `Sql`, and what makes it: what is no parameter gets into a statement only through this module.

A plain string is no `Sql` for mypy, so that text of a user, a model or a provider cannot be put into a statement by
mistake. At run time `Sql` is `str`, and costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NewType

Sql = NewType("Sql", str)
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_LOWER = str.maketrans(_LETTERS.upper(), _LETTERS)


def sql(template: str, **fragments: Sql) -> Sql:
    """Return the SQL `template`, a literal, with its `{fragments}` filled in; `{{` and `}}` are braces.

    Raises KeyError for a fragment that is not given.
    """
    return Sql(template.format(**fragments))


def joined(separator: str, fragments: Iterable[Sql]) -> Sql:
    """Return the `fragments` with the literal `separator` between them."""
    return Sql(separator.join(fragments))


def number_sql(number: int) -> Sql:
    """Return a whole number as SQL."""
    return Sql(str(int(number)))


def type_sql(name: str) -> Sql:
    """Return as SQL the name of a type, as DuckDB or `batchpipe.sql.types` wrote it."""
    return Sql(name)


def trusted(text: str) -> Sql:
    """Return as SQL what the user wrote as SQL (the input query, its setup, a condition), or what a module builds of
    pieces that are SQL already.

    A pipeline file is code like the project's other files: whoever may edit it may read and write the database anyway.
    It is called at the places that the house test lists, and nowhere else.
    """
    return Sql(text)


def folded(name: str) -> str:
    """Return `name` in lower case as DuckDB compares names: of the letters only A to Z have two cases."""
    return name.translate(_LOWER)


def folded_sql(value: Sql) -> Sql:
    """Return SQL for the text of `value` in lower case, as `folded` writes it."""
    return sql(
        "translate({value}, '{upper}', '{lower}')", value=value, upper=Sql(_LETTERS.upper()), lower=Sql(_LETTERS)
    )


def quote_identifier(name: str) -> Sql:
    """Return `name` as a quoted identifier."""
    return Sql('"' + name.replace('"', '""') + '"')


def quote_literal(text: str) -> Sql:
    """Return `text` as a string literal."""
    return Sql("'" + text.replace("'", "''") + "'")


def json_pointer(*keys: str) -> str:
    """Return the JSON pointer (RFC 6901) to a value below `keys`, in which no key needs quotes."""
    return "".join("/" + key.replace("~", "~0").replace("/", "~1") for key in keys)


def quote_list(texts: Iterable[str]) -> Sql:
    """Return `texts` as string literals with commas between them: `'a', 'b'`."""
    return joined(", ", map(quote_literal, texts))


def table_parts(name: str) -> tuple[str, str]:
    """Return the schema and the name of a table that is written as `name` or `schema.name`."""
    schema, _, table = name.rpartition(".")
    return schema or "main", table


def shown_table(schema: str, table: str) -> str:
    """Return a table's name as a person types it: without the schema `main`."""
    return table if schema == "main" else f"{schema}.{table}"


def quote_table(name: str) -> Sql:
    """Return `schema.table` or `table` with each part quoted; no part may hold a dot."""
    return joined(".", (quote_identifier(part) for part in name.split(".")))
