"""Decide which files a row may name: those below the project, or below a folder that the pipeline file gives.

Never a file or folder that begins with a dot, the database, or what a link leads to outside those folders.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

MOST_BYTES = 100_000_000


class FileStat(NamedTuple):
    """A file as `stat` shows it. `problem` is why it may not be sent; then the other values mean nothing."""

    real: str = ""
    size: int = 0
    mtime_ns: int = 0
    problem: str | None = None


class _Folder(NamedTuple):
    """A folder with its links followed; `problem` is why its files may not be sent."""

    real: str
    problem: str | None


@dataclass(slots=True, kw_only=True)
class Roots:
    """The folders whose files may be sent. `allowed` are real paths; `forbidden` are the database's own files.

    What is found of a folder holds for all files in it, so that a file costs one `lstat`.
    """

    root: Path
    allowed: Sequence[Path]
    forbidden: Sequence[Path] = ()
    _folders: dict[str, _Folder] = field(default_factory=dict, init=False)
    _real: tuple[str, ...] = field(init=False)
    _refused: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        self._real = tuple(os.path.realpath(each) for each in self.allowed)
        self._refused = frozenset(os.path.realpath(each) for each in self.forbidden)

    def look(self, path: str) -> FileStat:
        """Look at the file that a row calls `path`; it is not opened."""
        folder, name = os.path.split(path)
        if not name or name.startswith(".") or "\0" in path:
            return FileStat(
                problem="a file that begins with a dot is never sent" if name.startswith(".") else "no file"
            )
        known = self._folders.get(folder)
        if known is None:
            known = self._folders[folder] = self._folder(folder)
        if known.problem is not None:
            return FileStat(problem=known.problem)
        real = known.real + os.sep + name
        try:
            found = os.lstat(real)
            if stat.S_ISLNK(found.st_mode):
                real = os.path.realpath(real)
                problem = self._outside(real)
                if problem is not None:
                    return FileStat(problem=problem)
                found = os.lstat(real)
        except (OSError, ValueError):
            return FileStat(problem="there is no such file")
        if not stat.S_ISREG(found.st_mode):
            return FileStat(problem="it is no file")
        if real in self._refused:
            return FileStat(problem="the database is never sent")
        if found.st_size > MOST_BYTES:
            return FileStat(problem=f"it has {found.st_size:,} bytes, and {MOST_BYTES:,} is the most")
        return FileStat(real, found.st_size, found.st_mtime_ns)

    def _folder(self, folder: str) -> _Folder:
        try:
            real = os.path.realpath(self.root / folder)
        except (OSError, ValueError):
            return _Folder("", "there is no such file")
        return _Folder(real, self._outside(real))

    def _outside(self, real: str) -> str | None:
        """Return why a real path may not be sent."""
        for root in self._real:
            if real == root or real.startswith(root.rstrip(os.sep) + os.sep):
                if f"{os.sep}." not in real[len(root) :]:
                    return None
                return "a file in a folder that begins with a dot is never sent"
        if not self._real:
            return "no folder is named in media_roots"
        return "it is not below the project or a folder of media_roots"
