"""Put files into requests: their bytes are read when a body is made, and must be the bytes that were planned."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from batchpipe.common import modes
from batchpipe.engine.source.contents import ContentColumn, source_column
from batchpipe.engine.source.snapshot import Snapshot
from batchpipe.engine.source.source import Source
from batchpipe.media.content import read_line
from batchpipe.media.places import filled, hashes
from batchpipe.media.roots import Roots
from batchpipe.sql.connection import Connection
from batchpipe.sql.quoting import Sql, joined, number_sql, quote_identifier, quote_list, quote_literal, sql
from batchpipe.store.queries import query

Working: TypeAlias = Connection


class ChangedFileError(Exception):
    """The bytes of a file are not those of the plan any more."""


@dataclass(slots=True)
class RequestFiles:
    """Reads the files of requests, which `columns` name. `source` opens the input anew, for contents that are bytes.


    `roots` looks at paths once more. `folder` gets the bytes of the input that requests need. `changed` are the hashes
    whose bytes are not there any more.
    """

    columns: Sequence[ContentColumn]
    roots: tuple[Roots, Roots]
    source: Callable[[], AbstractContextManager[Source]]
    folder: Path
    changed: set[str] = field(default_factory=set)
    _kept: Path | None = None

    def provide(self, connection: Working, snapshot: Snapshot, positions: Sql) -> None:
        """Write the bytes that the rows at `positions` (SQL) send out of the input to a file of their own.

        Rows whose bytes are there by their paths or addresses need none.
        """
        columns = [each for each in self.columns if each.is_bytes]
        if not columns:
            return
        wanted, kept = self._wanted, self.folder / "files.parquet"
        lines = joined(" UNION ALL ", (_hashes(each, snapshot, positions) for each in columns))
        connection.execute(
            sql(
                "COPY (SELECT DISTINCT sha256 FROM ({lines})) TO {path} (FORMAT parquet)",
                lines=lines,
                path=_path(wanted),
            )
        )
        with self.source() as source:
            bytes_of = joined(
                " UNION ALL ",
                (sql("SELECT {value} AS data FROM input", value=_each(each)) for each in columns),
            )
            named = ", ".join(sorted({quote_identifier(each.of) for each in columns}))
            select = (
                f"WITH input AS (SELECT {named} FROM ({source.query}\n)) SELECT sha256(data) AS sha256, "
                f"any_value(data) AS data FROM ({bytes_of}) WHERE sha256(data) IN "
                f"(SELECT sha256 FROM read_parquet({_path(wanted)})) GROUP BY 1"
            )
            source.write(select, kept)
        modes.settle(kept)
        self._kept = kept

    def forget(self) -> None:
        """Remove the bytes that were written out of the input."""
        for path in (self._wanted, self.folder / "files.parquet"):
            path.unlink(missing_ok=True)

    @property
    def _wanted(self) -> Path:
        return self.folder / "files-wanted.parquet"

    def of_chunk(self, connection: Working, snapshot: Snapshot, chunk_id: str) -> Callable[[str], bytes]:
        """Return what reads the files of a chunk by their hashes.

        Reads `work.chunk`.
        """
        positions = query("positions_of_chunk", chunk_id=quote_literal(chunk_id))
        return self.reader(connection, snapshot, positions)

    def reader(self, connection: Working, snapshot: Snapshot, positions: Sql) -> Callable[[str], bytes]:
        """Return what reads the files of the rows at `positions` (SQL) by their hashes.

        What it returns raises ChangedFileError for a file whose bytes have another hash.
        """
        paths: dict[str, tuple[str, bool]] = {}
        for column in self.columns:
            if column.is_bytes:
                continue
            statement = sql(
                "SELECT {lines}, {values} FROM {file} WHERE position IN ({positions}) AND {lines} IS NOT NULL",
                lines=column.stored,
                values=source_column(column),
                file=snapshot.file,
                positions=positions,
            )
            for lines, values in connection.execute(statement).fetchall():
                each = values if isinstance(values, list) else [values]
                for line, path in zip(lines.split("\n"), each, strict=False):
                    if line and (sha256 := read_line(line).sha256):
                        paths[sha256] = (path, column.kind == "file")

        def read(sha256: str) -> bytes:
            """Return the bytes that have this hash."""
            data = self._read(connection, sha256, paths.get(sha256))
            if data is None or hashlib.sha256(data).hexdigest() != sha256:
                self.changed.add(sha256)
                raise ChangedFileError(sha256)
            return data

        return read

    def _read(self, connection: Working, sha256: str, place: tuple[str, bool] | None) -> bytes | None:
        if place is None:
            return self._of_input(connection, sha256)
        seen = self.roots[place[1]].look(place[0])
        if seen.problem is not None:
            return None
        try:
            return Path(seen.real).read_bytes()
        except OSError:
            return None

    def _of_input(self, connection: Working, sha256: str) -> bytes | None:
        if self._kept is None:
            return None
        statement = sql("SELECT data FROM read_parquet({path}) WHERE sha256 = $sha256", path=_path(self._kept))
        with connection.cursor() as cursor:
            row = cursor.execute(statement, {"sha256": sha256}).fetchone()
        return bytes(row[0]) if row else None

    def leave_out_changed(self, connection: Working, snapshot: Snapshot) -> None:
        """Leave the rows out from now on whose files have changed since the plan, and forget these.

        Writes `work.left_out`.
        """
        listed = quote_list(sorted(self.changed))
        found = joined(
            " OR ",
            (
                sql(
                    "len(list_filter([{listed}], lambda x: contains({lines}, x))) > 0", listed=listed, lines=each.stored
                )
                for each in self.columns
            ),
        )
        connection.execute(Sql("CREATE TABLE IF NOT EXISTS work.left_out (key_id UUID)"))
        connection.execute(
            sql(
                "INSERT INTO work.left_out SELECT md5(key)::UUID FROM {rows} WHERE {found}",
                rows=snapshot.relation,
                found=found,
            )
        )
        self.changed.clear()


def bytes_of_row(
    connection: Working,
    source: Source,
    given: Sequence[ContentColumn],
    row: Iterable[str],
    sha256: str,
    most_bytes: int,
    path: Path,
) -> bytes | None:
    """Return the bytes with this hash that a row of the input has as a value; None where there are none.

    `given` are the columns of contents, `row` the ways in which the row's key may be written as a JSON list of texts.
    `path` gets what is found. The input is read; of it only values of at most `most_bytes`.
    """
    columns = [each for each in given if each.is_bytes]
    if not columns:
        return None
    keys = joined(", ", (sql("{key}::VARCHAR", key=quote_identifier(each)) for each in source.file.pipeline.input.key))
    values = joined(" UNION ALL ", (sql("SELECT {value} AS data FROM input", value=_each(each)) for each in columns))
    select = (
        f"WITH input AS (SELECT * FROM ({source.query}\n) WHERE to_json([{keys}])::VARCHAR IN ({quote_list(row)})) "
        f"SELECT data FROM ({values}) WHERE octet_length(data) <= {number_sql(most_bytes)} "
        f"AND sha256(data) = {quote_literal(sha256)} LIMIT 1"
    )
    source.write(select, path)
    modes.settle(path)
    found = connection.execute(sql("SELECT data FROM read_parquet({path})", path=_path(path))).fetchone()
    return bytes(found[0]) if found else None


def with_files(rows: Iterable[tuple[str, bytes]], read: Callable[[str], bytes]) -> Iterator[tuple[str, bytes]]:
    """Yield requests with their files in them. Raises ChangedFileError."""
    for custom_id, params in rows:
        yield custom_id, filled(params, read) if hashes(params) else params


def _path(path: Path) -> Sql:
    return quote_literal(str(path))


def _each(column: ContentColumn) -> Sql:
    """Return SQL for each value of a column of the input."""
    name = quote_identifier(column.of)
    return sql("unnest({name})", name=name) if column.is_list else name


def _hashes(column: ContentColumn, snapshot: Snapshot, positions: Sql) -> Sql:
    """Return a SELECT of the hashes in the contents of a column."""
    return sql(
        "SELECT unnest(regexp_extract_all({lines}, '(?m)^\\S+ ([0-9a-f]{{64}})', 1)) AS sha256 FROM {file} "
        "WHERE position IN ({positions})",
        lines=column.stored,
        file=snapshot.file,
        positions=positions,
    )
