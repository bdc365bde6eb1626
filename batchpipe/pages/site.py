"""What every page works with: the project, short sessions over its database, and values that are read anew only when
something has changed.

A page never waits long: what is not there within a moment is fetched by the page itself. A query that took t is not
repeated for 20 t, also where it gave way to somebody who writes, and a file that did not change is not opened.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import duckdb

from batchpipe.commands.call.call import Call, load_each
from batchpipe.common.errors import BatchpipeError, DatabaseError, LockedError, PipelineError, UsageError
from batchpipe.common.given import as_utf_8
from batchpipe.engine.context import Context
from batchpipe.engine.ledger.renames import with_histories
from batchpipe.pages.guard import Door
from batchpipe.pipeline.files import FOLDER, pipeline_files
from batchpipe.pipeline.model import PipelineFile
from batchpipe.store.database import Session, Work

WAIT_SECONDS = 2.0
SOON_SECONDS = 0.25
LIVE_SECONDS = 1.0
REPEAT_AFTER = 20.0
FRESH_SECONDS = 15.0
MOST_KEPT = 200
THREADS = 16  # most of these threads wait: only one at a time has the database open
TRIES, RETRY_SECONDS = 3, 0.3

Value = TypeVar("Value")
_inside = threading.local()
Stamp = tuple[Any, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownValue(Generic[Value]):
    """A value as it was read: when, the stamp of the files before it, and the seconds of CPU that it took.

    A `partial` one lacks what was not there within a moment, and is not kept.
    """

    value: Value
    stamp: Stamp
    at: float
    took: float
    partial: bool = False

    @property
    def age_seconds(self) -> float:
        """Return how old the value is."""
        return time.monotonic() - self.at


@dataclass(slots=True, kw_only=True)
class Site:
    """The pages of one project. `door` says who is let in; the functions in `at_end` are called at the end."""

    call: Call
    door: Door
    at_end: list[Callable[[], None]] = field(default_factory=list, init=False)
    _known: dict[Hashable, KnownValue[Any]] = field(default_factory=dict, init=False)
    _under_way: dict[Hashable, Future[KnownValue[Any]]] = field(default_factory=dict, init=False)
    _again_at: dict[Hashable, float] = field(default_factory=dict, init=False)
    _guard: threading.Lock = field(default_factory=threading.Lock, init=False)
    _pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(THREADS), init=False)

    @property
    def name(self) -> str:
        """Return the name of the project: that of its folder."""
        return self.call.root.resolve().name

    @property
    def person(self) -> str:
        """Return the name of the person who runs this process."""
        with self.context() as context:
            return context.person

    @contextmanager
    def context(self, wait_seconds: float = WAIT_SECONDS, *, gives_way: bool = True) -> Iterator[Context]:
        """Open the surroundings of the engine for one request. Nobody is asked anything.

        What is read `gives_way` to whoever waits to write, as a run does: LockedError then. A lookup, which is short,
        does not, and goes before what does.
        """
        with self.call.context(wait_seconds, say=lambda text: None) as context:
            context.ask = None
            context.database.gives_way = gives_way
            with readable():
                yield context

    @contextmanager
    def session(self, *, gives_way: bool = True) -> Iterator[tuple[Context, Work, Session]]:
        """Open a short session that reads the database."""
        with (
            self.context(gives_way=gives_way) as context,
            closing(context.work()) as work,
            context.database.reading(work) as session,
        ):
            yield context, work, session

    def file(self, name: str) -> PipelineFile:
        """Return the pipeline called `name`. Raises UsageError where there is none, PipelineError for a broken file."""
        files, problems = self.files()
        for each in files:
            if each.pipeline.name == name:
                return each
        for stem, error in problems.items():
            if stem == name:
                raise error
        known = ", ".join(each.pipeline.name for each in files) or "none yet"
        raise UsageError(f"there is no pipeline {name}", where=FOLDER, hint=f"The pipelines are: {known}.")

    def files(self) -> tuple[list[PipelineFile], dict[str, BatchpipeError]]:
        """Return the files that can be read, and by its stem the error of each other one."""
        found: tuple[list[PipelineFile], dict[str, BatchpipeError]] = self.read(("files",), self._load).value
        return found

    def stamp(self) -> Stamp:
        """Return what changes whenever the database or a file of the project does. Nothing is opened."""
        with self.call.context(0.0, say=lambda text: None) as context:
            database = context.database.path
        folders = [self.call.root / FOLDER, self.call.root / "prompts", self.call.root]
        log = database.with_name(f"{database.name}.wal")
        paths = [database, log, *pipeline_files(self.call.root / FOLDER), *folders]
        return tuple(_stamp(each) for each in paths)

    def read(
        self, key: Hashable, function: Callable[[], Value], *, wait_seconds: float = 60.0, fresh: bool = False
    ) -> KnownValue[Value]:
        """Return what `function` returns, from before where nothing has changed since, or where it costs too much.

        With `fresh` it is read anew after some seconds although nothing seems to have changed.
        While another process holds the database, what was known before is returned.
        Raises TimeoutError where it is not there within `wait_seconds`, and what `function` raises.
        """
        known, stamp = self._known.get(key), self.stamp()
        if known is not None:
            same = known.stamp == stamp and not (fresh and known.age_seconds > FRESH_SECONDS)
            late = time.monotonic() < self._again_at.get(key, 0.0)
            if same or late or known.age_seconds < REPEAT_AFTER * known.took:
                return known
        try:
            if wait_seconds >= SOON_SECONDS * 2 and getattr(_inside, "pool", False):
                return self._measured(key, function, stamp)  # a thread of the pool never waits for another one
            return self._begun(key, function, stamp).result(wait_seconds)
        except LockedError:
            if known is None:
                raise
            return known

    def live(self, key: Hashable, function: Callable[[], Value], *, wait_seconds: float) -> KnownValue[Value]:
        """Return what `function` returns for a page that asks again by itself.

        Where something is known and it takes longer than a moment to read it anew, the page gets what is known.
        """
        known = self._known.get(key)
        try:
            return self.read(key, function, wait_seconds=wait_seconds if known is None else LIVE_SECONDS, fresh=True)
        except TimeoutError:
            if known is None:
                raise
            return known

    def soon(self, key: Hashable, function: Callable[[], Value], *, fresh: bool = False) -> KnownValue[Value] | None:
        """Return what `function` returns where it is there within a moment; else None, and it is read on."""
        try:
            return self.read(key, function, wait_seconds=SOON_SECONDS, fresh=fresh)
        except TimeoutError:
            _inside.partial = True
            return None

    def forget(self) -> None:
        """Let everything be read anew, after something was written from a page."""
        with self._guard:
            self._known.clear()
            self._again_at.clear()

    def close(self) -> None:
        """End what is under way, and what pages have kept open."""
        for each in self.at_end:
            each()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _begun(self, key: Hashable, function: Callable[[], Value], stamp: Stamp) -> Future[KnownValue[Value]]:
        """Return the reading of a value that is under way, begun where nobody has."""
        with self._guard:
            future = self._under_way.get(key)
            if future is None:
                future = self._pool.submit(self._measured, key, function, stamp)
                self._under_way[key] = future
            return future

    def _measured(self, key: Hashable, function: Callable[[], Value], stamp: Stamp) -> KnownValue[Value]:
        outer, _inside.pool, _inside.partial = getattr(_inside, "partial", False), True, False
        began = time.thread_time()
        try:
            value = tried(function)
            took, partial = time.thread_time() - began, _inside.partial
            known = KnownValue(value=value, stamp=stamp, at=time.monotonic(), took=took, partial=partial)
            if partial:
                return known
            with self._guard:
                self._again_at.pop(key, None)
                while len(self._known) >= MOST_KEPT:
                    self._known.pop(next(iter(self._known)))
                self._known[key] = known
            return known
        except LockedError:
            with self._guard:
                if key in self._known:  # what was never read is tried again at once
                    self._again_at[key] = time.monotonic() + REPEAT_AFTER * (time.thread_time() - began)
            raise
        finally:
            _inside.partial = outer or _inside.partial
            with self._guard:
                self._under_way.pop(key, None)

    def _load(self) -> tuple[list[PipelineFile], dict[str, BatchpipeError]]:
        if not pipeline_files(self.call.root / FOLDER):
            return [], {}
        files, problems = load_each(self.call.select([], all=True), self.call.root)
        with self.context(gives_way=False) as context:
            files = with_histories(context.database, context.work, files)
        return files, {
            as_utf_8(path.stem): PipelineError.from_problems(list(found)) for path, found in problems.items()
        }


@contextmanager
def readable() -> Iterator[None]:
    """Raise DatabaseError for a statement that DuckDB cannot run, such as one without room in memory."""
    try:
        yield
    except duckdb.Error as error:
        hint = "Look again; if it stays, the command that says the same in the terminal names more."
        raise DatabaseError(str(error).split("\n", 1)[0], where="the database", hint=hint) from error


def tried(function: Callable[[], Value], tries: int = TRIES) -> Value:
    """Return what `function` returns. While others write into the database, it is called again, a few times."""
    for _ in range(tries - 1):
        try:
            return function()
        except LockedError:
            time.sleep(RETRY_SECONDS)
    return function()


def _stamp(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError:
        return (0, 0)
    return (found.st_mtime_ns, found.st_size)
