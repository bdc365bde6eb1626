"""Every type of DuckDB goes through a pipeline and back: as a key, in `include`, in a template, in a condition."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import duckdb
import pytest
from commandline import CommandLine
from projects import Project

import batchpipe
from batchpipe.engine.source.snapshot import shown_values
from batchpipe.sql.canonical import json_field_sql
from batchpipe.sql.quoting import Sql, quote_literal
from batchpipe.sql.type_tree import type_tree

PAGE = Path(batchpipe.__file__).parent / "docs" / "reference" / "types.md"
PIPELINE = '''
[input]
query = """{query}"""
key = {key}
[prompt]
user_text = """{prompt}"""
[output]
include = {include}
[output.fields.label]
type = "string"
enum = ["billing", "bug"]
[[models]]
model = "claude-haiku-4-5"
max_tokens = 200
'''


@pytest.fixture
def typed(project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    line = CommandLine(monkeypatch=monkeypatch, capsys=capsys)
    line.provide(project)
    return line


class TypeRow(NamedTuple):
    """One row of the page's table: a type, a value in SQL, and what it is as a key and in a template."""

    type: str
    value: str
    key: str
    printed: str
    refused: str


def rows_of_page(connection: duckdb.DuckDBPyConnection) -> list[TypeRow]:
    """Return the rows of the page's table whose types this DuckDB knows."""
    found = []
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cells = [each.strip().strip("`") for each in line.split("|")[1:-1]]
        if line.startswith("| `") and len(cells) == 5:
            row = TypeRow(*cells)
            try:
                given = connection.execute(f"DESCRIBE SELECT {row.value} AS x").fetchall()
            except (duckdb.CatalogException, duckdb.ParserException):
                continue
            assert given[0][1] == row.type
            found.append(row)
    return found


@pytest.fixture(scope="module")
def duck() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        yield connection


def test_every_type_is_in_the_table(duck: duckdb.DuckDBPyConnection) -> None:
    names = {row[0] for row in duck.execute("SELECT DISTINCT logical_type FROM duckdb_types()").fetchall()}
    trees = [type_tree(row.type) for row in rows_of_page(duck)]
    assert names - {each.word.strip('"') for each in trees} == {"TYPE"}  # no column is a type
    assert len(trees) > 40


def test_every_type_is_printed_and_kept(project: Project, duck: duckdb.DuckDBPyConnection) -> None:
    """One row with a column of each type: its prompt, its key, and the output table after two runs."""
    rows = [row for row in rows_of_page(duck) if row.value != "NULL"]
    names = {f"c{number}": row for number, row in enumerate(rows)}
    fit = [name for name, row in names.items() if not row.refused]
    listed = json.dumps(fit)
    columns = ", ".join(f"{row.value} AS {name}" for name, row in names.items())
    prompt = "\n".join(f"{{{{ {name} }}}}" for name in names)
    project.pipeline(PIPELINE.format(query=f"SELECT 1 AS id, {columns}", key='"id"', prompt=prompt, include=listed))
    [tried] = project.attempt(rows=1)
    assert tried.user.split("\n") == [row.printed for row in rows]
    assert project.run().rows["accepted"] == 1
    assert project.run().submitted == 0
    same = ", ".join(f"{name} IS NOT DISTINCT FROM {names[name].value}" for name in fit)
    types = ", ".join(f"typeof({name})" for name in fit)
    assert project.sql(f"SELECT {same} FROM demo") == [(True,) * len(fit)]
    assert project.sql(f"SELECT {types} FROM demo") == [tuple(names[name].type for name in fit)]
    project.pipeline(PIPELINE.format(query=f"SELECT {columns}", key=listed, prompt="x", include="[]"))
    assert project.run(approve=True).rows["accepted"] == 1
    assert project.run().submitted == 0
    [(key,)] = project.sql("SELECT key FROM ledger.requests WHERE json_array_length(key) > 1")
    assert json.loads(key) == [names[name].key for name in fit]
    assert project.sql("SELECT count(*), bool_and(_current) FROM demo") == [(1, True)]


def test_what_does_not_survive_is_refused_as_a_key_and_in_include(
    typed: CommandLine, project: Project, duck: duckdb.DuckDBPyConnection
) -> None:
    refused = [row for row in rows_of_page(duck) if row.refused]
    columns = ", ".join(f"{row.value} AS c{number}" for number, row in enumerate(refused))
    include = json.dumps([f"c{number}" for number in range(1, len(refused))])
    project.pipeline(PIPELINE.format(query=f"SELECT {columns}", key='"c0"', prompt="x", include=include))
    found = typed("check", "demo", "--json")
    assert found.code == 2
    assert len(found.value["problems"]) == len(refused) > 3
    assert [each["hint"] for each in found.value["problems"]] == [
        f'Write CAST("c{number}" AS VARCHAR) AS "c{number}" in the query.' for number in range(len(refused))
    ]


