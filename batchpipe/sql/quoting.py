"""Quoting of names and text for SQL: a value that is not a parameter gets into a statement only through these."""

from __future__ import annotations

from collections.abc import Iterable


def quote_identifier(name: str) -> str:
    """Return `name` as a quoted identifier."""
    return '"' + name.replace('"', '""') + '"'


def quote_literal(text: str) -> str:
    """Return `text` as a string literal."""
    return "'" + text.replace("'", "''") + "'"


def quote_list(texts: Iterable[str]) -> str:
    """Return `texts` as string literals with commas between them: `'a', 'b'`."""
    return ", ".join(map(quote_literal, texts))


def quote_table(name: str) -> str:
    """Return `schema.table` or `table` with each part quoted; no part may hold a dot."""
    return ".".join(quote_identifier(part) for part in name.split("."))
