"""Tests of rows that ask the same as other rows, which were asked before: no question is paid twice."""

from __future__ import annotations

from decimal import Decimal

import pytest
from calls import ask
from helpers.gold import HAIKU, LADDER, OPUS, SONNET, answer_by
from projects import BASIC, Project, numbered

from batchpipe.commands.call.options import TryRequest
from batchpipe.commands.try_rows import try_rows

UNSURE, SURE = ({"label": "bug", "score": score} for score in (0.25, 0.9))
THREE = (
    LADDER.replace(f'model = "{SONNET}"\n', f'model = "{SONNET}"\naccept = "score >= 0.5"\n')
    + f'\n[[models]]\nmodel = "{OPUS}"\nmax_tokens = 300\n'
)


def given(project: Project, text: str = LADDER, sonnet: object = SURE) -> None:
    """Give the project a ladder whose first model is never sure."""
    project.pipeline(text)
    answers = {HAIKU: UNSURE, SONNET: sonnet, OPUS: SURE}
    answer_by(project, [{"model": model, "match": "question", "output": each} for model, each in answers.items()])


def rows(project: Project, *ids: int) -> None:
    """Give the project rows that all ask the same."""
    project.rows([row | {"body": "question one"} for row in numbered(9) if row["id"] in ids])


def wait_with(project: Project, *ids: int) -> None:
    """Ask the first model about rows, which wait for the next one then, or to be asked again."""
    rows(project, *ids)
    project.run(no_wait=True)
    while not project.sql("SELECT count(*) FROM ledger.decisions")[0][0]:
        project.outcomes(["demo"], max_usd=Decimal("0.0000001"))  # no room for what goes up


def asked(project: Project) -> dict[str, int]:
    """Return how often each model was asked."""
    return dict(project.sql("SELECT model, count(*) FROM ledger.requests WHERE leads GROUP BY model"))


def test_a_row_goes_up_from_the_answer_that_was_tried_on_another_row(project: Project) -> None:
    given(project)
    rows(project, 1, 2, 3)
    ask(project, try_rows, TryRequest(pipeline="demo", keys=("2",)), as_json=True)
    planned = project.plan()
    assert (planned.rows_by_reason["escalated"], planned.requests) == (3, 1)
    assert project.run().rows["accepted"] == 3
    assert asked(project) == {HAIKU: 1, SONNET: 1}


def test_a_row_goes_up_with_a_row_that_waits_for_the_next_model(project: Project) -> None:
    given(project)
    wait_with(project, 1)
    rows(project, 1, 2)
    planned = project.plan()
    assert (planned.rows_by_reason["escalated"], planned.requests) == (2, 1)
    assert project.run().rows["accepted"] == 2
    assert asked(project) == {HAIKU: 1, SONNET: 1}


def test_a_row_that_waits_goes_up_from_what_was_tried_on_another_row(project: Project) -> None:
    given(project, THREE, sonnet=UNSURE)
    wait_with(project, 1)
    rows(project, 1, 2)
    ask(project, try_rows, TryRequest(pipeline="demo", keys=("2",), model=SONNET), as_json=True)
    assert asked(project) == {HAIKU: 1, SONNET: 1}
    assert project.run().rows["accepted"] == 2
    assert asked(project) == {HAIKU: 1, SONNET: 1, OPUS: 1}


def test_a_row_that_waits_for_the_next_model_goes_on_after_the_prompt_was_there_and_back(project: Project) -> None:
    given(project)
    wait_with(project, 1)
    project.pipeline(LADDER.replace('"{{ body }}', '"Once more: {{ body }}'))
    project.run()
    assert asked(project) == {HAIKU: 2, SONNET: 1}
    project.pipeline(LADDER)
    assert project.run().rows["accepted"] == 1
    assert asked(project) == {HAIKU: 2, SONNET: 2}


@pytest.mark.parametrize("waits", [True, False])
def test_an_order_to_ask_again_asks_again(project: Project, waits: bool) -> None:
    given(project)
    if waits:
        wait_with(project, 1)
    else:
        rows(project, 1)
        project.run()
    rows(project, 1, 2)
    assert project.run(redo="all").rows["accepted"] == 2
    assert asked(project)[HAIKU] == 2


