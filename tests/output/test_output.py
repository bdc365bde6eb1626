"""Tests of the output table: types, one row per key, the present columns, and tables of others."""

from __future__ import annotations

import duckdb
import pytest
from projects import BASIC, Project, numbered

from batchpipe.common.errors import PipelineError


def columns(project: Project, table: str = "demo") -> dict[str, str]:
    return {row[0]: row[1] for row in project.sql(f"DESCRIBE {table}")}


META = {
    "_model": "VARCHAR",
    "_rung": "SMALLINT",
    "_prompt_version": "VARCHAR",
    "_custom_id": "VARCHAR",
    "_batch_id": "VARCHAR",
    "_completed_at": "TIMESTAMP",
    "_cost_usd": "DECIMAL(38,15)",
    "_review": "BOOLEAN",
    "_reviewed_by": "VARCHAR",
    "_current": "BOOLEAN",
}


def test_it_has_the_key_the_fields_the_included_columns_and_the_facts(project: Project) -> None:
    project.pipeline(
        BASIC.replace("[output.fields.label]", '[output]\ninclude = ["lang", "amount"]\n[output.fields.label]')
    )
    project.rows(numbered(5))
    project.run()
    assert (
        columns(project)
        == {
            "id": "BIGINT",
            "label": "VARCHAR",
            "score": "DOUBLE",
            "lang": "VARCHAR",
            "amount": "INTEGER",
        }
        | META
    )
    (row,) = project.sql("SELECT _model, _rung, _prompt_version, _review, _current, lang FROM demo WHERE id = 1")
    assert row == ("claude-haiku-4-5-20251001", 1, "v1", False, True, "en")


def test_included_columns_follow_the_input_at_no_cost(project: Project) -> None:
    project.pipeline(BASIC.replace("[output.fields.label]", '[output]\ninclude = ["amount"]\n[output.fields.label]'))
    rows = numbered(5)
    project.rows(rows)
    project.run()
    rows[0]["amount"] = 77
    project.rows(rows)
    assert project.run().submitted == 0
    assert project.sql("SELECT amount FROM demo WHERE id = 1") == [(77,)]
    project.pipeline(BASIC.replace("[output.fields.label]", '[output]\ninclude = ["lang"]\n[output.fields.label]'))
    assert project.run().submitted == 0
    assert project.sql("SELECT DISTINCT lang FROM demo") == [("en",)]


def test_a_table_that_the_pipeline_did_not_make_is_not_touched(project: Project) -> None:
    with duckdb.connect("batchpipe.duckdb") as connection:
        connection.execute("CREATE TABLE demo AS SELECT 42 AS precious")
    project.pipeline()
    project.rows(numbered(3))
    with pytest.raises(PipelineError, match="did not make"):
        project.run()
    assert project.sql("FROM demo") == [(42,)]
    assert project.requests_sent() == 0


def test_a_field_added_removed_or_retyped_loses_nothing(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(20))
    project.run()
    before = project.sql("SELECT id, label, score FROM demo ORDER BY id")
    added = BASIC + '\n[output.fields.note]\ntype = "string"\n'
    project.pipeline(added)
    assert project.run(limit=5).submitted == 5
    assert list(columns(project)) == ["id", "label", "score", "note", *META]
    assert project.sql("SELECT count(*), count(note), count(label) FROM demo") == [(20, 5, 20)]
    old = project.sql("SELECT id, label, score FROM demo WHERE note IS NULL ORDER BY id")
    assert [row for row in before if row in old] == old
    removed = BASIC.replace('[output.fields.score]\ntype = "number"\nminimum = 0\nmaximum = 1\n', "")
    project.pipeline(removed)
    project.run(limit=0)
    assert list(columns(project)) == ["id", "label", *META]
    project.pipeline(BASIC.replace('type = "number"', 'type = "number"\ncolumn = "DECIMAL(4,2)"'))
    assert project.run().submitted == 0
    assert columns(project)["score"] == "DECIMAL(4,2)"
    assert project.sql("SELECT count(*) FROM demo WHERE score IS NULL") == [(0,)]


