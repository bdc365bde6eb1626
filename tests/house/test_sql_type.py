"""SQL text has a type of its own: what is no `Sql` gets into no statement, and `Sql` is made at few places."""

from __future__ import annotations

import ast
import os
import string
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from checkout import ROOT, module_files

# The functions that turn text into SQL which is no literal: what the user wrote as SQL, and what is built of SQL.
TRUSTED = {
    ("engine.source.csv_look", "_relations"),
    ("engine.source.snapshot", "canonical_text"),
    ("providers.anthropic.rules", "_lines_sql"),
    ("providers.gemini.rules", "_lines_sql"),
    ("providers.openai.rules", "_lines_sql"),
    ("schema.columns", "uncast_sql"),
    ("schema.columns", "value_sql"),
    ("store.migration", "migrations"),
}

# Each of the last four lines puts a plain string into a statement.
SNIPPET = """
from batchpipe.sql.connection import Connection
from batchpipe.sql.quoting import quote_literal, sql
from batchpipe.store.database import Session
from batchpipe.store.queries import query

def right(session: Session, name: str) -> None:
    session.execute(sql("SELECT {name}", name=quote_literal(name)))
    session.rows(query("paused", pipelines=quote_literal(name)))

def wrong(session: Session, name: str) -> None:
    session.execute(f"SELECT {name}")
    sql("SELECT {name}", name=name)
    query("paused", pipelines=name)

def wrong_connection(connection: Connection, name: str) -> None:
    connection.execute(f"SELECT {name}")
"""


def test_mypy_finds_a_plain_string_in_a_statement(tmp_path: Path) -> None:
    snippet = tmp_path / "snippet.py"
    snippet.write_text(SNIPPET, encoding="utf-8")
    command = [sys.executable, "-m", "mypy", "--no-error-summary", os.fspath(snippet)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    lines = [line for line in ended.stdout.splitlines() if "error" in line]
    assert [line.split(":")[1] for line in lines] == ["12", "13", "14", "17"], ended.stdout + ended.stderr
    assert all('has incompatible type "str"; expected "Sql"' in line for line in lines)


def calls(function: str) -> Iterator[tuple[str, str, ast.Call]]:
    """Yield each call of `function` outside of the modules that make SQL, with its module and the function it is in."""
    for module, path in module_files().items():
        if module.startswith("sql."):
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        inside = {
            node: each.name for each in ast.walk(tree) if isinstance(each, ast.FunctionDef) for node in ast.walk(each)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == function:
                yield module, inside.get(node, ""), node


def is_literal(node: ast.expr) -> bool:
    """Return whether `node` is a string as it stands in the code, or the name of a constant of the module."""
    if isinstance(node, ast.Name):
        return node.id.isupper()
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def test_a_statement_is_a_literal_and_its_fragments_are_named() -> None:
    found = [
        f"{module}:{node.lineno}: {ast.unparse(node)[:80]}"
        for function in ("sql", "Sql", "joined")
        for module, _, node in calls(function)
        if not is_literal(node.args[0])
    ]
    # `query` fills in the text of a `.sql` file; `Sql(each)` is one of the column names of the ledger.
    assert [each for each in found if not each.startswith(("store.queries:", "engine.ledger.raw_folder:"))] == []


def test_the_fragments_of_a_statement_are_those_that_it_has() -> None:
    wrong = []
    for module, _, node in calls("sql"):
        if isinstance(node.args[0], ast.Constant) and all(each.arg for each in node.keywords):
            template = str(node.args[0].value)
            wanted = {name for _, name, _, _ in string.Formatter().parse(template) if name is not None}
            given = {each.arg for each in node.keywords}
            if wanted != given:
                wrong.append(f"{module}:{node.lineno}: {sorted(wanted ^ given, key=str)}")
    assert wrong == []


def test_text_becomes_sql_at_named_places_only() -> None:
    assert {(module, function) for module, function, _ in calls("trusted")} == TRUSTED