def test_an_order_to_ask_again_takes_no_older_answer_of_the_next_model(project: Project) -> None:
    given(project)
    rows(project, 1)
    project.run()
    project.run(redo="all")
    assert asked(project) == {HAIKU: 2, SONNET: 2}
    rows(project, 1, 2)
    assert project.run().rows["accepted"] == 2
    assert asked(project) == {HAIKU: 2, SONNET: 2}


def test_a_row_takes_the_answer_of_a_panel_that_left_the_ladder(project: Project) -> None:
    """The panel waits for its other member when the file asks one model alone."""
    project.pipeline(BASIC.replace(f'model = "{HAIKU}"\n', f'panel = ["{HAIKU}", "{SONNET}"]\n'))
    project.rows(numbered(2))
    project.faults({"requests": [{"model": SONNET, "outcome": "errored_overloaded"}]})
    project.run(no_wait=True)
    while project.sql("SELECT count(*) FROM ledger.batches WHERE is_open") != [(0,)]:
        project.outcomes(["demo"], max_usd=Decimal("0.0000001"))  # no room for a retry
    project.pipeline(BASIC)
    assert project.run().rows["accepted"] == 2
    assert asked(project) == {HAIKU: 2, SONNET: 2}


def test_a_failed_row_takes_the_answer_that_another_row_has_to_its_question(project: Project) -> None:
    given(project, BASIC)
    answer_by(project, [{"model": HAIKU, "match": "question", "output": {"label": "none of ours"}}])
    rows(project, 1, 2)
    assert project.run().rows["failed"] == 2
    bought = asked(project)[HAIKU]
    answer_by(project, [{"model": HAIKU, "match": "question", "output": SURE}])
    assert project.run(retry_failed=True, where="input.id = 2").rows["accepted"] == 1

    assert project.plan(retry_failed=True).requests == 0
    assert project.run(retry_failed=True).rows["accepted"] == 2
    assert asked(project) == {HAIKU: bought + 1}


def test_a_row_whose_prompt_changed_while_it_waited_goes_up_with_a_row_that_asks_the_same(project: Project) -> None:
    given(project)
    wait_with(project, 1)
    given(project, LADDER.replace("{{ body }}", "Say: {{ body }}"))
    rows(project, 1, 2)
    project.run(no_wait=True, where="input.id = 2")
    while not project.sql("SELECT count(*) FROM ledger.decisions WHERE state = 'escalated' HAVING count(*) > 1"):
        project.outcomes(["demo"], max_usd=Decimal("0.0000001"), where="input.id = 2")

    planned = project.plan()
    assert (planned.rows_by_reason["escalated"], planned.requests) == (2, 1)
    assert project.run().rows["accepted"] == 2
    assert asked(project) == {HAIKU: 2, SONNET: 1}


def test_a_row_that_is_asked_again_and_a_new_row_ask_once(project: Project) -> None:
    project.pipeline()
    project.faults({"requests": [{"outcome": "invalid_json", "times": 1}]})
    wait_with(project, 1)
    rows(project, 1, 2)

    planned = project.plan()
    assert (planned.rows_by_reason["retry"], planned.rows_by_reason["new"], planned.requests) == (1, 1, 1)
    assert project.run().rows["accepted"] == 2
    assert project.sql(
        "SELECT attempt, leads FROM ledger.requests WHERE reason <> 'new' OR NOT leads ORDER BY ALL"
    ) == [
        (1, False),
        (2, True),
    ]


def test_a_row_that_is_asked_again_waits_for_a_new_row_that_asks_the_same(project: Project) -> None:
    project.pipeline()
    project.faults({"requests": [{"outcome": "invalid_json", "times": 1}]})
    wait_with(project, 1)
    rows(project, 1, 2)
    project.faults({"delay_seconds": 2})
    project.run(no_wait=True, where="input.id = 2")
    assert project.run().rows["accepted"] == 2
    assert asked(project) == {HAIKU: 2}
