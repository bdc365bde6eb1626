"""Tests that each statement of `[output] after` runs once for each commit of results, also where another one fails."""

from __future__ import annotations

from pathlib import Path

import duckdb
from projects import BASIC, Project, numbered


def log(path: Path) -> list[str]:
    """Return what the statements wrote into the database at `path`."""
    with duckdb.connect(str(path), read_only=True) as connection:
        return [text for (text,) in connection.execute("SELECT text FROM log ORDER BY place").fetchall()]


def with_after(*statements: str) -> str:
    listed = ", ".join(f'"{each}"' for each in statements)
    return BASIC.replace("[output.fields.label]", f"[output]\nafter = [{listed}]\n[output.fields.label]")


def insert(text: str) -> str:
    return f"INSERT INTO main.log SELECT nextval('main.numbers'), '{text} ' || count(*) FROM seen"


def test_what_ran_before_a_failing_statement_does_not_run_again(project: Project) -> None:
    target = project.root / "target.duckdb"
    with duckdb.connect(str(target)) as connection:
        connection.execute("CREATE TABLE log (place INTEGER, text VARCHAR); CREATE SEQUENCE numbers")
    start = ("ATTACH 'target.duckdb' AS target", "CREATE TEMP TABLE seen AS SELECT * FROM demo", "USE target")
    twice = f"{insert('third')}; SELECT error('not yet')"
    project.pipeline(with_after(*start, insert("first"), insert("second"), twice))
    project.rows(numbered(3))
    (first,) = project.outcomes()
    assert first.error is not None
    assert "not yet" in first.error.what
    assert log(target) == ["first 3", "second 3", "third 3"]
    # The same call again: nothing that ran before runs again, while what belongs to the session does.
    (again,) = project.outcomes()
    assert again.error is not None
    assert log(target) == ["first 3", "second 3", "third 3"]
    # The statement is mended: it runs, and only it. A transaction is repeated whole.
    broken = ("BEGIN", insert("fourth"), "SELECT error('no')", "COMMIT")
    project.pipeline(with_after(*start, insert("first"), insert("second"), insert("mended"), *broken))
    project.outcomes()
    whole = ("BEGIN", insert("fourth"), "COMMIT")
    project.pipeline(with_after(*start, insert("first"), insert("second"), insert("mended"), *whole))
    (ended,) = project.outcomes()
    assert ended.error is None
    assert log(target) == ["first 3", "second 3", "third 3", "mended 3", "fourth 3"]
    # New results: each statement once more.
    project.rows(numbered(4))
    project.run()
    project.run()
    assert log(target)[5:] == ["first 4", "second 4", "mended 4", "fourth 4"]
