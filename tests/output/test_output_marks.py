"""A table is a pipeline's own where the mark in its comment says so, and nowhere else; names have no case."""

from __future__ import annotations

import duckdb
import pytest
from projects import BASIC, Project, numbered

from batchpipe.common.errors import PipelineError

COMMENT = "SELECT comment FROM duckdb_tables() WHERE schema_name = 'main' AND table_name = 'demo'"
EDITED = BASIC.replace('enum = ["billing", "bug", "other"]', 'enum = ["billing", "bug", "other", "praise"]')


def change(project: Project, *statements: str) -> None:
    with duckdb.connect(str(project.root / "batchpipe.duckdb")) as connection:
        for statement in statements:
            connection.execute(statement)


def mark(project: Project) -> str:
    ((database,),) = project.sql("SELECT value FROM ledger.meta WHERE name = 'database'")
    return f"[batchpipe: database {database}, pipeline demo]"


@pytest.fixture
def answered(project: Project) -> Project:
    project.pipeline()
    project.rows(numbered(6))
    project.run()
    return project


def test_a_new_table_bears_its_mark(answered: Project) -> None:
    assert answered.sql(COMMENT) == [(mark(answered),)]


def test_a_table_with_new_columns_keeps_the_mark_and_the_words_beside_it(answered: Project) -> None:
    change(answered, f"COMMENT ON TABLE demo IS 'Labels of {mark(answered)} our tickets'")
    answered.pipeline(
        EDITED.replace("[output.fields.score]", "[output.fields.why]\ntype = 'string'\n[output.fields.score]")
    )
    answered.run()
    assert answered.sql(COMMENT) == [(f"Labels of  our tickets {mark(answered)}",)]
    assert answered.sql("SELECT count(why) FROM demo") == [(6,)]


def test_a_table_that_lost_its_mark_is_not_touched_until_a_person_gives_it_back(answered: Project) -> None:
    change(answered, "EXPORT DATABASE 'exported' (FORMAT parquet)")
    (answered.root / "batchpipe.duckdb").unlink()
    change(answered, "IMPORT DATABASE 'exported'", "COMMENT ON TABLE demo IS 'Labels of our tickets'")
    answered.rows(numbered(8))
    sent = answered.requests_sent()
    with pytest.raises(PipelineError, match="that this pipeline did not make") as refused:
        answered.run()
    assert answered.requests_sent() == sent
    assert refused.value.hint is not None
    change(answered, refused.value.hint[refused.value.hint.index("COMMENT ON") :])
    assert answered.run().submitted == 2
    assert answered.sql(COMMENT) == [("Labels of our tickets " + mark(answered),)]


def test_a_table_that_was_dropped_is_made_again(answered: Project) -> None:
    change(answered, "DROP TABLE demo")
    answered.run()
    assert answered.sql("SELECT count(*) FROM demo") == [(6,)]
    assert answered.sql(COMMENT) == [(mark(answered),)]


@pytest.mark.parametrize(
    "table",
    [
        "SELECT 1 AS id, 'mine' AS label",
        "SELECT *, 'mine' AS note FROM kept",
    ],
    ids=["other columns", "the same rows"],
)
def test_a_table_of_a_persons_own_in_its_place_is_not_touched(answered: Project, table: str) -> None:
    change(answered, "ALTER TABLE demo RENAME TO kept", f"CREATE TABLE demo AS {table}")
    before = answered.sql("SELECT * FROM demo ORDER BY ALL")
    with pytest.raises(PipelineError, match="that this pipeline did not make"):
        answered.run()
    assert answered.sql("SELECT * FROM demo ORDER BY ALL") == before


def test_a_table_of_another_pipeline_or_database_is_not_touched(answered: Project) -> None:
    for other in (
        mark(answered).replace("pipeline demo", "pipeline other"),
        "[batchpipe: database zzzzzzzz, pipeline demo]",
    ):
        change(answered, f"COMMENT ON TABLE demo IS '{other}'")
        with pytest.raises(PipelineError, match="that this pipeline did not make"):
            answered.run()
        assert answered.sql(COMMENT) == [(other,)]


@pytest.mark.parametrize(
    ("statements", "table", "name"),
    [
        (['CREATE TABLE "Customers" AS SELECT 42 AS precious'], 'FROM "Customers"', "customers"),
        (['CREATE SCHEMA "Mart"', 'CREATE TABLE "Mart".Tickets AS SELECT 42'], 'FROM "Mart"."Tickets"', "mart.tickets"),
        (["CREATE VIEW Customers AS SELECT 42 AS precious"], "FROM customers", "CUSTOMERS"),
        (["CREATE VIEW customers AS FROM range(42)"], "SELECT count(*) FROM customers", "customers"),
    ],
    ids=["table", "schema", "view", "view of many"],
)
def test_names_have_no_case(project: Project, statements: list[str], table: str, name: str) -> None:
    change(project, *statements)
    project.pipeline(BASIC.replace("[output.fields.label]", f'[output]\ntable = "{name}"\n[output.fields.label]'))
    project.rows(numbered(2))
    with pytest.raises(PipelineError, match="that this pipeline did not make"):
        project.run()
    assert project.sql(table) == [(42,)]
    assert project.requests_sent() == 0


def test_a_pipelines_own_table_is_found_however_it_is_written(answered: Project) -> None:
    answered.pipeline(BASIC.replace("[output.fields.label]", '[output]\ntable = "DEMO"\n[output.fields.label]'))
    answered.rows(numbered(7))
    assert answered.run().submitted == 1
    assert answered.sql("SELECT table_name, estimated_size FROM duckdb_tables() WHERE schema_name = 'main'") == [
        ("demo", 7)
    ]


def test_a_table_that_is_put_in_its_place_while_batches_are_in_flight_is_not_touched(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(3))
    project.run(no_wait=True)
    change(project, "DROP TABLE demo", "CREATE TABLE demo AS SELECT 42 AS precious")
    with pytest.raises(PipelineError, match="that this pipeline did not make"):
        project.run()
    assert project.sql("FROM demo") == [(42,)]
    change(project, "DROP TABLE demo")
    assert project.run().rows["accepted"] == 3
    assert project.sql("SELECT count(*) FROM demo WHERE _current") == [(3,)]
    assert project.requests_sent() == 3
