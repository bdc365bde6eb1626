"""Work in another folder for a moment: DuckDB writes and attaches files from the working folder of the process.

The command line is in the project's root all the time. A program that uses the library has a working folder of its own.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

_guard = threading.RLock()


@contextlib.contextmanager
def working_in(folder: Path) -> Iterator[None]:
    """Make `folder` the working folder of the process for the block; one thread at a time does so."""
    with _guard:
        if Path.cwd() == folder.resolve():
            yield
            return
        with contextlib.chdir(folder):
            yield
