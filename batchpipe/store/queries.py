"""The named SQL statements in the `.sql` files under `queries/`.

A statement begins with `-- name: NAME`. It may have `{parts}`, which callers fill with SQL quoted by
`batchpipe.sql.quoting`; values are always bound parameters.
"""

from __future__ import annotations

import re
from functools import cache
from importlib import resources

from batchpipe.sql.quoting import Sql

_BLOCK = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


@cache
def _blocks() -> dict[str, str]:
    found: dict[str, str] = {}
    for file in resources.files(__package__).joinpath("queries").iterdir():
        if file.name.endswith(".sql"):
            pieces = _BLOCK.split(file.read_text(encoding="utf-8"))
            found.update(zip(pieces[1::2], (piece.strip() for piece in pieces[2::2]), strict=True))
    return found


def query(name: str, **parts: Sql) -> Sql:
    """Return the statement `name` with its `{parts}` filled in. Raises KeyError for an unknown name or missing part."""
    text = _blocks()[name]
    return Sql(text.format(**parts) if parts else text)


def names() -> frozenset[str]:
    """Return the names of all statements; a test checks that each is used."""
    return frozenset(_blocks())
