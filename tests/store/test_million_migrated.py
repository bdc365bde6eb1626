"""A million rows of schema version 1: migrated, planned, and looked at by `batchpipe review` with a sample.

`--full-sweep` takes a million of them and holds the CPU times; else there are twenty thousand, and no time is asserted.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import duckdb
import pytest
from commandline import CommandLine, surroundings
from projects import BASIC, Project, numbered

from batchpipe.engine.quality.review import Desk
from batchpipe.pipeline.load import load
from batchpipe.sql.quoting import Sql
from batchpipe.store.migration import migrations

MIGRATION_SECONDS = 60.0
REVIEW_SECONDS = 8.0
ANSWERED = 5
SAMPLE = 0.01
PIPELINE = BASIC + f"[review]\nsample = {SAMPLE}\n"

# The hashes of schema version 1 out of those of today, for the facts of a few rows; and copies of row 1 under new keys.
TO_VERSION_1 = {
    "key_id": "turned",
    "input_hash": "turned",
    "fingerprint": "turned",
    "request_hash": "turned",
    "prompt_version": "straight",
    "prompt_hash": "straight",
    "schema_hash": "straight",
    "visible_hash": "straight",
    "policy_hash": "straight",
    "judge_hash": "straight",
}


def as_version_1(path: Path, target: Path) -> None:
    """Write the facts of the database at `path` into one of schema version 1 at `target`."""
    text = resources.files("batchpipe.store").joinpath("migrations", "0001_ledger.sql").read_text(encoding="utf-8")
    with duckdb.connect(str(target)) as connection:
        connection.execute(text)
        connection.execute(f"ATTACH '{path}' AS today (READ_ONLY)")
        connection.execute(
            "CREATE TEMP MACRO straight(id) AS ('0x' || left(replace(id::VARCHAR, '-', ''), 16))::UBIGINT::UHUGEINT "
            "* 18446744073709551616::UHUGEINT + ('0x' || right(replace(id::VARCHAR, '-', ''), 16))::UBIGINT::UHUGEINT"
        )
        turned = " || ".join(f"h[{place}:{place + 1}]" for place in range(31, 0, -2))
        digits = "(SELECT replace(id::VARCHAR, '-', '') AS h)"
        connection.execute(f"CREATE TEMP MACRO turned(id) AS straight((SELECT {turned} FROM {digits}))")
        for (table,) in connection.execute(
            "SELECT table_name FROM duckdb_tables() WHERE schema_name = 'ledger' AND database_name = current_catalog()"
        ).fetchall():
            columns = connection.execute(
                "SELECT column_name FROM duckdb_columns() WHERE database_name = current_catalog() "
                "AND schema_name = 'ledger' AND table_name = $1 ORDER BY column_index",
                [table],
            ).fetchall()
            chosen = [f"{TO_VERSION_1[name]}({name})" if name in TO_VERSION_1 else name for (name,) in columns]
            connection.execute(f"INSERT INTO ledger.{table} SELECT {', '.join(chosen)} FROM today.ledger.{table}")
        connection.execute(
            "UPDATE ledger.events SET data = json_merge_patch(data, json_object('prompt_version', "
            "straight((data ->> 'prompt_version')::UUID)::VARCHAR)) WHERE (data ->> 'prompt_version') IS NOT NULL"
        )
        connection.execute("UPDATE ledger.meta SET value = '1' WHERE name = 'schema_version'")
        connection.execute("DETACH today")


COPIES = """
CREATE TEMP TABLE others AS
SELECT n, key, md5_number(key) AS key_id, input_values, md5_number(to_json(input_values)::VARCHAR) AS input_hash
FROM (SELECT n, '["' || n || '"]' AS key, ['text number ' || n, 'en'] AS input_values FROM range({first}, {last}) t(n));
INSERT INTO ledger.decisions SELECT d.* REPLACE (
    o.key_id AS key_id, d.custom_id || '-' || o.n AS custom_id, o.input_hash AS input_hash,
    d.fingerprint + o.n AS fingerprint
) FROM ledger.decisions d, others o WHERE d.key_id = md5_number('["1"]') ORDER BY n;
INSERT INTO ledger.requests SELECT r.* REPLACE (
    o.key_id AS key_id, o.key AS key, r.custom_id || '-' || o.n AS custom_id, o.input_hash AS input_hash,
    r.fingerprint + o.n AS fingerprint, o.input_values AS input_values
) FROM ledger.requests r, others o WHERE r.key = '["1"]' ORDER BY n;
INSERT INTO ledger.results SELECT r.* REPLACE (r.custom_id || '-' || o.n AS custom_id)
FROM ledger.results r, others o
WHERE r.custom_id IN (SELECT custom_id FROM ledger.requests WHERE key = '["1"]') ORDER BY n;
"""


def make(project: Project, rows: int) -> None:
    """`rows` answered rows in a database of schema version 1, in the place of the project's own."""
    project.pipeline(PIPELINE)
    project.rows(numbered(ANSWERED))
    assert project.run().submitted == ANSWERED
    own, made = project.root / "batchpipe.duckdb", project.root / "made.duckdb"
    as_version_1(own, made)
    with duckdb.connect(str(made)) as connection:
        for statement in duckdb.extract_statements(COPIES.format(first=ANSWERED + 1, last=rows + 1)):
            connection.execute(statement)
    own.unlink()
    made.rename(own)
    duckdb.execute(
        f"COPY (SELECT n AS id, 'text number ' || n AS body, 'en' AS lang, n % 10 AS amount "
        f"FROM range(1, {rows} + 1) t(n)) TO 'rows.csv' (HEADER)"
    )


