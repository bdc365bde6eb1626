"""The disk under a machine's folder: every operation on files and on the store is seen, may fail, may be forgotten."""

from __future__ import annotations

import errno
import os
import random
import re
import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import duckdb

from batchpipe.common.held_room import HeldRoom
from batchpipe.engine.source import source
from batchpipe.store import database
from batchpipe.store.database import CATALOG, Database, Work

from .world import World

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
FULL_BYTES = 2_048
RAW = "/.batchpipe/raw/"
DRAWN = re.compile(r"(?<=/work/)[^/]*-[a-z0-9_]{8}(?=/|$)|(?<=/raw/)\.mended-[a-z0-9_]{8}(?=/)")

Files = dict[str, bytes]

_watched: list[Disk] = []
_world: list[World] = []
_kept: list[tuple[Any, str]] = []
_fsync = os.fsync


class Disk:
    """The files below `root`. `reached` is called with each operation before it is done.

    `full`: nothing more can be written. What was flushed of the raw folder is remembered, for a power cut.
    """

    def __init__(self, root: Path, reached: Callable[[str], None]) -> None:
        self.root = str(root)
        self.reached = reached
        self.full = False
        self._flushed: Files = {}
        self._begun: Files = {}
        self._renamed: list[tuple[str, str, bytes | None, bytes | None]] = []

    def read(self) -> Files:
        """Return the content of every file, by its path below the root."""
        found: Files = {}
        for folder, _, names in os.walk(self.root):
            for name in names:
                path = os.path.join(folder, name)  # noqa: PTH118 - a walk over many files
                with open(path, "rb") as file:  # noqa: PTH123
                    found[path[len(self.root) :]] = file.read()
        return found

    def write(self, files: Files) -> None:
        """Bring every file back to `files`, those alone that differ."""
        present = self.read()
        for name in present.keys() - files.keys():
            Path(self.root + name).unlink()
        for name, content in files.items():
            if present.get(name) != content:
                path = Path(self.root + name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)

    def after_power_cut(self, files: Files, chance: random.Random) -> Files:
        """Return what a power cut leaves of `files`: what was not flushed may be torn, or gone."""
        left, all_flushed = dict(files), dict(self._flushed)
        for start, target, before, flushed_before in reversed(self._renamed):
            if target in left and chance.random() < 0.5:
                left[start] = left.pop(target)
                if before is not None:
                    left[target] = before
                if target in all_flushed:
                    all_flushed[start] = all_flushed.pop(target)
                if flushed_before is not None:
                    all_flushed[target] = flushed_before
        for name, content in list(left.items()):
            flushed = all_flushed.get(name)
            if RAW not in name or name.endswith(".tmp") or flushed == content or chance.random() < 0.3:
                continue
            kept = flushed if flushed is not None and content.startswith(flushed) else b""
            if flushed is None and chance.random() < 0.3:
                del left[name]
            else:
                left[name] = content[: chance.randint(len(kept), len(content))]
        return left

    def begin(self) -> None:
        """Begin to see operations. What the disk holds now counts as flushed."""
        self._flushed = {name: content for name, content in self.read().items() if RAW in name}
        self._begun = dict(self._flushed)
        self._renamed = []
        self.full = False

    def learn(self, other: Disk) -> None:
        """Learn what another process has flushed meanwhile: they write to one disk."""
        self._flushed |= {name: each for name, each in other._flushed.items() if other._begun.get(name) != each}

    def seen(self, event: str, arguments: tuple[Any, ...]) -> None:
        """See one operation of Python on files; raises OSError where the disk is full."""
        if event == "os.remove" and arguments[1] != -1:  # within a temporary folder that is removed
            return
        name = self._below(arguments[0])
        if name is None:
            return
        if event == "open":
            flags = arguments[2]
            if not (isinstance(flags, int) and flags & WRITES):
                return
            self.reached(f"write {_shown(name)}")
            if self.full:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), name)
        elif event in ("os.rename", "os.link"):
            self.reached(f"{event[3:]} {_shown(name)}")
            target = self._below(arguments[1])
            if target is not None and RAW in name and event == "os.rename":
                self._rename(name, target)
        else:
            self.reached(f"{event[3:]} {_shown(name)}")

    def flushed(self, handle: int) -> None:
        """See a flush of a file or a folder; raises OSError where the disk is full."""
        name = self._below(str(Path(f"/proc/self/fd/{handle}").readlink()))
        if name is None:
            return
        self.reached(f"flush {_shown(name)}")
        if self.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), name)
        path = Path(self.root + name)
        if RAW in name + "/" and path.is_dir():
            self._renamed = []
        elif RAW in name:
            self._flushed[name] = path.read_bytes()

    def _rename(self, source: str, target: str) -> None:
        path = Path(self.root + target)
        before = path.read_bytes() if path.exists() else None
        self._renamed.append((source, target, before, self._flushed.get(target)))
        if source in self._flushed:
            self._flushed[target] = self._flushed.pop(source)

    def _below(self, path: Any) -> str | None:
        if isinstance(path, bytes):
            path = path.decode()
        if not isinstance(path, str):
            if not isinstance(path, os.PathLike):
                return None
            path = os.fspath(path)
        if not path.startswith("/"):
            path = f"{self.root}/{path}"
        return path[len(self.root) :] if path.startswith(self.root + "/") else None


