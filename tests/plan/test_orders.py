"""Tests of limits on what a change may cost: `[rerun]`, and the orders `--keep` and `--redo`."""

from __future__ import annotations

import re
from typing import Any

import pytest
from calls import ask
from helpers.reviewed import correct
from projects import BASIC, Project, numbered

from batchpipe.commands.call.options import DiffRequest
from batchpipe.commands.diff.diff import diff
from batchpipe.commands.status.status import status
from batchpipe.common.errors import PipelineError, UsageError

KEPT_BY = {"rerun": "[rerun]\nprompt_changed = false\n", "review": ""}
EDITED = BASIC.replace("{{ body }}", "Label this: {{ body }}")


def words(project: Project, **options: Any) -> dict[str, int]:
    plan = project.plan(**options)
    assert plan.requests <= plan.due
    return {word: count for word, count in plan.rows_by_reason.items() if count}


def planned(project: Project, text: str) -> None:
    project.pipeline(text)
    project.plan()


def test_rerun_false_keeps_what_a_change_of_the_prompt_would_send(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(10))
    project.run()
    project.pipeline(EDITED + "[rerun]\nprompt_changed = false\n")
    project.rows(numbered(12))
    assert words(project) == {"new": 2, "kept": 10}
    assert project.run().submitted == 2
    # A plain run later finds them kept for this version; another edit asks again.
    assert words(project) == {"kept": 10, "unchanged": 2}
    project.pipeline(EDITED.replace("Label this", "Label it"))
    assert words(project) == {"prompt_changed": 12}
    assert project.sql("SELECT count(*), count(*) FILTER (_current) FROM demo") == [(12, 12)]


def test_rerun_as_sql_over_input_and_output_says_which_rows_are_worth_it(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(30, german=4))
    project.run()
    bugs = project.sql("SELECT count(*) FROM demo WHERE label = 'bug' AND id > 4")[0][0]
    assert 0 < bugs < 26
    project.pipeline(EDITED + "[rerun]\nprompt_changed = \"lang = 'de' OR output.label = 'bug'\"\n")
    assert words(project) == {"prompt_changed": 4 + bugs, "kept": 26 - bugs}
    assert project.run().submitted == 4 + bugs


@pytest.mark.parametrize("keeps_first", [False, True], ids=["asked", "kept"])
def test_a_row_whose_text_changed_is_not_kept_because_another_column_left(project: Project, keeps_first: bool) -> None:
    kept = "[rerun]\nprompt_changed = false\n"
    project.pipeline()
    rows = numbered(6)
    project.rows(rows)
    project.run()
    if keeps_first:
        project.pipeline(BASIC.replace("{{ body }}", "{{ body }} {{ amount }}") + kept)
        assert words(project) == {"kept": 6}
        project.run()
    rows[0]["body"] = "changed"
    for row in rows:
        del row["lang"], row["amount"]
    project.rows(rows)
    branch, types = "{% if lang == 'de' %} Auf Deutsch.{% endif %}", ", 'amount': 'INTEGER'"
    project.pipeline(BASIC.replace(branch, "!").replace(", lang, amount", "").replace(types, "") + kept)
    assert words(project) == {"input_changed": 1, "kept": 5}
    assert project.run().submitted == 1
    assert words(project) == {"kept": 5, "unchanged": 1}


SURE = "max_tokens = 200\naccept = 'score > 0.5'\n[[models]]\nmodel = \"claude-sonnet-4-6\"\nmax_tokens = 300"