def test_field_descriptions_are_column_comments(project: Project) -> None:
    project.pipeline(BASIC.replace("maximum = 1", 'maximum = 1\ndescription = "How it\'s rated"'))
    project.rows(numbered(2))
    project.run()
    found = project.sql("SELECT comment FROM duckdb_columns() WHERE table_name = 'demo' AND column_name = 'score'")
    assert found == [("How it's rated",)]


def test_a_table_may_have_a_schema_and_any_name(project: Project) -> None:
    project.pipeline(
        BASIC.replace("[output.fields.label]", "[output]\ntable = 'mart.a\"b; DROP'\n[output.fields.label]")
    )
    project.rows(numbered(2))
    project.run()
    assert project.sql('SELECT count(*) FROM mart."a""b; DROP"') == [(2,)]


def test_nested_fields_are_typed(project: Project) -> None:
    text = BASIC.replace(
        '[output.fields.score]\ntype = "number"\nminimum = 0\nmaximum = 1\n',
        """
[output.fields.items]
type = "array"
[output.fields.items.items]
type = "object"
[output.fields.items.items.fields.name]
type = "string"
[output.fields.items.items.fields.price]
type = "number"
column = "DECIMAL(12,2)"
[output.fields.day]
type = "string"
format = "date"
optional = true
""",
    )
    project.pipeline(text)
    project.rows(numbered(10))
    assert project.run().rows["accepted"] == 10
    assert columns(project)["items"] == 'STRUCT("name" VARCHAR, price DECIMAL(12,2))[]'
    assert columns(project)["day"] == "DATE"
    assert project.sql("SELECT count(*) FROM demo WHERE len(items) > 0") == [(10,)]


def test_statements_after_each_commit_run_once_more_after_a_crash_between(project: Project) -> None:
    after = "[output]\nafter = [\"COPY (SELECT count(*) AS n FROM demo) TO 'count.csv'\"]\n[output.fields.label]"
    project.pipeline(BASIC.replace("[output.fields.label]", after))
    project.rows(numbered(4))
    project.run()
    assert (project.root / "count.csv").read_text() == "n\n4\n"
    (project.root / "count.csv").unlink()
    project.run()
    assert not (project.root / "count.csv").exists()


def test_the_input_may_read_its_own_output(project: Project) -> None:
    text = BASIC.replace("'amount': 'INTEGER'})\"", "'amount': 'INTEGER'}) WHERE id NOT IN (SELECT id FROM demo)\"")
    project.pipeline(text)
    project.rows(numbered(4))
    assert project.plan().rows_by_reason["new"] == 4
    assert project.run().submitted == 4
    assert project.plan().input == 0
    assert project.sql("SELECT count(*) FROM demo") == [(4,)]


def test_one_pipeline_reads_anothers_output(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(4))
    project.run()
    text = BASIC.split("[prompt]")
    second = '[input]\nquery = "SELECT id, label AS body, \'en\' AS lang FROM demo"\nkey = "id"\n\n[prompt]' + text[1]
    project.pipeline(second, name="second")
    assert project.run("second").rows["accepted"] == 4


def test_a_renamed_pipeline_carries_its_history(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(6))
    project.run()
    (project.root / "pipelines" / "demo.toml").unlink()
    project.pipeline('renamed_from = "demo"\n' + BASIC, name="better")
    assert project.plan("better").rows_by_reason["unchanged"] == 6
    assert project.run("better").submitted == 0
    assert project.sql("SELECT count(*) FROM better") == [(6,)]


def test_the_table_is_made_before_the_first_query_runs(project: Project) -> None:
    project.pipeline()
    project.rows([{"id": 1, "body": "a", "lang": "en", "amount": 1}, {"id": 1, "body": "b", "lang": "en", "amount": 1}])
    with pytest.raises(Exception, match="not unique"):
        project.run()
    assert project.sql("SELECT count(*) FROM demo") == [(0,)]
