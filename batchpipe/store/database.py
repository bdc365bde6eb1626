"""The class that owns the database file. The file is open for moments, never during a network call or a sleep.

DuckDB lets no second process read a file that is open for writing, so that every opening retries with jitter, and a
session ends as soon as its work is done. A `Work` is an in-memory DuckDB of this process. For a session the database is
attached to it, so that one statement can read both the working tables of a run and the ledger.
"""

from __future__ import annotations

import contextlib
import os
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb

from batchpipe.common import modes
from batchpipe.common.errors import DatabaseError, InternalError
from batchpipe.common.machine import THIS_MACHINE, new_id
from batchpipe.sql.connection import Connection
from batchpipe.sql.quoting import Sql, joined, number_sql, quote_identifier, quote_list, quote_literal, sql
from batchpipe.store.disk import disk_error, followed, gone_error, is_of_storage, put, storage_error
from batchpipe.store.empty_ledger import EmptyLedger
from batchpipe.store.giving_way import give_way_first, giving_way, want_to_write
from batchpipe.store.memory import Memory
from batchpipe.store.migration import (
    apply_migrations,
    empty_image,
    make_anew,
    migrations,
    roll_back,
    schema_version,
)
from batchpipe.store.opening import attach, opened_alone
from batchpipe.store.queries import query

CATALOG = Sql("store")
MOST_CORES = 4
BLOCK_ROWS = 5_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """An open database. `seq` and `now` are the number and the time of the commit that a writing session makes.

    `chance` draws new ids. `empty`: there is no database file yet. `reads`: the session cannot write.
    """

    work: Work
    seq: int
    now: datetime
    chance: random.Random = THIS_MACHINE.chance
    empty: bool = False
    reads: bool = False

    @property
    def blank(self) -> bool:
        """Return whether nothing was ever committed to the ledger, which this session cannot change."""
        return self.reads and self.seq == 0

    def knows(self, names: Sequence[str]) -> bool:
        """Return whether the ledger may have anything of the pipelines called `names`, but the beginnings of runs.

        With a pipeline its evaluations are meant, and with an evaluation its pipeline. What a reading session finds
        out, later ones at the same commit know. Reads the ledger.
        """
        if self.blank or not self.reads:
            return not self.blank
        families = tuple(sorted({each.partition(":")[0] for each in names}))
        asked = (self.seq, families)
        if asked not in self.work.known:
            self.work.known.clear()
            # The first question is answered at the first row of a pipeline that was ever run.
            known = self.one(query("knows_decisions", names=quote_list(names)))[0]
            known = known or self.one(query("knows_families", families=quote_list(families)))[0]
            self.work.known[asked] = bool(known)
        return self.work.known[asked]

    @property
    def connection(self) -> Connection:
        """The connection of `work`, to which the database is attached."""
        return self.work.connection

    def new_id(self) -> str:
        """Return a new UUID that begins with the session's time."""
        return new_id(self.now, self.chance)

    def execute(self, statement: Sql, parameters: object = None) -> Connection:
        """Run `statement` and return the cursor that holds its rows."""
        return self.connection.execute(statement, parameters)

    def rows(self, statement: Sql, parameters: object = None) -> list[tuple[Any, ...]]:
        """Return all rows of `statement`."""
        return self.connection.execute(statement, parameters).fetchall()

    def one(self, statement: Sql, parameters: object = None) -> tuple[Any, ...]:
        """Return the first row of `statement`. Raises InternalError if it has none."""
        row = self.connection.execute(statement, parameters).fetchone()
        if row is None:
            raise InternalError("a query that must return a row returned none", hint="Please report this.")
        return tuple(row)

    def dictionaries(self, statement: Sql, parameters: object = None) -> list[dict[str, Any]]:
        """Return all rows of `statement` as dicts by column name."""
        cursor = self.connection.execute(statement, parameters)
        columns = [each[0] for each in cursor.description or ()]
        return [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]


