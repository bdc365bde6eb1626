"""Tests of what makes a row due, and what it costs: edits of rows, prompts, schemas, models and checks."""

from __future__ import annotations

import duckdb
import pytest
from projects import BASIC, Project, numbered

from batchpipe.engine.plan.plan import DUE_REASONS, REASONS


def expect(project: Project, requests: int, **words: int) -> None:
    """Check that the plan shows these reasons, that they sum to the input, and that a run sends just these requests."""
    plan = project.plan()
    found = {word: count for word, count in plan.rows_by_reason.items() if count}
    assert found == words
    assert plan.requests == requests
    assert plan.due == sum(count for word, count in words.items() if word in DUE_REASONS)
    before = project.requests_sent()
    result = project.run()
    assert result.submitted == requests
    assert project.requests_sent() - before == requests


def test_the_second_run_sends_nothing(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(50))
    expect(project, 50, new=50)
    expect(project, 0, unchanged=50)
    assert project.sql("SELECT count(*), count(DISTINCT id), typeof(any_value(id)) FROM demo") == [(50, 50, "BIGINT")]


def test_every_row_counts_under_exactly_one_word() -> None:
    assert set(DUE_REASONS) < set(REASONS)
    assert len(REASONS) == len(set(REASONS)) == 13


def test_an_edited_row_is_one_request(project: Project) -> None:
    project.pipeline()
    rows = numbered(20)
    project.rows(rows)
    project.run()
    rows[3]["body"] = "something else"
    project.rows(rows)
    expect(project, 1, input_changed=1, unchanged=19)
    rows[3]["amount"] = 99  # no template, check or condition reads it
    project.rows(rows)
    expect(project, 0, unchanged=20)


def test_an_edited_branch_is_the_rows_that_take_it(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(100, german=3))
    project.run()
    project.pipeline(BASIC.replace("Auf Deutsch.", "Bitte auf Deutsch."))
    expect(project, 3, prompt_changed=3, carried_over=97)
    expect(project, 0, unchanged=100)
    assert project.sql("SELECT _prompt_version, count(*) FROM demo WHERE _current GROUP BY ALL") == [("v2", 100)]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('model = "claude-haiku-4-5"', 'model = "claude-sonnet-4-6"'),
        ("max_tokens = 200", 'max_tokens = 200\naccept = "score >= 0"'),
        ("max_tokens = 200", "max_tokens = 300"),
    ],
    ids=["model", "accept", "room"],
)
def test_the_ladder_is_policy_not_identity(project: Project, before: str, after: str) -> None:
    project.pipeline()
    project.rows(numbered(10))
    project.run()
    project.pipeline(BASIC.replace(before, after))
    expect(project, 0, unchanged=10)


def test_a_changed_accept_that_reads_another_column_costs_nothing(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(10))
    project.run()
    project.pipeline(BASIC.replace("max_tokens = 200", 'max_tokens = 200\naccept = "amount >= 0"'))
    expect(project, 0, unchanged=10)


def test_a_changed_bound_judges_again_for_free(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(30))
    project.run()
    low = project.sql("SELECT count(*) FROM demo WHERE score < 0.5")[0][0]
    assert 0 < low < 30
    project.pipeline(BASIC.replace("minimum = 0\n", "minimum = 0.5\n"))
    plan = project.plan()
    assert plan.rows_by_reason["check_failed"] == low
    assert plan.rows_by_reason["carried_over"] == 30 - low
    project.pipeline(BASIC.replace("minimum = 0\n", "minimum = -1\n"))
    expect(project, 0, carried_over=30)


def test_a_changed_check_is_only_rows_that_now_fail(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(30))
    project.run()
    bugs = project.sql("SELECT count(*) FROM demo WHERE label = 'bug'")[0][0]
    assert 0 < bugs < 30
    project.pipeline(BASIC + "\n[output.checks]\nno_bugs = \"label <> 'bug'\"\n")
    plan = project.plan()
    assert plan.rows_by_reason["check_failed"] == plan.requests == bugs
    assert plan.rows_by_reason["unchanged"] == 30 - bugs
    project.pipeline(BASIC + "\n[output.checks]\nsome = \"label <> 'nothing'\"\n")
    expect(project, 0, unchanged=30)


