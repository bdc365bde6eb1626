"""Describe the input that a call has read: a Parquet file of rows, and SQL over its columns."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from batchpipe.common import modes
from batchpipe.decide.fingerprint import RECIPES, newest_recipe
from batchpipe.sql.conditions import INPUT_PREFIX
from batchpipe.sql.connection import Connection
from batchpipe.sql.quoting import (
    Sql,
    joined,
    number_sql,
    quote_identifier,
    quote_list,
    quote_literal,
    sql,
    trusted,
    type_sql,
)
from batchpipe.sql.recorded import recorded_text, recorded_value, value_of_text
from batchpipe.sql.type_tree import type_tree
from batchpipe.store.memory import VECTOR_ROWS, Memory

# Values of these types are stored as text: Parquet would change them.
_TEXT_ONLY = re.compile(
    r"HUGEINT|ENUM|BIT\b|UNION|BIGNUM|VARIANT|INTERVAL|GEOMETRY|TIME WITH|TIMESTAMP_S|TIMESTAMP_MS|VARINT"
)

TYPES = "types_of_texts"


# Parquet has no lists of a fixed length: they are read as lists.
_FIXED_LENGTH = re.compile(r"\[\d+\]")


@dataclass(frozen=True, slots=True, kw_only=True)
class InputColumn:
    """A column of the input query with its DuckDB type. With `as_text` the snapshot holds its values as text."""

    name: str
    type: str
    as_text: bool

    @property
    def stored(self) -> Sql:
        """Return the column's quoted name in the snapshot."""
        return quote_identifier(INPUT_PREFIX + self.name)

    def held(self, value: Sql) -> Sql:
        """Return SQL for `value`, one of the column, as the snapshot holds it."""
        return sql("CAST({value} AS VARCHAR)", value=value) if self.as_text else value

    def stored_as(self, value: Sql) -> Sql:
        """Return SQL that selects `value`, one of the column, under the column's name in the snapshot."""
        return sql("{held} AS {stored}", held=self.held(value), stored=self.stored)

    @property
    def text(self) -> Sql:
        """Return SQL for the column's value as text, over the snapshot."""
        return sql("CAST({stored} AS VARCHAR)", stored=self.stored)

    @property
    def recorded(self) -> Sql:
        """Return SQL for the column's value as text that is read back as the same value, over the snapshot."""
        return recorded_text(self.stored, self.type, self.as_text)

    @property
    def shown(self) -> Sql:
        """Return SQL for the column's value as people see it, over the snapshot: text, and JSON of what is nested."""
        return self.canonical(newest_recipe().number) if type_tree(self.type).children else self.text

    def canonical(self, recipe: int) -> Sql:
        """Return SQL for its canonical text in keys and hashes under a recipe, over the snapshot."""
        return canonical_text(self.stored, self.type, recipe)

    def recorded_as(self, kind: str, recipe: int) -> Sql:
        """Return SQL for the canonical text that its value had as a column of type `kind`, over the snapshot."""
        present = self.canonical(recipe)
        if kind == self.type:
            return present
        cast = sql("TRY_CAST({value} AS {kind})", value=self.value, kind=type_sql(kind))
        return sql(
            "CASE WHEN TRY_CAST({cast} AS {type}) IS NOT DISTINCT FROM {value} THEN {text} ELSE {present} END",
            cast=cast,
            type=type_sql(self.type),
            value=self.value,
            text=canonical_text(input_column(self.name, kind).held(cast), kind, recipe),
            present=present,
        )

    @property
    def value(self) -> Sql:
        """Return SQL for the column's value in its own type, over the snapshot."""
        if self.as_text:
            return value_of_text(self.stored, self.type)
        if not _FIXED_LENGTH.search(self.type):
            return self.stored
        return sql("CAST({stored} AS {type})", stored=self.stored, type=type_sql(self.type))


def input_column(name: str, type: str) -> InputColumn:
    """Return the column called `name` of the DuckDB type `type`."""
    return InputColumn(name=name, type=type, as_text=bool(_TEXT_ONLY.search(type)))


