"""Results files that cannot be read, and what can still be read of them.

The results of a batch can be fetched from its provider again. The answers of realtime calls are nowhere else: what
cannot be read of them is lost, and was paid for.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from zlib import crc32

from batchpipe.common.durable import flush_folder
from batchpipe.engine.ledger.raw_folder import COMPRESSED, RawFolder, open_results, saving
from batchpipe.engine.ledger.saved_chunk import SavedChunk
from batchpipe.engine.ledger.seals import BLOCK_BYTES, LineSums, sealed
from batchpipe.pipeline.sending import LOCAL

SET_ASIDE = ".damaged"
SMALL_BYTES = 1 << 12


def are_broken(folder: RawFolder, chunk_id: str) -> bool:
    """Return whether the compressed results of a chunk cannot be read to their end, or are not what was written. A
    folder of another person counts as whole.
    """
    path = _compressed(folder, chunk_id)
    if folder.results(chunk_id) != path:
        return False
    sums = LineSums()
    try:
        with open_results(path) as file:
            while block := file.read(BLOCK_BYTES):
                sums.add(block)
        written = sealed(path)
        return path.stat().st_size == 0 or (written is not None and written != sums.all())
    except PermissionError:
        return False
    except OSError:
        return True


def answers_are_lost(folder: RawFolder, chunk_id: str, saved: SavedChunk | None) -> bool:
    """Return whether answers of a chunk cannot be read here, although it was asked, and no provider has them.

    `saved` is the content of the chunk's JSON file. Answers of the local model cost nothing and are never lost.
    """
    if saved is not None and (has_batch(saved) or was_answered_here(saved)):
        return False
    if folder.results(chunk_id) is not None:
        return are_broken(folder, chunk_id)
    return saved is not None and saved.data_of("batch_ended") is not None


def was_answered_here(saved: SavedChunk) -> bool:
    """Return whether the local model has answered a chunk."""
    return bool(saved.notes[0].data.get("provider") == LOCAL)


def has_batch(saved: SavedChunk) -> bool:
    """Return whether a provider made a batch of a chunk, so that its results can be fetched again."""
    return any(note.data.get("batch_id") for note in saved.notes)


def was_asked_whole(folder: RawFolder, chunk_id: str) -> bool:
    """Return whether a chunk without a journal was asked nevertheless: its journal goes when every request has an
    answer.
    """
    saved = folder.saved_chunk(chunk_id)
    noted = saved is not None and saved.data_of("batch_ended") is not None
    return noted or _set_aside(folder, chunk_id).exists()


def set_damaged_aside(folder: RawFolder, chunk_id: str) -> None:
    """Give the compressed results of a chunk a name under which nothing looks for them."""
    path = _compressed(folder, chunk_id)
    with saving(path):
        path.replace(_set_aside(folder, chunk_id))
        flush_folder(folder.path)


def keep_readable(folder: RawFolder, chunk_id: str) -> None:
    """Keep the whole lines that can be read of a chunk's compressed results, as they were written, and set the file
    aside.
    """
    path = _compressed(folder, chunk_id)
    if folder.results(chunk_id) != path:
        return
    lines = _readable(path).split(b"\n")[:-1]
    with suppress(OSError):
        written = sealed(path)
        known = set(written or ())
        lines = [line for line in lines if written is None or crc32(line) in known]
    if lines:
        folder.write_results(chunk_id, b"\n".join([*lines, b""]))
    set_damaged_aside(folder, chunk_id)


def _readable(path: Path) -> bytes:
    """Return what a compressed file has before the place where it cannot be read.

    Where a read fails, all that it was to bring is lost: near that place the bytes are read one by one.
    """
    found = b""
    for size in (SMALL_BYTES, 1):
        blocks: list[bytes] = []
        with suppress(OSError), open_results(path) as file:
            blocks.append(file.read(len(found)))
            while block := file.read(size):
                blocks.append(block)
        found = b"".join(blocks)
    return found


def _compressed(folder: RawFolder, chunk_id: str) -> Path:
    return folder.path / f"{chunk_id}{COMPRESSED}"


def _set_aside(folder: RawFolder, chunk_id: str) -> Path:
    path = _compressed(folder, chunk_id)
    return path.with_name(path.name + SET_ASIDE)
