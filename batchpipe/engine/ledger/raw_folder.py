"""Keep the provider's results as they came, and beside them what rebuilds the ledger from them.

The raw folder has for each chunk `<id>.jsonl` (`.jsonl.zst`, zstd, once its lines are in the database),
`<id>.requests.parquet` and `<id>.json`. Every file appears whole and on the disk, or not at all; but the results of a
chunk that is asked in realtime grow by a line at a time, and it has a journal of its calls, `<id>.calls.log`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import IO, Any, cast

import duckdb

from batchpipe.common import modes
from batchpipe.common.durable import flush_folder, part_of
from batchpipe.common.held_room import ANSWER_BYTES, HeldRoom
from batchpipe.engine.ledger.renames import linked_by, rename_links
from batchpipe.engine.ledger.saved_chunk import ChunkHead, Note, SavedChunk, read_chunk
from batchpipe.engine.ledger.seals import BLOCK_BYTES, LineSums, file_sum, seal, with_sum, without_sum
from batchpipe.engine.source.snapshot import GROUP_ROWS
from batchpipe.pipeline.evaluations import evaluated_pipeline
from batchpipe.sql.quoting import Sql, joined, number_sql, quote_literal, sql
from batchpipe.store.arrow import arrow
from batchpipe.store.database import Database, Session
from batchpipe.store.disk import disk_error
from batchpipe.store.queries import query

RESULTS, COMPRESSED, REQUESTS, CHUNK = ".jsonl", ".jsonl.zst", ".requests.parquet", ".json"
PARQUET_MARK = b"PAR1"  # a Parquet file begins and ends with it
JOURNAL = ".calls.log"
OPENED = b'{"opened": true}\n'  # the first line of a journal
SUFFIXES = (COMPRESSED, RESULTS, REQUESTS, CHUNK, JOURNAL)
# What a chunk is known by where its JSON file is lost. A plain file alone is left by a run of the local model that was
# killed, and costs nothing.
OF_CHUNKS = (CHUNK, REQUESTS, COMPRESSED)
_CHUNK_ID = re.compile("[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
# The head of a chunk's JSON file ends where its prompt version begins.
HEAD_ENDS, HEAD_CHARACTERS = ', "version": {', 16_000
# The hashes of a request, and those of them that SQL makes.
HASHES = ("key_id", "prompt_version", "policy_hash", "input_hash", "fingerprint", "request_hash")
HASHES_OF_SQL = ("key_id", "input_hash", "fingerprint", "request_hash")


@dataclass(frozen=True, slots=True, kw_only=True)
class RawSize:
    """The size of one chunk's files: the number of result files (0 or 1), and the bytes of all files."""

    results: int
    bytes: int


def raw_folder_of(database: Database) -> RawFolder:
    """Return the raw folder of `database`, which is made where it is missing."""
    return RawFolder(path=database.make_folder("raw"))