@pytest.mark.parametrize("outcome", ["wrong_enum", "errored_overloaded", "unsure", "failed"])
@pytest.mark.parametrize("kept_by", ["rerun", "review"])
def test_no_answer_to_an_earlier_input_is_kept_for_a_row_that_is_under_way(
    project: Project, kept_by: str, outcome: str
) -> None:
    text = BASIC.replace("max_tokens = 200", SURE) if outcome == "unsure" else BASIC
    text += '[review]\nwhere = "true"\n' + ("[retry]\nattempts = 1\n" if outcome == "failed" else "")
    rows = numbered(6)
    sure = {"outcome": "output", "output": {"label": "bug", "score": 0.9}}
    project.faults({"requests": [sure]})
    project.pipeline(text)
    project.rows(rows)
    project.run()
    if kept_by == "review":
        correct(project, {each["id"]: {} for each in rows})
    rows[0]["body"] = "changed"
    project.rows(rows)
    if outcome == "unsure":
        answer = {"outcome": "output", "output": {"label": "other", "score": 0.1}}
    else:
        answer = {"outcome": "wrong_enum" if outcome == "failed" else outcome}
    project.faults({"requests": [{"match": "changed", "times": 1, **answer}, sure]})
    project.run(no_wait=outcome != "failed")
    project.pipeline(text.replace("{{ body }}", "Label this: {{ body }}") + KEPT_BY[kept_by])
    result = project.run()
    assert result.submitted == 1
    assert result.rows["kept"] == 5
    assert project.sql("SELECT _current, _model IS NOT NULL FROM demo WHERE id = 1") == [(True, True)]
    asked = project.sql("SELECT arg_max(input_values[1], seq) FROM ledger.requests WHERE key = '[\"1\"]'")
    shown = project.sql(
        "SELECT r.input_values[1] FROM demo d JOIN ledger.requests r ON r.custom_id = d._custom_id WHERE id = 1"
    )
    assert shown == asked == [("changed",)]


def test_rerun_parts_the_kinds_of_change(project: Project) -> None:
    project.pipeline()
    rows = numbered(6)
    project.rows(rows)
    project.run()
    rows[0]["body"] = "changed"
    project.rows(rows)
    kept = "[rerun]\ninput_changed = false\n"
    project.pipeline(BASIC + kept)
    assert words(project) == {"kept": 1, "unchanged": 5}
    project.pipeline(BASIC.replace('"other"]', '"other", "praise"]') + kept)
    assert words(project) == {"kept": 1, "schema_changed": 5}
    project.pipeline(BASIC.replace('"other"]', '"other", "praise"]') + "[rerun]\nschema_changed = false\n")
    assert words(project) == {"kept": 5, "input_changed": 1}


def test_rerun_never_keeps_a_row_that_has_no_answer(project: Project) -> None:
    project.pipeline(BASIC + "[output.checks]\nnever = \"label = 'x'\"\n[retry]\nattempts = 1\n")
    project.rows(numbered(3))
    assert project.run().rows["failed"] == 3
    project.pipeline(EDITED + "[rerun]\nprompt_changed = false\n")
    assert words(project) == {"prompt_changed": 3}


@pytest.mark.parametrize(
    ("rule", "what"),
    [
        ('"labl = 1"', "no output field or input column is called 'labl'"),
        ('"score"', "not true or false"),
        ('"count(*) > 1"', "cannot be used as a condition"),
        ("3", "cannot be 3"),
    ],
)
def test_a_rule_that_is_no_condition_is_refused_with_its_place(project: Project, rule: str, what: str) -> None:
    project.rows(numbered(2))
    with pytest.raises(PipelineError, match=re.escape(what)) as found:
        planned(project, BASIC + f"[rerun]\nprompt_changed = {rule}\n")
    assert "[rerun] prompt_changed" in str(found.value)
    assert project.requests_sent() == 0


def test_an_answer_that_came_after_the_order_is_not_asked_for_again(project: Project) -> None:
    rules = [
        {"match": "late", "outcome": "wrong_enum", "times": 1},
        {"match": "", "outcome": "output", "output": {"label": "bug", "score": 0.9}},
    ]
    project.faults({"requests": rules})
    project.pipeline()
    project.rows([{**row, "body": "late" if row["id"] == 3 else row["body"]} for row in numbered(3)])
    project.run(no_wait=True)
    # When the order is given the third row has no label yet: its answer is invalid, and the second one is a bug.
    assert project.run(redo="label = 'bug'").submitted == 3
    assert project.requests_sent() == 6
    assert words(project) == {"unchanged": 3}
    assert project.run().submitted == 0


