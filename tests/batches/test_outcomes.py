"""Tests of what each kind of result leads to: one run of a mixed input, then cases that need a whole batch."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from functools import cache
from typing import Any

import pytest
from projects import Project

from batchpipe.engine.run.result import RunResult

LOW, HIGH = "claude-haiku-4-5", "claude-sonnet-4-6"
# US dollars per token at the batch tier: input, output.
PRICES = {LOW: (Decimal("0.0000005"), Decimal("0.0000025")), HIGH: (Decimal("0.0000015"), Decimal("0.0000075"))}
LADDER = f"""
[input]
query = "SELECT id, body, amount FROM read_csv('rows.csv', types = {{'id': 'VARCHAR', 'amount': 'INTEGER'}})"
key = "id"
[prompt]
user_text = "{{{{ body }}}}"
[output.fields.label]
type = "string"
enum = ["billing", "bug", "other"]
[output.fields.score]
type = "number"
minimum = 0
maximum = 1
[output.fields.price]
type = "number"
column = "DECIMAL(4, 2)"
[output.checks]
no_bugs_at_seven = "NOT (label = 'bug' AND amount = 7)"
[[models]]
model = "{LOW}"
max_tokens = 200
accept = "score <> 0.4321"
[[models]]
model = "{HIGH}"
max_tokens = 400
accept = "score <> 0.4321"
[retry]
transient = 3
"""
GOOD = {"label": "other", "score": 0.9, "price": 1.5}
BUG = {**GOOD, "label": "bug"}


def told(outcome: str, times: int | None = None, model: str | None = None) -> dict[str, Any]:
    return {"outcome": outcome, "times": times, "model": model}


def says(output: dict[str, Any], times: int | None = None, model: str | None = None) -> dict[str, Any]:
    return {"output": output, "times": times, "model": model}


def unsure(model: str, label: str = "bug") -> dict[str, Any]:
    return says({**GOOD, "score": 0.4321, "label": label}, model=model)


@dataclass(frozen=True, slots=True)
class Case:
    """The emulator's rules for a row, its requests as rung.attempt and outcome, and its state and rung at the end."""

    rules: list[dict[str, Any]]
    story: str
    end: str
    rung: int
    error: str | None = None
    amount: int = 1


