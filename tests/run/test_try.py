"""Tests of `try`: it sends rows as realtime calls, shows and keeps the answers, and a run never pays for them again."""

from __future__ import annotations

from typing import Any

import pytest
from calls import Printed, ask
from projects import BASIC, Project, numbered

from batchpipe.commands.call.options import TryRequest
from batchpipe.commands.show.show import show
from batchpipe.commands.try_rows import try_rows
from batchpipe.common.errors import GateError, PipelineError, ProviderError, UsageError

LADDER = (
    BASIC.replace("max_tokens = 200\n", 'max_tokens = 200\naccept = "score >= 0.5"\n')
    + """
[[models]]
model = "claude-sonnet-4-6"
max_tokens = 300
"""
)
EDITED = BASIC.replace("{{ body }}", "Label this: {{ body }}")


def attempt(project: Project, *keys: str, as_json: bool = True, **options: Any) -> Printed:
    return ask(project, try_rows, TryRequest(pipeline="demo", keys=keys, **options), as_json=as_json)


def realtime_calls(project: Project) -> int:
    return sum(each["method"] == "POST" and each["path"] == "/v1/messages" for each in project.log()["calls"])


def test_five_rows_are_tried_and_a_run_does_not_send_them(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(20))
    value = attempt(project).value
    assert len(value["rows"]) == 5
    assert realtime_calls(project) == 5
    assert all(each["verdict"] == "accepted" and not each["known"] for each in value["rows"])
    assert value["cost_usd"] == sum(each["cost_usd"] for each in value["rows"]) > 0
    plan = project.plan()
    assert (plan.rows_by_reason["carried_over"], plan.rows_by_reason["new"], plan.requests) == (5, 15, 15)
    result = project.run()
    assert (result.submitted, result.rows["accepted"], result.cost_usd > 0) == (15, 20, True)
    assert project.requests_sent() == 15
    tried = {each["key"][0]: each["output"]["label"] for each in value["rows"]}
    stored = dict(project.sql("SELECT id::VARCHAR, label FROM demo WHERE _batch_id IS NULL"))
    assert stored == tried
    paid = project.sql("SELECT sum(cost_usd), sum(realtime_usd) FROM ledger.results WHERE batch_id IS NULL")
    assert paid[0][0] == paid[0][1] == value["cost_usd"]
    assert project.run().submitted == 0


def test_the_same_rows_again_cost_nothing(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(20))
    first, second = attempt(project).value, attempt(project).value
    assert [each["key"] for each in first["rows"]] == [each["key"] for each in second["rows"]]
    assert [each["output"] for each in first["rows"]] == [each["output"] for each in second["rows"]]
    assert all(each["known"] for each in second["rows"])
    assert (second["cost_usd"], realtime_calls(project)) == (0, 5)
    # What a run has bought is known too.
    project.run()
    assert attempt(project, rows=20).value["cost_usd"] == 0
    assert realtime_calls(project) == 5


def test_an_edited_prompt_is_tried_and_the_output_table_stays_as_it_was(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(12))
    project.run()
    before = project.sql("SELECT * FROM demo ORDER BY id")
    states = project.sql("SELECT * FROM ledger.row_state ORDER BY key")
    project.pipeline(EDITED)
    value = attempt(project, "3", "7").value
    assert [each["key"] for each in value["rows"]] == [["3"], ["7"]]
    assert value["rows"][0]["user"] == "Label this: text number 3"
    assert project.sql("SELECT * FROM demo ORDER BY id") == before
    assert project.sql("SELECT * FROM ledger.row_state ORDER BY key") == states
    # Going back costs nothing; going on takes the two answers.
    project.pipeline()
    assert project.run().submitted == 0
    project.pipeline(EDITED)
    assert project.run().submitted == 10


