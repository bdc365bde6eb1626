"""Write down each realtime call of a chunk before it is made, and each answer when it comes.

A chunk that is asked has its results file from the first answer on: it grows by a line at a time. Its journal has a
line for each start of a call, flushed before the call is made, and a line for each end at no cost. So a call that was
under way when the process was killed is a start without an end and without an answer. The journal is there before the
intent of the chunk is committed, so that one that is gone was removed.

Who asks holds the journal by a lock of the operating system, and who closes a chunk that was left says so in the
journal first. So two runs without a common lock file never ask the rows of one chunk twice.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from batchpipe.common import modes
from batchpipe.common.durable import flush_folder
from batchpipe.common.errors import DatabaseError, LockedError
from batchpipe.common.held_room import HeldRoom
from batchpipe.engine.ledger.raw_folder import RawFolder, held_room
from batchpipe.store.disk import disk_error, refuse_broken_link

BLOCK_BYTES = 1 << 16
CLOSED = b'{"closed": true}'


@dataclass(slots=True, kw_only=True)
class CallJournal:
    """The journal and the results file of one chunk. Several threads may write at once; each line is on the disk when
    the method returns.

    Room for the answers of the calls under way is held on the disk before the first call: they find it where the disk
    becomes full. If a line cannot be written, no further call is made. Raises DatabaseError then.
    """

    journal: Path
    results: Path
    _is_held: bool = field(default=False, init=False)
    _room: HeldRoom | None = field(default=None, init=False)
    _writing: threading.Lock = field(default_factory=threading.Lock, init=False)
    _broken: DatabaseError | None = field(default=None, init=False)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the journal while the calls are made and their answers recorded.

        Raises LockedError where another process has closed the chunk since its intent, or does so now.
        """
        with _locked(self.journal) as held:
            if held is None or CLOSED in held.read_bytes().split(b"\n"):
                raise _taken(self.journal)
            self._is_held = True
            yield

    @contextmanager
    def with_room(self, calls: int) -> Iterator[None]:
        """Hold room on the disk for the answers of so many calls at once. Raises DatabaseError where there is none."""
        with held_room(self.results.parent, calls) as room:
            self._room = room
            try:
                yield
            finally:
                self._room = None

    def start(self, custom_id: str, now: datetime) -> None:
        """Write down that the call for `custom_id` is made now."""
        self._note({"start": custom_id, "at": now.isoformat()}, begins=True)

    def end(self, custom_id: str, outcome: str) -> None:
        """Write down that a call ended at no cost: "refused" or "not_sent"."""
        self._note({"end": custom_id, "outcome": outcome})

    def close(self) -> None:
        """Write down that the chunk is closed: no call of it may be started any more."""
        self._append(self.journal, CLOSED + b"\n")

    def answer(self, line: bytes) -> None:
        """Add the line of an answer to the results."""
        self._append(self.results, line)

    def _note(self, entry: Mapping[str, Any], *, begins: bool = False) -> None:
        """Add a line to the journal."""
        self._append(self.journal, json.dumps(entry).encode() + b"\n", begins=begins)

    def _append(self, path: Path, line: bytes, *, begins: bool = False) -> None:
        """Add a line to a file, and flush it to the disk. A line that `begins` a call does not take the room that is
        held.
        """
        with self._writing:
            if begins and self._broken is not None:
                raise self._broken
            try:
                self._write(path, line)
            except OSError as error:
                self._broken = self._broken or disk_error(error, path)
                if begins or self._room is None or not self._room.give_back():
                    raise self._broken from error
                try:
                    self._write(path, line)
                except OSError as again:
                    raise self._broken from again

    def _write(self, path: Path, line: bytes) -> None:
        """Add a whole line to a file, or nothing."""
        is_new = not path.exists()
        if is_new and path == self.journal and self._is_held:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        with open(path, "ab", buffering=0, opener=modes.opener) as file:
            size, left = file.seek(0, os.SEEK_END), memoryview(line)
            try:
                while left:
                    left = left[file.write(left) :]
                os.fsync(file.fileno())
            except OSError:
                file.truncate(size)
                raise
        if is_new:
            flush_folder(path.parent)


def journal_of(folder: RawFolder, chunk_id: str) -> CallJournal:
    """Return the journal of a chunk."""
    return CallJournal(journal=folder.journal(chunk_id), results=folder.download(chunk_id))


@contextmanager
def closing_left(folder: RawFolder, chunk_id: str) -> Iterator[None]:
    """Claim a chunk that another process has left, so that it is closed here and nobody goes on asking it.

    Raises LockedError where a process is still asking it.
    """
    path = folder.journal(chunk_id)
    with _locked(path) as held:
        if held is None:
            raise _taken(path)
        CallJournal(journal=path, results=folder.download(chunk_id)).close()
        yield


@contextmanager
def _locked(path: Path) -> Iterator[Path | None]:
    """Hold the lock on a journal, which is made where there is none; give None where another process holds it.

    Raises DatabaseError where the disk fails, or the journal is a link that leads to nothing.
    """
    refuse_broken_link(path)
    try:
        is_new = not path.exists()
        with open(path, "ab", opener=modes.opener) as file:
            if is_new:
                flush_folder(path.parent)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield None
                return
            yield path
    except OSError as error:
        raise disk_error(error, path) from error


def _taken(path: Path) -> LockedError:
    """Return the error for a chunk that another process asks, or has closed."""
    what = "another process asks the same rows in realtime"
    return LockedError(what, where=str(path), hint="Wait for it to end, then run the same command again.")


def asked_ids(folder: RawFolder, chunk_id: str) -> set[str] | None:
    """Return the custom ids of a chunk whose last call was started and did not end at no cost: answered, or paid for.

    None where the journal is gone, empty or damaged: it is made before the intent of its chunk is committed. A line
    that is torn is no start: its call was not made. Raises DatabaseError where the journal may not be read.
    """
    asked: set[str] = set()
    path, begun = folder.journal(chunk_id), False
    try:
        *lines, _ = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise disk_error(error, path) from error
    for line in lines:
        if line.endswith(CLOSED):  # what stands before it was torn
            continue
        try:
            entry = json.loads(line)
        except ValueError:
            return None
        match entry:
            case {"start": str(custom_id)}:
                asked.add(custom_id)
            case {"end": str(custom_id)}:
                asked.discard(custom_id)
            case {"opened": True}:
                pass
            case _:
                return None
        begun = True
    return asked if begun else None


def cut_torn_line(path: Path) -> None:
    """Cut off the end of a results file that has no line break: the process was killed while it wrote the answer.

    Raises DatabaseError where the disk fails.
    """
    try:
        with path.open("r+b") as file:
            end = size = file.seek(0, os.SEEK_END)
            while end:
                start = max(end - BLOCK_BYTES, 0)
                file.seek(start)
                place = file.read(end - start).rfind(b"\n")
                if place >= 0:
                    end = start + place + 1
                    break
                end = start
            if end < size:
                file.truncate(end)
                os.fsync(file.fileno())
    except OSError as error:
        raise disk_error(error, path) from error
