"""The column of a data file that can be the key: a column, a pair of columns, or a value within a nested column."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
from duckdb.sqltypes import DuckDBPyType

from batchpipe.common.errors import UsageError
from batchpipe.scaffold.drafts import free_name
from batchpipe.sql.connection import plain_name
from batchpipe.sql.quoting import quote_identifier

# If no single column can be the key, pairs of the first columns are tried, at most so many columns.
PAIRED_COLUMNS = 8
# DuckDB keeps a hash table for each: of hundreds at once it would take all memory.
COUNTED_AT_ONCE = 8
KEY_NAME = re.compile(r"(?i:id|key|uuid|guid|.*[_ -](?:id|key|uuid|guid))|.*[a-z]I[dD]")
# Columns of rounded numbers, or of values without an obvious text, are not used as a key.
NO_KEY_TYPE = re.compile(r"FLOAT|DOUBLE|BOOLEAN|BLOB|BIT|INTERVAL|JSON|VARIANT|GEOMETRY|STRUCT|MAP|UNION|.*\]")
# How deep a value may lie within nested columns, and how many such values are tried.
NESTED_LEVELS, NESTED_VALUES = 4, 40


@dataclass(frozen=True, slots=True, kw_only=True)
class NestedKey:
    """A value within a nested column that can be the key, under a `name` that no column of the file has."""

    name: str
    path: tuple[str, ...]

    @property
    def shown(self) -> str:
        """The SQL of the value: `"order".id`."""
        return ".".join(map(plain_name, self.path))

    def added_to(self, relation: str) -> str:
        """Return the relation with the key as its first column."""
        return f"(SELECT {self.shown} AS {plain_name(self.name)}, * FROM {relation})"


def find_key(
    session: duckdb.DuckDBPyConnection, relation: str, columns: Mapping[str, str], path: Path
) -> tuple[str, ...]:
    """Return the column, or the pair of columns, that can be the key; empty where there is none.

    `columns` are the types by name. Raises UsageError for a file without rows.
    """
    fit = [name for name, kind in columns.items() if not NO_KEY_TYPE.match(kind)]
    fit.sort(key=lambda name: KEY_NAME.fullmatch(name) is None)
    rows, full = _count(session, relation, [f"count({quote_identifier(name)})" for name in fit])
    if rows == 0:
        hint = "Give `--input` a file with at least one row."
        raise UsageError("the file has no rows", where=str(path), hint=hint)
    filled = [name for name, count in zip(fit, full, strict=True) if count == rows]
    pairs = list(itertools.combinations(filled[:PAIRED_COLUMNS], 2))
    for candidates in ([(name,) for name in filled], pairs):
        usable = [tuple(map(quote_identifier, each)) for each in candidates]
        number = _first_unique(session, relation, rows, usable)
        if number is not None:
            return candidates[number]
    return ()


def nested_key(session: duckdb.DuckDBPyConnection, relation: str, columns: Mapping[str, str]) -> NestedKey | None:
    """Return a value within the STRUCT columns that can be the key; one with the name of a key goes first."""
    described = session.sql(f"SELECT * FROM {relation} LIMIT 0")
    paths = [
        (name, *inner)
        for name, kind in zip(described.columns, described.types, strict=True)
        for inner in _values(kind, NESTED_LEVELS)
    ]
    paths.sort(key=lambda path: KEY_NAME.fullmatch(path[-1]) is None)
    paths = paths[:NESTED_VALUES]
    expressions = [".".join(map(quote_identifier, path)) for path in paths]
    rows, full = _count(session, relation, [f"count({each})" for each in expressions])
    filled = [number for number, count in enumerate(full) if count == rows]
    found = _first_unique(session, relation, rows, [(expressions[number],) for number in filled])
    if found is None:
        return None
    path = paths[filled[found]]
    return NestedKey(name=free_name("_".join(path), columns, "nested_"), path=path)


def no_key(path: Path) -> UsageError:
    """Return the error for a file in which nothing can be the key."""
    what = "no column, and no pair of columns, can be the key: each has a value twice, or NULL"
    hint = "Add a column with an id that is different in each row; if whole rows occur twice, remove one of them."
    return UsageError(what, where=str(path), hint=hint)


def _values(kind: DuckDBPyType, levels: int) -> Iterator[tuple[str, ...]]:
    """Return the paths of the values within a STRUCT whose types can be those of a key."""
    if kind.id != "struct" or levels == 0:
        return
    for name, inner in kind.children:
        assert isinstance(inner, DuckDBPyType)
        if not NO_KEY_TYPE.match(str(inner)):
            yield (name,)
        yield from ((name, *path) for path in _values(inner, levels - 1))


def _first_unique(
    session: duckdb.DuckDBPyConnection, relation: str, rows: int, candidates: Sequence[tuple[str, ...]]
) -> int | None:
    """Return the number of the first candidate, expressions of SQL, whose values differ in all rows."""
    for first in range(0, len(candidates), COUNTED_AT_ONCE):
        counted = candidates[first : first + COUNTED_AT_ONCE]
        _, distinct = _count(session, relation, [_distinct(each) for each in counted])
        if rows in distinct:
            return first + distinct.index(rows)
    return None


def _distinct(expressions: Sequence[str]) -> str:
    # Values are compared as text, as the keys of a run are.
    texts = ", ".join(f"CAST({each} AS VARCHAR)" for each in expressions)
    return f"count(DISTINCT ({texts}))"


def _count(session: duckdb.DuckDBPyConnection, relation: str, expressions: Sequence[str]) -> tuple[int, list[int]]:
    row = session.execute(f"SELECT {', '.join(['count(*)', *expressions])} FROM {relation}").fetchone()
    assert row is not None
    return int(row[0]), [int(count) for count in row[1:]]
