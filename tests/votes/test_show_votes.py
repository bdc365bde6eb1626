"""Tests of `show` and `report` on rows that were voted on: every member with its answer and cost, and the winner."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

from calls import ask
from desks import HEAD, PANEL, TOP, Desk
from projects import BASIC, numbered

from batchpipe.commands.call.options import DiffRequest
from batchpipe.commands.diff.diff import diff
from batchpipe.commands.report.report import report
from batchpipe.commands.show.show import show


def story(desk: Desk, key: str) -> dict[str, Any]:
    found: dict[str, Any] = ask(desk, show, "demo", [key], as_json=True).value
    return found


def test_the_vote_names_each_member_with_its_answer_and_its_cost(desk: Desk, tmp_path: Path) -> None:
    desk.answers(
        {
            "claude-haiku-4-5": ["bug", "bug"],
            "gpt-6-luna": ["other", "!"],
            "gemini-3.8-flash": ["other", "other"],
            "claude-opus-4-8": ["bug", "billing"],
        }
    )
    desk.rows(numbered(3))
    desk.pipeline(HEAD + PANEL + TOP)
    assert story(desk, "1")["votes"] == []
    members = story(desk, "1")["now"]["due"]["members"]
    assert [each["model"] for each in members] == ["claude-haiku-4-5", "openai:gpt-6-luna", "gemini:gemini-3.8-flash"]
    desk.run(where="id < 3")

    first = story(desk, "1")
    [vote] = first["votes"]
    assert (vote["rung"], vote["name"], round(float(vote["agreement"]), 2), vote["quorum"]) == (
        1,
        "panel of 3",
        0.67,
        2,
    )
    assert [(each["model"], each["provider"], each["valid"], each["winner"]) for each in vote["members"]] == [
        ("claude-haiku-4-5", "anthropic", True, False),
        ("gpt-6-luna", "openai", True, True),
        ("gemini-3.8-flash", "gemini", True, False),
    ]
    assert ['"other"' in each["document"] for each in vote["members"]] == [False, True, True]
    stored = desk.table("_cost_usd, _custom_id")[0]
    assert sum(Decimal(str(each["cost_usd"])) for each in vote["members"]) == stored[0]
    assert [each["custom_id"] for each in vote["members"] if each["winner"]] == [stored[1]]
    assert [(each["part"], each["verdict"]) for each in first["attempts"]] == [("1", "valid")] * 3

    # A member that fails in the end casts no vote; the two that are left disagree, and the row goes up.
    second = story(desk, "2")
    failed = second["votes"][0]["members"][1]
    assert (failed["state"], failed["valid"], failed["document"]) == ("failed", False, None)
    assert failed["error"]
    assert (second["output"]["label"], second["output"]["_rung"]) == ("billing", 2)
    assert [each["verdict"] for each in second["attempts"] if each["model"] == "gpt-6-luna"] == [
        "retry",
        "retry",
        "failed",
    ]

    text = ask(desk, show, "demo", ["1"]).out
    assert "vote on rung 1, panel of 3" in text
    assert "agreement  0.67: 2 of 3 valid answers agree, of 3 members; the quorum is 2" in text
    assert "  openai:gpt-6-luna: valid, wins; " in text
    page = tmp_path / "row.html"
    ask(desk, show, "demo", ["1"], html=str(page))
    html = page.read_text(encoding="utf-8")
    assert "Vote on rung 1, panel of 3" in html
    assert "openai:gpt-6-luna" in html


def test_each_rung_that_voted_shows_its_vote(desk: Desk, tmp_path: Path) -> None:
    three = {"claude-haiku-4-5": ["bug"], "gpt-6-luna": ["other"], "gemini-3.8-flash": ["billing"]}
    desk.answers({**three, "claude-opus-4-8": ["bug"]})
    desk.rows(numbered(1))
    desk.pipeline(HEAD + PANEL + TOP + "samples = 2\n")
    desk.run()

    first, second = story(desk, "1")["votes"]

    assert [(each["rung"], each["name"], len(each["members"])) for each in (first, second)] == [
        (1, "panel of 3", 3),
        (2, "2 x claude-opus-4-8", 2),
    ]
    text = ask(desk, show, "demo", ["1"]).out
    assert text.index("vote on rung 1, panel of 3") < text.index("vote on rung 2, 2 x claude-opus-4-8")
    page = tmp_path / "row.html"
    ask(desk, show, "demo", ["1"], html=str(page))
    assert all(f"Vote on rung {rung}" in page.read_text(encoding="utf-8") for rung in (1, 2))
    # Under another input only the votes of that input are shown: a row that agrees at once has one.
    desk.answers({model: ["bug"] for model in three})
    desk.rows([{**numbered(1)[0], "lang": "de"}])
    desk.run()
    assert [each["rung"] for each in story(desk, "1")["votes"]] == [1]


def test_the_samples_that_a_run_would_ask_are_named(desk: Desk) -> None:
    desk.rows(numbered(1))
    desk.pipeline(BASIC.replace("max_tokens = 200", "max_tokens = 200\nsamples = 3"))
    desk.faults({"requests": [{"match": "number 1", "outcome": "invalid_json", "times": 1, "per": "rule"}]})
    desk.attempt(rows=1)

    due = story(desk, "1")["now"]["due"]

    assert [(each["part"], each["attempt"]) for each in due["members"]] == [("1", 1)]
    assert "it would be sent to 1 member of rung 1: claude-haiku-4-5, try 1" in ask(desk, show, "demo", ["1"]).out


def test_a_report_counts_a_members_answer_by_what_its_vote_came_to(desk: Desk) -> None:
    desk.answers(
        {
            "claude-haiku-4-5": ["bug", "bug"],
            "gpt-6-luna": ["other", "!"],
            "gemini-3.8-flash": ["other", "other"],
            "claude-opus-4-8": ["bug", "billing"],
        }
    )
    desk.rows(numbered(2))
    desk.pipeline(HEAD + PANEL + TOP)
    desk.run()

    rungs = ask(desk, report, ["demo"], as_json=True).value["rungs"]

    shown = {
        (each["rung"], each["model"]): tuple(
            each[name] for name in ("requests", "retries", "valid", "accepted", "escalated", "failed")
        )
        for each in rungs
    }
    assert shown == {
        (1, "claude-haiku-4-5"): (2, 0, 2, 1, 1, 0),
        (1, "gpt-6-luna"): (4, 2, 1, 1, 0, 1),
        (1, "gemini-3.8-flash"): (2, 0, 2, 1, 1, 0),
        (2, "claude-opus-4-8"): (1, 0, 1, 1, 0, 0),
    }


def test_a_member_is_compared_by_all_its_answers_and_not_by_those_that_won(desk: Desk) -> None:
    """Row 2 goes up, row 3 has an answer of haiku that is not valid, and in row 4 gemini is still to answer."""
    desk.answers(
        {
            "claude-haiku-4-5": ["bug", "bug", "!", "bug"],
            "gpt-6-luna": ["other", "other", "other", "other"],
            "gemini-3.8-flash": ["other", "billing", "other", "other"],
            "claude-opus-4-8": ["bug", "billing", "bug", "bug"],
        }
    )
    desk.rows(numbered(3))
    desk.pipeline(HEAD + PANEL + TOP)
    desk.run()
    desk.rows(numbered(4))
    desk.faults({"calls": [{"call": "create", "protocol": "gemini", "fault": "status:429", "times": 99}]})
    for _ in range(3):  # a batch ends at the second look at the earliest
        desk.run(no_wait=True)
    assert desk.sql("SELECT count(DISTINCT key_id) FROM ledger.votes") == [(3,)]
    request = DiffRequest(pipeline="demo", from_model="claude-haiku-4-5", to_model="gpt-6-luna", rows=9)
    value = ask(desk, diff, request, as_json=True).value
    assert (value["rows"]["compared"], value["rows"]["only_from"], value["rows"]["only_to"]) == (3, 0, 1)
    (label,) = [each for each in value["fields"] if each["field"] == "label"]
    assert label["pairs"] == [{"from": "bug", "to": "other", "rows": 3}]
    assert {each["to_model"] for each in value["sample"]} == {"openai:gpt-6-luna"}
    assert value["cost"]["rows"] == 3
    assert value["cost"]["unpriced"] == 0
