"""Bringing a database to the present schema of the ledger, by the numbered SQL files under `migrations/`."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Sequence
from datetime import datetime
from functools import cache
from importlib import resources
from pathlib import Path

import duckdb

from batchpipe.common.errors import DatabaseError
from batchpipe.common.machine import THIS_MACHINE
from batchpipe.project.settings_place import under
from batchpipe.sql.connection import Connection
from batchpipe.sql.quoting import Sql, trusted
from batchpipe.store.output_marks import mark_output_tables

MARKS_BEGAN = 3  # the schema version from which on every output table bears a mark
ID_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"


@cache
def migrations() -> Sequence[Sql]:
    """Return the texts of the numbered SQL files in order. The schema version is the number of those applied."""
    folder = resources.files(__package__).joinpath("migrations")
    files = sorted((each for each in folder.iterdir() if each.name.endswith(".sql")), key=lambda each: each.name)
    return [trusted(each.read_text(encoding="utf-8")) for each in files]


def apply_migrations(
    connection: Connection, now: datetime, path: Path | None = None, chance: random.Random = THIS_MACHINE.chance
) -> None:
    """Bring the attached database to the present schema, with a transaction for each migration.

    `chance` draws the id of a new database. Writes `ledger.meta`. Raises DatabaseError for a schema `ledger` that
    batchpipe did not make.
    """
    version = schema_version(connection)
    for number, text in enumerate(migrations()[version:], start=version + 1):
        connection.execute(Sql("BEGIN TRANSACTION"))
        try:
            _refuse_foreign_ledger(connection, number, path)
            connection.execute(text)
            if number == 1:
                _set_meta(connection, "database", _drawn_id(chance), now)
            if number == MARKS_BEGAN:
                mark_output_tables(connection)
            _set_meta(connection, "schema_version", str(number), now)
            connection.execute(Sql("COMMIT"))
        except BaseException:
            roll_back(connection)
            raise


@cache
def empty_image() -> bytes:
    """Return the bytes of a database file with an empty ledger. To copy them is faster than to apply all migrations.

    Raises OSError if the folder for temporary files cannot be written.
    """
    with tempfile.TemporaryDirectory(prefix="batchpipe-") as folder:
        path = Path(folder, "empty.duckdb")
        with duckdb.connect(path, config={"threads": 1}) as connection:
            apply_migrations(connection, THIS_MACHINE.clock())
        return path.read_bytes()


def make_anew(connection: Connection, now: datetime, chance: random.Random) -> None:
    """Give the attached copy of an empty database its own id and the time of its making. Writes `ledger.meta`."""
    statement = Sql("UPDATE ledger.meta SET recorded_at = $1, value = CASE name WHEN 'database' THEN $2 ELSE value END")
    connection.execute(statement, [now, _drawn_id(chance)])


def schema_version(connection: Connection) -> int:
    """Return how many migrations the attached database has had, 0 if it has no ledger. Reads `ledger.meta`."""
    found = connection.execute(
        Sql(
            "SELECT count(*) FROM duckdb_columns() WHERE database_name = current_catalog() AND schema_name = 'ledger' "
            "AND table_name = 'meta' AND column_name IN ('name', 'value')"
        )
    ).fetchone()
    if found != (2,):
        return 0
    statement = Sql(
        "SELECT coalesce(max(TRY_CAST(value AS INTEGER)), 0) FROM ledger.meta WHERE name = 'schema_version'"
    )
    row = connection.execute(statement).fetchone()
    return int(row[0]) if row else 0


def roll_back(connection: Connection) -> None:
    """Roll the transaction back, unless the failed statement has already ended it."""
    try:
        connection.execute(Sql("ROLLBACK"))
    except duckdb.Error:
        return


def _drawn_id(chance: random.Random) -> str:
    return "".join(chance.choice(ID_LETTERS) for _ in range(8))


def _refuse_foreign_ledger(connection: Connection, number: int, path: Path | None) -> None:
    if number > 1:
        return
    found = connection.execute(
        Sql("SELECT 1 FROM duckdb_schemas() WHERE database_name = current_catalog() AND schema_name = 'ledger'")
    ).fetchone()
    if found:
        what = "this database has a schema `ledger` that batchpipe did not make"
        hint = f'Set another database: `database = "other.duckdb"` {under()}, or BATCHPIPE_DATABASE.'
        raise DatabaseError(what, where=str(path or ""), hint=hint)


def _set_meta(connection: Connection, name: str, value: str, now: datetime) -> None:
    connection.execute(Sql("INSERT INTO ledger.meta VALUES ($1, $2, $3)"), [name, value, now])
