"""What makes a file outlive a power cut, and files that are written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

LONGEST_STEM = 100


def flush_folder(folder: Path) -> None:
    """Make sure that a new file name in `folder` is on the disk, on systems that can open a folder."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Give a place beside `path` to write to, which takes its name at the end of the block.

    After an error, what stood at `path` stands there still. Raises OSError where the file cannot be put there.
    """
    target = path.resolve()
    beside = target.with_name(f".{target.stem[:LONGEST_STEM]}-{os.getpid()}{target.suffix}")
    try:
        yield beside
        beside.replace(target)
    except BaseException:
        with suppress(OSError):
            beside.unlink()
        raise
