"""The points at which a run may be killed: around calls of the store, of the provider and of files."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from batchpipe.engine.ledger.raw_folder import RawFolder
from batchpipe.engine.plan import planner as plan
from batchpipe.engine.source.source import Source
from batchpipe.providers.anthropic.calls import Calls
from batchpipe.providers.gemini.calls import Calls as GeminiCalls
from batchpipe.providers.openai.calls import Calls as OpenAICalls
from batchpipe.providers.shared import download
from batchpipe.store.database import Database

CALLS = (
    *("upload", "upload_file", "has_file", "discard"),
    *("submit", "answer", "poll", "collect", "list_batches", "account", "cancel"),
)
FILE_STEPS = ("replace", "unlink", "write_text")


@dataclass(slots=True)
class Points:
    """The count of points that a process passes; it ends at number `kill_at` (from 1), or at the first `kill_on`."""

    kill_at: int = 0
    kill_on: str = ""
    passed: list[str] = field(default_factory=list)
    one_by_one: threading.Lock = field(default_factory=threading.Lock)

    def reached(self, name: str) -> None:
        with self.one_by_one:
            self.passed.append(name)
            if len(self.passed) == self.kill_at or name == self.kill_on:
                os.kill(os.getpid(), signal.SIGKILL)

    def around(self, owner: Any, names: Sequence[str], label: str) -> None:
        """Put points before and after each call of `owner`'s functions `names`."""
        for name in names:
            setattr(owner, name, self._around(getattr(owner, name), f"{label} {name}"))

    def _around(self, wrapped: Callable[..., Any], name: str) -> Callable[..., Any]:
        def call(*given: Any, **options: Any) -> Any:
            self.reached(f"before {name}")
            found = wrapped(*given, **options)
            self.reached(f"after {name}")
            return found

        return call


def set_points(points: Points) -> None:
    """Put points around every write, read, call and file operation of this process."""
    _around_writes(points)
    _around_reads(points)
    points.around(Database, ["_migrate"], "store")
    for calls in (Calls, OpenAICalls, GeminiCalls):
        points.around(calls, CALLS, "call")
    points.around(RawFolder, ["write_requests", "save_chunk", "compress"], "file")
    points.around(Source, ["snapshot"], "file")
    points.around(plan, ["render_rows"], "file")
    points.around(Path, FILE_STEPS, "file")
    points.around(os, ["fsync"], "file")
    _around_chunks(points)


def _around_writes(points: Points) -> None:
    """Put points before a write, before its commit, after its commit, and after the file is closed."""
    wrapped, detach = Database.writing, Database._detach
    committed = False

    @contextmanager
    def writing(*given: Any, **options: Any) -> Iterator[Any]:
        nonlocal committed
        points.reached("before write")
        with wrapped(*given, **options) as found:
            yield found
            points.reached("before commit")
            committed = True
        points.reached("after write")

    def detached(*given: Any) -> None:
        nonlocal committed
        if committed:
            points.reached("after commit")
            committed = False
        detach(*given)

    Database.writing = writing  # type: ignore[method-assign]
    Database._detach = detached  # type: ignore[method-assign, assignment]


def _around_reads(points: Points) -> None:
    wrapped = Database.reading

    @contextmanager
    def reading(*given: Any, **options: Any) -> Iterator[Any]:
        points.reached("before read")
        with wrapped(*given, **options) as found:
            yield found
        points.reached("after read")

    Database.reading = reading  # type: ignore[method-assign]


def _around_chunks(points: Points) -> None:
    """Put a point in the middle of a download, after half of it is written."""
    whole = download._plain

    def halves(response: Any) -> Iterator[bytes]:
        for chunk in whole(response):
            middle = len(chunk) // 2
            points.reached("before file part")
            yield chunk[:middle]
            points.reached("within file part")
            yield chunk[middle:]

    download._plain = halves