def save_typed(connection: Connection, rows: Sql, columns: Sequence[tuple[str, str]], path: Path) -> None:
    """Write `rows`, which have `columns`, to a Parquet file that says of which type what it holds as text was."""
    inputs = [input_column(*each) for each in columns]
    names = [quote_identifier(each.name) for each in inputs]
    held = (
        sql("{value} AS {name}", value=each.held(name), name=name) for each, name in zip(inputs, names, strict=True)
    )
    connection.execute(
        sql(
            "COPY (SELECT {held} FROM ({rows})) TO {path} (FORMAT parquet, KV_METADATA {{ {key}: {types} }})",
            held=joined(", ", held),
            rows=rows,
            path=quote_literal(str(path)),
            key=Sql(TYPES),
            types=quote_literal(json.dumps({each.name: each.type for each in inputs if each.as_text})),
        )
    )


def typed_rows(connection: Connection, path: Path) -> Sql:
    """Return SQL for the rows of a file of `save_typed`, each column in its own type."""
    place = quote_literal(str(path))
    found = connection.execute(
        sql("SELECT decode(value) FROM parquet_kv_metadata({path}) WHERE decode(key) = $key", path=place),
        {"key": TYPES},
    ).fetchone()
    typed = (
        sql("CAST({name} AS {type}) AS {name}", name=quote_identifier(name), type=type_sql(type))
        for name, type in json.loads(found[0] if found else "{}").items()
    )
    replaced = joined(", ", typed)
    values = sql("* REPLACE ({replaced})", replaced=replaced) if replaced else Sql("*")
    return sql("(SELECT {values} FROM read_parquet({path}))", values=values, path=place)


def canonical_text(value: Sql, kind: str, recipe: int) -> Sql:
    """Return SQL for the canonical text of `value` of the type `kind`, as the snapshot holds it: some types as text."""
    return trusted(RECIPES[recipe].text(value, kind, bool(_TEXT_ONLY.search(kind))))


def shown_values(
    connection: Connection, columns: Sequence[str], types: Sequence[str], texts: Sequence[str | None]
) -> dict[str, str | None]:
    """Return recorded texts by column as people see them: what is nested is JSON, where its type can still be read."""
    found = dict(zip(columns, texts, strict=False))
    for name, kind, text in zip(columns, types, texts, strict=False):
        if text is None or not type_tree(kind).children:
            continue
        given = Sql("$text::VARCHAR")
        held = given if _TEXT_ONLY.search(kind) else recorded_value(given, kind)
        json_text = canonical_text(held, kind, newest_recipe().number)
        row = connection.execute(
            sql("SELECT coalesce(TRY({shown}), $text)", shown=json_text), {"text": text}
        ).fetchone()
        found[name] = row[0] if row else text
    return found


def key_sql(texts: Iterable[Sql]) -> Sql:
    """Return SQL for a key: a JSON list of the `texts` of its columns."""
    return sql("json_array({texts})::VARCHAR", texts=joined(", ", texts))


def present_key_sql(columns: Iterable[InputColumn]) -> Sql:
    """Return SQL, over the snapshot, for the key as today's recipe writes it."""
    return key_sql(each.canonical(newest_recipe().number) for each in columns)


def names_sql(columns: Iterable[InputColumn]) -> Sql:
    """Return SQL for the names of `columns` as a VARCHAR list."""
    return sql("[{names}]::VARCHAR[]", names=quote_list(each.name for each in columns))


def texts_sql(columns: Iterable[InputColumn]) -> Sql:
    """Return SQL for the texts of `columns` as a VARCHAR list, over the snapshot."""
    return sql("[{text}]::VARCHAR[]", text=joined(", ", (each.text for each in columns)))


def recorded_texts_sql(columns: Iterable[InputColumn]) -> Sql:
    """Return SQL for the texts from which values of `columns` are read back, as a VARCHAR list, over the snapshot."""
    return sql("[{texts}]::VARCHAR[]", texts=joined(", ", (each.recorded for each in columns)))


def input_hash_sql(columns: Iterable[InputColumn], recipe: int) -> Sql:
    """Return SQL for the input hash: over the canonical texts of `columns` as a JSON list, over the snapshot."""
    return hash_of_texts_sql(each.canonical(recipe) for each in columns)


def input_hashes_sql(columns: Sequence[InputColumn]) -> Sql:
    """Return SQL for the input hashes by every recipe, as a list of SQL; recipes that agree give one."""
    return joined(", ", dict.fromkeys(input_hash_sql(columns, recipe) for recipe in RECIPES))