@dataclass(frozen=True, slots=True, kw_only=True)
class RawFolder:
    """The raw folder at `path`. The folder must exist before something is written.

    Raises DatabaseError where the disk fails.
    """

    path: Path

    def download(self, chunk_id: str) -> Path:
        """Return the path that a chunk's results are downloaded to."""
        return self.path / f"{chunk_id}{RESULTS}"

    def results(self, chunk_id: str) -> Path | None:
        """Return the path of a chunk's results, compressed or not; None where there are none."""
        names = (self.path / f"{chunk_id}{suffix}" for suffix in (RESULTS, COMPRESSED))
        return next((path for path in names if _is_there(path)), None)

    def write_results(self, chunk_id: str, content: bytes) -> Path:
        """Save the results of a chunk, and return their path."""
        path = self.download(chunk_id)
        part = part_of(path)
        with saving(path):
            with open(part, "wb", opener=modes.opener) as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            modes.replace(part, path)
            flush_folder(self.path)
        return path

    def compress(self, chunk_id: str) -> None:
        """Replace the plain file of results by a compressed one.

        A full disk leaves the plain file: its lines are in the database already, and the next run tries again.
        """
        plain, packed = self.download(chunk_id), self.path / f"{chunk_id}{COMPRESSED}"
        if not plain.exists():
            return
        part = part_of(packed)
        try:
            sums = LineSums()
            with plain.open("rb") as source, arrow().output_stream(str(part), compression="zstd") as target:
                while block := source.read(BLOCK_BYTES):
                    target.write(block)
                    sums.add(block)
            seal(part, sums.all())
            _flush(part)
            modes.settle(part)
            part.replace(packed)
            flush_folder(self.path)
            plain.unlink()
        except OSError:
            part.unlink(missing_ok=True)

    def uncompressed(self) -> list[str]:
        """Return the ids of the chunks whose results are not compressed yet."""
        names = (path.name.removesuffix(RESULTS) for path in self.path.glob(f"*{RESULTS}"))
        return [each for each in names if _CHUNK_ID.fullmatch(each)]

    def journal(self, chunk_id: str) -> Path:
        """Return the path of the journal of a chunk's realtime calls."""
        return self.path / f"{chunk_id}{JOURNAL}"

    def files(self, chunk_id: str) -> list[Path]:
        """Return the paths at which a chunk's files may be."""
        return [self.path / f"{chunk_id}{suffix}" for suffix in SUFFIXES]

    def open_journal(self, chunk_id: str) -> None:
        """Make the journal of a chunk, before the intent of its calls is committed: one that is gone was removed."""
        path = self.journal(chunk_id)
        with saving(path):
            with open(path, "wb", opener=modes.opener) as file:
                file.write(OPENED)
                file.flush()
                os.fsync(file.fileno())
            flush_folder(self.path)

    def requests(self, chunk_id: str) -> Path:
        """Return the path of a chunk's requests, a Parquet file."""
        return self.path / f"{chunk_id}{REQUESTS}"

    def write_requests(self, chunk_id: str, write: Callable[[Path], None]) -> None:
        """Save the requests of a chunk: `write` makes the file at the path that it gets."""
        path = self.requests(chunk_id)
        part = part_of(path)
        with saving(path):
            write(part)
            _flush(part)
            modes.settle(part)
            modes.replace(part, path)
            flush_folder(self.path)

    def save_chunk(self, saved: SavedChunk) -> None:
        """Save the JSON file of a chunk, and replace an older one."""
        path = self.path / f"{saved.chunk_id}{CHUNK}"
        part = part_of(path)
        text = with_sum(json.dumps(asdict(saved), default=str))
        with saving(path):
            with open(part, "w", encoding="utf-8", opener=modes.opener) as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            modes.replace(part, path)
            flush_folder(self.path)

    def saved_chunk(self, chunk_id: str) -> SavedChunk | None:
        """Return the content of a chunk's JSON file; None where there is no such file, or it cannot be read."""
        return read_chunk(self.path / f"{chunk_id}{CHUNK}", chunk_id)

    def note(self, chunk_id: str, kind: str, data: Mapping[str, Any], now: datetime) -> None:
        """Add an event to the JSON file of a chunk. Do nothing where there is no file, or the file has the event
        already.
        """
        saved = self.saved_chunk(chunk_id)
        if saved is None or saved.data_of(kind) == _plain(data):
            return
        note = Note(kind=kind, data=data, recorded_at=now)
        self.save_chunk(replace(saved, notes=(*saved.notes, note)))

    def chunk_ids(self) -> list[str]:
        """Return the ids of the chunks that have files, with or without a JSON file; none where the folder cannot be
        read. Other files are none of ours.
        """
        try:
            with os.scandir(self.path) as found:
                names = [each.name for each in found]
        except OSError:
            return []
        ids = (name.removesuffix(suffix) for suffix in OF_CHUNKS for name in names if name.endswith(suffix))
        return list(dict.fromkeys(each for each in ids if _CHUNK_ID.fullmatch(each)))

    def has_requests(self, saved: SavedChunk) -> bool:
        """Return whether the file of a chunk's requests is there as it was written; of a file of before, whether it has
        its beginning and its end.
        """
        path = self.requests(saved.chunk_id)
        try:
            with path.open("rb") as file:
                begins = file.read(len(PARQUET_MARK))
                file.seek(-len(PARQUET_MARK), os.SEEK_END)
                whole = begins == file.read() == PARQUET_MARK
            return whole and saved.requests_sum in ("", file_sum(path))
        except OSError:
            return False

    def head(self, chunk_id: str) -> ChunkHead | None:
        """Return whose chunk it is, without reading its prompt; None for a file that cannot be read, or names another
        chunk.
        """
        try:
            text = without_sum((self.path / f"{chunk_id}{CHUNK}").read_text(encoding="utf-8"))
            begun, found, _ = text[:HEAD_CHARACTERS].partition(HEAD_ENDS)
            head = ChunkHead(**json.loads(begun + "}")) if found else None
            return head if head is not None and head.is_of(chunk_id) else None
        except (OSError, ValueError, TypeError, RecursionError):
            return None

    def copy_chunk(self, chunk_id: str, source: RawFolder) -> None:
        """Copy the files of a chunk from another raw folder; the JSON file comes last, when the others are there."""
        for suffix in (REQUESTS, JOURNAL, COMPRESSED, RESULTS, CHUNK):
            origin, path = source.path / f"{chunk_id}{suffix}", self.path / f"{chunk_id}{suffix}"
            if not origin.exists() or path.exists():
                continue
            part = part_of(path)
            with saving(path):
                shutil.copyfile(origin, part)
                _flush(part)
                modes.settle(part)
                modes.replace(part, path)
                flush_folder(self.path)

    def sizes(self) -> dict[str, RawSize]:
        """Return the sizes of the saved files by chunk. A file that disappears meanwhile is left out, and so is all of
        a folder that may not be read.
        """
        found: dict[str, RawSize] = {}
        for path in _readable(self.path):
            suffix = next((each for each in SUFFIXES if path.name.endswith(each)), None)
            size = _size(path)
            if suffix is None or size is None:
                continue
            chunk_id = path.name.removesuffix(suffix)
            known = found.get(chunk_id, RawSize(results=0, bytes=0))
            results = 1 if suffix in (RESULTS, COMPRESSED) else known.results
            found[chunk_id] = RawSize(results=results, bytes=known.bytes + size)
        return found