TWICE = "1.1 answered, 1.2 answered"
CLIMBED = "1.1 answered, 2.1 answered"
INVALID_TWICE = "1.1 answered, 1.2 answered, 1.3 answered, 2.1 answered, 2.2 answered, 2.3 answered"
CASES = {
    "plain": Case([], "1.1 answered", "accepted", 1),
    "unsure": Case([unsure(LOW)], CLIMBED, "accepted", 2),
    "never_sure": Case([unsure(LOW), unsure(HIGH, "billing")], CLIMBED, "review", 2, "`accept` does not hold"),
    "unsure_refused": Case([unsure(LOW), told("refused")], "1.1 answered, 2.1 refused", "review", 1, "declined"),
    "unsure_errored": Case(
        [unsure(LOW), told("errored_invalid")], "1.1 answered, 2.1 permanent", "review", 1, "told to refuse this"
    ),
    "unsure_expired": Case(
        [unsure(LOW), told("expired")],
        "1.1 answered, 2.1 expired, 2.1 expired, 2.1 expired", "review", 1, "expired before",
    ),
    "unsure_invalid": Case(
        [unsure(LOW), told("invalid_json")],
        "1.1 answered, 2.1 answered, 2.2 answered, 2.3 answered", "review", 1, "not JSON",
    ),
    "refused": Case([told("refused", model=LOW)], "1.1 refused, 2.1 answered", "accepted", 2),
    "refused_midway": Case([told("refused_midway", model=LOW)], "1.1 refused, 2.1 answered", "accepted", 2),
    "refused_by_all": Case([told("refused")], "1.1 refused, 2.1 refused", "failed", 2, "declined"),
    "invalid_json": Case([told("invalid_json", 1)], TWICE, "accepted", 1),
    "wrong_enum": Case([told("wrong_enum")], INVALID_TWICE, "failed", 2, "label"),
    "wrong_enum_below": Case([told("wrong_enum", model=LOW)], INVALID_TWICE[:54], "accepted", 2),
    "out_of_range": Case([told("out_of_range", 1)], TWICE, "accepted", 1),
    "extra_field": Case([told("extra_field", 1)], TWICE, "accepted", 1),
    "missing_field": Case([told("missing_field", 1)], TWICE, "accepted", 1),
    "empty_content": Case([told("empty_content", 1)], TWICE, "accepted", 1),
    "fails_check": Case([says(BUG, 2)], f"{TWICE}, 1.3 answered", "accepted", 1, amount=7),
    "no_cast": Case([says({**GOOD, "price": 123.4}, 1)], TWICE, "accepted", 1),
    "enum_case": Case([says({**GOOD, "label": "BUG"})], "1.1 answered", "accepted", 1),
    "split_text": Case([told("split_text")], "1.1 answered", "accepted", 1),
    "unknown_type": Case([told("unknown_type", 1)], "1.1 unknown, 1.2 answered", "accepted", 1),
    "pause_turn": Case([told("pause_turn", 1)], "1.1 unknown, 1.2 answered", "accepted", 1),
    "expired": Case([told("expired", 2)], "1.1 expired, 1.1 expired, 1.1 answered", "accepted", 1),
    "overloaded": Case([told("errored_overloaded", 1)], "1.1 transient, 1.1 answered", "accepted", 1),
    "server_error": Case([told("errored_api", 1)], "1.1 transient, 1.1 answered", "accepted", 1),
    "rate_limit": Case([told("errored_rate_limit", 1)], "1.1 transient, 1.1 answered", "accepted", 1),
    "expired_for_good": Case(
        [told("expired")], "1.1 expired, 1.1 expired, 1.1 expired", "failed", 1, "expired before"
    ),
    "down_for_good": Case(
        [told("errored_api")], "1.1 transient, 1.1 transient, 1.1 transient", "failed", 1, "Internal server error"
    ),
    "errored_invalid": Case([told("errored_invalid")], "1.1 permanent", "failed", 1, "told to refuse this"),
    "truncated": Case(
        [told("truncated", model=LOW)], "1.1 truncated, 1.2 truncated, 1.3 truncated, 2.1 answered", "accepted", 2
    ),
    "context_window": Case([told("context_window", model=LOW)], "1.1 context_window, 2.1 answered", "accepted", 2),
    "invalid_then_down": Case(
        [told("invalid_json", 1), told("errored_api", 3)],
        "1.1 answered, 1.2 transient, 1.2 transient, 1.2 answered", "accepted", 1,
    ),
    "down_then_invalid": Case(
        [told("errored_api", 2), told("invalid_json", 3), told("errored_api", 5)],
        "1.1 transient, 1.1 transient, 1.1 answered, 1.2 transient, 1.2 transient, 1.2 answered", "accepted", 1,
    ),
}  # fmt: skip
ACCEPTED = {name for name, case in CASES.items() if case.end != "failed"}
FAILED = set(CASES) - ACCEPTED


class Mixed:
    """The project of the mixed run and its result; beside the cases it has rows with equal requests and a
    canceled row.
    """

    def __init__(self, project: Project) -> None:
        self.project = project
        project.pipeline(LADDER)
        rows = [{"id": name, "body": f"case:{name};", "amount": case.amount} for name, case in CASES.items()]
        rows += [{"id": f"twin{amount}", "body": "case:twins;", "amount": amount} for amount in (1, 7)]
        rows.append({"id": "canceled", "body": "case:canceled;", "amount": 1})
        project.rows(rows)
        rules = {name: case.rules for name, case in CASES.items()}
        rules |= {"twins": [says(BUG, 1)], "canceled": [told("canceled", 1)]}
        requests = [
            {key: value for key, value in (rule | {"match": f"case:{name};"}).items() if value is not None}
            for name, own in rules.items()
            for rule in own
        ]
        project.faults({"requests": [*requests, {"output": GOOD}]})
        (outcome,) = project.outcomes()
        assert outcome.error is None
        self.result: RunResult = outcome.result
        self.again = project.run()
        self.sql = project.sql

    @cache  # noqa: B019 - one object for the whole module
    def stories(self) -> dict[str, list[dict[str, Any]]]:
        """Return each row's requests in order, with their results."""
        found: dict[str, list[dict[str, Any]]] = {}
        names = ("rung", "attempt", "max_tokens", "outcome", "custom_id", "leads", "fingerprint", "request_hash")
        for key, *values in self.sql(
            f"SELECT q.key, q.{', q.'.join(names[:3])}, r.outcome, q.{', q.'.join(names[4:])} "
            "FROM ledger.requests q LEFT JOIN ledger.results r USING (custom_id) ORDER BY q.seq"
        ):
            found.setdefault(json.loads(key)[0], []).append(dict(zip(names, values, strict=True)))
        return found

    @cache  # noqa: B019
    def bodies(self) -> dict[str, dict[str, Any]]:
        return {each["custom_id"]: each["params"] for each in self._lines("bodies")}

    @cache  # noqa: B019
    def answers(self) -> dict[str, dict[str, Any]]:
        return {each["custom_id"]: each["result"] for each in self._lines("results")}

    def _lines(self, folder: str) -> Iterator[dict[str, Any]]:
        for path in (self.project.root / ".emulator" / folder).glob("*.jsonl"):
            yield from map(json.loads, path.read_text().splitlines())


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mixed]:
    project = Project(tmp_path_factory.mktemp("mixed"))
    yield Mixed(project)
    project.close()


