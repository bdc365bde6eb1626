"""Room on the disk that is held for answers before they are paid for."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

# Few answers have a longer line.
ANSWER_BYTES = 1 << 16


@dataclass(slots=True, kw_only=True)
class HeldRoom:
    """Holds `size_bytes` of the disk below `folder` by a file without a name, which ends with the process.

    A disk that becomes full while calls are under way cannot take an answer that is paid for: the room is given back
    then, and the answer takes it.
    """

    folder: Path
    size_bytes: int
    _file: IO[bytes] | None = field(default=None, init=False)

    @contextmanager
    def held(self) -> Iterator[HeldRoom]:
        """Hold the room during the block. Raises OSError where the disk has less: then nothing may be asked."""
        with tempfile.TemporaryFile(dir=self.folder) as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, self.size_bytes)
            else:
                file.write(bytes(self.size_bytes))
                file.flush()
            self._file = file
            try:
                yield self
            finally:
                self._file = None

    def give_back(self) -> bool:
        """Give the room back to the disk; return whether it was still held."""
        if self._file is None:
            return False
        self._file.truncate(0)
        self._file = None
        return True