def test_two_columns_of_one_name_and_rounded_values_of_a_csv_file(typed: CommandLine, project: Project) -> None:
    rows = [f"{n},{n},{n}.25" for n in range(21_000)]
    path = project.root / "rows.csv"
    path.write_text("id,amount,share\n" + "\n".join([*rows, "30000,5.5,0.12345678901234567891"]) + "\n", "utf-8")
    given = PIPELINE.format(
        query="SELECT * FROM 'rows.csv'", key='"id"', prompt="{{{{ amount }}}} {{{{ share }}}}", include="[]"
    )
    project.pipeline(given.replace("{{{{", "{{").replace("}}}}", "}}"))
    found = typed("check", "demo", "--json")
    assert found.code == 0
    lost = [each for each in found.value["warnings"] if each["code"] == "P014"]
    assert [each["message"].rpartition(": ")[2] for each in lost] == [
        "'5.5' becomes 6",
        "'0.12345678901234567891' becomes 0.12345678901234568",
    ]
    assert lost[0]["hint"] == "Give its type: read_csv('rows.csv', types = {'amount': 'DOUBLE'})."
    project.pipeline(given.replace("SELECT *", "SELECT *, 1 AS ID"))
    found = typed("check", "demo", "--json")
    assert (found.code, found.value["problems"][0]["message"]) == (
        2,
        "the query gives two columns of one name: 'id' and 'ID'",
    )


@pytest.mark.parametrize("name", ["a?b", "a\\b", "a*b"])
def test_a_folder_whose_name_duckdb_cannot_use_is_said(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / name
    (folder / "pipelines").mkdir(parents=True)
    found = CommandLine(monkeypatch=monkeypatch, capsys=capsys)("-C", str(folder), "status", "--json")
    assert found.code == 2
    assert found.value["error"]["hint"].startswith(f"Rename it: mv '{folder}' ")
    new = tmp_path / f"new{name}"
    found = CommandLine(monkeypatch=monkeypatch, capsys=capsys)("init", str(new), "--json")
    assert (found.code, "Choose another name: " in found.out + found.talk, new.exists()) == (2, True, False)


@pytest.mark.parametrize(
    ("kind", "text", "shown"),
    [
        ("MAP(INTEGER, VARCHAR)", "{1=x}", '{"1": "x"}'),
        ("STRUCT(a DECIMAL(5,2)[])", "{'a': [1.50, NULL]}", '{"a": [1.5, null]}'),
        ("DATE[]", "[2026-01-02, NULL]", '["2026-01-02", null]'),
        ("INTEGER[2]", "[1, 2]", "[1, 2]"),
        ("HUGEINT[]", "[1, 170141183460469231731687303715884105727]", None),
        ("UNION(n INTEGER, t VARCHAR)", "x", "x"),
        ("MAP(INTEGER, VARCHAR)", "no map", "no map"),
        ("VARCHAR", "{1=x}", "{1=x}"),
        ("DATE[]", None, None),
    ],
)
def test_recorded_texts_of_nested_values_are_shown_as_json(kind: str, text: str | None, shown: str | None) -> None:
    with duckdb.connect() as connection:
        found = shown_values(connection, ["c"], [kind], [text])["c"]
    assert found == (text if shown is None else shown)


@pytest.mark.parametrize(
    ("written", "text"),
    [
        *((number, "1") for number in ("1", "1.0", "1e0", "10e-1")),
        *((number, "0") for number in ("0", "-0.0")),
        *((number, "1e-07") for number in ("1e-7", "0.0000001")),
        *((number, "1000000000000000000000") for number in ("1e21", "1000000000000000000000")),
        *((same, same) for same in ("12345678901234567", "1.5", '"1.0"', '""', "true", "null", '["1.0"]')),
    ],
)
def test_a_number_in_json_has_one_text(written: str, text: str) -> None:
    for name in ("a", "a~/'\" b"):
        document = quote_literal(json.dumps({name: "?"}).replace('"?"', written))
        read = (
            json_field_sql(Sql(document), name),
            json_field_sql(Sql(document), "?"),
            json_field_sql(Sql(document), name, as_text=True),
        )
        found = duckdb.execute(f"SELECT {', '.join(read)}").fetchall()
        assert found == [(text, None, None if text == "null" else text.strip('"'))]