@pytest.mark.parametrize("name", CASES)
def test_a_row_goes_the_way_that_its_results_say(mixed: Mixed, name: str) -> None:
    case = CASES[name]
    story = ", ".join(f"{each['rung']}.{each['attempt']} {each['outcome']}" for each in mixed.stories()[name])
    assert story == case.story
    (row,) = mixed.sql(
        "SELECT state, review, rung, error, attempts FROM ledger.row_state WHERE key = $1", [f'["{name}"]']
    )
    assert row[:3] == ("failed" if case.end == "failed" else "accepted", case.end == "review", case.rung)
    assert (row[3] is None) if case.error is None else (case.error in row[3])
    if case.end != "review":
        assert row[4] == mixed.stories()[name][-1]["attempt"]


def test_the_output_holds_the_accepted_rows_and_no_others(mixed: Mixed) -> None:
    rows = mixed.sql("SELECT id, _rung, _model, _review, label, _current FROM demo")
    assert {row[0] for row in rows} == ACCEPTED | {"twin1", "twin7", "canceled"}
    by_name = {row[0]: row[1:] for row in rows}
    for name in ACCEPTED:
        rung, model, review, _, current = by_name[name]
        assert (rung, review, current) == (CASES[name].rung, CASES[name].end == "review", True)
        assert model.startswith(LOW if rung == 1 else HIGH)
    assert by_name["never_sure"][3] == "billing"
    assert by_name["unsure_refused"][3] == by_name["enum_case"][3] == "bug"


def test_the_run_counts_where_its_rows_stand(mixed: Mixed) -> None:
    first, second = mixed.result, mixed.again
    reviews = sum(case.end == "review" for case in CASES.values())
    assert first.status == "pending"  # the canceled row is due at the next run
    assert first.rows | {"input": len(CASES) + 3, "accepted": len(ACCEPTED) + 2, "due": 1, "pending": 0} == first.rows
    assert first.rows["failed"] == len(FAILED)
    assert first.rows["review"] == second.rows["review"] == reviews == 5
    sent = sum(len(each) for each in mixed.stories().values()) - 1  # the twins' first request is one
    assert first.submitted == first.attempts == sent - 1
    # The rows that failed before make no later call fail.
    assert (second.submitted, second.status) == (1, "done")
    assert (second.rows["failed"], second.rows["due"]) == (len(FAILED), 0)


def test_a_canceled_line_counts_nowhere(mixed: Mixed) -> None:
    story = [(each["rung"], each["attempt"], each["outcome"]) for each in mixed.stories()["canceled"]]
    assert story == [(1, 1, "canceled"), (1, 1, "answered")]
    states = mixed.sql(
        "SELECT d.state FROM ledger.decisions d JOIN ledger.requests USING (key_id) WHERE key = '[\"canceled\"]' "
        "GROUP BY d.state"
    )
    assert states == [("accepted",)]


def test_decisions_are_the_steps_of_a_row_in_order(mixed: Mixed) -> None:
    def steps(name: str) -> list[str]:
        rows = mixed.sql(
            "SELECT state FROM ledger.decisions WHERE key_id = md5($1)::UUID ORDER BY seq", [f'["{name}"]']
        )
        return [state for (state,) in rows][: len(mixed.stories()[name])]

    assert steps("wrong_enum") == ["retry", "retry", "escalated", "retry", "retry", "failed"]
    assert steps("truncated") == ["retry", "retry", "escalated", "accepted"]
    assert steps("never_sure") == ["escalated", "accepted"]
    assert steps("expired_for_good") == ["retry", "retry", "failed"]