def test_a_redo_that_was_withdrawn_half_way_sends_no_more(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(10))
    project.run()
    project.run(redo="all", limit=4)
    assert words(project) == {"redo": 6, "unchanged": 4}
    assert words(project, withdraw=(1,)) == {"unchanged": 10}
    printed = ask(project, status, ["demo"])
    assert "open order 1: --redo all" in printed.out
    printed = ask(project, status, ["demo"], [1], as_json=True)
    assert printed.value["orders"] == []
    assert words(project) == {"unchanged": 10}
    assert project.run().submitted == 0
    assert project.requests_sent() == 14


def test_run_withdraws_before_it_plans(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(5))
    project.run()
    project.run(redo="all", limit=1)
    project.run(redo="id > 3", limit=1)
    assert project.run(withdraw=(1,)).submitted == 1
    assert project.run().submitted == 0


def test_a_number_that_no_open_order_has_is_refused(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(3))
    project.run()
    project.run(redo="all", limit=1)
    with pytest.raises(UsageError, match="no open order 7") as found:
        project.run(withdraw=(7,))
    assert found.value.hint == "Open orders: 1."
    with pytest.raises(UsageError, match="no open order -1"):
        project.plan(withdraw=(-1,))
    assert words(project) == {"redo": 2, "unchanged": 1}


def test_a_local_model_that_never_was_cannot_be_asked_again(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(2))
    for ask_again in (project.plan, project.run):
        with pytest.raises(UsageError, match="there is no local model") as found:
            ask_again(redo="local")
        assert found.value.hint == "No rung of the ladder is local."
        with pytest.raises(UsageError, match="there is no version 'local:v1' of the local model"):
            ask_again(redo="local:v1")
    assert project.requests_sent() == 0
    assert project.run().submitted == 2
    with pytest.raises(UsageError, match="there is no version 'local:v1' of the local model"):
        project.run(redo="local:v1")
    assert project.open_orders() == []


def test_the_five_pm_edit_only_german_rows_are_due_now_and_tonight(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(20, german=3))
    project.run()
    project.pipeline(EDITED)
    assert words(project, keep="lang <> 'de'") == {"prompt_changed": 3, "kept": 17}
    assert project.run(keep="lang <> 'de'", no_wait=True).submitted == 3
    tonight = project.run()
    assert (tonight.submitted, tonight.rows["kept"], tonight.rows["accepted"]) == (0, 17, 3)
    assert project.requests_sent() == 23
    shown = ask(project, diff, DiffRequest(pipeline="demo"), as_json=True).value
    assert shown["rows"]["compared"] == 3
    assert any(line.startswith("+") and "Label this" in line for line in shown["prompt"][0]["diff"].splitlines())


def test_the_words_of_an_order_are_read_without_case_and_recorded_once(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(3))
    project.run()
    assert words(project, redo=" ALL ") == {"redo": 3}
    project.run(redo="All", limit=1)
    project.run(redo="all", limit=1)
    assert project.sql("SELECT argument FROM ledger.orders") == [("all",)]


@pytest.mark.parametrize("asks", ["", "samples = 3\n"], ids=["once", "votes"])
def test_an_order_to_redo_accept_leaves_no_old_answer_to_a_row_that_asks_something_else(
    project: Project, asks: str
) -> None:
    accept = "_agreement >= 0" if asks else "score >= 0"
    first = BASIC.replace("max_tokens = 200\n", f'max_tokens = 200\n{asks}accept = "{accept}"\n')
    ladder = first + '[[models]]\nmodel = "claude-sonnet-4-6"\nmax_tokens = 300\nwhen = "lang = \'de\'"\n'
    project.pipeline(ladder)
    rows = numbered(4)
    project.rows(rows)
    sent = project.run().submitted
    rows[0]["body"] = "something else"
    project.rows(rows)
    project.pipeline(ladder.replace(">= 0", "> 1"))
    assert project.plan(redo="accept").rows_by_reason["input_changed"] == 1
    assert project.run(redo="accept").submitted == sent // 4
    custom_id, recorded = project.sql("SELECT _custom_id, _current FROM demo WHERE id = 1")[0]
    asked = "SELECT input_values[1] FROM ledger.requests WHERE custom_id = $1"
    assert (recorded, project.sql(asked.replace("$1", f"'{custom_id}'"))) == (True, [("something else",)])
