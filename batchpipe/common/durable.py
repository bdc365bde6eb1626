"""What makes a file outlive a power cut, and files that are written whole or not at all."""

from __future__ import annotations

import glob
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

LONGEST_STEM = 100
# No pattern that finds data files finds this ending: what a killed process leaves must not be read as input.
UNFINISHED = ".part"
LEFT_SECONDS = 86_400.0  # after so long without a change nobody writes to an unfinished file any more


def flush_folder(folder: Path) -> None:
    """Make sure that a new file name in `folder` is on the disk, on systems that can open a folder."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def part_of(path: Path) -> Path:
    """Return the name under which this thread writes the file that takes the name `path` once it is whole.

    Nobody else writes to it: two processes may be about to put the same file there.
    """
    return path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}{UNFINISHED}")


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Give a place beside `path` to write to, which takes its name at the end of the block.

    After an error, what stood at `path` stands there still. What killed processes have left of the same file goes after
    a day. Raises OSError where the file cannot be put there.
    """
    target = path.resolve()
    begun = f".{target.stem[:LONGEST_STEM]}{target.suffix}-"
    beside = target.with_name(f"{begun}{os.getpid()}-{threading.get_ident()}{UNFINISHED}")
    remove_left(target.parent, begun)
    try:
        yield beside
        beside.replace(target)
    except BaseException:
        with suppress(OSError):
            beside.unlink()
        raise


def remove_left(folder: Path, begun: str = "") -> None:
    """Remove unfinished files whose names begin so, and that nobody has written to for long."""
    for each in folder.glob(f"{glob.escape(begun)}*{UNFINISHED}"):
        with suppress(OSError):  # another process may remove it as well
            if time.time() - each.stat().st_mtime > LEFT_SECONDS:
                each.unlink()
