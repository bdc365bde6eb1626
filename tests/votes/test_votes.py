"""Rungs that ask a row more than once: samples, panels over three providers, votes, quorums, ties, and their ledger."""

from __future__ import annotations

import json
import resource
from collections.abc import Callable
from decimal import Decimal

import pytest
from desks import HEAD, PANEL, THREE, TOP, Desk
from projects import BASIC, numbered

from batchpipe.common.errors import DatabaseError, PipelineError
from batchpipe.engine.plan.plan import Plan
from batchpipe.engine.resolved.resolve import Resolved


def test_the_answer_that_most_agree_with_stands_and_a_vote_that_is_not_clear_goes_up(desk: Desk) -> None:
    desk.answers(
        {
            "claude-haiku-4-5": ["bug", "bug", "bug", "billing"],
            "gpt-6-luna": ["bug", "other", "billing", "other"],
            "gemini-3.8-flash": ["bug", "other", "other", "!"],
            "claude-opus-4-8": ["other", "other", "billing", "bug"],
        }
    )
    desk.rows(numbered(4))
    desk.pipeline(HEAD + PANEL + TOP)

    result = desk.run()

    assert desk.table() == [
        (1, "bug", 1, 1.0, False),
        (2, "other", 1, 2 / 3, False),
        (3, "billing", 2, None, False),
        (4, "bug", 2, None, False),
    ]
    # The member whose answers to one row are not valid is asked three times, and casts no vote then.
    assert (result.submitted, result.rows["accepted"], result.rows["failed"]) == (4 * 3 + 2 + 2, 4, 0)
    (votes,) = desk.sql("SELECT votes FROM ledger.votes WHERE NOT list_bool_and([each.valid for each in votes])")[0]
    assert [(each["model"], each["part"], each["valid"]) for each in votes] == [
        ("claude-haiku-4-5", "1", True),
        ("gpt-6-luna", "1", True),
        ("gemini-3.8-flash", "1", False),
    ]
    assert desk.run().submitted == 0


def test_the_columns_are_the_winners_and_the_cost_is_that_of_all_members(desk: Desk) -> None:
    desk.answers({"claude-haiku-4-5": ["bug"], "gpt-6-luna": ["other"], "gemini-3.8-flash": ["other"]})
    desk.rows(numbered(1))
    desk.pipeline(HEAD + PANEL)
    desk.run()

    ((model, custom_id, batch_id, cost),) = desk.table("_model, _custom_id, _batch_id, _cost_usd")
    stored = desk.sql("SELECT custom_id, batch_id, model, cost_usd FROM ledger.results")

    assert (custom_id, batch_id, model) in [each[:3] for each in stored]
    assert model == "gpt-6-luna"
    assert cost == sum((each[3] for each in stored), Decimal(0)) > 0


def test_ties_go_to_the_surer_group_and_then_to_the_first_named(desk: Desk) -> None:
    labels = {"claude-haiku-4-5": ["bug"], "gpt-6-luna": ["other"]}
    desk.answers(labels)
    desk.rows(numbered(1))
    two = HEAD + f"[[models]]\npanel = {json.dumps(THREE[:2])}\nmax_tokens = 300\n"
    desk.pipeline(two, "first_named")
    sure = two.replace("[output.fields.score]", "[output.fields.confidence]")
    desk.pipeline(sure, "surer")
    desk.run("first_named")
    assert desk.sql("SELECT label, _agreement FROM first_named") == [("bug", 0.5)]

    desk.answer_lines(
        [
            {"model": model, "match": "text number 1", "output": {"label": label, "confidence": sure}}
            for model, label, sure in (("claude-haiku-4-5", "bug", 0.4), ("gpt-6-luna", "other", 0.9))
        ]
    )
    desk.run("surer")
    assert desk.sql("SELECT label, _agreement FROM surer") == [("other", 0.5)]


def test_a_quorum_that_is_not_reached_is_no_answer(desk: Desk) -> None:
    desk.answers({"claude-haiku-4-5": ["bug", "bug"], "gpt-6-luna": ["!", "!"], "gemini-3.8-flash": ["!", "bug"]})
    desk.rows(numbered(2))
    desk.pipeline(HEAD + PANEL)

    result = desk.run()

    assert (result.rows["accepted"], result.rows["failed"]) == (1, 1)
    assert desk.table("id, label, _agreement") == [(2, "bug", 1.0)]
    ((error,),) = desk.sql("SELECT error FROM ledger.row_state WHERE state = 'failed'")
    assert error == "1 of 3 answers are valid, and the quorum is 2"
    desk.pipeline(HEAD + PANEL.replace("max_tokens", "quorum = 1\nmax_tokens"))
    assert desk.plan(redo="accept").requests == 0