def recorded_hash_sql(columns: Sequence[InputColumn], types: Sequence[str], recipe: int) -> Sql:
    """Return SQL for the input hash as it was over `columns` of the recorded `types`, over the snapshot.

    A value that its recorded type cannot hold goes by its present type.
    """
    return hash_of_texts_sql(each.recorded_as(kind, recipe) for each, kind in zip(columns, types, strict=True))


def hash_of_texts_sql(texts: Iterable[Sql]) -> Sql:
    """Return SQL for the identity of a JSON list of `texts`, each of them SQL."""
    return sql("unhex(md5(json_array({texts})::VARCHAR))::UUID", texts=joined(", ", texts))


# Row groups are small, because a reader holds a whole row group, and texts may be long.
GROUP_ROWS = 8_192
# Version 2 of the format stores differences of numbers: they are read in half the time.
# Compressed at most twentyfold, its rows fit into memory anyway.
SMALL_BYTES = 100_000
# A dictionary of texts that are all different costs more than it saves, and where they are not, the file does not say
# how long they are.
SNAPSHOT_FORMAT = sql(
    "FORMAT parquet, PARQUET_VERSION v2, ROW_GROUP_SIZE {rows}, COMPRESSION snappy, DICTIONARY_SIZE_LIMIT 1",
    rows=number_sql(GROUP_ROWS),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The input as this call read it: a Parquet file of `position` and the columns.

    `key_columns` are the columns of the key; where there are none the file has a column `key` of its own.
    """

    path: Path
    columns: tuple[InputColumn, ...]
    key_columns: tuple[str, ...]
    rows: int

    @property
    def relation(self) -> Sql:
        """Return SQL for the rows of the file with `key`, a JSON list of texts, as their first column."""
        if not self.key_columns:
            return self.file
        by_name = {each.name: each for each in self.columns}
        key = present_key_sql(by_name[name] for name in self.key_columns)
        return sql("(SELECT {key} AS key, * FROM {file})", key=key, file=self.file)

    @property
    def file(self) -> Sql:
        """Return SQL that reads the file as it is."""
        return sql("read_parquet({path})", path=quote_literal(str(self.path)))

    def of_rows(self, connection: Connection, statement: Sql, path: Path) -> Snapshot:
        """Write the rows of `relation` that `statement` selects to `path`, and return them as a snapshot."""
        copy = sql(
            "COPY (SELECT {stored} FROM ({statement})) TO {path} ({format})",
            stored=Sql("* EXCLUDE (key)") if self.key_columns else Sql("*"),
            statement=statement,
            path=quote_literal(str(path)),
            format=SNAPSHOT_FORMAT,
        )
        row = connection.execute(copy).fetchone()
        modes.settle(path)
        return replace(self, path=path, rows=int(row[0]) if row else 0)

    def largest_bytes(self, connection: Connection) -> tuple[int, int]:
        """Return the uncompressed bytes of the largest row group of the file, and those of as many of its rows as
        DuckDB works on at once; 0 for a file so small that all of it fits.
        """
        if self.path.stat().st_size < SMALL_BYTES:
            return 0, 0
        row = connection.execute(
            sql(
                "SELECT max(bytes)::BIGINT, max(bytes * least(1, {vector} / number))::BIGINT "
                "FROM (SELECT sum(total_uncompressed_size) AS bytes, any_value(row_group_num_rows) AS number "
                "FROM parquet_metadata($path) GROUP BY row_group_id)",
                vector=number_sql(VECTOR_ROWS),
            ),
            {"path": str(self.path)},
        ).fetchone()
        return (int(row[0] or 0), int(row[1] or 0)) if row else (0, 0)

    def make_room(self, memory: Memory) -> None:
        """Raise the limit of memory for statements that read the rows whole."""
        memory.make_room_for_input(*self.largest_bytes(memory.connection))

    def typed(self, names: Iterable[str]) -> Sql:
        """Return SQL for `position` and the columns called `names` in their own types, as conditions read them."""
        by_name = {each.name: each for each in self.columns}
        chosen = [
            sql("{value} AS {stored}", value=by_name[name].value, stored=by_name[name].stored)
            for name in sorted(set(names))
        ]
        return sql(
            "(SELECT {columns} FROM {relation})",
            columns=joined(", ", [Sql("position"), *chosen]),
            relation=self.relation,
        )
