"""Inspection of a data file: the SQL that reads it, its columns, and the columns that can be the key."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from batchpipe.common.errors import UsageError
from batchpipe.common.likeness import nearest
from batchpipe.scaffold import csv_reading, databases
from batchpipe.scaffold.file_columns import file_columns
from batchpipe.scaffold.keys import KEY_NAME, find_key, nested_key, no_key
from batchpipe.scaffold.left_out import left_out
from batchpipe.sql.connection import plain_name
from batchpipe.sql.messages import duckdb_message, query_hint
from batchpipe.sql.quoting import quote_literal

READERS = {
    ".csv": "read_csv",
    ".tsv": "read_csv",
    ".parquet": "read_parquet",
    ".json": "read_json",
    ".jsonl": "read_json",
    ".ndjson": "read_json",
    ".xlsx": "read_xlsx",
}
DATABASE = "a database"
COMPRESSED = (".gz", ".zst")


@dataclass(frozen=True, slots=True, kw_only=True)
class RowsPlace:
    """Where the rows of a new pipeline are.

    `typed` is the path as it was typed in the folder `start`; None where it was not typed. `table` is the table of a
    database that is meant. `own` is the project's own database.
    """

    typed: str | None = None
    start: Path | None = None
    table: str | None = None
    own: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFile:
    """A data file: `relation` is the SQL that reads it; its columns in order, the SQL of each of them, and the key.

    `setup` are statements before it. `here` and `setup_here` are the same from any folder. `left_out` are the columns
    that a prompt had better not show, each with the reason; `files` those that name files of the project, each with
    what they are. `notes` are what a person should know of how the file is read.
    """

    relation: str
    columns: tuple[str, ...]
    expressions: tuple[str, ...]
    key: tuple[str, ...]
    setup: tuple[str, ...]
    here: str
    setup_here: tuple[str, ...]
    left_out: Mapping[str, str]
    files: Mapping[str, str]
    notes: tuple[str, ...] = ()

    @property
    def key_is_named(self) -> bool:
        """Whether the key is named like one (`id`); otherwise its values may be content that the prompt should show."""
        return all(KEY_NAME.fullmatch(column) for column in self.key)


def read_source(root: Path, path: Path, labels: Sequence[str] = (), place: RowsPlace | None = None) -> DataFile:
    """Inspect the file at `path`; the SQL of the result reads it from `root`. Raises UsageError if it cannot
    be used.
    """
    place = place or RowsPlace()
    reader = _reader(path, place.typed or "")
    if place.table is not None and reader != DATABASE:
        hint = f"Leave --table out, or name a database with --input: {', '.join(databases.SUFFIXES)}."
        raise UsageError("--table with a file that is no database", where="--table", hint=hint)
    options = csv_reading.first_options(path) if reader == "read_csv" else {}
    while True:
        try:
            return _read(root, path, labels, place, reader, options)
        except duckdb.Error as error:
            more = csv_reading.more_options(error, options) if reader == "read_csv" else {}
            if not more:
                raise _unreadable(error, path, reader) from error
            options |= more


def _read(
    root: Path, path: Path, labels: Sequence[str], place: RowsPlace, reader: str, options: Mapping[str, str]
) -> DataFile:
    """Inspect the file, which is read with `options`. Raises duckdb.Error where they do not do."""
    shown = _shown_path(root, path, place)
    with duckdb.connect() as session:
        if reader == DATABASE:
            relation, setup, here, setup_here = _in_database(session, path, shown, place)
        else:
            relation, setup = _call(reader, shown, options), ()
            here, setup_here = _call(reader, path.resolve().as_posix(), options), ()
        columns = _columns(session, here)
        key = find_key(session, here, columns, path)
        notes: tuple[str, ...] = ()
        if not key:
            inner = nested_key(session, here, columns)
            if inner is None:
                raise no_key(path)
            relation, here = inner.added_to(relation), inner.added_to(here)
            columns, key = _columns(session, here), (inner.name,)
            notes = (f"the key {inner.name} is {inner.shown} of the file: no column of its own can be the key",)
        expressions = tuple(map(plain_name, columns))
        unfit = left_out(session, here, columns, labels)
        files = file_columns(session, here, columns, root)
    return DataFile(
        relation=relation,
        columns=tuple(columns),
        expressions=expressions,
        key=key,
        setup=setup,
        here=here,
        setup_here=setup_here,
        left_out=unfit,
        files=files,
        notes=(*notes, *(csv_reading.notes(options, tuple(columns)) if reader == "read_csv" else ())),
    )


def _columns(session: duckdb.DuckDBPyConnection, relation: str) -> dict[str, str]:
    """Return the types of the columns of a relation, by name."""
    return {str(row[0]): str(row[1]) for row in session.execute(f"DESCRIBE SELECT * FROM {relation}").fetchall()}


def _in_database(
    session: duckdb.DuckDBPyConnection, path: Path, shown: str, place: RowsPlace
) -> tuple[str, tuple[str, ...], str, tuple[str, ...]]:
    """Return relation and setup of a table in a database file, as the pipeline has them and as they are used here."""
    kind = databases.database_kind(path)
    databases.attach_source(session, path.resolve(), kind)
    schema, name = databases.table_of(session, path, place.table)
    here = databases.relation((databases.ALIAS, schema, name))
    setup_here = (databases.attach_statement(path.resolve().as_posix(), kind),)
    if place.own is not None and place.own.exists() and path.resolve() == place.own.resolve():
        if schema != "main":
            view = f"CREATE VIEW {databases.relation((name,))} AS FROM {databases.relation((schema, name))}"
            what = f"a pipeline sees the tables in the schema main of its own database, and this one is in {schema}"
            raise UsageError(what, where=str(path), hint=f"Make a view of it in DuckDB: {view}")
        return databases.relation((name,)), (), here, setup_here  # seen without ATTACH
    return here, (databases.attach_statement(shown, kind),), here, setup_here


def _shown_path(root: Path, path: Path, place: RowsPlace) -> str:
    """Return the path as the pipeline's query names it, from `root`: as it was typed where that is possible."""
    if place.typed is not None and (Path(place.typed).is_absolute() or place.typed.startswith("~")):
        return place.typed
    if place.typed is not None and place.start is not None:
        if place.start.resolve() == root.resolve():
            return place.typed
        return Path(os.path.relpath(place.start.resolve() / place.typed, root.resolve())).as_posix()
    return Path(os.path.relpath(path.resolve(), root.resolve())).as_posix()