def _shown(name: str) -> str:
    """Return a name as it is in the trace: without what the process or the system drew."""
    return DRAWN.sub("-TEMP", re.sub(rf"(?<=[.-]){os.getpid()}(?=[.-])", "PID", name))


@contextmanager
def watching(disk: Disk) -> Iterator[None]:
    """See the operations below the disk's root; a disk that was seen before learns of them at the end."""
    _watched.append(disk)
    try:
        yield
    finally:
        _watched.remove(disk)
        if _watched:
            _watched[-1].learn(disk)


@contextmanager
def unwatched() -> Iterator[None]:
    """Do what is no part of the simulated machine."""
    held = list(_watched)
    _watched.clear()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    try:
        yield
    finally:
        _watched[:] = held
        if soft != hard:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def fill(disk: Disk) -> None:
    """Let the disk be full, for DuckDB too: no file can grow."""
    disk.full = True
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (FULL_BYTES, hard))


def free(disk: Disk) -> None:
    """Let there be room on the disk again."""
    disk.full = False
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))


_EVENTS = frozenset({"open", "os.rename", "os.remove", "os.link", "os.truncate"})


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if _watched and event in _EVENTS:
        _watched[-1].seen(event, arguments)


def _watched_fsync(handle: Any) -> None:
    if _watched:
        _watched[-1].flushed(handle if isinstance(handle, int) else handle.fileno())
    _fsync(handle)


def watch_files() -> None:
    """See the file operations of this process from now on; done once. Held room that is given back makes a full disk
    free.
    """
    sys.addaudithook(_audit)
    os.fsync = _watched_fsync  # type: ignore[assignment]
    give_back = HeldRoom.give_back

    def given_back(self: HeldRoom) -> bool:
        was_held = give_back(self)
        if was_held and _watched:
            free(_watched[-1])
        return was_held

    HeldRoom.give_back = given_back  # type: ignore[method-assign]


def of_world(world: World) -> None:
    """Count the operations of the store for `world` from now on."""
    _world[:] = [world]


def let_go() -> None:
    """Close the file that reading sessions have open."""
    while _kept:
        connection, _ = _kept.pop()
        with suppress(duckdb.ConnectionException):  # closed already
            connection.execute(f"DETACH {CATALOG}")


def keep_open() -> None:
    """Let the reading sessions that one work has one after the other share one opening of the file; done once.

    Openings are half of what a short statement costs. Nobody else can tell the difference: whoever opens the file in
    another way, or looks at the folder from outside, closes it first.
    """
    attach, detach, close, reading = vars(database)["attach"], Database._detach, Work.close, Database.reading
    of_source = vars(source)["attach"]

    def attached(connection: Any, path: Path, alias: str, **options: Any) -> None:
        if options["read_only"] and _kept == [(connection, str(path))]:
            return
        let_go()
        attach(connection, path, alias, **options)
        if options["read_only"]:
            _kept.append((connection, str(path)))

    def detached(self: Database, work: Work) -> None:
        if _kept and _kept[-1][0] is work.connection:
            work.connection.execute("USE memory")
        else:
            detach(self, work)

    def closed(self: Work) -> None:
        let_go()
        close(self)

    def attached_to_source(*given: Any, **options: Any) -> None:
        let_go()
        of_source(*given, **options)

    @contextmanager
    def read(self: Database, work: Work) -> Iterator[Any]:
        if not self.path.exists():
            let_go()
        with reading(self, work) as session:
            yield session

    vars(database)["attach"] = attached
    vars(source)["attach"] = attached_to_source
    Database.reading = read  # type: ignore[method-assign]
    Database._detach = detached  # type: ignore[method-assign]
    Work.close = closed  # type: ignore[method-assign]


def watch_store() -> None:
    """Count the operations of every database of this process; done once."""
    writing, reading, detach, migrate = Database.writing, Database.reading, Database._detach, Database._migrate
    committed = False

    @contextmanager
    def watched_writing(*given: Any, **options: Any) -> Iterator[Any]:
        nonlocal committed
        _reached("store write")
        with writing(*given, **options) as found:
            yield found
            _reached("store commit")
            committed = True
        _reached("store closed")

    @contextmanager
    def watched_reading(*given: Any, **options: Any) -> Iterator[Any]:
        _reached("store read")
        with reading(*given, **options) as found:
            yield found

    def watched_detach(*given: Any) -> None:
        nonlocal committed
        if committed:
            committed = False
            _reached("store committed")
        detach(*given)

    def watched_migrate(*given: Any, **options: Any) -> None:
        _reached("store migrate")
        migrate(*given, **options)

    Database.writing = watched_writing  # type: ignore[method-assign]
    Database.reading = watched_reading  # type: ignore[method-assign]
    Database._detach = watched_detach  # type: ignore[method-assign, assignment]
    Database._migrate = watched_migrate  # type: ignore[method-assign]


def _reached(operation: str) -> None:
    if _world:
        _world[0].reached(operation)
