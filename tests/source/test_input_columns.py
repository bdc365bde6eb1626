"""Tests of `[input] columns`: the query has to return what the file declares, and `check --offline` reads only that."""

from __future__ import annotations

from collections.abc import Sequence

import duckdb
import pytest
from commandline import CommandLine
from projects import BASIC, Project, numbered

from batchpipe.common.errors import PipelineError, Problem

COLUMNS = 'columns = { id = "BIGINT", body = "VARCHAR", lang = "VARCHAR", amount = "INTEGER" }'
DECLARED = BASIC.replace('key = "id"', f'key = "id"\n{COLUMNS}')


@pytest.fixture
def typed(project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    line = CommandLine(monkeypatch=monkeypatch, capsys=capsys)
    line.provide(project)
    return line


def problems(project: Project, text: str) -> Sequence[Problem]:
    """Return what a plan of the pipeline shows of its input."""
    project.pipeline(text)
    with pytest.raises(PipelineError) as raised:
        project.plan()
    return raised.value.problems


class TestTheQueryIsHeldToThem:
    def test_a_query_that_gives_them_runs(self, project: Project) -> None:
        project.rows(numbered(3))
        project.pipeline(DECLARED)
        assert project.run().rows["accepted"] == 3

    def test_declaring_them_later_makes_nothing_due(self, project: Project) -> None:
        project.rows(numbered(3))
        project.pipeline(BASIC)
        project.run()
        project.pipeline(DECLARED)
        assert project.plan().rows_by_reason["unchanged"] == 3

    def test_a_column_that_is_missing(self, project: Project) -> None:
        project.rows(numbered(3))
        [problem] = problems(
            project, DECLARED.replace("SELECT id, body, lang,", "SELECT id, body, upper(lang) AS Lang,")
        )
        assert problem.what == "the query gives no column 'lang'"
        assert problem.where == "pipelines/demo.toml:5 [input.columns] lang"
        assert problem.hint == "It gives 'Lang': write that name, or Lang AS lang in the query."

    def test_columns_of_another_type_all_at_once(self, project: Project) -> None:
        project.rows(numbered(3))
        table = '[input.columns]\nid = "INTEGER"\nbody = "VARCHAR"\nlang = "VARCHAR"\namount = "DECIMAL(9, 2)"\n'
        first, second = problems(project, BASIC.replace("[prompt]", f"{table}[prompt]"))
        assert (first.where, first.what) == (
            "pipelines/demo.toml:7 [input.columns] id",
            "the query gives BIGINT, not INTEGER",
        )
        assert first.hint == 'Write id = "BIGINT", or CAST(id AS INTEGER) AS id in the query.'
        assert second.what == "the query gives INTEGER, not DECIMAL(9,2)"

    def test_a_run_and_a_check_say_the_same(self, project: Project, typed: CommandLine) -> None:
        project.rows(numbered(3))
        project.pipeline(DECLARED.replace('amount = "INTEGER"', 'amount = "DATE"'))
        for command in (("run", "demo", "--yes"), ("plan", "demo"), ("check", "demo")):
            found = typed(*command)
            assert found.code == 2
            assert "the query gives INTEGER, not DATE" in found.out + found.talk
        assert project.requests_sent() == 0

    @pytest.mark.parametrize("kind", ["int", "Integer", "INT4", " signed "])
    def test_other_names_of_a_type_are_the_type(self, project: Project, kind: str) -> None:
        project.rows(numbered(1))
        project.pipeline(DECLARED.replace('"INTEGER"', f'"{kind}"'))
        assert project.plan().rows_by_reason["new"] == 1

    @pytest.mark.parametrize("kind", ["NUMBER(3)", "", "INT; DROP TABLE x", "INTEGER) AS x, (SELECT 1"])
    def test_what_is_no_type(self, project: Project, kind: str) -> None:
        project.rows(numbered(1))
        [problem] = problems(project, DECLARED.replace('"INTEGER"', f'"{kind}"'))
        assert problem.what == f"{kind!r} is not a type of DuckDB"
        assert problem.where == "pipelines/demo.toml:5 [input.columns] amount"

    def test_names_that_differ_in_case_alone(self, project: Project) -> None:
        with pytest.raises(PipelineError) as raised:
            project.pipeline(DECLARED.replace('lang = "', 'Body = "VARCHAR", lang = "'))
        assert raised.value.problems[0].what == '"Body" differs from another column only in case'


class TestNothingElseIsSeen:
    FEWER = DECLARED.replace(', lang = "VARCHAR"', "")

    def test_by_templates(self, project: Project) -> None:
        project.rows(numbered(1))
        [problem] = problems(project, self.FEWER)
        assert problem.what == "there is no input column, var or query `lang`"

    def test_by_the_key_and_conditions(self, project: Project) -> None:
        project.rows(numbered(1))
        text = self.FEWER.replace("{% if lang == 'de' %} Auf Deutsch.{% endif %}", "")
        found = problems(project, text.replace('key = "id"', 'key = ["id", "lang"]') + "when = \"lang = 'de'\"\n")
        assert "the input has no column 'lang'" in [each.what for each in found]
        assert any("lang" in each.what and "when" in each.where for each in found)

    def test_in_the_snapshot(self, project: Project) -> None:
        project.rows(numbered(1))
        project.pipeline(self.FEWER.replace("{% if lang == 'de' %} Auf Deutsch.{% endif %}", ""))
        stored = [each.name for each in project.plan().snapshot.columns]
        assert stored == ["id", "body", "amount"]


class TestOffline:
    def test_it_needs_no_source_and_runs_no_setup(
        self, project: Project, typed: CommandLine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        text = DECLARED.replace(
            'key = "id"', 'key = "id"\nsetup = ["COPY (SELECT 1) TO \'touched.csv\'", "ATTACH \'${CRM}\' AS crm"]'
        )
        project.pipeline(text)
        assert typed("check", "demo").code == 2
        assert not (project.root / "touched.csv").exists()
        monkeypatch.setenv("CRM", "none/none.duckdb")
        assert typed("check", "demo").code == 2
        (project.root / "touched.csv").unlink()
        monkeypatch.delenv("CRM")
        found = typed("check", "demo", "--offline")
        assert (found.code, found.talk) == (0, "")
        assert found.out.startswith("pipelines/demo.toml: ok\n")
        assert not (project.root / "touched.csv").exists()
        assert not list(project.root.rglob("*.duckdb"))

    def test_without_declared_columns_it_says_what_to_add(self, project: Project, typed: CommandLine) -> None:
        project.pipeline(BASIC)
        found = typed("check", "demo", "--offline", "--json")
        assert found.code == 2
        [problem] = found.value["problems"]
        assert problem["where"] == "pipelines/demo.toml:2 [input]"
        assert problem["message"] == "the input's columns are not known without the source"
        assert 'columns = { id = "VARCHAR", ... }' in problem["hint"]

    @pytest.mark.parametrize(
        ("old", "new", "what"),
        [
            ("{{ body }}", "{{ bdy }}", "there is no input column, var or query `bdy`"),
            ("max_tokens = 200", "max_tokens = 200\nwhen = \"starts_with(amount, 'x')\"", "starts_with"),
            ("max_tokens = 200", "max_tokens = 200_000_000", "max_tokens"),
            ('type = "number"', 'type = "nummber"', "nummber"),
            ('key = "id"', 'key = "idd"', "the input has no column 'idd'"),
            ("SELECT id", "SELEC id", "this is not SQL"),
        ],
    )
    def test_everything_else_is_checked(
        self, project: Project, typed: CommandLine, old: str, new: str, what: str
    ) -> None:
        (project.root / "pipelines" / "demo.toml").write_text(DECLARED.replace(old, new, 1), encoding="utf-8")
        found = typed("check", "demo", "--offline")
        assert found.code == 2
        assert what in found.out

    def test_the_rules_for_prompts_hold_too(self, project: Project, typed: CommandLine) -> None:
        project.pipeline(DECLARED.replace("SELECT id", "SELECT now() AS moment, id"))
        found = typed("check", "demo", "--offline", "--json").value
        assert [each["code"] for each in found["warnings"]] == ["P004", "P008"]
        assert list(found["warnings"][0]) == ["code", "message", "where", "hint"]

    def test_queries_over_files_of_the_project_are_read(self, project: Project, typed: CommandLine) -> None:
        project.rows([{"value": "billing", "meaning": "money"}, {"value": "bug", "meaning": "fails"}], "labels.csv")
        text = DECLARED.replace(
            'enum = ["billing", "bug", "other"]', "enum = { query = \"SELECT value, meaning FROM 'labels.csv'\" }"
        )
        project.pipeline(text)
        found = typed("check", "demo", "--offline")
        assert (found.code, found.out) == (0, "pipelines/demo.toml: ok\n")

    def test_a_query_that_needs_the_source_has_no_rows_and_is_named(self, project: Project, typed: CommandLine) -> None:
        text = DECLARED.replace("{{ body }}", "{% for each in shots %}{{ each.body }}{% endfor %}{{ body }}")
        project.pipeline(
            text.replace("[output.fields.label]", "[prompt.queries]\nshots = 'FROM crm.shots'\n[output.fields.label]")
        )
        found = typed("check", "demo", "--offline", "--json")
        assert found.code == 0
        [unread] = [each for each in found.value["warnings"] if each["code"] == "P012"]
        assert unread["where"].endswith("[prompt.queries] shots")

    def test_an_enum_that_needs_the_source_is_an_error(self, project: Project, typed: CommandLine) -> None:
        text = DECLARED.replace('enum = ["billing", "bug", "other"]', 'enum = { query = "FROM crm.labels" }')
        project.pipeline(text)
        found = typed("check", "demo", "--offline")
        assert found.code == 2
        assert "let it read a file of the project" in found.out


def test_rows_of_twenty_kilobytes_fit(project: Project) -> None:
    """Test ten thousand long rows in one row group of the user's file, which need more memory than short rows."""
    text = "md5(i::VARCHAR) || repeat('lorem ipsum dolor ', 1100)"
    rows = f"SELECT i AS id, {text} AS body, 'en' AS lang, 1 AS amount FROM range(10000) t(i)"
    duckdb.execute(f"COPY ({rows}) TO '{project.root / 'rows.parquet'}' (FORMAT parquet)")
    given = "read_csv('rows.csv', types = {'id': 'BIGINT', 'amount': 'INTEGER'})"
    project.pipeline(BASIC.replace(given, "read_parquet('rows.parquet')"))
    plan = project.plan()
    assert (plan.rows_by_reason["new"], plan.requests) == (10_000, 10_000)