def test_samples_are_told_apart_and_rows_that_ask_the_same_share_them(desk: Desk) -> None:
    rows = [{**each, "body": "text number 1"} for each in numbered(3)]
    desk.answers({"claude-haiku-4-5": ["bug"]})
    desk.rows(rows)
    desk.pipeline(BASIC.replace("max_tokens = 200", 'max_tokens = 200\nsamples = 3\naccept = "_agreement = 1"'))

    assert desk.plan().requests == 3
    assert desk.run().submitted == 3
    assert desk.table("id, label, _agreement, len(_votes)") == [(n, "bug", 1.0, 3) for n in (1, 2, 3)]
    assert desk.sql("SELECT count(*) FROM demo WHERE _cost_usd > 0") == [(1,)]
    assert desk.sql("SELECT sum(_cost_usd) = (SELECT sum(cost_usd) FROM ledger.results) FROM demo") == [(True,)]
    assert desk.sql("SELECT part, count(*) FROM ledger.requests WHERE leads GROUP BY part ORDER BY part") == [
        ("1", 1),
        ("2", 1),
        ("3", 1),
    ]


def test_an_answer_that_is_stored_is_a_vote_unpaid(desk: Desk) -> None:
    desk.answers(
        {"claude-haiku-4-5": ["bug", "other"], "gpt-6-luna": ["bug", "bug"], "gemini-3.8-flash": ["bug", "bug"]}
    )
    desk.rows(numbered(2))
    single = BASIC + "accept = \"label = 'bug'\"\n"
    desk.pipeline(single + PANEL)

    result = desk.run()

    # The row that goes up to the panel has the answer of one member already.
    assert result.submitted == 2 + 2
    assert desk.table("id, label, _rung, _agreement") == [(1, "bug", 1, None), (2, "bug", 2, 2 / 3)]
    costs = "SELECT sum(cost_usd) FROM ledger.results"
    assert desk.sql(f"SELECT sum(_cost_usd) = ({costs}) FROM demo") == [(True,)]


def test_redo_accept_votes_again_at_no_cost_and_redo_model_buys_what_is_missing(desk: Desk) -> None:
    desk.answers(
        {
            "claude-haiku-4-5": ["bug", "bug"],
            "gpt-6-luna": ["other", "bug"],
            "gemini-3.8-flash": ["other", "bug"],
            "claude-sonnet-4-6": ["bug", "bug"],
            "claude-opus-4-8": ["billing", "billing"],
        }
    )
    desk.rows(numbered(2))
    desk.pipeline(HEAD + PANEL + TOP)
    assert desk.run().submitted == 6
    assert desk.table("id, label, _rung") == [(1, "other", 1), (2, "bug", 1)]

    # A panel that lost its last member: the vote is a tie, which the first one wins, and `accept` does not hold.
    desk.pipeline(HEAD + PANEL.replace(json.dumps(THREE), json.dumps(THREE[:2])) + TOP)
    assert desk.run().submitted == 0
    # `plan` counts and prices the request that the vote sends up, and so does its hint at the edited members.
    planned = desk.preview(redo="accept")
    assert (planned.plan.requests, planned.plan.rows_by_reason["escalated"]) == (1, 1)
    assert [each.rung for each in planned.plan.estimate.rungs if each.requests] == [2]
    assert planned.plan.estimate.cost_usd
    # Without room for what it has to copy, `plan` says so in plain words.
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
    try:
        with pytest.raises(DatabaseError, match="File too large") as full:
            desk.preview(redo="accept")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "Free some disk space" in (full.value.hint or "")
    confirmed = []

    def confirm(resolved: Resolved, whole: Callable[[], Plan]) -> bool:
        confirmed.append(whole())
        return True

    desk.confirm = confirm
    assert desk.run(redo="accept").submitted == 1
    assert [(each.requests, each.estimate.cost_usd) for each in confirmed] == [(1, planned.plan.estimate.cost_usd)]
    assert desk.table("id, label, _rung, _agreement") == [(1, "billing", 2, None), (2, "bug", 1, 1.0)]
    assert desk.open_orders() == []

    # A panel with one more member: only that member is asked, for the row that stands on the panel.
    more = json.dumps([*THREE, "claude-sonnet-4-6"])
    desk.pipeline(HEAD + PANEL.replace(json.dumps(THREE), more) + TOP)
    assert desk.plan(redo="model").requests == 1
    assert desk.run(redo="model").submitted == 1
    assert desk.table("id, label, len(_votes), _agreement")[1] == (2, "bug", 4, 1.0)
    assert desk.open_orders() == []


