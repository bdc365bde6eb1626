"""Make new files and folders of the working folder readable for their owner alone, or as the umask allows.

Raw results and rendered prompts hold the user's data. What exists already keeps its mode.
"""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

PRIVATE_FOLDER, PRIVATE_FILE = 0o700, 0o600

_shared = False


def share_files(shared: bool) -> None:
    """Let new files follow the umask of the process from now on (`shared`), or be for their owner alone."""
    global _shared
    _shared = shared


def opener(path: str, flags: int) -> int:
    """Open a file for `open(..., opener=opener)`; a new one is for its owner alone, unless files are shared."""
    return os.open(path, flags, 0o666 if _shared else PRIVATE_FILE)


def make_folder(folder: Path, *, below: Path) -> None:
    """Make `folder` and the missing ones above it. Those from `below` on are for their owner alone, unless files are
    shared. Raises OSError.
    """
    if folder.is_dir():
        return
    if folder != below:
        make_folder(folder.parent, below=below)
    else:
        folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        folder.mkdir(mode=0o777 if _shared else PRIVATE_FOLDER)
    except FileExistsError as error:
        if not folder.is_dir():  # else another process was faster
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder)) from error


def settle(path: Path) -> None:
    """Give a file that a library has made the mode of a new file. A file that is gone already needs none."""
    if not _shared:
        with contextlib.suppress(FileNotFoundError):
            path.chmod(PRIVATE_FILE)


def replace(part: Path, path: Path) -> None:
    """Give the finished file `part` the name `path`. Where there is such a file, its mode stays. Raises OSError."""
    with contextlib.suppress(FileNotFoundError):
        part.chmod(path.stat().st_mode & 0o777)
    part.replace(path)
