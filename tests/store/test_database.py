"""Tests of the database as users see it: documented names, locks, waiting for another process, migrations."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from datetime import datetime
from pathlib import Path

import duckdb
import pytest
from checkout import PACKAGE
from projects import Project, numbered

from batchpipe.common.errors import DatabaseError, LockedError
from batchpipe.common.machine import utc_now
from batchpipe.sql.quoting import Sql
from batchpipe.store.database import Database, Session, Work
from batchpipe.store.giving_way import WANTED_SECONDS
from batchpipe.store.migration import migrations

TABLES = {
    "prompt_versions": {"pipeline", "prompt_version", "version", "sources", "full_schema", "git_commit"},
    "requests": {
        "pipeline",
        "key",
        "part",
        "custom_id",
        "fingerprint",
        "rung",
        "send",
        "attempt",
        "chunk_id",
    },
    "results": {"custom_id", "batch_id", "outcome", "answer", "output", "error", "input_tokens", "cost_usd"},
    "decisions": {
        "pipeline",
        "key_id",
        "input_hash",
        "prompt_version",
        "state",
        "reason",
        "policy_hash",
        "run_id",
    },
    "orders": {"pipeline", "kind", "argument"},
    "events": {"pipeline", "run_id", "kind", "data"},
    "runs": {"run_id", "pipeline", "started_at", "ended_at", "status"},
    "batches": {"pipeline", "batch_id", "state", "requests", "created_at", "expires_at"},
    "row_state": {"pipeline", "key", "state", "reason", "model", "rung", "attempts", "error"},
    "spend": {"pipeline", "run_id", "model", "requests", "cost_usd", "realtime_usd"},
}

HOLD = """
import duckdb, sys, time
connection = duckdb.connect("batchpipe.duckdb", read_only=True)
print("held", flush=True)
time.sleep(float(sys.argv[1]))
"""


@pytest.fixture
def answered(project: Project) -> Project:
    project.pipeline()
    project.rows(numbered(6))
    project.run()
    return project


@pytest.mark.parametrize("name", TABLES)
def test_every_table_answers_to_its_documented_name(answered: Project, name: str) -> None:
    with duckdb.connect("batchpipe.duckdb", read_only=True) as connection:
        cursor = connection.execute(f"SELECT * FROM ledger.{name}")
        assert {each[0] for each in cursor.description or ()} >= TABLES[name]
        rows = cursor.fetchall()
    assert rows or name == "orders"


def test_times_are_utc_timestamps_that_need_no_other_package(answered: Project) -> None:
    code = (
        "import duckdb, sys\n"
        "connection = duckdb.connect('batchpipe.duckdb', read_only=True)\n"
        "for name in sys.argv[1:]: connection.execute(f'FROM ledger.{name}').fetchall()\n"
        "assert 'pytz' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code, *TABLES], check=True)
    kinds = answered.sql("SELECT DISTINCT data_type FROM duckdb_columns() WHERE column_name LIKE '%\\_at' ESCAPE '\\'")
    assert kinds == [("TIMESTAMP",)]
    (recorded,) = answered.sql("SELECT max(recorded_at) FROM ledger.events")[0]
    assert isinstance(recorded, datetime)
    assert abs((utc_now() - recorded).total_seconds()) < 60


def test_a_run_waits_for_a_reader_and_says_who_it_is(answered: Project) -> None:
    rows = numbered(8)
    answered.rows(rows)
    holder = subprocess.Popen([sys.executable, "-c", HOLD, "2.5"], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    holder.stdout.readline()
    assert answered.run().submitted == 2
    holder.wait()
    holder.stdout.close()
    # The run says so once it has waited for a second.
    assert [each for each in answered.said if f"(process {holder.pid})" in each and "waiting for" in each]
    assert answered.sql("SELECT count(*) FROM demo") == [(8,)]


def test_a_holder_that_stays_is_named_in_the_error(answered: Project) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLD, "20"], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    holder.stdout.readline()
    try:
        database = Database(path=answered.root / "batchpipe.duckdb", clock=utc_now, wait_seconds=0.3)
        work = Work.open()
        with (
            pytest.raises(LockedError, match=f"process {holder.pid}") as caught,
            database.writing(work, None),
        ):
            pass
        work.close()
        assert caught.value.exit_code == 4
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()


def test_readers_work_while_a_run_waits(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(5))
    project.faults({"delay_seconds": 3})
    thread = threading.Thread(target=project.run)
    thread.start()
    code = (
        "import duckdb, time\n"
        "seen = 0\n"
        "end = time.monotonic() + 2.0\n"
        "while time.monotonic() < end:\n"
        "    try:\n"
        "        with duckdb.connect('batchpipe.duckdb', read_only=True) as connection:\n"
        "            connection.execute('FROM ledger.row_state').fetchall()\n"
        "            seen += 1\n"
        "    except duckdb.Error:\n"
        "        time.sleep(0.01)\n"
        "    time.sleep(0.05)\n"
        "print(seen)\n"
    )
    time.sleep(0.7)
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    thread.join()
    assert int(found.stdout) > 3
    assert project.sql("SELECT count(*) FROM demo") == [(5,)]


def delete_and_fail(session: Session) -> None:
    session.execute(Sql("DELETE FROM ledger.results"))
    raise ZeroDivisionError


def test_a_session_that_fails_leaves_nothing_behind(answered: Project) -> None:
    database = Database(path=answered.root / "batchpipe.duckdb", clock=utc_now)
    work = Work.open()
    before = answered.sql("SELECT count(*), max(seq) FROM ledger.commits")
    with pytest.raises(ZeroDivisionError), database.writing(work, None) as session:
        delete_and_fail(session)
    work.close()
    assert answered.sql("SELECT count(*), max(seq) FROM ledger.commits") == before
    assert answered.sql("SELECT count(*) FROM ledger.results") == [(6,)]


def test_a_file_of_a_newer_version_is_refused(answered: Project) -> None:
    with duckdb.connect("batchpipe.duckdb") as connection:
        newer = str(len(migrations()) + 1)
        connection.execute("INSERT INTO ledger.meta VALUES ('schema_version', $1, now()::TIMESTAMP)", [newer])
    with pytest.raises(DatabaseError, match="schema version") as caught:
        answered.run()
    assert "pip install" in str(caught.value.hint)


def test_a_database_called_ledger_is_refused(project: Project) -> None:
    project.settings["database"] = "ledger.duckdb"
    project.pipeline()
    project.rows(numbered(2))
    with pytest.raises(Exception, match="ledger"):
        project.run()
    assert not (project.root / "ledger.duckdb").exists()


def test_somebody_elses_ledger_is_not_touched(project: Project) -> None:
    with duckdb.connect("batchpipe.duckdb") as connection:
        connection.execute("CREATE SCHEMA ledger; CREATE TABLE ledger.accounts AS SELECT 1 AS balance")
    project.pipeline()
    project.rows(numbered(2))
    with pytest.raises(DatabaseError, match="did not make"):
        project.run()
    assert project.sql("SELECT * FROM ledger.accounts") == [(1,)]


def test_the_working_folder_ignores_itself_in_git(answered: Project) -> None:
    assert (answered.root / ".batchpipe" / ".gitignore").read_text() == "*\n"


def test_a_plan_needs_no_database_and_makes_none(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(4))
    assert project.plan().rows_by_reason["new"] == 4
    assert not (project.root / "batchpipe.duckdb").exists()


READER = """
import sys
from contextlib import closing
from pathlib import Path