def _unreadable(error: duckdb.Error, path: Path, reader: str) -> UsageError:
    if reader == "read_xlsx" and "extension" in str(error).lower():
        what = "to read .xlsx DuckDB needs its extension excel, which is not here"
        install = "python -c \"import duckdb; duckdb.execute('INSTALL excel')\""
        hint = f"Install it once where there is a network: {install}; or save the sheet as CSV and name that file."
        return UsageError(what, where=str(path), hint=hint)
    if reader == "read_csv" and "automatically detect the CSV" in str(error):
        hint = "Save it as CSV in UTF-8: one line with the names of the columns, then a line for each row."
        return UsageError("this is no table in CSV that DuckDB understands", where=str(path), hint=hint)
    what = f"DuckDB cannot read the file: {duckdb_message(error)}"
    hint = "Try it in DuckDB first." if reader == DATABASE else query_hint(error)
    return UsageError(what, where=str(path), hint=hint)


def _reader(path: Path, typed: str) -> str:
    if not path.is_file():
        if "://" in typed:
            hint = "Leave `--input` out, and name the address in the query of the new file."
            raise UsageError("this is an address and no file", where=typed, hint=hint)
        what = "this is a folder" if path.is_dir() else "there is no such file"
        meant = nearest(path.name, _data_files(path.parent)) if not path.is_dir() else None
        hint = f"Did you mean {meant}?" if meant else "Give `--input` the path of a data file."
        raise UsageError(what, where=str(path), hint=hint)
    kept = [each.lower() for each in path.suffixes if each.lower() not in COMPRESSED]
    if kept and kept[-1] in databases.SUFFIXES:
        return DATABASE
    reader = READERS.get(kept[-1]) if kept else None
    if reader is None:
        known = ", ".join([*READERS, *databases.SUFFIXES])
        hint = f"Known are {known}. For other sources leave `--input` out and edit the query in the new file."
        raise UsageError("this kind of file is not known", where=str(path), hint=hint)
    return reader


def _data_files(folder: Path) -> list[str]:
    """Return the names of the files in a folder that can be read, in order."""
    known = (*READERS, *databases.SUFFIXES)
    try:
        return sorted(each.name for each in folder.iterdir() if any(end.lower() in known for end in each.suffixes))
    except OSError:
        return []


def _call(reader: str, path: str, options: Mapping[str, str]) -> str:
    # DuckDB reads *, ? and [ as a pattern; in brackets each of them is the character itself.
    literal = re.sub(r"([*?[])", r"[\1]", path)
    given = "".join(f", {name} = {value}" for name, value in options.items())
    return f"{reader}({quote_literal(literal)}{given})"
