"""Tests of `_current`, and of rows that were changed in the output table by hand."""

from __future__ import annotations

import duckdb
import pytest
from calls import Printed, ask
from projects import BASIC, Project, numbered

from batchpipe.commands.recover import recover

ATTEMPTS = "[retry]\nattempts = 1\ntransient = 50\n"


def current(project: Project) -> list[int]:
    """Return the ids of the rows that are current."""
    return [row for (row,) in project.sql("SELECT id FROM demo WHERE _current ORDER BY id")]


def checked(condition: str) -> str:
    return BASIC.replace("[output.fields.label]", f'[output.checks]\nagain = "{condition}"\n[output.fields.label]')


def change(project: Project, *statements: str) -> None:
    with duckdb.connect(str(project.root / "batchpipe.duckdb")) as connection:
        for statement in statements:
            connection.execute(statement)


@pytest.fixture
def answered(project: Project) -> Project:
    project.pipeline()
    project.rows(numbered(6))
    project.faults(
        {
            "requests": [
                {"match": f"number {n}", "outcome": "output", "output": {"label": label, "score": 0.5}}
                for n, label in enumerate(["bug", "bug", "bug", "other", "other", "billing"], 1)
            ]
        }
    )
    project.run()
    return project


def test_a_check_or_a_type_that_a_stored_answer_fails_makes_its_row_not_current(answered: Project) -> None:
    answered.pipeline(checked("label <> 'bug'"))
    assert answered.run(limit=0).submitted == 0
    assert current(answered) == [4, 5, 6]
    answered.pipeline()
    assert answered.run(limit=0).submitted == 0
    assert current(answered) == [1, 2, 3, 4, 5, 6]
    answered.pipeline(BASIC.replace('type = "string"', 'type = "string"\ncolumn = "INTEGER"').replace("enum = [", "#["))
    answered.pipeline(BASIC.replace('type = "string"\n', 'type = "string"\ncolumn = "INTEGER"\n'))
    answered.run(limit=0)
    assert current(answered) == []
    assert answered.sql("SELECT count(*), count(label) FROM demo") == [(6, 0)]
    answered.pipeline()
    assert answered.run().submitted == 0
    assert current(answered) == [1, 2, 3, 4, 5, 6]


def test_rows_that_where_leaves_out_are_not_current_under_another_prompt_and_stay_under_other_checks(
    answered: Project,
) -> None:
    answered.pipeline(checked("label <> 'other'"))
    answered.run(where="id <= 2")
    assert current(answered) == [1, 2, 3, 4, 5, 6]
    answered.pipeline(BASIC.replace("{{ body }}", "Label: {{ body }}"))
    assert answered.run(where="id <= 2").submitted == 2
    assert current(answered) == [1, 2]
    answered.pipeline()
    assert answered.run(where="id <= 2").submitted == 0
    assert current(answered) == [1, 2, 3, 4, 5, 6]
    answered.rows([row | {"body": f"{row['body']} again"} if row["id"] > 4 else row for row in numbered(6)])
    answered.run(where="id <= 2")
    assert current(answered) == [1, 2, 3, 4]


def test_a_row_that_failed_in_the_end_is_not_current_and_a_retry_changes_nothing(answered: Project) -> None:
    answered.pipeline(BASIC + ATTEMPTS)
    outcomes = {"number 1": "errored_invalid", "number 2": "errored_overloaded"}
    answered.faults({"requests": [{"match": match, "outcome": outcome} for match, outcome in outcomes.items()]})
    assert answered.run(redo="id <= 2", wait_seconds=12).status == "pending"
    assert current(answered) == [2, 3, 4, 5, 6]
    newest = "SELECT DISTINCT ON (key_id) state FROM ledger.decisions ORDER BY key_id, seq DESC"
    states = [("accepted",)] * 4 + [("failed",), ("retry",)]
    assert answered.sql(f"SELECT state FROM ({newest}) ORDER BY state") == states
    answered.pipeline(checked("label <> 'bug'") + ATTEMPTS)
    answered.run(limit=0, no_wait=True)
    assert current(answered) == [4, 5, 6]


def test_kept_rows_are_current_where_todays_checks_hold_and_may_lack_newer_fields(answered: Project) -> None:
    edited = BASIC.replace("{{ body }}", "Label: {{ body }}")
    answered.pipeline(edited)
    assert answered.run(keep="all").submitted == 0
    assert current(answered) == [1, 2, 3, 4, 5, 6]
    answered.pipeline(checked("label <> 'bug'").replace("{{ body }}", "Label: {{ body }}"))
    assert answered.run().submitted == 0
    assert current(answered) == [4, 5, 6]
    answered.run()
    assert current(answered) == [4, 5, 6]
    answered.pipeline(checked("label <> 'other'") + '[output.fields.note]\ntype = "string"\n')
    assert answered.run(keep="all").submitted == 0
    assert current(answered) == [1, 2, 3, 6]
    assert answered.sql("SELECT count(note) FROM demo") == [(0,)]


