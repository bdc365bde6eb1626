"""Values that are kept as text are read back as they were: in checks, in `include`, and as keys."""

from __future__ import annotations

import duckdb
import pytest
from commandline import CommandLine
from projects import Project

from batchpipe.sql.quoting import Sql
from batchpipe.sql.recorded import recorded_text, recorded_value

PIPELINE = '''
[input]
query = """SELECT {columns}"""
key = "{key}"
[prompt]
user_text = "{prompt}"
[output]
include = {include}
[output.fields.label]
type = "string"
enum = ["billing", "bug"]
[output.checks]
{checks}
[[models]]
model = "claude-haiku-4-5"
max_tokens = 200
'''
# Each with a condition that is true of it.
WITH_JSON = {
    "['1'::JSON, '\"x\"'::JSON, NULL]": "len({c}) = 3 AND {c}[3] IS NULL AND {c}[2] = '\"x\"'",
    "['{\"n\": 12345678901234567890.25}'::JSON, NULL]": "contains({c}[1], '7890.25') AND {c}[2] IS NULL",
    "[['1'::JSON, NULL], NULL]": "len({c}) = 2 AND {c}[1][2] IS NULL",
    "['1'::JSON, NULL, '\"x\"'::JSON]::JSON[3]": "{c}[2] IS NULL AND {c}[3] = '\"x\"'",
    "{'a': ['1'::JSON, NULL, '\"x\"'::JSON], 's': 'a NULL b', 't': NULL::DATE}": (
        "len({c}.a) = 3 AND {c}.a[2] IS NULL AND {c}.s = 'a NULL b' AND {c}.t IS NULL"
    ),
    "MAP {'a': ['\"NULL\"'::JSON, NULL]}": "{c}['a'][1] = '\"NULL\"' AND {c}['a'][2] IS NULL",
    "{'at': TIMESTAMPTZ '2026-01-02 03:04:05+02', 'a': ['1'::JSON, NULL]}": "len({c}.a) = 2",
}


