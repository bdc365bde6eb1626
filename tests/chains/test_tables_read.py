"""The tables that a statement reads, told by its syntax tree alone."""

from __future__ import annotations

import duckdb
import pytest

from batchpipe.sql.tables_read import TablesRead, tables_read

# Each statement with the tables that it reads, written with dots.
READS = {
    "SELECT * FROM a": {"a"},
    "FROM Main.A x JOIN batchpipe.main.b USING (id), 'rows.csv'": {"Main.A", "batchpipe.main.b", "rows.csv"},
    "SELECT (SELECT max(x) FROM c) FROM b WHERE EXISTS (FROM d) AND y > $since": {"b", "c", "d"},
    "WITH a AS (SELECT 1) SELECT * FROM a": set(),
    "WITH a AS (SELECT * FROM a) SELECT * FROM a": {"a"},
    "WITH a AS MATERIALIZED (SELECT * FROM a), b AS (FROM A) FROM b": {"a"},
    "WITH a AS (SELECT 1) SELECT * FROM main.a": {"main.a"},
    "WITH RECURSIVE r AS (SELECT 1 AS x UNION ALL SELECT x + 1 FROM r, s WHERE x < 3) FROM r": {"s"},
    "SELECT * FROM (WITH a AS (SELECT 1) FROM a), a": {"a"},
    "SELECT * FROM b UNION ALL (WITH b AS (SELECT 2) FROM b)": {"b"},
    'SELECT * FROM "My Table", unnest([1])': {"My Table"},
    "FROM a UNPIVOT (v FOR n IN (x, y))": {"a"},
    "VALUES (1)": set(),
}
HIDING = {
    "PIVOT a ON x USING sum(y)": "PIVOT",
    "SELECT * FROM (PIVOT a ON x USING sum(y))": "PIVOT",
    "FROM query_table('a')": "query_table()",
    "SELECT * FROM b WHERE x IN (FROM query('FROM a'))": "query()",
    "SELECT * FROM all_rows(lower('A') || 'b')": None,
    "SELECT * FROM all_rows(name), t": "all_rows('a')",
}


def read(statement: str) -> TablesRead:
    with duckdb.connect(":memory:") as connection:
        return tables_read(connection, statement)


@pytest.mark.parametrize("statement", READS)
def test_the_tables_are_those_that_no_clause_of_the_statement_makes(statement: str) -> None:
    found = read(statement)
    assert {".".join(each.parts) for each in found.tables} == READS[statement]
    assert found.hides is None


@pytest.mark.parametrize("statement", [each for each in HIDING if HIDING[each]])
def test_a_statement_that_hides_its_tables_says_so(statement: str) -> None:
    found = read(statement)
    assert str(HIDING[statement]) in (found.hides or "")
    assert not found.only_tables


def test_all_rows_names_its_table_and_files_are_no_tables() -> None:
    found = read("SELECT * FROM all_rows('a') JOIN all_rows('mart.b') USING (id)")
    assert (found.all_rows, found.hides, found.only_tables) == (("a", "mart.b"), None, True)
    assert not read("SELECT * FROM a, read_csv('x.csv')").only_tables
