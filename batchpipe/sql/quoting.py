"""Names and text as SQL: the only way a value that is not a parameter gets into a statement."""

from __future__ import annotations

from collections.abc import Iterable


def quote_identifier(name: str) -> str:
    """`name` as a quoted identifier."""
    return '"' + name.replace('"', '""') + '"'


def quote_literal(text: str) -> str:
    """`text` as a string literal."""
    return "'" + text.replace("'", "''") + "'"


def quote_list(texts: Iterable[str]) -> str:
    """`texts` as the literals of a list: `'a', 'b'`."""
    return ", ".join(map(quote_literal, texts))


def quote_table(name: str) -> str:
    """`schema.table` or `table`, each part quoted; a part itself holds no dot."""
    return ".".join(quote_identifier(part) for part in name.split("."))