def test_a_panel_answers_in_realtime(desk: Desk) -> None:
    desk.answers(
        {"claude-haiku-4-5": ["bug", "other"], "gpt-6-luna": ["bug", "bug"], "gemini-3.8-flash": ["bug", "bug"]}
    )
    desk.rows(numbered(2))
    desk.pipeline(HEAD + PANEL.replace("max_tokens", 'mode = "realtime"\nmax_tokens'))

    assert desk.run().submitted == 6
    assert desk.table("id, label, _agreement") == [(1, "bug", 1.0), (2, "bug", 2 / 3)]
    assert desk.run().submitted == 0


def test_checks_may_read_the_vote_and_an_edit_of_the_prompt_votes_anew(desk: Desk) -> None:
    desk.answers(
        {"claude-haiku-4-5": ["bug", "other"], "gpt-6-luna": ["bug", "bug"], "gemini-3.8-flash": ["bug", "billing"]}
    )
    desk.rows(numbered(2))
    checked = HEAD + '[output.checks]\nclear = "len(_votes) = 3 AND _agreement > 0.5"\n' + PANEL
    desk.pipeline(checked)

    assert desk.run().rows["failed"] == 1
    assert desk.table("id, label") == [(1, "bug")]
    desk.pipeline(checked.replace("Auf Deutsch", "Bitte auf Deutsch"))
    assert desk.run().submitted == 0
    desk.pipeline(checked.replace("{{ body }}", "{{ body }}!"))
    assert desk.run().submitted == 6


def test_check_names_votes_that_cannot_be_cast_and_samples_that_are_the_same(desk: Desk) -> None:
    desk.rows(numbered(1))
    words = HEAD.replace('enum = ["billing", "bug", "other"]\n', "")
    desk.pipeline(words + PANEL)
    with pytest.raises(PipelineError, match="nothing to vote on"):
        desk.plan()
    desk.pipeline(words + PANEL.replace("max_tokens", 'vote = "lable"\nmax_tokens'))
    with pytest.raises(PipelineError, match="no field 'lable' to vote on"):
        desk.plan()
    alone = '[[models]]\npanel = ["claude-haiku-4-5"]\nmax_tokens = 9\n'
    with pytest.raises(PipelineError, match="a quorum of 2 is more than its one answer"):
        desk.pipeline(HEAD + alone + "quorum = 2\n")
    with pytest.raises(PipelineError, match="the local model cannot vote in a panel"):
        desk.pipeline(HEAD + alone.replace('["', '["local", "'))
    with pytest.raises(PipelineError, match="a quorum of 4 is more than its 3 answers"):
        desk.pipeline(HEAD + PANEL.replace("max_tokens", "quorum = 4\nmax_tokens"))
    with pytest.raises(PipelineError, match="both model and panel"):
        desk.pipeline(HEAD + PANEL.replace("max_tokens", 'model = "claude-haiku-4-5"\nmax_tokens'))
    desk.pipeline(BASIC + "samples = 2\ntemperature = 0\n")
    (warning,) = desk.preview().resolved.warnings
    assert "mostly the same with temperature = 0" in warning.what


def test_orders_and_reviews_may_read_the_vote(desk: Desk) -> None:
    desk.answers(
        {"claude-haiku-4-5": ["bug", "other"], "gpt-6-luna": ["bug", "bug"], "gemini-3.8-flash": ["bug", "bug"]}
    )
    desk.rows(numbered(2))
    desk.pipeline(HEAD + PANEL)
    desk.run()

    assert desk.plan(redo="_agreement < 1").requests == 3
    assert desk.plan(redo="len(_votes) = 3").requests == 6
    assert desk.plan(redo="all", where="_agreement = 1").requests == 3