def test_an_answer_that_accept_does_not_hold_for_goes_up_without_paying_the_rung_again(project: Project) -> None:
    project.pipeline(LADDER)
    project.rows(numbered(30))
    value = attempt(project, rows=30).value
    verdicts = {each["key"][0]: each["verdict"] for each in value["rows"]}
    unsure = [key for key, verdict in verdicts.items() if verdict == "unaccepted"]
    assert 0 < len(unsure) < 30
    plan = project.plan()
    assert (plan.rows_by_reason["escalated"], plan.rows_by_reason["carried_over"]) == (len(unsure), 30 - len(unsure))
    assert plan.requests == len(unsure)
    result = project.run()
    assert (result.submitted, result.rows["accepted"]) == (len(unsure), 30)
    assert project.sql("SELECT DISTINCT rung FROM ledger.requests WHERE leads AND reason <> 'try'") == [(2,)]
    second_rung = project.sql("SELECT id::VARCHAR FROM demo WHERE _rung = 2")
    assert sorted(key for (key,) in second_rung) == sorted(unsure)


def test_on_the_last_rung_it_is_kept_for_review(project: Project) -> None:
    project.pipeline(BASIC.replace("max_tokens = 200\n", 'max_tokens = 200\naccept = "score >= 0.5"\n'))
    project.rows(numbered(30))
    value = attempt(project, rows=30).value
    unsure = sum(each["verdict"] == "unaccepted" for each in value["rows"])
    result = project.run()
    assert (result.submitted, result.rows["accepted"], result.rows["review"]) == (0, 30, unsure)
    assert unsure > 0


def test_an_invalid_answer_is_not_taken(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(6))
    project.faults({"requests": [{"match": "number 3", "outcome": "invalid_json"}]})
    value = attempt(project, "3", "4").value
    assert [each["verdict"] for each in value["rows"]] == ["invalid", "accepted"]
    assert value["rows"][0]["error"]
    project.faults({})
    assert project.run().submitted == 5


def test_a_rung_or_a_model_of_choice(project: Project) -> None:
    project.pipeline(LADDER)
    project.rows(numbered(6))
    upper = attempt(project, "1", rung=2).value["rows"][0]
    assert (upper["rung"], upper["model"]) == (2, "claude-sonnet-4-6")
    other = attempt(project, "2", model="claude-opus-4-8").value["rows"][0]
    assert (other["rung"], other["model"]) == (0, "claude-opus-4-8")
    # The rung's answer is an answer; the other model's would be, were it on the ladder.
    plan = project.plan()
    assert (plan.rows_by_reason["carried_over"], plan.rows_by_reason["new"]) == (1, 5)
    assert project.run().rows["accepted"] == 6
    assert project.sql("SELECT _rung FROM demo WHERE id = 1") == [(2,)]


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"rung": 3}, "the ladder has no rung 3"),
        ({"rung": 1, "model": "x"}, "--rung and --model exclude each other"),
        ({"keys": ("99",)}, "there is no row"),
        ({"where": "nothing = 1"}, "no output field or input column"),
        ({"model": "nosuch:claude-x"}, "no provider `nosuch`"),
        ({"model": "nosuch:claude-haiku-4-5"}, "no provider `nosuch`"),
    ],
)
def test_what_cannot_be_tried(project: Project, options: dict[str, Any], what: str) -> None:
    project.pipeline(LADDER)
    project.rows(numbered(3))
    with pytest.raises((UsageError, PipelineError), match=what):
        ask(project, try_rows, TryRequest(pipeline="demo", **options))
    assert realtime_calls(project) == 0


def test_a_model_that_the_provider_does_not_know(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(2))
    with pytest.raises(ProviderError, match="does not know claude-nine"):
        attempt(project, "1", model="claude-nine")
    assert project.run().submitted == 2


def test_where_and_rows_that_ask_the_same(project: Project) -> None:
    project.pipeline()
    rows = numbered(10, german=4)
    rows[0]["body"] = rows[1]["body"] = "the same"
    project.rows(rows)
    value = attempt(project, where="lang = 'de'", rows=9).value
    assert sorted(each["key"][0] for each in value["rows"]) == ["1", "2", "3", "4"]
    assert realtime_calls(project) == 3


def test_a_budget_holds_for_tries_too(project: Project) -> None:
    project.pipeline(BASIC + "[budget]\nmax_usd = 0.001\n")
    project.rows(numbered(10))
    with pytest.raises(GateError, match="max_usd"):
        attempt(project, rows=10)
    assert realtime_calls(project) == 0