def version(project: Project) -> str:
    return str(project.sql("SELECT max(value::INTEGER) FROM ledger.meta WHERE name = 'schema_version'")[0][0])


def test_many_rows_are_migrated_and_not_one_is_due(
    project: Project,
    full_sweep: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    record_property: Callable[[str, object], None],
) -> None:
    rows = 1_000_000 if full_sweep else 20_000
    make(project, rows)
    # Whoever kills a migration leaves the database as it was.
    environment = os.environ | surroundings(project)
    begun = subprocess.Popen(
        [sys.executable, "-m", "batchpipe", "status", "demo"], env=environment, stdout=subprocess.DEVNULL
    )
    time.sleep(3.0 if full_sweep else 0.9)
    begun.send_signal(signal.SIGKILL)
    begun.wait()
    assert int(version(project)) in range(1, len(migrations()) + 1)
    assert project.sql("SELECT count(*) FROM ledger.requests") == [(rows,)]
    typed = CommandLine(monkeypatch=monkeypatch, capsys=capsys)
    typed.provide(project)
    start = time.process_time()
    assert typed("status", "demo", "--json").code == 0
    seconds = time.process_time() - start
    assert version(project) == str(len(migrations()))
    plan = typed("plan", "demo", "--json").value
    assert (plan["rows"]["unchanged"], plan["due"]) == (rows, 0)
    record_property("migration_seconds", seconds)
    assert not full_sweep or seconds < MIGRATION_SECONDS


def test_a_sample_of_many_rows_is_opened_as_it_was_drawn(
    project: Project, full_sweep: bool, record_property: Callable[[str, object], None]
) -> None:
    rows = 1_000_000 if full_sweep else 20_000
    make(project, rows)
    context = project.context()
    work = context.work()
    file = load(project.root / "pipelines" / "demo.toml", project.root)
    try:
        with context.database.reading(work):
            pass  # it is migrated here, which is not measured
        start = time.process_time()
        with context.source(file, {}) as source:
            resolved = context.resolve(file, source)
            snapshot = source.snapshot(project.root / "input.parquet", resolved.input_columns)
        desk = Desk(context=context, work=work, resolved=resolved, snapshot=snapshot)
        desk.choose()
        seconds = time.process_time() - start
        statement = Sql("SELECT key FROM work.review WHERE list_contains(chosen, 'sample')")
        shown = work.connection.execute(statement).fetchall()
    finally:
        work.close()
        context.close()
    # As schema version 1 had it; the text of a number of 128 bits takes its time, so every fiftieth key is asked for.
    every = 50 if full_sweep else 1
    wanted = duckdb.execute(
        "SELECT key FROM (SELECT n, '[\"' || n || '\"]' AS key FROM range(1, $1 + 1) t(n) WHERE n % $2 = 0) "
        "WHERE md5_number('review ' || md5_number(key)::VARCHAR) % 1000000 < $3",
        [rows, every, round(SAMPLE * 1_000_000)],
    ).fetchall()
    assert {key for key in shown if int(json.loads(key[0])[0]) % every == 0} == set(wanted)
    assert len(wanted) > rows * SAMPLE / every / 2
    record_property("review_seconds", seconds)
    assert not full_sweep or seconds < REVIEW_SECONDS