from batchpipe.common.errors import LockedError
from batchpipe.common.machine import utc_now
from batchpipe.sql.quoting import Sql
from batchpipe.store.database import Database, Work

database = Database(path=Path(sys.argv[1]), clock=utc_now, gives_way=True)
with closing(Work.open()) as work:
    try:
        with database.reading(work) as session:
            print("reading", flush=True)
            session.execute(Sql("SELECT sum(sqrt(a.range + b.range)) FROM range(300000) a, range(100000) b"))
    except LockedError as error:
        print(error.what, flush=True)
"""


@pytest.mark.parametrize("beside", [True, False], ids=["another process", "another thread"])
def test_a_reader_that_gives_way_ends_as_soon_as_somebody_waits_to_write(answered: Project, beside: bool) -> None:
    path, said = answered.root / "batchpipe.duckdb", []
    reader = (
        subprocess.Popen([sys.executable, "-c", READER, path], stdout=subprocess.PIPE, text=True) if beside else None
    )
    thread = threading.Thread(target=lambda: said.append(read_for_long(path)))
    if reader is not None:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "reading\n"
    else:
        thread.start()
        time.sleep(0.3)
    work = Work.open()
    try:
        announced: list[str] = []
        database = Database(path=path, clock=utc_now, wait_seconds=60, announce=announced.append)
        with database.writing(work, None) as session:
            session.execute(Sql("SELECT 1"))
    finally:
        work.close()
    if reader is not None:
        said.append(reader.communicate(timeout=60)[0].strip())
    else:
        thread.join(60)
    assert said == ["somebody waits for the database, and goes first"]


def test_a_lookup_goes_before_a_long_read_of_another_thread_and_no_reader_begins_meanwhile(answered: Project) -> None:
    path, said = answered.root / "batchpipe.duckdb", []
    thread = threading.Thread(target=lambda: said.append(read_for_long(path)))
    thread.start()
    time.sleep(0.3)
    work = Work.open()
    try:
        with Database(path=path, clock=utc_now, wait_seconds=60).reading(work) as session:
            assert session.one(Sql("SELECT count(*) > 0 FROM ledger.requests")) == (True,)
        thread.join(60)
        assert said == ["somebody waits for the database, and goes first"]
        (answered.root / ".batchpipe" / "wanted").touch()
        late = Database(path=path, clock=utc_now, gives_way=True)
        with pytest.raises(LockedError, match="goes first"), late.reading(work):
            pass
        time.sleep(WANTED_SECONDS)
        with late.reading(work) as session:
            assert session.one(Sql("SELECT 1")) == (1,)
    finally:
        work.close()


def read_for_long(path: Path) -> str:
    """Read for minutes, unless somebody waits to write; return what ended it."""
    database, work = Database(path=path, clock=utc_now, gives_way=True), Work.open()
    try:
        with database.reading(work) as session:
            session.execute(Sql("SELECT sum(sqrt(a.range + b.range)) FROM range(300000) a, range(100000) b"))
    except LockedError as error:
        return error.what
    finally:
        work.close()
    return "it read to the end"


def test_each_migration_has_the_number_of_its_place() -> None:
    """Two files of one number would change places when a third one comes, and a database would skip one."""
    folder = PACKAGE / "store" / "migrations"
    numbers = [int(each.name.partition("_")[0]) for each in sorted(folder.glob("*.sql"))]
    assert numbers == list(range(1, len(numbers) + 1)) == list(range(1, len(migrations()) + 1))
