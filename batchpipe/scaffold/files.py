"""Writing of a set of new files: all of them, or none if one of them exists."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from batchpipe.common.errors import UsageError


def write_files(root: Path, files: Mapping[str, str], *, hint: str) -> list[Path]:
    """Write `files` (texts by path below `root`) and return their paths. Raises UsageError that lists those
    that exist.
    """
    present = [name for name in files if os.path.lexists(root / name)]
    if present:
        listed = ", ".join(present)
        verb = "exists" if len(present) == 1 else "exist"
        raise UsageError(f"{listed} {verb} already; nothing was written", where=str(root), hint=hint)
    return [_write(root / name, text) for name, text in files.items()]


def _write(path: Path, text: str) -> Path:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # "x" refuses a file that was made since the check.
        with path.open("x", encoding="utf-8", newline="") as file:
            file.write(text)
    except OSError as error:
        what = f"cannot be written: {error.strerror}"
        raise UsageError(what, where=str(path), hint="Choose a folder that you may write to.") from error
    return path
