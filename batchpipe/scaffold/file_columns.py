"""Find the columns of a data file that name pictures or documents, which a prompt sends and does not print."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import duckdb

from batchpipe.sql.quoting import quote_identifier

# The number of rows whose names are looked at: each that is filled has to end like such a file, and the first has to
# exist.
SEEN_ROWS = 100
ENDINGS = {"image": r"(?i).*\.(png|jpe?g|gif|webp|heic)", "pdf": r"(?i).*\.pdf"}


def file_columns(
    session: duckdb.DuckDBPyConnection, relation: str, columns: Mapping[str, str], root: Path
) -> dict[str, str]:
    """Return the columns that name files of the project, each with what they are: "image" or "pdf"."""
    found = {}
    texts = [name for name, kind in columns.items() if kind == "VARCHAR"]
    selected = ", ".join(map(quote_identifier, texts)) or "NULL"
    rows = session.execute(f"SELECT {selected} FROM {relation} LIMIT {SEEN_ROWS}").fetchall()
    for place, column in enumerate(texts):
        values = [row[place] for row in rows if row[place]]
        for kind, ending in ENDINGS.items():
            if values and all(re.fullmatch(ending, value) for value in values) and _exists(root, values[0]):
                found[column] = kind
    return found


def _exists(root: Path, path: str) -> bool:
    try:
        return (root / path).is_file()
    except (OSError, ValueError):
        return False