@pytest.fixture
def typed(project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    line = CommandLine(monkeypatch=monkeypatch, capsys=capsys)
    line.provide(project)
    return line


def write(
    project: Project, columns: str, *, key: str = "id", prompt: str = "x", include: str = "[]", checks: str = ""
) -> None:
    project.pipeline(PIPELINE.format(columns=columns, key=key, prompt=prompt, include=include, checks=checks))


def test_json_in_lists_is_the_same_in_checks_and_in_the_table(project: Project) -> None:
    """A NULL in a list of JSON failed paid rows, and was lost in `include`."""
    names = {f"c{number}": value for number, value in enumerate(WITH_JSON)}
    checks = "".join(f"is_{name} = '''{WITH_JSON[value].format(c=name)}'''\n" for name, value in names.items())
    columns = ", ".join(f"{value} AS {name}" for name, value in names.items())
    include = str(list(names)).replace("'", '"')
    write(project, f"1 AS id, {columns}", include=include, checks=checks)
    result = project.run()
    assert (result.rows["accepted"], result.submitted) == (1, 1)
    same = ", ".join(f"{name} IS NOT DISTINCT FROM {value}" for name, value in names.items())
    assert project.sql(f"SELECT {same} FROM demo") == [(True,) * len(names)]
    assert project.run().submitted == 0
    # What decides whether a row is due is written as ever.
    [(texts,)] = project.sql("SELECT input_values FROM ledger.requests")
    assert texts[0] == '[1, "x", NULL]'


@pytest.mark.parametrize("value", WITH_JSON)
def test_what_earlier_versions_recorded_is_read(value: str) -> None:
    """They recorded the text that DuckDB writes for a list: without quotes around JSON."""
    with duckdb.connect() as connection:
        listed = value.removesuffix("::JSON[3]")
        (kind,) = connection.execute(f"SELECT typeof({listed})").fetchall()[0]
        for text in (Sql(f"CAST({listed} AS VARCHAR)"), recorded_text(Sql(listed), kind, False)):
            found = connection.execute(f"SELECT {recorded_value(text, kind)} IS NOT DISTINCT FROM {listed}").fetchall()
            assert found == [(True,)]


KEYS = (
    "TIMESTAMP '0044-03-15 (BC) 01:02:03'",
    "TIMESTAMPTZ '0044-03-15 (BC) 01:02:03.5+00'",
    "[TIMESTAMP '0044-03-15 (BC) 01:02:03']",
    "MAP {TIMESTAMP '0044-03-15 (BC) 01:02:03': '0101'::BIT}",
    "['1'::JSON, NULL]",
)


@pytest.mark.parametrize("value", KEYS)
def test_a_key_is_read_back_as_it_was(project: Project, value: str) -> None:
    write(project, f"{value} AS id, 1 AS c", include='["c"]')
    assert project.run().rows["accepted"] == 1
    assert project.sql(f"SELECT id IS NOT DISTINCT FROM {value}, c, _current FROM demo") == [(True, 1, True)]
    # An earlier version wrote NULL in its place; such a row is written again.
    with duckdb.connect(str(project.root / "batchpipe.duckdb")) as connection:
        connection.execute("UPDATE demo SET id = NULL")
    assert project.run().submitted == 0
    assert project.sql(f"SELECT id IS NOT DISTINCT FROM {value}, c, _current FROM demo") == [(True, 1, True)]


def test_a_key_that_is_not_read_back_is_left_out_with_a_word(typed: CommandLine, project: Project) -> None:
    """Its text is that of another value too: the table never has a row without a key, or with another one."""
    write(project, "['null'::JSON, '{\"n\": 12345678901234567890.25}'::JSON] AS id")
    assert project.run().rows["accepted"] == 1
    assert project.sql("SELECT count(*) FROM demo") == [(0,)]
    assert "1 answered keys do not fit it" in typed("plan", "demo").out


def test_a_map_with_nested_keys_is_refused_as_a_key_and_included(typed: CommandLine, project: Project) -> None:
    for value in ("MAP {{'a': 1}: 'x'}", "[MAP {[1, 2]: 'x'}]", "{'m': MAP {MAP {1: 2}: 'x'}}"):
        write(project, f"{value} AS id")
        found = typed("check", "demo", "--json")
        assert (found.code, len(found.value["problems"])) == (2, 1)
        write(project, f"1 AS id, {value} AS c", include='["c"]')
        assert typed("check", "demo").code == 0
    project.run()
    assert project.sql(f"SELECT c IS NOT DISTINCT FROM {value} FROM demo") == [(True,)]


def test_a_map_is_read_by_its_type(project: Project) -> None:
    """Maps with the keys `key` and `value` were taken for maps whose keys are lists."""
    write(
        project,
        "1 AS id, MAP {'key': ['colour'], 'value': ['red']} AS a, MAP {[1, 2]: 'x'} AS b, MAP {{'k': 1}: [1]} AS c",
        prompt="{{ a }} {{ a.key[0] }} {{ b }} {{ c }}",
    )
    [tried] = project.attempt(rows=1)
    assert tried.user == '{"key": ["colour"], "value": ["red"]} colour {"[1, 2]": "x"} {"{\\"k\\": 1}": [1]}'


def test_json_inside_a_value_keeps_the_digits_of_its_numbers(project: Project) -> None:
    numbers = '{"n": 12345678901234567890.25, "m": 1.5, "k": 1e300, "z": 1e-500}'
    write(
        project,
        f"1 AS id, ['{numbers}'::JSON] AS a, {{'j': '[0.12345678901234567891]'::JSON}} AS s",
        prompt="{{ a }} {{ s }} {{ a[0].m * 1.5 }}",
    )
    [tried] = project.attempt(rows=1)
    printed = '[{"n": 12345678901234567890.25, "m": 1.5, "k": 1e+300, "z": 0.0}]'
    assert tried.user == printed + ' {"j": [0.12345678901234567891]} 2.25'