def test_a_relaxed_check_takes_failed_rows_back(project: Project) -> None:
    project.pipeline(BASIC + "\n[output.checks]\nno_bugs = \"label <> 'bug'\"\n[retry]\nattempts = 1\n")
    project.rows(numbered(30))
    result = project.run()
    assert result.rows["failed"] > 0
    project.pipeline(BASIC)
    plan = project.plan()
    assert plan.rows_by_reason["carried_over"] == result.rows["failed"]
    after = project.run()
    assert after.submitted == 0
    assert after.rows["failed"] == 0
    assert project.sql("SELECT count(*) FROM demo") == [(30,)]


def test_a_changed_schema_is_every_row(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(5))
    project.run()
    project.pipeline(BASIC.replace('"other"]', '"other", "new_one"]'))
    expect(project, 5, schema_changed=5)


def test_a_key_that_turns_to_text_is_the_same_key(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(8))
    project.run()
    project.pipeline(BASIC.replace("'id': 'BIGINT'", "'id': 'VARCHAR'"))
    expect(project, 0, unchanged=8)
    assert project.sql("SELECT typeof(id), count(*) FROM demo GROUP BY ALL") == [("VARCHAR", 8)]


def test_added_and_removed_rows(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(10))
    project.run()
    project.rows(numbered(12)[2:])
    plan = project.plan()
    assert plan.removed == 2
    expect(project, 2, new=2, unchanged=8)
    assert project.sql("SELECT id FROM demo WHERE NOT _current ORDER BY id") == [(1,), (2,)]
    project.rows(numbered(12))
    expect(project, 0, unchanged=12)
    assert project.sql("SELECT count(*) FROM demo WHERE _current") == [(12,)]


def test_identical_rows_are_sent_once(project: Project) -> None:
    project.pipeline()
    rows = numbered(6)
    for row in rows[:4]:
        row["body"] = "the same text"
    project.rows(rows)
    expect(project, 3, new=6)
    assert project.sql("SELECT count(DISTINCT label), count(DISTINCT _custom_id) FROM demo WHERE id <= 4") == [(1, 1)]
    assert project.sql("SELECT count(*) FROM demo WHERE _cost_usd > 0") == [(3,)]
    rows.append({"id": 7, "body": "the same text", "lang": "en", "amount": 1})
    project.rows(rows)
    expect(project, 0, carried_over=1, unchanged=6)
    assert project.sql("SELECT count(*), count(DISTINCT label) FROM demo WHERE id IN (1, 7)") == [(2, 1)]


def test_a_prompt_that_comes_back_is_known(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(10))
    project.run()
    project.pipeline(BASIC.replace("{{ body }}", "Read: {{ body }}"))
    expect(project, 10, prompt_changed=10)
    project.pipeline()
    expect(project, 0, carried_over=10)


def test_what_only_an_earlier_version_answered_is_known(project: Project) -> None:
    rows = numbered(10)
    project.rows(rows)
    for version, asked in enumerate(({"new": 10}, {"prompt_changed": 10}, {"prompt_changed": 9})):
        project.rows(rows[: sum(asked.values())])
        project.pipeline(BASIC.replace("{{ body }}", f"{{{{ body }}}} ({version})"))
        expect(project, sum(asked.values()), **asked)
    project.rows(rows)
    expect(project, 1, prompt_changed=1, unchanged=9)


def test_what_an_earlier_version_left_without_an_answer_is_known(project: Project) -> None:
    """The rows that it answered are exactly those of the present version."""
    rows = numbered(10)
    project.rows(rows)
    project.pipeline()
    project.faults({"requests": [{"outcome": "errored_overloaded", "match": "text number 3", "times": 1}]})
    project.run(no_wait=True)
    project.pipeline(BASIC + "[budget]\nmax_usd = 0.0001\n")
    assert project.run().status == "gate"
    assert project.sql("SELECT state, count(*) FROM ledger.decisions GROUP BY state ORDER BY state") == [
        ("accepted", 9),
        ("retry", 1),
    ]
    project.pipeline(BASIC.replace("{{ body }}", "{{ body }}!"))
    project.rows([each for each in rows if each["id"] != 3])
    expect(project, 9, prompt_changed=9)
    project.rows(rows)
    expect(project, 1, prompt_changed=1, unchanged=9)