@contextmanager
def saving(path: Path) -> Iterator[None]:
    """Turn a failure of the disk while `path` is written into a DatabaseError, and remove the unfinished file."""
    try:
        yield
    except OSError as error:
        with suppress(OSError):  # a folder that is none any more holds no leftover
            part_of(path).unlink(missing_ok=True)
        raise disk_error(error, path) from error
    except duckdb.Error:
        with suppress(OSError):
            part_of(path).unlink(missing_ok=True)
        raise


@contextmanager
def held_room(folder: Path, answers: int) -> Iterator[HeldRoom]:
    """Hold room on the disk for so many answers during the block. Raises DatabaseError where the disk has less: then
    nothing may be asked.
    """
    with ExitStack() as stack:
        try:
            held = stack.enter_context(HeldRoom(folder=folder, size_bytes=answers * ANSWER_BYTES).held())
        except OSError as error:
            raise disk_error(error, folder) from error
        yield held


def open_results(path: Path) -> IO[bytes]:
    """Open a file of results for reading, as the provider sent it."""
    packed = path.name.endswith(COMPRESSED)
    return cast(IO[bytes], arrow().input_stream(str(path), compression="zstd")) if packed else path.open("rb")


def keep_chunks(session: Session, folder: RawFolder, chunk_ids: Sequence[str], file: str) -> None:
    """Save what the ledger knows of chunks: their requests, their events, their prompt version and their policy.

    Reads `ledger.requests`, `ledger.events`, `ledger.prompt_versions`, `ledger.policies`. Writes the raw folder.
    """
    for chunk_id in chunk_ids:

        def write(path: Path, chunk_id: str = chunk_id) -> None:
            chunk, target = quote_literal(chunk_id), quote_literal(str(path))
            session.execute(query("save_requests", chunk_id=chunk, path=target, group_rows=number_sql(GROUP_ROWS)))

        folder.write_requests(chunk_id, write)
    for saved in _chunks_to_save(session, chunk_ids, file):
        folder.save_chunk(replace(saved, requests_sum=file_sum(folder.requests(saved.chunk_id))))


def restore_requests(session: Session, path: Path) -> None:
    """Append the requests in the file at `path`, of this schema version or of version 1, under this commit.

    Writes `ledger.requests`.
    """
    in_halves = session.one(query("saved_in_halves"), {"path": str(path)})[0]
    hashes = [
        query("turned_hash_of_halves" if each in HASHES_OF_SQL else "hash_of_halves", hash=Sql(each)) for each in HASHES
    ]
    statement = query(
        "restore_requests", hashes=joined("", (sql("{each}, ", each=each) for each in hashes)) if in_halves else Sql("")
    )
    session.execute(statement, {"path": str(path), "seq": session.seq})


def _chunks_to_save(session: Session, chunk_ids: Sequence[str], file: str) -> Iterator[SavedChunk]:
    """Yield the saved form of each chunk. Most chunks share their prompt version and policy.

    Reads `ledger.requests`, `ledger.events`, `ledger.prompt_versions`, `ledger.policies`.
    """
    known: dict[tuple[str, str, str], Mapping[str, Any]] = {}
    links = rename_links(session)
    for chunk_id in chunk_ids:
        found = session.dictionaries(query("chunk_identity"), {"chunk_id": chunk_id})[0]
        rows = []
        for name, statement in (("prompt_version", "version_row"), ("policy_hash", "policy_row")):
            value = found.pop(name)
            which = (found["pipeline"], name, value)
            if which not in known:
                known[which] = session.dictionaries(query(statement), {"pipeline": found["pipeline"], name: value})[0]
            rows.append(known[which])
        notes = session.rows(query("chunk_events"), {"chunk_id": chunk_id})
        family = linked_by([evaluated_pipeline(found["pipeline"])], links)
        yield SavedChunk(
            **found,
            file=file,
            links=[each for each in links if each[0] in family],
            version=rows[0],
            policy=rows[1],
            notes=tuple(Note(kind=kind, data=json.loads(data), recorded_at=at) for kind, data, at in notes),
        )


def folder_bytes(folder: Path) -> int:
    """Return the bytes of all files in `folder` and below it, as far as it may be read."""
    return sum(_size(Path(place, name)) or 0 for place, _, names in os.walk(folder) for name in names)


def _readable(folder: Path) -> list[Path]:
    """Return what is in `folder`; nothing where it is not there or may not be read."""
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _plain(data: Mapping[str, Any]) -> Any:
    """Return `data` as it comes back from JSON."""
    return json.loads(json.dumps(data, default=str))


def _is_there(path: Path) -> bool:
    """Return whether there is something at `path`, as far as it may be known."""
    try:
        return path.exists()
    except OSError:
        return False


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size if path.is_file() else None
    except OSError:
        return None


def _flush(path: Path) -> None:
    """Make sure that the content another library has written is on the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