@dataclass(slots=True, kw_only=True)
class Database:
    """A database file, and what to do while another process holds it.

    `clock` returns naive UTC. `wait_seconds`: how long an opening is tried. `announce` is called once with a sentence
    that says who holds the file. The functions in `while_waiting` are called between the tries; they may not open the
    database. `private_below` is the working folder that the file itself lies in, as the emulator's does: then the file
    is for its owner alone. With `gives_way` a session that reads ends with LockedError when somebody waits to write, or
    waits to read who does not give way.

    The first opening says which database it is: later ones, which may come after hours, raise GoneDatabaseError where
    another one has taken its place, or none is there. An older state of the same one, put back from a backup, is right.
    """

    path: Path
    clock: Callable[[], datetime]
    wait_seconds: float = 30.0
    announce: Callable[[str], None] | None = None
    sleep: Callable[[float], None] = time.sleep
    chance: random.Random = THIS_MACHINE.chance
    while_waiting: list[Callable[[], None]] = field(default_factory=list)
    private_below: Path | None = None
    gives_way: bool = False
    _migrated: bool = field(default=False, init=False)
    _identity: tuple[str, str] | None = field(default=None, init=False)

    @property
    def folder(self) -> Path:
        """The working folder beside the database, which git ignores. Who reaches one file by several links shares it:
        the locks and journals in it let nothing be asked twice.
        """
        return followed(self.path).parent / ".batchpipe"

    def make_folder(self, *names: str) -> Path:
        """Make a folder below the working folder, if it is not there, and return it. Raises DatabaseError."""
        folder = self.folder.joinpath(*names)
        try:
            modes.make_folder(folder, below=self.private_below or self.folder)
            ignore = self.folder / ".gitignore"
            if not ignore.exists():
                with open(ignore, "w", encoding="utf-8", opener=modes.opener) as file:
                    file.write("*\n")
        except OSError as error:
            raise disk_error(error, folder) from error
        return folder

    @contextmanager
    def reading(self, work: Work) -> Iterator[Session]:
        """Open a session that cannot write. If there is no database yet, it sees an empty ledger."""
        if not self._migrated and not followed(self.path).exists():
            now = self.clock()
            work.empty_ledger.use(now)
            yield Session(work=work, seq=0, now=now, empty=True, reads=True)
            return
        if self.gives_way:
            give_way_first(self.folder)
        if not self._migrated:
            self._migrate(work, wants=not self.gives_way)
        with self._attached(work, read_only=True, wants=not self.gives_way):
            way = giving_way(work.connection, self.folder) if self.gives_way else contextlib.nullcontext()
            with way:
                yield Session(work=work, seq=self._last_seq(work), now=self.clock(), chance=self.chance, reads=True)

    @contextmanager
    def writing(self, work: Work, run_id: str | None) -> Iterator[Session]:
        """Open a session that is one transaction, committed at its end, or rolled back after an error.

        Writes a row of `ledger.commits`.
        """
        if not self._migrated:
            self._migrate(work, wants=True)
        with self._attached(work, read_only=False):
            connection = work.connection
            connection.execute(Sql("BEGIN TRANSACTION"))
            try:
                session = Session(work=work, seq=self._last_seq(work) + 1, now=self.clock(), chance=self.chance)
                yield session
                connection.execute(
                    Sql("INSERT INTO ledger.commits VALUES ($1, $2, $3)"), [session.seq, run_id, session.now]
                )
                connection.execute(Sql("COMMIT"))
            except BaseException:
                roll_back(connection)
                raise

    def _migrate(self, work: Work, *, wants: bool = False) -> None:
        if self.path.stem.lower() == "ledger":
            what = f"a database file cannot be called {self.path.name}"
            hint = "Use another name: DuckDB names the catalog after the file, and `ledger.x` would be ambiguous."
            raise DatabaseError(what, where=str(self.path), hint=hint)
        try:
            if self.private_below is not None:
                modes.make_folder(self.path.parent, below=self.private_below)
            self.path.parent.mkdir(parents=True, exist_ok=True)
            present = followed(self.path).exists()
        except OSError as error:
            raise disk_error(error, self.path) from error
        if not present:
            self._make(work)
        with self._attached(work, read_only=True, wants=wants):
            version = schema_version(work.connection)
        if version < len(migrations()):
            if not (os.access(self.path, os.W_OK) and os.access(self.path.parent, os.W_OK)):
                raise self._older_and_read_only(version)
            with self._attached(work, read_only=False):
                apply_migrations(work.connection, self.clock(), self.path, chance=self.chance)
        elif version > len(migrations()):
            what = f"the database has schema version {version}, but this batchpipe knows only {len(migrations())}"
            raise DatabaseError(what, where=str(self.path), hint="Install a newer batchpipe: pip install -U batchpipe")
        self._migrated = True

    def _older_and_read_only(self, version: int) -> DatabaseError:
        """Return the error for a file of an older schema version that cannot be brought to the present one here."""
        what = (
            f"the database has schema version {version}, this batchpipe reads version {len(migrations())}, "
            "and the file cannot be written here"
        )
        hint = "Run `batchpipe status` once where the file may be written; or copy it, and name it: --database COPY"
        return DatabaseError(what, where=str(self.path), hint=hint)

    def _make(self, work: Work) -> None:
        """Make a new database under another name and rename it, so that a full disk or a kill leaves no half of one."""
        part = self.path.with_name(f".{self.path.name}.{os.getpid()}.part")
        try:
            part.write_bytes(empty_image())
            with self._attached(work, read_only=False, path=part):
                make_anew(work.connection, self.clock(), self.chance)
            if self.private_below is not None:
                modes.settle(part)
            put(part, self.path)
        except OSError as error:
            raise disk_error(error, self.path) from error
        finally:
            for leftover in (part, part.with_name(f"{part.name}.wal")):
                with contextlib.suppress(OSError):  # a folder that cannot be written holds no leftover
                    leftover.unlink(missing_ok=True)

    @contextmanager
    def _attached(
        self, work: Work, *, read_only: bool, path: Path | None = None, wants: bool = False
    ) -> Iterator[None]:
        want = self._want if wants or not read_only else None
        work.empty_ledger.detach()
        with opened_alone(self.path, want):
            attach(
                work.connection,
                path or self.path,
                CATALOG,
                read_only=read_only,
                wait_seconds=self.wait_seconds,
                announce=self.announce,
                sleep=self.sleep,
                meanwhile=self._while_waiting,
                want=want,
                before=self._refuse_missing if self._migrated else None,
            )
            try:
                work.connection.execute(sql("USE {catalog}", catalog=CATALOG))
                yield
            except duckdb.Error as error:
                if is_of_storage(error):
                    raise storage_error(error, self.path) from error
                raise
            finally:
                self._detach(work)

    def _last_seq(self, work: Work) -> int:
        """Return the number of the last commit; make room for the longest requests since the last one that was seen.

        Raises GoneDatabaseError where this is not the database of the first opening.
        """
        try:
            found = work.connection.execute(query("last_commit"), {"seen": work.memory.seen_seq}).fetchone()
        except (duckdb.CatalogException, duckdb.BinderException) as error:  # it has no ledger of this version
            raise gone_error(self.path, self.folder) from error
        seq, longest_bytes, *identity = found or (0, 0, "", "")
        self._identity = self._identity or (identity[0], identity[1])
        if self._identity != tuple(identity):
            raise gone_error(self.path, self.folder)
        work.memory.make_room_for_requests(seq, longest_bytes)
        return int(seq)

    def _refuse_missing(self) -> None:
        if not followed(self.path).exists():
            raise gone_error(self.path, self.folder)

    def _want(self) -> None:
        want_to_write(self.folder)

    def _while_waiting(self) -> None:
        for each in tuple(self.while_waiting):
            each()

    def _detach(self, work: Work) -> None:
        try:
            work.connection.execute(sql("USE memory; DETACH {catalog}", catalog=CATALOG))
        except duckdb.Error as error:
            raise storage_error(error, self.path) from error