def test_keep_holds_for_tonights_plain_run(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(10, german=4))
    project.run()
    project.pipeline(BASIC.replace("{{ body }}", "Read: {{ body }}"))
    plan = project.plan(keep="lang <> 'de'")
    assert plan.rows_by_reason["kept"] == 6
    assert plan.rows_by_reason["prompt_changed"] == plan.requests == 4
    result = project.run(keep="lang <> 'de'")
    assert result.submitted == 4
    assert result.rows["kept"] == 6
    expect(project, 0, kept=6, unchanged=4)
    assert project.sql("SELECT count(*) FROM demo WHERE _current") == [(10,)]


def test_redo_all_is_each_row_once_even_when_stopped_half_way(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(10))
    project.run()
    result = project.run(redo="all", limit=4)
    assert result.submitted == 4
    result = project.run(redo="all")
    assert result.submitted == 6
    expect(project, 0, unchanged=10)
    result = project.run(redo="all")
    assert result.submitted == 10


def test_redo_by_condition_with_a_selection(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(10, german=4))
    project.run()
    assert project.plan(redo="all", where="lang = 'de'").requests == 4
    assert project.run(redo="all", where="lang = 'de'").submitted == 4
    expect(project, 0, unchanged=10)
    bugs = project.sql("SELECT count(*) FROM demo WHERE label = 'bug'")[0][0]
    assert project.run(redo="label = 'bug'").submitted == bugs


def test_redo_model_and_accept(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(20))
    project.run()
    project.pipeline(BASIC.replace("haiku-4-5", "sonnet-4-6"))
    assert project.run(redo="model").submitted == 20
    low = project.sql("SELECT count(*) FROM demo WHERE score < 0.5")[0][0]
    two = BASIC.replace("haiku-4-5", "sonnet-4-6").replace(
        "max_tokens = 200", 'max_tokens = 200\naccept = "score >= 0.5"'
    )
    project.pipeline(two + '[[models]]\nmodel = "claude-opus-4-8"\nmax_tokens = 300\n')
    expect(project, 0, unchanged=20)
    assert project.plan(redo="accept").rows_by_reason["redo"] == low
    assert project.run(redo="accept").submitted == low
    assert project.sql("SELECT count(*) FROM demo WHERE _rung = 2") == [(low,)]
    expect(project, 0, unchanged=20)


def test_limit_is_the_next_rows_by_hash(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(10))
    sent = 0
    for _ in range(3):
        assert project.plan(limit=4).requests == min(4, 10 - sent)
        result = project.run(limit=4)
        sent += result.submitted
        assert result.rows["due"] == 10 - sent
    assert sent == 10


def test_where_looks_at_some_rows_only(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(10, german=3))
    plan = project.plan(where="lang = 'de'")
    assert (plan.input, plan.requests, plan.removed) == (3, 3, 0)
    assert project.run(where="lang = 'de'").submitted == 3
    expect(project, 7, new=7, unchanged=3)


def test_a_null_is_not_an_empty_text(project: Project) -> None:
    text = BASIC.replace("read_csv('rows.csv', types = {'id': 'BIGINT', 'amount': 'INTEGER'})", "'rows.parquet'")
    project.pipeline(text.replace("{{ body }}", "Text: {{ body }}"))
    copy = "COPY (SELECT 1 AS id, {body} AS body, 'en' AS lang, 1 AS amount) TO 'rows.parquet'"
    duckdb.execute(copy.format(body="NULL::VARCHAR"))
    expect(project, 1, new=1)
    duckdb.execute(copy.format(body="''"))
    expect(project, 0, carried_over=1)


def test_a_row_that_waits_for_a_rung_which_left_the_ladder_keeps_its_answer(project: Project) -> None:
    low = BASIC.replace("max_tokens = 200", 'max_tokens = 200\naccept = "score >= 0.5"')
    project.pipeline(low + '[[models]]\nmodel = "claude-sonnet-4-6"\nmax_tokens = 300\n')
    project.rows(numbered(2))
    said = {"match": "number 2", "output": {"label": "bug", "score": 0.1}}
    project.faults({"requests": [said], "calls": [{"call": "create", "fault": "status:402", "after": 1}]})
    (stopped,) = project.outcomes()
    assert stopped.error is not None
    assert project.requests_sent() == 2
    project.pipeline()
    assert project.run().submitted == 0
    assert project.requests_sent() == 2
    assert project.sql("SELECT label, _rung FROM demo WHERE id = 2 AND _current") == [("bug", 1)]
