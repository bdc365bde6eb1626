"""Tests of the answer that a row falls back on: it has to be valid by the checks of today."""

from __future__ import annotations

from decimal import Decimal

import pytest
from helpers.gold import HAIKU, LADDER, SONNET, answer_by
from projects import Project, numbered

CHECK = '\n[output.checks]\nsure = "score > 0.3"\n'


@pytest.mark.parametrize(("score", "state"), [(0.25, "failed"), (0.4, "accepted")])
def test_a_check_that_is_added_while_a_row_goes_up_is_held_for_its_earlier_answer(
    project: Project, score: float, state: str
) -> None:
    project.pipeline(LADDER)
    project.rows([row | {"body": "question"} for row in numbered(1)])
    answers = {HAIKU: {"label": "bug", "score": score}, SONNET: {"label": "bug", "score": 0.1}}
    answer_by(project, [{"model": model, "match": "question", "output": each} for model, each in answers.items()])
    project.run(no_wait=True)
    while not project.sql("SELECT count(*) FROM ledger.decisions")[0][0]:
        project.outcomes(["demo"], max_usd=Decimal("0.0000001"))  # no room for what goes up
    project.pipeline(LADDER + CHECK)
    project.run()
    assert project.sql("SELECT arg_max(state, seq), arg_max(rung, seq) FROM ledger.decisions") == [
        (state, 1 if state == "accepted" else 2)
    ]
    assert len(project.sql("SELECT 1 FROM demo WHERE _current")) == (state == "accepted")


def test_an_order_to_go_up_falls_back_on_no_answer_that_fails_a_check_of_today(project: Project) -> None:
    project.pipeline(LADDER.replace('accept = "score >= 0.5"\n', ""))
    project.rows([row | {"body": "question"} for row in numbered(1)])
    answers = {HAIKU: {"label": "bug", "score": 0.25}, SONNET: {"label": "bug", "score": 0.1}}
    answer_by(project, [{"model": model, "match": "question", "output": each} for model, each in answers.items()])
    project.run()
    project.pipeline(LADDER + CHECK)
    project.run(redo="accept")
    assert project.sql("SELECT count(*) FROM demo WHERE _current") == [(0,)]
