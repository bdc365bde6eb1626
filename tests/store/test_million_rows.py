"""Tests of a million rows with five past prompt versions, unchanged and with 1% changed: only due rows are rendered."""

from __future__ import annotations

import json
import resource
import subprocess
import sys

import duckdb
import pytest
from helpers.copies import COPIES
from projects import BASIC, Project, numbered

ROWS = 1_000_000
ANSWERED = 5
PAST_VERSIONS = 5
CPU_SECONDS = 3.0
BUSY_CPU_SECONDS = 9.0


def copy_answers() -> None:
    """Copy the answer of row 1 to every other row. The numbers of commits are moved apart to make room for
    the copies.
    """
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
    """Write `count` rows like those of `numbered`; DuckDB makes them, for there are a million."""
    duckdb.execute(
        f"COPY (SELECT n AS id, 'text number ' || n AS body, 'en' AS lang, n % 10 AS amount "
        f"FROM range(1, {count} + 1) t(n)) TO 'rows.csv' (HEADER)"
    )


def cpu_of(*arguments: str) -> tuple[float, str]:
    """Return the CPU seconds of a command in a process of its own, with its start, and what it printed."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    ended = subprocess.run([sys.executable, "-m", "batchpipe", *arguments], capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert ended.returncode == 0, ended.stderr
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, ended.stdout


@pytest.mark.proof
def test_a_million_unchanged_rows_are_looked_through_in_seconds(project: Project, full_sweep: bool) -> None:
    project.rows(numbered(ANSWERED))
    for version in range(PAST_VERSIONS + 1):
        project.pipeline(BASIC.replace("{{ body }}", f"{{{{ body }}}} ({version})"))
        assert project.run().submitted == ANSWERED
    with duckdb.connect("batchpipe.duckdb") as database:
        assert database.execute("SELECT count(*) FROM ledger.prompt_versions").fetchone() == (6,)
        recipe = "SELECT bool_and(input_hash = md5(to_json(input_values)::VARCHAR)::UUID) FROM ledger.requests"
        assert database.execute(recipe).fetchone() == (True,)
    copy_answers()
    write_rows(ROWS)

    seconds, out = cpu_of("plan", "demo", "--json")

    plan = json.loads(out)
    assert (plan["rows"]["input"], plan["rows"]["unchanged"], plan["due"], plan["requests"]) == (ROWS, ROWS, 0, 0)
    assert project.sql("SELECT count(*) FROM ledger.requests") == [((PAST_VERSIONS + 1) * ROWS,)]
    assert seconds < (CPU_SECONDS if full_sweep else BUSY_CPU_SECONDS)
    seconds, out = cpu_of("run", "demo", "--json")
    assert json.loads(out)["rows"]["accepted"] == ROWS
    assert seconds < (CPU_SECONDS if full_sweep else BUSY_CPU_SECONDS)


@pytest.mark.proof
def test_one_percent_of_a_million_rows_is_planned_with_its_diff(project: Project, full_sweep: bool) -> None:
    """Check the bound, which in the short form allows for a busy machine."""
    project.rows(numbered(ANSWERED))
    project.pipeline()
    assert project.run().submitted == ANSWERED
    copy_answers()
    duckdb.execute(
        f"COPY (SELECT n AS id, 'text number ' || n || CASE WHEN n % 100 = 7 THEN '!' ELSE '' END AS body, "
        f"'en' AS lang, n % 10 AS amount FROM range(1, {ROWS} + 1) t(n)) TO 'rows.csv' (HEADER)"
    )

    seconds, out = cpu_of("plan", "demo", "--diff", "--json")

    plan = json.loads(out)
    changed = ROWS // 100
    assert (plan["rows"]["input_changed"], plan["rows"]["unchanged"]) == (changed, ROWS - changed)
    assert plan["requests"] == changed
    rows = plan["diff"]["rows"]
    assert [each["reason"] for each in rows] == ["input_changed"] * 2
    for each in rows:
        assert each["before"]["user"] + "!" == each["after"]["user"]
    assert seconds < (CPU_SECONDS if full_sweep else BUSY_CPU_SECONDS)
