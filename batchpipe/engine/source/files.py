"""Look at the files that an input names: each by `stat`, and by its bytes only where it is new or has changed."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb

from batchpipe.common import modes
from batchpipe.engine.source.contents import ADDRESS, TAKES, ContentColumn, source_column, version_text
from batchpipe.engine.source.snapshot import SNAPSHOT_FORMAT, Snapshot
from batchpipe.media.formats import PDF, pages_of, size_of, type_of
from batchpipe.media.roots import Roots
from batchpipe.sql.quoting import Sql, joined, number_sql, quote_list, quote_literal, sql
from batchpipe.store.arrow import arrow
from batchpipe.store.database import Database, Session, Work
from batchpipe.store.queries import query

# The memory for a look: a million files, with their hashes, are joined.
MEMORY_BYTES = 1_000_000_000
# A file that was hashed so soon after its last change may have changed again within the same tick of its clock.
SETTLED_NS = 2_000_000_000
_BLOCK_ROWS = 50_000
_PIECE_BYTES = 1 << 20
# How much of a picture tells its size in pixels.
_SIZE_BYTES = 1 << 20
_BEGINNING = datetime.fromisoformat("1970-01-01")
_SEEN = {
    "path": "string", "strict": "bool_", "real": "string", "size": "int64", "mtime_ns": "int64", "problem": "string",
}  # fmt: skip
# The columns of `ledger.media` that a look adds.
HASHED = {
    "path": "string", "size": "int64", "mtime_ns": "int64", "sha256": "string", "media_type": "string",
    "width": "int32", "height": "int32", "pages": "int32", "hashed_ns": "int64",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaLook:
    """How files are looked at.

    `roots` are for images and documents, `strict` for what `file()` sends and for paths that may come out of answers.
    `known` writes the newest of `ledger.media` to a Parquet file, and returns None where there is nothing. `clock`
    gives naive UTC. `hashed` is the file that gets what was hashed by this look. `kept` is the folder in which looks
    that record nothing leave what they have hashed, so that no other one hashes it again; None where there is none.
    """

    roots: Roots
    strict: Roots
    known: Callable[[Path], Path | None]
    clock: Callable[[], datetime]
    hashed: Path
    kept: Path | None = None

    def fill(self, connection: duckdb.DuckDBPyConnection, snapshot: Snapshot, columns: Sequence[ContentColumn]) -> None:
        """Fill the contents of paths and addresses in the file of `snapshot`, in `columns`.

        Reads and drops `media_seen`, `media_hashed`.
        """
        paths = [each for each in columns if not each.is_bytes]
        if not paths:
            return
        connection.execute(f"SET memory_limit = '{MEMORY_BYTES}B'")
        connection.execute(_union(snapshot, paths))
        self._see(connection)
        self._hash(connection)
        _write(connection, snapshot, paths)
        connection.execute("DROP TABLE media_paths; DROP TABLE media_seen; DROP TABLE media_hashed")

    @property
    def _now_ns(self) -> int:
        """Return the time in ns since 1970."""
        return (self.clock() - _BEGINNING) // timedelta(microseconds=1) * 1_000

    def _see(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Look at each path. Reads `media_paths`; writes `media_seen`."""
        pyarrow = arrow()
        schema = pyarrow.schema([(name, getattr(pyarrow, kind)()) for name, kind in _SEEN.items()])
        connection.execute(
            "CREATE OR REPLACE TABLE media_seen (path VARCHAR, strict BOOLEAN, real VARCHAR, size BIGINT, "
            "mtime_ns BIGINT, problem VARCHAR)"
        )
        with connection.cursor() as reader:
            reader.execute("SELECT path, strict FROM media_paths")
            while block := reader.fetchmany(_BLOCK_ROWS):
                found = [(self.strict if strict else self.roots).look(path) for path, strict in block]
                names, stricts = zip(*block, strict=True)
                real, size, mtime, problem = zip(*found, strict=True)
                values = (names, stricts, real, size, mtime, problem)
                seen = pyarrow.table(dict(zip(_SEEN, values, strict=True)), schema=schema)  # noqa: F841
                connection.execute("INSERT INTO media_seen SELECT * FROM seen")

    def _hash(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Hash what is new or has changed; write `media_hashed`, and the file `hashed` with what is new.

        Reads `media_seen`.
        """
        known = self.known(self.hashed.with_name("media-known.parquet"))
        recorded = [known] if known is not None else []
        try:
            connection.execute(_unchanged([*recorded, *kept_looks(self.kept)]))
        except duckdb.Error:  # what was kept is damaged, or a run has just recorded it
            connection.execute(_unchanged(recorded))
        pyarrow = arrow()
        schema = pyarrow.schema([(name, getattr(pyarrow, kind)()) for name, kind in HASHED.items()])
        with connection.cursor() as reader, pyarrow.parquet.ParquetWriter(self.hashed, schema) as writer:
            reader.execute(
                "SELECT DISTINCT real FROM media_seen s ANTI JOIN media_hashed h ON h.path = s.real "
                "WHERE s.problem IS NULL"
            )
            while block := reader.fetchmany(_BLOCK_ROWS):
                rows = [row for (path,) in block if (row := hashed_file(path, self._now_ns)) is not None]
                if rows:
                    columns = dict(zip(HASHED, zip(*rows, strict=True), strict=True))
                    writer.write_table(pyarrow.table(columns, schema=schema))
        modes.settle(self.hashed)
        self._keep(connection)
        connection.execute(
            sql("INSERT INTO media_hashed SELECT * FROM read_parquet({path})", path=quote_literal(str(self.hashed)))
        )

    def _keep(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Keep what was hashed for later looks, where anything was."""
        hashed = quote_literal(str(self.hashed))
        if self.kept is None or connection.execute(f"SELECT count(*) FROM {hashed}").fetchall() == [(0,)]:
            return
        part = self.kept / f"{self.hashed.stem}-{os.getpid()}-{self._now_ns}.part"
        with suppress(OSError):
            shutil.copyfile(self.hashed, part)
            modes.settle(part)
            part.replace(part.with_suffix(".parquet"))


def _unchanged(known: Sequence[Path]) -> Sql:
    """Return a statement that writes `media_hashed`: the files of `media_seen` that are as the files `known` say.

    Reads `media_seen`.
    """
    nothing = Sql(
        "(SELECT NULL::VARCHAR AS path, NULL::BIGINT AS size, NULL::BIGINT AS mtime_ns, NULL::VARCHAR AS sha256, "
        "NULL::VARCHAR AS media_type, 0 AS width, 0 AS height, 0 AS pages, NULL::BIGINT AS hashed_ns WHERE false)"
    )
    return sql(
        "CREATE OR REPLACE TABLE media_hashed AS SELECT k.path, k.size, k.mtime_ns, k.sha256, k.media_type, "
        "k.width, k.height, k.pages, k.hashed_ns FROM {given} k "
        "SEMI JOIN media_seen s ON s.real = k.path AND s.size = k.size AND s.mtime_ns = k.mtime_ns "
        "WHERE k.hashed_ns - k.mtime_ns > {settled} "
        "QUALIFY row_number() OVER (PARTITION BY k.path ORDER BY k.hashed_ns DESC) = 1",
        given=sql("read_parquet([{paths}])", paths=quote_list(map(str, known))) if known else nothing,
        settled=number_sql(SETTLED_NS),
    )


def kept_looks(folder: Path | None) -> list[Path]:
    """Return the files in which looks have kept what they hashed, without those that were not written whole."""
    return [each for each in sorted(folder.glob("*.parquet")) if _is_whole(each)] if folder is not None else []


def _is_whole(path: Path) -> bool:
    """Return whether a Parquet file ends as one does."""
    try:
        with path.open("rb") as file:
            file.seek(-4, os.SEEK_END)
            return file.read() == b"PAR1"
    except OSError:
        return False


def known_files(database: Database, work: Work, path: Path) -> Path | None:
    """Write what is known of files to `path`, and return it; None where nothing is known.

    Reads `ledger.media`.
    """
    with database.reading(work) as session:
        if session.empty:
            return None
        session.execute(
            sql("COPY ({known}) TO {path} (FORMAT parquet)", known=query("known_files"), path=quote_literal(str(path)))
        )
    return path


def record_files(session: Session, hashed: Sequence[Path]) -> None:
    """Record what looks have hashed and kept. Writes `ledger.media`."""
    files = sql("(SELECT DISTINCT * FROM read_parquet([{paths}]))", paths=quote_list(map(str, hashed)))
    session.execute(query("record_files", hashed=files))


def hashed_path(snapshot: Path) -> Path:
    """Return the file that gets what was hashed while the snapshot at that path was written."""
    return snapshot.with_name(f"{snapshot.stem}-hashed.parquet")


def hashed_file(path: str, now_ns: int) -> tuple[Any, ...] | None:
    """Return the columns of `HASHED` of a file; None where it cannot be read."""
    digest, size, start, document = hashlib.sha256(), 0, b"", b""
    try:
        with Path(path).open("rb") as file:
            before = _stat(file)
            while piece := file.read(_PIECE_BYTES):
                digest.update(piece)
                size += len(piece)
                start = start or piece
                document += piece if start.startswith(b"%PDF-") else b""
            after = _stat(file)
    except OSError:
        return None
    kind = type_of(start) or ""
    width, height = size_of(kind, start)
    pages = pages_of(document) if kind == PDF else 0
    # A file that changed while it was read is hashed anew the next time: it is not settled.
    at = now_ns if before == after else after[1]
    return path, size, after[1], digest.hexdigest(), kind, width, height, pages, at


def _stat(file: Any) -> tuple[int, int]:
    found = os.fstat(file.fileno())
    return found.st_size, found.st_mtime_ns


def _union(snapshot: Snapshot, columns: Sequence[ContentColumn]) -> Sql:
    """Return a statement that writes `media_paths`: the distinct paths of `columns`, less addresses."""
    selects = [
        sql(
            "SELECT {value} AS path, {strict} AS strict FROM {file}",
            value=_each(each),
            strict=_strict(each),
            file=snapshot.file,
        )
        for each in columns
    ]
    return sql(
        "CREATE OR REPLACE TABLE media_paths AS SELECT DISTINCT path, strict FROM ({selects}) "
        "WHERE path IS NOT NULL AND NOT regexp_matches(path, {address})",
        selects=joined(" UNION ALL ", selects),
        address=ADDRESS,
    )


def _strict(column: ContentColumn) -> Sql:
    return Sql("true") if column.kind == "file" else Sql("false")


def _each(column: ContentColumn) -> Sql:
    """Return SQL for each path of a value."""
    stored = source_column(column)
    return sql("unnest({stored})", stored=stored) if column.is_list else stored


def _write(connection: duckdb.DuckDBPyConnection, snapshot: Snapshot, columns: Sequence[ContentColumn]) -> None:
    """Write the snapshot anew, with the contents of paths and addresses.

    Reads `media_seen`, `media_hashed`.
    """
    lines = joined(
        " ",
        (
            sql("LEFT JOIN ({lines}) l{n} USING (position)", lines=_lines(snapshot, each), n=number_sql(number))
            for number, each in enumerate(columns)
        ),
    )
    given = joined(
        ", ",
        (
            sql("l{number}.line AS {stored}", number=number_sql(number), stored=each.stored)
            for number, each in enumerate(columns)
        ),
    )
    path = snapshot.path.with_name(f"{snapshot.path.stem}-media.parquet")
    select = sql(
        "SELECT s.* REPLACE ({given}) FROM {file} s {lines} ORDER BY position",
        given=given,
        file=snapshot.file,
        lines=lines,
    )
    connection.execute(f"COPY ({select}) TO {quote_literal(str(path))} ({SNAPSHOT_FORMAT})")
    path.replace(snapshot.path)
    modes.settle(snapshot.path)


def _lines(snapshot: Snapshot, column: ContentColumn) -> Sql:
    """Return a SELECT of `position` and `line`, the contents of a column."""
    paths = sql(
        "SELECT position, {each} AS path, {place} AS place, {version} AS version FROM {file}",
        each=_each(column),
        place=sql("generate_subscripts({stored}, 1)", stored=source_column(column)) if column.is_list else Sql("1"),
        version=version_text(column),
        file=snapshot.file,
    )
    takes = quote_literal(TAKES[column.kind])
    told = sql("coalesce(nullif(h.media_type, ''), {other})", other=Sql("'application/octet-stream'"))
    line = sql(
        "CASE WHEN p.path IS NULL OR p.path = '' THEN NULL "
        "WHEN regexp_matches(p.path, {address}) THEN CASE "
        "WHEN {kind} = 'file' THEN '!' || p.path || ': file() sends files, and no address' "
        "WHEN regexp_matches(p.path, '[\\s\\x00-\\x1f]') THEN '!an address with a space in it' "
        "ELSE 'url ' || replace(coalesce(p.version, p.path), chr(10), ' ') END "
        "WHEN s.problem IS NOT NULL THEN '!' || {shown} || ': ' || s.problem "
        "WHEN h.sha256 IS NULL THEN '!' || {shown} || ': it cannot be read' "
        "WHEN h.size = 0 THEN '!' || {shown} || ': it is empty' "
        "WHEN NOT starts_with({told}, {takes}) THEN '!' || {shown} || ': its content is ' || "
        "coalesce(nullif(h.media_type, ''), 'of an unknown type') || ', and no ' || {kind} "
        "ELSE {told} || ' ' || h.sha256 || chr(9) || h.size || ' ' || h.width || ' ' || h.height || ' ' || h.pages END",
        address=ADDRESS,
        kind=quote_literal(column.kind),
        takes=takes,
        told=told,
        shown=Sql("replace(p.path, chr(10), ' ')"),
    )
    found = sql(
        "SELECT p.position, p.place, {line} AS line FROM ({paths}) p "
        "LEFT JOIN media_seen s ON s.path = p.path AND s.strict = {strict} LEFT JOIN media_hashed h ON h.path = s.real",
        line=line,
        paths=paths,
        strict=_strict(column),
    )
    if not column.is_list:
        return found
    return sql(
        "SELECT position, string_agg(coalesce(line, ''), chr(10) ORDER BY place) AS line FROM ({found}) "
        "GROUP BY position",
        found=found,
    )
