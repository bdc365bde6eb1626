"""Tests of `show`, which prints one row's history: its requests, their outcomes, and the request of today."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any

import pytest
from calls import ask
from projects import BASIC, Project, numbered

from batchpipe.commands.show.show import show
from batchpipe.common.errors import UsageError

LADDER = BASIC.replace("max_tokens = 200", 'max_tokens = 200\naccept = "score < 0"') + (
    '[[models]]\nmodel = "claude-sonnet-4-6"\nmax_tokens = 300\n'
)
HOSTILE = "\x1b[2J\x1b]0;title\x07[red]x[/red] \u202eevil"


def story(project: Project, *key: str, name: str = "demo", **options: Any) -> dict[str, Any]:
    found: dict[str, Any] = ask(project, show, name, list(key), as_json=True, **options).value
    return found


def test_every_attempt_stands_in_order_with_why_and_what_it_cost(project: Project) -> None:
    project.pipeline(LADDER)
    project.rows(numbered(3))
    project.faults(
        {
            "requests": [
                {"match": "number 2", "outcome": "wrong_enum", "times": 1, "per": "rule"},
                {"match": "number 2", "outcome": "errored_overloaded", "times": 2, "per": "rule"},
            ]
        }
    )
    project.run()
    found = story(project, "2")
    attempts = found["attempts"]
    by_hand = project.sql(
        """
        SELECT q.rung, q.reason, q.attempt, r.outcome, r.cost_usd, r.input_tokens, q.custom_id, r.batch_id,
            r.answer
        FROM ledger.requests q JOIN ledger.results r USING (custom_id) WHERE q.key = '["2"]' ORDER BY q.seq
        """
    )
    names = (
        "rung",
        "reason",
        "attempt",
        "outcome",
        "cost_usd",
        "input_tokens",
        "custom_id",
        "batch_id",
        "answer",
    )
    assert [tuple(each[name] for name in names) for each in attempts] == by_hand
    assert [each["rung"] for each in attempts] == [1, 1, 1, 2]
    assert [each["outcome"] for each in attempts] == ["answered", "transient", "answered", "answered"]
    assert [each["verdict"] for each in attempts] == ["retry", "retry", "escalated", "accepted"]
    assert "label" in attempts[0]["verdict_error"]
    assert found["cost_usd"] == sum(each["cost_usd"] for each in attempts)
    assert attempts[0]["input"] == {"body": "text number 2", "lang": "en"}
    assert found["state"] == "accepted"
    assert found["output"]["id"] == 2
    assert found["output"]["_rung"] == 2
    assert [each["state"] for each in found["decisions"]] == ["retry", "retry", "escalated", "accepted"]
    text = ask(project, show, "demo", ["2"]).out
    assert text.index("request 1: rung 1") < text.index("request 4: rung 2, claude-sonnet-4-6")
    assert "unchanged since it was answered: nothing would be sent" in text


def test_a_row_that_was_never_sent_shows_what_would_be_and_why(project: Project) -> None:
    project.pipeline(LADDER)
    project.rows(numbered(3, german=1))
    found = story(project, "1")
    assert found["state"] == "new"
    assert found["attempts"] == []
    now = found["now"]
    assert now["word"] == "new"
    assert now["due"] == {
        "rung": 1,
        "model": "claude-haiku-4-5",
        "attempt": 1,
        "max_tokens": 200,
        "shares": None,
        "members": [],
    }
    assert now["user"] == "text number 1 Auf Deutsch."
    assert now["params"]["messages"][0]["content"] == "text number 1 Auf Deutsch."
    assert now["input"] == {"id": "1", "body": "text number 1", "lang": "de", "amount": "1"}
    text = ask(project, show, "demo", ["1"]).out
    assert "due (new: it was never answered); it would be sent to rung 1, claude-haiku-4-5" in text
    assert not (project.root / "batchpipe.duckdb").exists()
    assert list((project.root / ".batchpipe" / "work").iterdir()) == []


def test_a_changed_row_says_why_it_is_due_and_keeps_what_was_sent(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(3))
    project.run()
    changed = numbered(3)
    changed[1]["body"] = "another text"
    project.rows(changed)
    found = story(project, "2")
    assert found["now"]["word"] == "input_changed"
    assert found["now"]["user"] == "another text"
    assert found["attempts"][0]["input"]["body"] == "text number 2"
    assert project.plan().rows_by_reason["input_changed"] == 1
    project.rows(numbered(1))
    found = story(project, "2")
    assert found["now"] is None
    assert found["problem"] is None
    assert "not in the input any more" in ask(project, show, "demo", ["2"]).out


def test_a_retry_shows_the_prompt_with_the_answer_before_it(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(2))
    project.faults({"requests": [{"match": "number 1", "outcome": "wrong_enum"}]})
    project.run(no_wait=True)
    for _ in range(50):
        project.run(no_wait=True, max_usd=Decimal("0.000000001"))
        if project.sql("SELECT 1 FROM ledger.decisions WHERE state = 'retry'"):
            break
    found = story(project, "1")
    assert found["state"] == "retry"
    assert found["now"]["due"]["attempt"] == 2
    assert found["attempts"][0]["answer"] in found["now"]["feedback"]
    assert found["attempts"][0]["verdict_error"] in found["now"]["feedback"]
    assert "after the last answer" in ask(project, show, "demo", ["1"]).out


def test_an_input_that_cannot_be_read_does_not_hide_the_story(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(2))
    project.run()
    (project.root / "rows.csv").unlink()
    found = story(project, "1", keyless=True)
    assert found["now"] is None
    assert "rows.csv" in found["problem"]
    assert len(found["attempts"]) == 1
    assert "the input could not be read" in ask(project, show, "demo", ["1"]).out
    with pytest.raises(UsageError, match="there is no row 9") as caught:
        story(project, "9")
    assert "could not be read" in str(caught.value.hint)


def test_a_follower_says_whose_answer_it_shares(project: Project) -> None:
    project.pipeline()
    project.rows([{"id": n, "body": "the same", "lang": "en", "amount": 1} for n in (1, 2, 3)])
    project.run()
    leads = [json.loads(key) for (key,) in project.sql("SELECT key FROM ledger.requests WHERE leads")]
    assert len(leads) == 1
    follower = next(n for n in ("1", "2", "3") if [n] != leads[0])
    (attempt,) = story(project, follower)["attempts"]
    assert attempt["shares_with"] == leads[0]
    assert attempt["cost_usd"] == 0
    assert attempt["verdict"] == "accepted"
    assert f"the answer of {leads[0][0]}: no cost" in ask(project, show, "demo", [follower]).out
    (leader,) = story(project, leads[0][0])["attempts"]
    assert leader["followers"] == 2
    assert leader["cost_usd"] > 0
    assert "2 other rows" in ask(project, show, "demo", leads[0]).out


KEYS = [
    "ключ 🔑 é",
    "k" * 10_000,
    '["a","b"]',
    'it\'s "quoted" \\ back',
    "=1+1",
    "-x",
    " padded ",
    HOSTILE.replace("\x1b", "[esc]"),
]


def test_any_text_is_a_key(project: Project) -> None:
    project.pipeline(BASIC.replace("types = {'id': 'BIGINT', 'amount': 'INTEGER'}", "all_varchar = true"))
    project.rows([{"id": key, "body": f"body {n}", "lang": "en", "amount": 1} for n, key in enumerate(KEYS)])
    project.run()
    for n, key in enumerate(KEYS):
        for given in (key, json.dumps([key])):
            found = story(project, given)
            assert found["key"] == [key]
            assert found["output"]["id"] == key
            assert found["now"]["user"] == f"body {n}"
            assert len(found["shown_key"]) <= 80
        assert ask(project, show, "demo", [key]).out.startswith("demo ")


def test_a_composite_key_is_several_arguments_or_a_list(project: Project) -> None:
    project.pipeline(BASIC.replace('key = "id"', 'key = ["lang", "id"]'))
    project.rows(numbered(3, german=1))
    project.run()
    for given in (("en", "2"), ('["en", 2]',), ('["en", "2"]',)):
        found = story(project, *given)
        assert found["key"] == ["en", "2"]
        assert found["output"]["id"] == 2
    for bad in (("en",), ("en", "2", "3"), ('{"lang": "en"}',)):
        with pytest.raises(UsageError, match="the key has 2 columns"):
            story(project, *bad)
    with pytest.raises(UsageError, match="there is no row") as caught:
        story(project, "en", "22")
    assert '["en", "2"]' in str(caught.value.hint)


def test_an_unknown_key_is_answered_with_the_nearest(project: Project) -> None:
    project.pipeline(BASIC.replace("types = {'id': 'BIGINT', 'amount': 'INTEGER'}", "all_varchar = true"))
    project.rows([{"id": key, "body": key, "lang": "en", "amount": 1} for key in ("T-1001", "T-1002", "other")])
    with pytest.raises(UsageError, match="there is no row T-1003") as caught:
        story(project, "T-1003")
    assert "T-1001, T-1002" in str(caught.value.hint)


@pytest.mark.parametrize("key", ["", "abc", "[null]", "1e400"])
def test_a_text_that_cannot_be_a_number_is_no_key_of_numbers(project: Project, key: str) -> None:
    project.pipeline()
    project.rows([{"id": 1, "body": "text", "lang": "en", "amount": 1}])
    with pytest.raises(UsageError, match="there is no row"):
        story(project, key)


def test_what_a_model_said_steers_no_terminal(project: Project) -> None:
    project.pipeline(
        BASIC.replace('enum = ["billing", "bug", "other"]', "").replace(
            "{{ body }}", "{{ body }}{{ '' if body else '' }}"
        )
    )
    project.rows([{"id": 1, "body": f"row {HOSTILE}", "lang": "en", "amount": 1}])
    project.faults({"requests": [{"match": "row", "output": {"label": HOSTILE, "score": 0.5}}]})
    project.run()
    assert story(project, "1")["output"]["label"] == HOSTILE
    for terminal in (False, True):
        text = ask(project, show, "demo", ["1"], terminal=terminal).out
        assert not set(text) & {"\x1b", "\x07", "\u202e"}
        assert "[red]x[/red]" in text


def test_a_row_in_flight_says_so(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(2))
    project.faults({"delay_seconds": 3600})
    project.run(no_wait=True)
    found = story(project, "1")
    assert found["state"] == "pending"
    (attempt,) = found["attempts"]
    assert (attempt["outcome"], attempt["batch_state"], attempt["cost_usd"]) == (None, "in_flight", None)
    text = ask(project, show, "demo", ["1"]).out
    assert "its request is in flight: nothing more would be sent" in text
    assert "none yet, batch in flight" in text


def test_a_row_that_failed_keeps_its_reason(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(2))
    project.faults({"requests": [{"match": "number 1", "outcome": "refused"}]})
    assert project.run().status == "failed_rows"
    found = story(project, "1")
    assert found["state"] == "failed"
    assert found["output"] is None
    ((error,),) = project.sql("SELECT error FROM ledger.row_state WHERE state = 'failed'")
    assert found["error"] == error
    assert "--retry-failed" in ask(project, show, "demo", ["1"]).out


def test_parameters_reach_the_query(project: Project) -> None:
    project.pipeline(
        BASIC.replace("'INTEGER'})\"", "'INTEGER'}) WHERE amount >= $least\"").replace(
            "[prompt]", "[input.params]\nleast = 1\n[prompt]", 1
        )
    )
    project.rows(numbered(3))
    assert story(project, "1")["now"]["word"] == "new"
    with pytest.raises(UsageError, match="there is no row"):
        ask(project, show, "demo", ["1"], ["least=2"], as_json=True)


def test_nested_input_is_json_now_and_as_it_was_sent(project: Project) -> None:
    query = "SELECT 1 AS id, MAP {1: 'x'} AS m, {'a': [1.50::DECIMAL(5,2), NULL]} AS s, [DATE '2026-01-02'] AS l"
    text = BASIC[: BASIC.index("[prompt]")] + '[prompt]\nuser_text = "{{ m }} {{ s.a }} {{ l }}"\n\n'
    text += BASIC[BASIC.index("[output") :]
    project.pipeline(re.sub(r'query = "[^"]*"', f'query = "{query}"', text))
    project.run()
    found = story(project, "1")
    nested = {"m": '{"1": "x"}', "s": '{"a": [1.5, null]}', "l": '["2026-01-02"]'}
    assert {name: found["now"]["input"][name] for name in nested} == nested
    assert found["attempts"][0]["input"] == nested
