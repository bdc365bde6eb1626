"""Tests of what a person is told to do about a query that failed."""

from __future__ import annotations

import duckdb
import pytest
from commandline import CommandLine
from projects import BASIC, Project, numbered

from batchpipe.sql.messages import duckdb_message, query_hint


def failed(statement: str) -> duckdb.Error:
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE tickets (id INTEGER)")
        with pytest.raises(duckdb.Error) as caught:
            connection.execute(statement)
    return caught.value


def test_only_a_table_that_may_be_meant_is_suggested() -> None:
    near = failed("FROM tickest")
    assert query_hint(near) == 'Write "tickets" in the query.'
    far = failed("FROM rowz")
    assert query_hint(far).startswith("Make the table first, ATTACH its database")
    assert duckdb_message(far) == "Catalog Error: Table with name rowz does not exist!"


def test_an_extension_that_is_not_here_is_told_with_the_command() -> None:
    error = duckdb.IOException('IO Error: Failed to download extension "httpfs" at URL "http://extensions.invalid/x"')
    assert "duckdb.execute('INSTALL httpfs')" in query_hint(error)


def test_a_column_in_other_letters_is_named(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    call = CommandLine(monkeypatch=monkeypatch, capsys=capsys)
    call.provide(project)
    project.rows(numbered(2))
    project.pipeline(BASIC.replace('key = "id"', 'key = "ID"'))
    found = call("check", "demo")
    assert (found.code, "Did you mean 'id'?" in found.out) == (2, True), found.out


def test_setup_is_told_that_output_tables_are_not_there_yet(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    call = CommandLine(monkeypatch=monkeypatch, capsys=capsys)
    project.pipeline(BASIC.replace('key = "id"', 'key = "id"\nsetup = ["CREATE TEMP TABLE t AS FROM other"]'))
    assert "can be read in [input] query and [prompt.queries], not in setup" in call("check", "demo").out
    project.pipeline(BASIC.replace('key = "id"', 'key = "id"\nsetup = ["SELECT 1 / \'x\'"]'))
    assert "not in setup" not in call("check", "demo").out