def test_the_model_is_shown_its_error_and_the_fingerprint_stays(mixed: Mixed) -> None:
    shown = {
        "invalid_json": "not JSON",
        "out_of_range": "score",
        "extra_field": "unexpected_field",
        "missing_field": "label",
        "empty_content": "not JSON",
        "fails_check": "check no_bugs_at_seven does not hold: NOT (label = 'bug' AND amount = 7)",
        "no_cast": "price: the value does not fit DECIMAL(4,2)",
    }
    for name, error in shown.items():
        first, second, *_ = mixed.stories()[name]
        before, after = (mixed.bodies()[each["custom_id"]] for each in (first, second))
        assert before["messages"] == [{"role": "user", "content": f"case:{name};"}]
        own, feedback = after["messages"][0]["content"]
        assert own == {"type": "text", "text": f"case:{name};"}
        answer = "".join(each["text"] for each in mixed.answers()[first["custom_id"]]["message"]["content"])
        assert error.replace(", ", ",") in feedback["text"].replace(", ", ",")
        assert f"<previous_answer>\n{answer}\n</previous_answer>" in feedback["text"]
        assert {key: before[key] for key in before if key != "messages"} == {
            key: after[key] for key in after if key != "messages"
        }
        assert first["fingerprint"] == second["fingerprint"]
        assert first["request_hash"] != second["request_hash"]


def test_a_transient_error_does_not_make_the_model_forget_its_mistake(mixed: Mixed) -> None:
    last = mixed.stories()["invalid_then_down"][-1]
    content = mixed.bodies()[last["custom_id"]]["messages"][0]["content"]
    assert isinstance(content, list)
    assert "not JSON" in content[1]["text"]


def test_a_truncated_answer_gets_twice_the_room_and_never_the_same_request(mixed: Mixed) -> None:
    story = mixed.stories()["truncated"]
    assert [each["max_tokens"] for each in story] == [200, 400, 800, 400]
    assert [mixed.bodies()[each["custom_id"]]["max_tokens"] for each in story] == [200, 400, 800, 400]
    assert len({each["request_hash"] for each in story}) == 4


def test_pauses_double_and_begin_anew_after_an_answer(mixed: Mixed) -> None:
    def pauses(name: str) -> list[timedelta | None]:
        rows = mixed.sql(
            "SELECT not_before - recorded_at FROM ledger.decisions WHERE key_id = md5($1)::UUID ORDER BY seq",
            [f'["{name}"]'],
        )
        return [pause for (pause,) in rows]

    one = timedelta(seconds=0.02)
    assert pauses("expired")[:3] == [one, 2 * one, None]
    assert pauses("down_then_invalid")[:6] == [one, 2 * one, None, one, 2 * one, None]


def test_twins_share_a_request_and_are_judged_by_their_own_values(mixed: Mixed) -> None:
    leader, follower = mixed.stories()["twin1"], mixed.stories()["twin7"]
    assert [each["attempt"] for each in follower] == [1, 2]
    assert [(each["custom_id"], each["leads"]) for each in leader] == [(follower[0]["custom_id"], True)]
    assert [each["leads"] for each in follower] == [False, True]
    assert mixed.sql("SELECT id, label, _cost_usd > 0 FROM demo WHERE id LIKE 'twin%' ORDER BY id") == [
        ("twin1", "bug", True), ("twin7", "other", True)
    ]  # fmt: skip


def test_costs_are_the_usage_times_the_price_to_the_last_digit(mixed: Mixed) -> None:
    expected: dict[str, Decimal | None] = {}
    for custom_id, result in mixed.answers().items():
        message = result.get("message")
        if result["type"] == "weird":
            expected[custom_id] = None
            continue
        if message is None or (message["stop_reason"] == "refusal" and not message["content"]):
            expected[custom_id] = Decimal(0)
            continue
        usage = message["usage"]
        per_input, per_output = PRICES[LOW if message["model"].startswith(LOW) else HIGH]
        expected[custom_id] = per_input * usage["input_tokens"] + per_output * usage["output_tokens"]
    assert dict(mixed.sql("SELECT custom_id, cost_usd FROM ledger.results")) == expected
    known = sum((each for each in expected.values() if each is not None), Decimal(0))
    assert mixed.result.cost_usd + mixed.again.cost_usd == known
    assert mixed.sql("SELECT sum(cost_usd) FROM ledger.spend") == [(known,)]
    assert mixed.result.realtime_usd == 2 * mixed.result.cost_usd > 0
    refused = {name: expected[mixed.stories()[name][0]["custom_id"]] for name in ("refused", "refused_midway")}
    assert refused["refused"] == 0 < (refused["refused_midway"] or 0)
    for custom_id, cost in mixed.sql("SELECT _custom_id, _cost_usd FROM demo"):
        assert cost == expected[custom_id]


def test_an_unknown_result_leaves_an_event(mixed: Mixed) -> None:
    rows = mixed.sql("SELECT data ->> 'count', data ->> 'line' FROM ledger.events WHERE kind = 'results_unknown'")
    assert [count for count, _ in rows] == ["2"]
    assert json.loads(rows[0][1])["custom_id"] in {
        mixed.stories()[name][0]["custom_id"] for name in ("unknown_type", "pause_turn")
    }
