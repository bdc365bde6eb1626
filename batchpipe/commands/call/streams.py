"""The streams of the process where they take no more: closed, on a full disk, on a terminal that is gone."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import Any, TextIO

from batchpipe.common.errors import UsageError

STDOUT = "stdout"


def open_streams() -> None:
    """Let the streams that the process was started without lead nowhere: what is written to them is not asked for."""
    for name, mode in (("stdin", "r"), (STDOUT, "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115 - open to the end


def silence(stream: TextIO) -> None:
    """Discard what is written to `stream` from now on, and what it still holds, because it takes no more."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def takes_more(stream: TextIO) -> bool:
    """Return whether `stream` takes a line break: one that a failed write left empty does not say it otherwise."""
    try:
        stream.write("\n")
        stream.flush()
    except OSError:
        return False
    return True


def unwritable(error: OSError) -> UsageError:
    """Return the error for a stdout that takes no more."""
    what = f"the output cannot be written: {error.strerror or error}"
    hint = "Make room or send the output elsewhere, then run the same command again: what was done is recorded."
    return UsageError(what, where=STDOUT, hint=hint)


class Messages:
    """A terminal's stream for a view that is drawn again and again: it is silenced where the terminal is gone."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write `text` where that is possible, and return its length."""
        try:
            self._stream.write(text)
        except OSError:
            silence(self._stream)
        return len(text)

    def flush(self) -> None:
        """Send what was written on its way where that is possible."""
        try:
            self._stream.flush()
        except OSError:
            silence(self._stream)
