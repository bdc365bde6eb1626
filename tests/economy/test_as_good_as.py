"""Tests of `eval --tune --as-good-as MODEL`: a promise of agreement, without gold."""

from __future__ import annotations

import pytest
from helpers.gold import ASKED, CONFIDENT, HAIKU, OPUS, SONNET, answer_by, run_eval, says
from projects import Project, numbered

from batchpipe.common.errors import PipelineError, UsageError

ROWS = 150


@pytest.fixture
def labelled(project: Project) -> Project:
    rows = numbered(ROWS)
    rows = [row | {"body": f"question <{row['id']}>"} for row in rows]
    project.rows(rows)
    project.pipeline(CONFIDENT)
    answer_by(
        project,
        [
            {"model": model, "match": row["body"], "output": says(model, int(str(row["id"])))}
            for model in (HAIKU, SONNET, OPUS)
            for row in rows
        ],
    )
    return project


def test_agreement_is_promised_without_gold_and_the_answers_are_used_by_later_runs(labelled: Project) -> None:
    project = labelled
    first = run_eval(project, **ASKED)
    assert first.code == 0, first.talk
    found = first.value
    assert project.requests_sent() == 3 * 100
    assert (found["gold"], found["promise"]["as_good_as"], found["promise"]["given"]) == (100, OPUS, True)
    assert [each["model"] for each in found["models"]] == [HAIKU, SONNET, OPUS]
    assert found["expected"]["accuracy"] >= 0.85
    # A second call sends nothing; more labels buy only the further rows, which have the first among them.
    assert run_eval(project, **ASKED).value == found
    assert project.requests_sent() == 300
    assert run_eval(project, **(ASKED | {"labels": 110})).value["gold"] == 110
    assert project.requests_sent() == 330
    words = run_eval(project, as_json=False, **ASKED).out
    assert f"This is agreement with {OPUS}, and not truth" in words
    assert "gold" not in words
    claims = run_eval(project, as_json=False, **ASKED, recall=["label=bug:0.5"]).out
    assert "gold" not in claims
    assert "right" not in claims.partition("This is agreement")[0]
    keys = project.sql("SELECT sum(len((data->'$.keys')::VARCHAR[])) FROM ledger.events WHERE kind = 'rows_bought'")
    assert keys == [(110,)]
    # An evaluation is no truth: it leaves no trace in the history of evaluations.
    assert project.sql("SELECT count(*) FROM ledger.events WHERE kind = 'evaluated'") == [(0,)]
    # A run takes the bought answers and asks the others alone.
    project.run()
    sent = project.sql("SELECT count(*) FROM ledger.requests WHERE leads AND pipeline = 'demo' AND rung = 1")
    assert sent == [(ROWS - 110,)]
    assert project.sql("SELECT count(*) FROM main.demo") == [(ROWS,)]


def test_rows_that_the_model_does_not_answer_agree_with_nobody(labelled: Project) -> None:
    project = labelled
    project.pipeline(CONFIDENT + f'\n[retry]\nattempts = 1\n\n[[models]]\nmodel = "{OPUS}"\nmax_tokens = 200\n')
    project.faults({"requests": [{"match": "question <7>", "model": OPUS, "outcome": "invalid_json"}]})
    found = run_eval(project, tune=True, as_good_as=OPUS, target=0.85, labels=1000)
    assert found.code == 0
    assert found.value["gold"] == ROWS
    assert "1,000 rows were asked for, and the input has only 150" in found.talk
    assert f"1 row without a valid answer of {OPUS}" in found.talk
    assert project.requests_sent() == 3 * ROWS


def test_what_cannot_be_compared_is_refused_before_anything_is_sent(labelled: Project) -> None:
    project = labelled
    for options, words in (
        ({"labels": 100}, "--labels goes with --as-good-as"),
        ({"as_good_as": OPUS}, "--as-good-as goes with --tune"),
        (ASKED | {"held_out": True}, "--held-out is about gold"),
        (ASKED | {"labels": 5}, "at least 20 rows"),
        (ASKED | {"as_good_as": "nobody:x"}, "^the model nobody:x: "),
        (ASKED | {"as_good_as": "local"}, "trains itself"),
        ({"model": ["local"]}, "trains itself"),
    ):
        with pytest.raises((UsageError, PipelineError), match=words):
            run_eval(project, **options)
    project.pipeline(CONFIDENT.replace('enum = ["billing", "bug", "other"]', ""))
    with pytest.raises(PipelineError, match="cannot be said to agree"):
        run_eval(project, **ASKED)
    assert project.requests_sent() == 0
