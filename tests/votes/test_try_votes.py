"""Tests of `try` on rungs that vote: each member is asked once, the vote is shown, and a run pays for none of it."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from calls import Printed, ask
from desks import HEAD, PANEL, TOP, Desk
from projects import BASIC, numbered

from batchpipe.commands.call.options import TryRequest
from batchpipe.commands.try_rows import try_rows
from batchpipe.common.errors import GateError, UsageError

SAMPLES = BASIC.replace("max_tokens = 200", 'max_tokens = 200\nsamples = 3\naccept = "_agreement = 1"')


def attempt(desk: Desk, *keys: str, as_json: bool = True, **options: Any) -> Printed:
    return ask(desk, try_rows, TryRequest(pipeline="demo", keys=keys, **options), as_json=as_json)


def test_every_member_is_asked_and_the_vote_is_shown_and_a_run_pays_nothing_again(desk: Desk) -> None:
    desk.answers(
        {
            "claude-haiku-4-5": ["bug", "bug", "bug"],
            "gpt-6-luna": ["other", "bug", "other"],
            "gemini-3.8-flash": ["other", "!", "billing"],
            "claude-opus-4-8": ["bug", "bug", "billing"],
        }
    )
    desk.rows(numbered(3))
    desk.pipeline(HEAD + PANEL + TOP)

    rows = attempt(desk, "1", "2", "3").value["rows"]

    assert desk.single_calls() == 9
    assert [(each["verdict"], each["model"], round(float(each["agreement"]), 3), each["quorum"]) for each in rows] == [
        ("accepted", "gpt-6-luna", 0.667, 2),
        ("accepted", "claude-haiku-4-5-20251001", 1.0, 2),
        ("unaccepted", "claude-haiku-4-5-20251001", 0.333, 2),
    ]
    assert [each["output"]["label"] for each in rows] == ["other", "bug", "bug"]
    members = rows[1]["members"]
    assert [(each["model"], each["part"], each["valid"], each["winner"]) for each in members] == [
        ("claude-haiku-4-5", "1", True, True),
        ("gpt-6-luna", "1", True, False),
        ("gemini-3.8-flash", "1", False, False),
    ]
    assert [each["verdict"] for each in members] == ["valid", "valid", "invalid"]
    for row in rows:
        assert Decimal(str(row["cost_usd"])) == sum(Decimal(str(each["cost_usd"])) for each in row["members"]) > 0

    # Only the member whose answer is not valid is asked again, and the rung above the row without agreement.
    assert attempt(desk, "1", "2", "3").value["cost_usd"] == 0
    plan = desk.plan()
    assert (plan.rows_by_reason["carried_over"], plan.rows_by_reason["escalated"]) == (1, 1)
    assert desk.run().rows["accepted"] == 3
    assert desk.table("id, label, _rung") == [(1, "other", 1), (2, "bug", 1), (3, "billing", 2)]


def test_the_text_names_each_member_with_its_answer_and_cost(desk: Desk) -> None:
    desk.answers({"claude-haiku-4-5": ["bug"], "gpt-6-luna": ["other"], "gemini-3.8-flash": ["other"]})
    desk.rows(numbered(1))
    desk.pipeline(HEAD + PANEL)

    printed = attempt(desk, as_json=False).out

    assert "demo 1 (rung 1, panel of 3)" in printed
    assert "  claude-haiku-4-5: valid; $" in printed
    assert "  openai:gpt-6-luna: valid, wins; " in printed
    assert "answer that stands, of openai:gpt-6-luna" in printed
    assert "0.67: 2 of 3 valid answers agree, of 3 members; the quorum is 2" in printed
    assert attempt(desk, as_json=False).out.count("nothing: it was answered before") == 4


def test_samples_are_asked_and_too_few_valid_answers_are_no_vote(desk: Desk) -> None:
    desk.rows(numbered(2))
    desk.pipeline(SAMPLES)
    desk.faults({"requests": [{"match": "number 2", "outcome": "invalid_json"}]})

    first, second = attempt(desk, "1", "2").value["rows"]

    assert [each["part"] for each in first["members"]] == ["1", "2", "3"]
    assert (second["verdict"], second["agreement"], second["output"]) == ("no_quorum", None, None)
    assert second["error"] == "0 of 3 answers are valid, and the quorum is 2"
    assert "none: 0 of 3 answers are valid; the quorum is 2" in attempt(desk, "2", as_json=False).out
    assert "claude-haiku-4-5, sample 2: " in attempt(desk, "1", as_json=False).out
    desk.faults({})
    assert desk.run().submitted == 3


def test_a_model_of_choice_is_asked_as_its_rung_asks_it(desk: Desk) -> None:
    desk.rows(numbered(1))
    desk.pipeline(SAMPLES + PANEL + TOP)

    (samples,) = attempt(desk, model="claude-haiku-4-5").value["rows"]
    (member,) = attempt(desk, model="openai:gpt-6-luna").value["rows"]
    (top,) = attempt(desk, model="claude-opus-4-8").value["rows"]

    assert (samples["rung"], len(samples["members"])) == (1, 3)
    assert (member["rung"], member["verdict"], member["members"], member["agreement"]) == (2, "valid", [], None)
    assert (top["rung"], top["members"]) == (3, [])
    # The panel has the answers of two of its members by now.
    assert len(attempt(desk, rung=2).value["rows"][0]["members"]) == 3
    assert desk.single_calls() == 3 + 1 + 1 + 1
    with pytest.raises(UsageError, match="the ladder has no rung 4"):
        attempt(desk, rung=4)


def test_a_panel_that_does_not_fit_the_budget_asks_nobody(desk: Desk) -> None:
    desk.rows(numbered(1))
    desk.pipeline(HEAD + PANEL + "[budget]\nmax_usd = 0.002\n")

    with pytest.raises(GateError, match="these 3 calls may cost"):
        attempt(desk)
    assert desk.single_calls() == 0
