"""A table is a pipeline's own where its comment says so, or where event, columns and keys prove it together."""

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


@pytest.mark.parametrize("comment", ["NULL", "'Labels of our tickets'"])
def test_a_lost_mark_is_written_again_where_event_columns_and_keys_prove_it(answered: Project, comment: str) -> None:
    change(answered, f"COMMENT ON TABLE demo IS {comment}")
    answered.rows(numbered(7))
    assert answered.run().submitted == 1
    words = "" if comment == "NULL" else "Labels of our tickets "
    assert answered.sql(COMMENT) == [(words + mark(answered),)]
    assert answered.sql("SELECT count(*) FROM demo") == [(7,)]


def test_the_mark_is_found_again_after_export_and_import(answered: Project) -> None:
    change(answered, "EXPORT DATABASE 'exported' (FORMAT parquet)")
    (answered.root / "batchpipe.duckdb").unlink()
    change(answered, "IMPORT DATABASE 'exported'")
    assert answered.plan().due == 0
    answered.rows(numbered(8))
    assert answered.run().submitted == 2
    assert answered.sql(COMMENT) == [(mark(answered),)]


def test_a_table_that_was_dropped_is_made_again(answered: Project) -> None:
    change(answered, "DROP TABLE demo")
    answered.run()
    assert answered.sql("SELECT count(*) FROM demo") == [(6,)]
    assert answered.sql(COMMENT) == [(mark(answered),)]


@pytest.mark.parametrize(
    "table",
    [
        "SELECT 1 AS id, 'mine' AS label",
        "SELECT id + 1000 AS id, * EXCLUDE (id) FROM kept",
    ],
    ids=["other columns", "other keys"],
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
