"""Tests of panels that are edited, renamed, piloted and kept: only what is missing is paid for."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from calls import ask
from desks import HEAD, PANEL, THREE, TOP, Desk
from helpers.reviewed import desk_of
from projects import BASIC, numbered

from batchpipe.commands.recover import recover
from batchpipe.common.errors import GateError

MORE = "claude-sonnet-4-6"
SAID = {
    "claude-haiku-4-5": ["bug", "bug"],
    "gpt-6-luna": ["other", "bug"],
    "gemini-3.8-flash": ["other", "bug"],
    "claude-sonnet-4-6": ["bug", "bug"],
    "claude-opus-4-8": ["billing", "billing"],
}


def panel(*members: str, accept: str = "_agreement > 0.4", **keys: str) -> str:
    more = "".join(f"{name} = {value}\n" for name, value in keys.items())
    return f'\n[[models]]\npanel = {json.dumps(members)}\nmax_tokens = 300\naccept = "{accept}"\n{more}'


def samples(number: int) -> str:
    return BASIC.replace("max_tokens = 200", f'max_tokens = 200\nsamples = {number}\naccept = "_agreement > 0"')


def test_an_edited_panel_pays_for_the_missing_parts_only(desk: Desk) -> None:
    desk.answers(SAID)
    desk.rows(numbered(2))
    desk.pipeline(HEAD + panel(*THREE))
    assert desk.run().submitted == 6

    # Another order: nothing is asked, and on a tie the first named one wins from then on.
    desk.pipeline(HEAD + panel(THREE[2], THREE[0], THREE[1]))
    assert [desk.plan(**options).requests for options in ({}, {"redo": "model"}, {"redo": "accept"})] == [0, 0, 0]
    assert desk.run(redo="accept").submitted == 0
    assert desk.table("id, label, _model") == [(1, "other", "gemini-3.8-flash"), (2, "bug", "gemini-3.8-flash")]

    # A member that is removed and one that is added: only the new one is asked.
    desk.pipeline(HEAD + panel(THREE[0], THREE[1], MORE))
    assert desk.run().submitted == 0
    assert desk.run(redo="model").submitted == 2
    assert desk.table("id, label, _agreement") == [(1, "bug", 2 / 3), (2, "bug", 1.0)]
    assert desk.run(redo="model").submitted == 0
    assert desk.open_orders() == []

    # The quorum and the fields that are voted on: votes are cast again, and nothing is asked.
    desk.pipeline(HEAD + panel(THREE[0], THREE[1], MORE, quorum="3", vote='["label", "score"]'))
    assert desk.run(redo="accept").submitted == 0
    assert desk.table("id, label, _agreement") == [(1, "bug", 2 / 3), (2, "bug", 1.0)]
    costs = desk.sql("SELECT sum(cost_usd) FROM ledger.results WHERE model <> 'gemini-3.8-flash'")
    assert desk.sql("SELECT sum(_cost_usd) FROM demo") == costs


def test_more_samples_are_bought_and_fewer_vote_for_nothing(desk: Desk) -> None:
    desk.rows(numbered(2))
    desk.pipeline(samples(3))
    assert desk.run().submitted == 6
    desk.pipeline(samples(5))
    assert desk.run().submitted == 0
    assert desk.run(redo="model").submitted == 4
    assert desk.table("len(_votes)") == [(5,), (5,)]
    parts = "SELECT list(DISTINCT part ORDER BY part) FROM ledger.requests GROUP BY key ORDER BY key"
    assert desk.sql(parts) == [(["1", "2", "3", "4", "5"],)] * 2
    desk.pipeline(samples(2))
    assert desk.run(redo="accept").submitted == 0
    assert desk.table("len(_votes)") == [(2,), (2,)]
    desk.pipeline(samples(5))
    assert desk.run(redo="accept").submitted == 0
    assert desk.table("len(_votes)") == [(5,), (5,)]


def test_a_plain_rung_becomes_a_panel_and_back(desk: Desk) -> None:
    desk.answers(SAID)
    desk.rows(numbered(2))
    desk.pipeline(BASIC)
    assert desk.run().submitted == 2
    desk.pipeline(HEAD + panel(*THREE))
    assert desk.run().submitted == 0
    assert desk.plan(redo="model").requests == 4
    assert desk.run(redo="model").submitted == 4
    assert desk.table("id, label, len(_votes)") == [(1, "other", 3), (2, "bug", 3)]
    desk.pipeline(BASIC)
    assert desk.run().submitted == 0
    # The row that a model answered which is no longer on the ladder is asked anew.
    assert desk.run(redo="model").submitted == 1
    assert desk.open_orders() == []


@pytest.mark.parametrize("attempts", [1, 2])
def test_results_of_a_panel_that_are_gone_take_one_attempt_from_each_member(desk: Desk, attempts: int) -> None:
    desk.rows(numbered(3))
    desk.pipeline(
        BASIC.replace("max_tokens = 200", "max_tokens = 200\nsamples = 2") + f"[retry]\nattempts = {attempts}\n"
    )
    desk.faults({"results_kept_seconds": 0})
    assert desk.outcomes()[0].result.status == "gate"
    ask(desk, recover, "demo", None, abandon=True, from_raw=False)
    assert desk.sql("SELECT count(*), count(DISTINCT key_id) FROM ledger.row_state") == [(3, 3)]
    desk.faults({})

    result = desk.run()

    states = {1: "failed", 2: "accepted"}
    assert (result.rows[states[attempts]], result.submitted) == (3, 6 * (attempts - 1))
    assert desk.sql("SELECT DISTINCT attempt FROM ledger.requests ORDER BY ALL") == [(1,), (2,)][:attempts]


@pytest.mark.parametrize("requests", [6, 2], ids=["together", "apart"])
def test_a_panel_that_leaves_the_ladder_in_flight_leaves_one_answer_to_a_row(desk: Desk, requests: int) -> None:
    desk.rows(numbered(3))
    desk.faults({"delay_seconds": 1.5, "requests": [{"match": "number 2", "outcome": "invalid_json", "times": 2}]})
    chunks = f"[chunking]\nmax_requests = {requests}\n"
    desk.pipeline(BASIC.replace("max_tokens = 200", "max_tokens = 200\nsamples = 3") + chunks)
    assert desk.run(no_wait=True).submitted == 9
    desk.pipeline(BASIC)

    result = desk.run()

    assert (result.submitted, result.rows["accepted"]) == (0, 3)
    assert desk.sql("SELECT count(*), count(DISTINCT key_id) FROM ledger.row_state") == [(3, 3)]
    assert desk.sql("SELECT count(*), count(_current) FROM demo WHERE _current") == [(3, 3)]
    assert desk.run().submitted == 0


def test_a_renamed_pipeline_and_renamed_fields_keep_their_votes(desk: Desk) -> None:
    desk.answers(SAID)
    desk.rows(numbered(2))
    text = HEAD + panel(*THREE)
    desk.pipeline(text)
    desk.run()
    votes = desk.table("id, _agreement, len(_votes)")
    (desk.root / "pipelines" / "demo.toml").unlink()
    desk.pipeline('renamed_from = "demo"\n' + text, "again")
    assert desk.run("again").submitted == 0
    assert desk.sql("SELECT id, _agreement, len(_votes) FROM again ORDER BY id") == votes
    desk.pipeline('renamed_from = "demo"\n' + HEAD + panel(THREE[0], THREE[1], MORE), "again")
    assert desk.run("again", redo="model").submitted == 2

    field = '[output.fields.queue]\nrenamed_from = "label"'
    renamed = text.replace("[output.fields.label]", field)
    desk.pipeline('renamed_from = "demo"\n' + renamed, "again")
    assert desk.run("again").submitted == 0
    assert desk.run("again", redo="accept").submitted == 0
    assert desk.run("again", redo="model").submitted == 0
    assert desk.sql("SELECT id, queue, _agreement FROM again ORDER BY id") == [(1, "other", 2 / 3), (2, "bug", 1.0)]


def test_a_budget_that_has_no_room_for_all_members_goes_on_with_the_others(desk: Desk) -> None:
    desk.answers(SAID)
    desk.rows(numbered(2))
    text = HEAD + panel(*THREE)
    desk.pipeline(text)
    most = desk.plan().estimate.max_usd
    assert most is not None
    desk.pipeline(text + f"[budget]\nmax_usd = {most / 2:.6f}\n")
    try:
        stopped = desk.run().status
    except GateError:
        stopped = "gate"
    first = desk.requests_sent()
    assert (stopped, 0 < first <= 6) == ("gate", True) or first == 6
    desk.pipeline(text + f"[budget]\nmax_usd = {most:.6f}\n")
    result = desk.run()
    assert (result.status, desk.requests_sent()) == ("done", 6)
    assert desk.table("id, label, len(_votes)") == [(1, "other", 3), (2, "bug", 3)]


def test_keep_holds_for_the_whole_vote_and_a_pilot_asks_every_member(desk: Desk) -> None:
    desk.answers(SAID)
    desk.rows(numbered(2))
    text = HEAD + panel(*THREE)
    desk.pipeline(text + "[pilot]\nrows = 1\n")
    piloted = desk.run()
    assert (piloted.status, piloted.submitted, piloted.rows["accepted"]) == ("gate", 3, 1)
    assert len(desk.table("_votes")[0][0]) == 3
    assert desk.run(approve=True).submitted == 3

    edited = text.replace("{{ body }}", "{{ body }}!")
    desk.pipeline(edited)
    assert desk.plan(keep="_agreement = 1").requests == 3
    assert desk.run(keep="_agreement = 1").submitted == 3
    assert desk.table("id, _prompt_version") == [(1, "v2"), (2, "v1")]
    assert desk.run().submitted == 0


def test_a_row_that_no_member_answers_fails_and_is_tried_again_by_all(desk: Desk) -> None:
    desk.answers({**SAID, "gpt-6-luna": ["bug", "bug"]})
    desk.rows(numbered(2))
    desk.pipeline(HEAD + panel(*THREE) + TOP + "[retry]\nattempts = 1\n")
    desk.faults({"requests": [{"match": "number 1", "outcome": "invalid_json"}]})
    result = desk.run()
    assert (result.rows["failed"], result.rows["accepted"], result.submitted) == (1, 1, 7)
    desk.faults({})
    assert desk.run().submitted == 0
    assert desk.run(retry_failed=True).submitted == 3
    assert desk.table("id, _rung") == [(1, 1), (2, 1)]
    assert desk.sql("SELECT sum(_cost_usd) FROM demo")[0][0] > Decimal(0)


@pytest.mark.parametrize("top", ["", TOP], ids=["alone", "below"])
def test_a_failed_row_is_tried_again_by_those_members_that_have_no_valid_answer(desk: Desk, top: str) -> None:
    desk.answers({"claude-haiku-4-5": ["bug", "bug"], "gpt-6-luna": ["!", "bug"], "gemini-3.8-flash": ["!", "bug"]})
    desk.rows(numbered(2))
    desk.pipeline(HEAD + panel(*THREE) + top + "[retry]\nattempts = 1\n")
    desk.faults({"requests": [{"match": "number 1", "model": "claude-opus-4-8", "outcome": "invalid_json"}]})
    assert desk.run().rows["failed"] == 1
    desk.answers({"gpt-6-luna": ["bug", "bug"], "gemini-3.8-flash": ["bug", "bug"]})
    desk.faults({})

    assert desk.plan(retry_failed=True).requests == 2
    assert desk.run(retry_failed=True).submitted == 2
    assert desk.table("id, label, _rung, _agreement") == [(1, "bug", 1, 1.0), (2, "bug", 1, 1.0)]


@pytest.mark.parametrize("where", ["_agreement < 1", "len(_votes) = 3 AND _agreement < 1"])
def test_a_review_may_choose_by_the_vote(desk: Desk, where: str) -> None:
    desk.answers(SAID)
    desk.rows(numbered(2))
    desk.pipeline(HEAD + PANEL + f'[review]\nwhere = "{where}"\n')
    desk.run()
    with desk_of(desk) as found:
        assert [json.loads(row.key) for row in found.all_rows()] == [["1"]]