def test_rows_missing_or_added_by_hand_are_found_on_every_run_and_values_where_a_run_writes(answered: Project) -> None:
    before = answered.sql("FROM demo ORDER BY id")
    change(answered, "DELETE FROM demo WHERE id <= 2")
    assert answered.run().submitted == 0
    assert answered.sql("FROM demo ORDER BY id") == before
    assert any("2 of 6 rows are missing" in each for each in answered.said)
    change(answered, "INSERT INTO demo (id, label, _current) VALUES (77, 'bug', true)")
    assert answered.run().submitted == 0
    assert answered.sql("FROM demo ORDER BY id") == before
    assert any("1 rows were added" in each for each in answered.said)
    change(answered, "UPDATE demo SET label = 'other', _current = true WHERE id <= 2")
    answered.rows(numbered(7))
    assert answered.run().submitted == 1
    assert answered.sql("FROM demo WHERE id < 7 ORDER BY id") == before
    assert current(answered) == [1, 2, 3, 4, 5, 6, 7]
    assert any("values were changed" in each for each in answered.said)
    assert answered.sql("SELECT count(*) FROM ledger.events WHERE kind = 'output_repaired'") == [(3,)]
    said = len([each for each in answered.said if "by hand" in each])
    answered.rows(numbered(8))
    answered.run()
    assert len([each for each in answered.said if "by hand" in each]) == said


def test_columns_indexes_and_constraints_that_were_given_by_hand_are_told_when_they_go(answered: Project) -> None:
    before = answered.sql("FROM demo ORDER BY id")
    dropped = "was added and is dropped"
    index, constraint = f"the index ix {dropped}", f"the constraint NOT NULL on label {dropped}"
    column = f"the column checked_by {dropped}"
    changes = {
        "CREATE INDEX ix ON demo (label)": None,
        "DELETE FROM demo WHERE id = 1": f"1 of 6 rows are missing; {index}",
        "ALTER TABLE demo ADD COLUMN checked_by VARCHAR; UPDATE demo SET label = 'bug', checked_by = 'Ann'": (
            f"{column}; values were changed"
        ),
        "ALTER TABLE demo RENAME label TO checked_by": f"{column}; the column label is missing",
        "ALTER TABLE demo ALTER _rung TYPE BIGINT": "the column _rung is of another type",
        "ALTER TABLE demo ALTER label SET NOT NULL": constraint,
        "CREATE UNIQUE INDEX ix ON demo (id)": index,
        "DROP TABLE demo": "it was dropped",
    }
    for statements, found in changes.items():
        change(answered, *statements.split(";"))
        answered.said.clear()
        assert answered.run().submitted == 0
        told = [each for each in answered.said if "by hand" in each]
        assert told == ([f"demo: the table demo was changed by hand ({found}): it is repaired"] if found else [])
        assert answered.sql("FROM demo ORDER BY id") == before
    repaired = "SELECT data ->> 'found' FROM ledger.events WHERE kind = 'output_repaired' ORDER BY seq"
    assert answered.sql(repaired) == [(each,) for each in changes.values() if each]
    # An edit of the schema is no change by hand, also where an earlier version has recorded no columns.
    for columns in ("data", "json_merge_patch(data, '{\"columns\": null}')"):
        change(answered, f"UPDATE ledger.events SET data = {columns} WHERE kind = 'output_written'")
        answered.pipeline(BASIC + f'[output.fields.note_{len(columns)}]\ntype = "string"\noptional = true\n')
        answered.said.clear()
        answered.run(keep="all", limit=0)
        assert not [each for each in answered.said if "by hand" in each]


def test_answers_under_an_older_prompt_are_not_current(answered: Project) -> None:
    answered.rows(numbered(8))
    answered.run(no_wait=True)
    answered.pipeline(BASIC.replace("{{ body }}", "{{ body }}!"))
    answered.run(limit=0)
    assert answered.sql("SELECT count(*) FROM demo") == [(8,)]
    assert current(answered) == []


def test_recover_repair_writes_again_what_was_changed_by_hand(answered: Project) -> None:
    def repaired() -> Printed:
        return ask(answered, recover, "demo", None, abandon=False, from_raw=False, repairs=True, as_json=True)

    before = answered.sql("FROM demo ORDER BY id")
    assert repaired().value["repaired"] == {"missing": 0, "added": 0, "changed": 0, "found": None}
    change(answered, "DELETE FROM demo WHERE id = 1", "UPDATE demo SET label = 'other' WHERE id IN (2, 3)")
    change(answered, "INSERT INTO demo (id, label, _current) VALUES (77, 'bug', true)")
    found = repaired().value["repaired"]
    assert (found["missing"], found["added"], found["changed"]) == (1, 1, 2)
    assert answered.sql("FROM demo ORDER BY id") == before
    change(answered, "DROP TABLE demo")
    assert repaired().value["repaired"]["missing"] == 6
    change(answered, "UPDATE demo SET _current = false WHERE id < 4")
    assert repaired().value["repaired"]["found"] == "values were changed"
    assert answered.run().submitted == 0
    assert answered.sql("FROM demo ORDER BY id") == before


def test_a_batch_of_an_earlier_key_leaves_each_row_once(project: Project) -> None:
    project.rows(numbered(3))
    project.pipeline(BASIC.replace('key = "id"', 'key = ["id", "lang"]'))
    project.faults({"delay_seconds": 1})
    project.run(no_wait=True)
    project.pipeline()
    for _ in range(2):
        assert project.run(approve=True).rows["accepted"] == 3
        assert project.sql("SELECT id, _current FROM demo ORDER BY id") == [(1, True), (2, True), (3, True)]
    assert project.requests_sent() == 3
