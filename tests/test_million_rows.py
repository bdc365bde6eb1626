"""A million rows: unchanged with five past prompt versions, and 1% of them changed; only what is due is rendered."""

from __future__ import annotations

import json
import time

import duckdb
import pytest
from projects import BASIC, Project, numbered

from batchpipe.cli import main

ROWS = 1_000_000
ANSWERED = 5
PAST_VERSIONS = 5
SECONDS = 30.0
CPU_SECONDS = 6.0

# What was recorded of row 1 is recorded of every other row, under each prompt version, 10,000 rows a chunk and commit.
COPIES = """
CREATE TEMP TABLE others AS
SELECT
    n, n // 10000 AS later, lpad(to_hex(n // 10000), 12, '0') AS chunk, key, md5_number(key) AS key_id, input_values,
    md5_number(to_json(input_values)::VARCHAR) AS input_hash
FROM (SELECT n, '["' || n || '"]' AS key, ['text number ' || n, 'en'] AS input_values FROM range({first}, {last}) t(n));
INSERT INTO ledger.decisions SELECT d.* REPLACE (
    o.key_id AS key_id, d.custom_id || '-' || o.n AS custom_id, o.input_hash AS input_hash,
    d.fingerprint + o.n AS fingerprint, d.seq + o.later AS seq
) FROM ledger.decisions d, others o WHERE d.key_id = md5_number('["1"]') ORDER BY seq, n;
INSERT INTO ledger.requests SELECT r.* REPLACE (
    o.key_id AS key_id, o.key AS key, r.custom_id || '-' || o.n AS custom_id, o.input_hash AS input_hash,
    r.fingerprint + o.n AS fingerprint, o.input_values AS input_values, r.seq + o.later AS seq,
    (left(r.chunk_id::VARCHAR, 24) || o.chunk)::UUID AS chunk_id
) FROM ledger.requests r, others o WHERE r.key = '["1"]' ORDER BY seq, n;
INSERT INTO ledger.results SELECT r.* REPLACE (
    r.custom_id || '-' || o.n AS custom_id, r.seq + o.later AS seq,
    (left(r.chunk_id::VARCHAR, 24) || o.chunk)::UUID AS chunk_id
)
FROM ledger.results r, others o
WHERE r.custom_id IN (SELECT custom_id FROM ledger.requests WHERE key = '["1"]') ORDER BY seq, n;
INSERT INTO ledger.commits SELECT max(seq), NULL, now()::TIMESTAMP FROM ledger.results;
"""


def copy_answers() -> None:
    """Every other row was answered as row 1 was. Commits are moved apart, to make room for those of the copies."""
    with duckdb.connect("batchpipe.duckdb") as database:
        numbered_tables = database.execute(
            "SELECT table_name, column_name FROM duckdb_columns() JOIN duckdb_tables() USING (schema_name, table_name) "
            "WHERE schema_name = 'ledger' AND column_name IN ('seq', 'started')"
        ).fetchall()
        for table, column in numbered_tables:
            database.execute(f"UPDATE ledger.{table} SET {column} = {column} * 1000")
        for statement in duckdb.extract_statements(COPIES.format(first=ANSWERED + 1, last=ROWS + 1)):
            database.execute(statement)


def write_rows(count: int) -> None:
    """The rows of `numbered`, by the million."""
    duckdb.execute(
        f"COPY (SELECT n AS id, 'text number ' || n AS body, 'en' AS lang, n % 10 AS amount "
        f"FROM range(1, {count} + 1) t(n)) TO 'rows.csv' (HEADER)"
    )


def test_a_million_unchanged_rows_are_planned_in_seconds(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    project.rows(numbered(ANSWERED))
    for version in range(PAST_VERSIONS + 1):
        project.pipeline(BASIC.replace("{{ body }}", f"{{{{ body }}}} ({version})"))
        assert project.run().submitted == ANSWERED
    with duckdb.connect("batchpipe.duckdb") as database:
        assert database.execute("SELECT count(*) FROM ledger.prompt_versions").fetchone() == (6,)
        recipe = "SELECT bool_and(input_hash = md5_number(to_json(input_values)::VARCHAR)) FROM ledger.requests"
        assert database.execute(recipe).fetchone() == (True,)
    copy_answers()
    write_rows(ROWS)

    began = time.monotonic()
    assert main(["plan", "demo", "--json"]) == 0, capsys.readouterr().err
    seconds = time.monotonic() - began

    plan = json.loads(capsys.readouterr().out)
    assert (plan["rows"]["input"], plan["rows"]["unchanged"], plan["due"], plan["requests"]) == (ROWS, ROWS, 0, 0)
    assert project.sql("SELECT count(*) FROM ledger.requests") == [((PAST_VERSIONS + 1) * ROWS,)]
    assert seconds < SECONDS


def test_one_percent_of_a_million_rows_is_planned_with_its_diff(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    """The bound on CPU leaves room for a busy machine."""
    project.rows(numbered(ANSWERED))
    project.pipeline()
    assert project.run().submitted == ANSWERED
    copy_answers()
    duckdb.execute(
        f"COPY (SELECT n AS id, 'text number ' || n || CASE WHEN n % 100 = 7 THEN '!' ELSE '' END AS body, "
        f"'en' AS lang, n % 10 AS amount FROM range(1, {ROWS} + 1) t(n)) TO 'rows.csv' (HEADER)"
    )

    began = time.process_time()
    assert main(["plan", "demo", "--diff", "--json"]) == 0, capsys.readouterr().err
    seconds = time.process_time() - began

    plan = json.loads(capsys.readouterr().out)
    changed = ROWS // 100
    assert (plan["rows"]["input_changed"], plan["rows"]["unchanged"]) == (changed, ROWS - changed)
    assert plan["requests"] == changed
    rows = plan["diff"]["rows"]
    assert [each["reason"] for each in rows] == ["input_changed"] * 2
    for each in rows:
        assert each["before"]["user"] + "!" == each["after"]["user"]
    assert seconds < CPU_SECONDS