def test_what_is_answered_is_shown_whatever_the_budget(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(2))
    attempt(project, "1", "2")
    project.pipeline(BASIC + "[budget]\nmax_usd = 0\n")
    assert attempt(project, "1", "2").code == 0
    assert realtime_calls(project) == 2


def test_a_model_without_a_price_is_not_tried_where_there_is_a_budget(project: Project) -> None:
    project.pipeline(BASIC.replace("claude-haiku-4-5", "claude-of-tomorrow") + "[budget]\nmax_usd = 1\n")
    project.rows(numbered(2))
    with pytest.raises(PipelineError, match="cannot be kept: no price is known"):
        attempt(project, rows=1)
    assert realtime_calls(project) == 0


def test_the_text_shows_prompt_answer_verdict_and_cost_and_steers_nothing(project: Project) -> None:
    project.pipeline()
    rows = numbered(2)
    rows[0]["body"] = "red \x1b[31m alert"
    project.rows(rows)
    printed = attempt(project, "1", "2", as_json=False)
    for words in (
        "demo 1 (rung 1, claude-haiku-4-5-20251001)",
        "valid, accepted",
        "at the realtime price",
        "text number 2",
    ):
        assert words in printed.out
    assert "\x1b" not in printed.out
    assert "2 rows tried for $" in printed.talk
    assert "answered before" in attempt(project, "1", as_json=False).out


def test_a_call_that_fails_keeps_those_that_did_not(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(5))
    project.faults({"calls": [{"call": "message", "fault": "status:529", "after": 2}]})
    with pytest.raises(ProviderError, match="did not answer"):
        attempt(project, rows=5)
    project.faults({})
    assert sum(each["known"] for each in attempt(project, rows=5).value["rows"]) == 2
    assert project.run().submitted == 0


def test_show_tells_what_was_tried_and_what_would_be_sent(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(3))
    attempt(project, "2")
    tried = ask(project, show, "demo", ["2"]).out
    assert "because try" in tried
    assert "carried over at no cost" in tried
    fresh = ask(project, show, "demo", ["3"]).out
    assert "it would be sent to rung 1, claude-haiku-4-5" in fresh
    assert "text number 3" in fresh


def test_keys_of_several_columns(project: Project) -> None:
    project.pipeline(BASIC.replace('key = "id"', 'key = ["lang", "id"]'))
    project.rows(numbered(4, german=1))
    assert attempt(project, "en", "3").value["rows"][0]["key"] == ["en", "3"]
    both = attempt(project, '["en", "3"]', '["de", "1"]').value["rows"]
    assert [each["known"] for each in both] == [True, False]


ROOMY = BASIC.replace(
    'model = "claude-haiku-4-5"\nmax_tokens = 200', 'model = "claude-sonnet-4-6"\nmax_tokens = 200_000'
)
ROOMS = "SELECT model, max_tokens FROM ledger.requests ORDER BY ALL"


@pytest.mark.parametrize(
    ("model", "room"),
    [("claude-haiku-4-5", 64_000), ("openai:gpt-6-luna", 128_000), ("claude-sonnet-4-6", 128_000), (None, 128_000)],
)
def test_a_model_that_writes_less_than_the_rung_allows_is_asked_for_what_it_writes(
    project: Project, model: str | None, room: int
) -> None:
    """A batch of the rung's model takes more than a realtime call. Settings of the rung are not those of others."""
    project.pipeline(ROOMY + 'temperature = 0.5\neffort = "low"\n')
    project.rows(numbered(3))
    tried = attempt(project, "1", model=model)
    assert tried.value["rows"][0]["verdict"] == "accepted"
    name = model or "claude-sonnet-4-6"
    assert f"{name} is asked with max_tokens = {room:,}, the most that it writes, and not with 200,000." in tried.talk
    assert project.sql(ROOMS) == [(name.rpartition(":")[2], room)]
    assert project.run().submitted == (2 if name == "claude-sonnet-4-6" else 3)


def test_the_way_out_for_a_model_of_the_command_line_is_no_line_of_the_file(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(3))
    with pytest.raises(PipelineError) as found:
        attempt(project, "1", model="gpt-6-luna")
    assert found.value.hint == 'Name it with its provider: "openai:gpt-6-luna".'
