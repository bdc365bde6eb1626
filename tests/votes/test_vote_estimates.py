"""Tests of what a plan expects of rungs that vote: requests, climbs, cost and waves, as a run then has them."""

from __future__ import annotations

from decimal import Decimal

from desks import HEAD, PANEL, TOP, Desk
from projects import BASIC, numbered

FIRST, MORE = 40, 40
MEMBERS = ("claude-haiku-4-5", "openai:gpt-6-luna", "gemini:gemini-3.8-flash")


def test_a_member_that_waits_for_others_is_no_retry_and_a_vote_is_one_climb(desk: Desk) -> None:
    """Every fourth row has three different answers, and goes up."""
    said = {
        "split": {"gpt-6-luna": "other", "gemini-3.8-flash": "billing"},
        "clear": {"gpt-6-luna": "bug", "gemini-3.8-flash": "bug"},
    }
    desk.answer_lines(
        [
            {"model": model, "match": kind, "output": {"label": label, "score": 0.5}}
            for kind, by_model in said.items()
            for model, label in {"claude-haiku-4-5": "bug", "claude-opus-4-8": "bug", **by_model}.items()
        ]
    )
    kinds = ("clear", "clear", "clear", "split")
    rows = [{**each, "body": f"{kinds[n % 4]} {n}"} for n, each in enumerate(numbered(FIRST + MORE))]
    desk.rows(rows[:FIRST])
    desk.pipeline(HEAD + PANEL + TOP)
    assert desk.run().submitted == FIRST * 3 + FIRST // 4

    desk.rows(rows)
    plan = desk.plan()
    expected = {each.model: each.requests for each in plan.estimate.rungs}
    assert plan.requests == MORE * 3
    assert [expected[model] for model in MEMBERS] == [MORE] * 3
    assert round(expected["claude-opus-4-8"], 6) == MORE / 4
    assert (plan.estimate.waves, plan.estimate.further_waves) == (1, 1)
    result = desk.run()
    assert result.submitted == MORE * 3 + MORE // 4
    low, high, most = plan.estimate.low_usd, plan.estimate.high_usd, plan.estimate.max_usd
    assert low is not None
    assert high is not None
    assert most is not None
    assert low <= result.cost_usd <= high <= most
    assert plan.estimate.cost_usd is not None
    assert abs(plan.estimate.cost_usd - result.cost_usd) < result.cost_usd / 5

    # A plan over the same requests that climb at most: all of them, to the top.
    top = desk.sql("SELECT max(max_usd) FROM ledger.batches WHERE model = 'claude-opus-4-8'")
    assert most > MORE * Decimal(top[0][0]) / (MORE // 4)


def test_retries_of_members_are_expected_as_they_were(desk: Desk) -> None:
    desk.rows(numbered(FIRST))
    desk.pipeline(BASIC.replace("max_tokens = 200", "max_tokens = 200\nsamples = 3"))
    desk.faults({"requests": [{"match": "", "outcome": "invalid_json", "times": 24, "per": "rule"}]})
    assert desk.run().submitted == FIRST * 3 + 24
    desk.rows(numbered(FIRST + MORE))
    plan = desk.plan()
    (rung,) = plan.estimate.rungs
    assert plan.requests == MORE * 3
    # 24 of 144 answers led to another try.
    assert MORE * 3 < rung.requests < 1.5 * MORE * 3


def test_members_that_are_still_due_carry_the_climb_of_their_row(desk: Desk) -> None:
    desk.answers({"claude-haiku-4-5": ["bug"] * 4, "gpt-6-luna": ["other"] * 4, "gemini-3.8-flash": ["billing"] * 4})
    desk.rows(numbered(4))
    single = BASIC + "accept = \"label = 'other'\"\n"
    desk.pipeline(single + PANEL + TOP)
    desk.attempt(rows=4)
    # The first member's answers are stored; the two others are due, and each row may climb once.
    plan = desk.plan()
    assert plan.requests == 8
    top = next(each for each in plan.estimate.rungs if each.model == "claude-opus-4-8")
    assert 0 < top.requests < 4