@dataclass(slots=True, kw_only=True)
class Work:
    """An in-memory DuckDB of this process with the working tables of one pipeline; it spills to a folder.

    It has one thread: the statements on a batch are short, and to share them among threads costs more than it saves.
    `memory` is its limit of memory. `empty_ledger` stands in for a database that is not there yet.
    `keep`, called at the end with the work, returns whether it keeps the emptied connection for another one. `known` is
    what `Session.knows` has found out, `known_open` the commit at which it was looked whether anything is open, with
    what was found.
    """

    connection: Connection
    empty_ledger: EmptyLedger
    memory: Memory
    keep: Callable[[Work], bool] | None = field(default=None, init=False)
    known: dict[tuple[int, tuple[str, ...]], bool] = field(default_factory=dict, init=False)
    known_open: tuple[int, bool] = field(default=(0, False), init=False)

    def __post_init__(self) -> None:
        """Make the working tables' schema, with its macros and its limit of memory."""
        self.connection.execute(sql("ATTACH ':memory:' AS work; {draw_order}", draw_order=query("draw_order")))
        self.memory.limit()

    @classmethod
    def open(cls, *, folder: Path | None = None) -> Work:
        """Return a new working database, which spills to `folder`."""
        connection = duckdb.connect(":memory:")
        connection.execute("SET TimeZone = 'UTC'; SET threads = 1")
        if folder is not None:
            connection.execute(f"SET temp_directory = {quote_literal(str(folder))}")
        empty_ledger = EmptyLedger(connection=connection, catalog=CATALOG)
        return cls(connection=connection, empty_ledger=empty_ledger, memory=Memory(connection=connection))

    @contextmanager
    def on_all_cores(self) -> Iterator[None]:
        """Let statements on whole tables use several cores, with memory for each of them, until the end of the block.

        A person waits for these statements.
        """
        cores = min(os.cpu_count() or 1, MOST_CORES)
        self.connection.execute(sql("SET threads = {cores}", cores=number_sql(cores)))
        self.memory.limit(cores)
        try:
            yield
        finally:
            self.connection.execute(Sql("SET threads = 1"))
            self.memory.limit()

    def close(self) -> None:
        """Drop the working tables, and close the database unless it is kept for another work."""
        if self.keep is None or not self.keep(self):
            self.empty_ledger.close()
            self.connection.close()


def streamed_rows(cursor: Connection) -> Iterator[tuple[Any, ...]]:
    """Yield the rows that `cursor` holds, without having all of them in memory at once."""
    while block := cursor.fetchmany(BLOCK_ROWS):
        yield from block


def quoted(*names: str) -> Sql:
    """Return identifiers, quoted and joined by commas."""
    return joined(", ", (quote_identifier(each) for each in names))
