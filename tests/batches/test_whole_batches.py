"""Tests of a ladder of one rung, shares of failures, batches that fail as a whole, and ladders that change
in flight.
"""

from __future__ import annotations

from typing import Any

import pytest
from projects import BASIC, Project, numbered

from batchpipe.common.errors import ProviderError

GOOD = {"label": "other", "score": 0.9}
PERMANENT = {"requests": [{"outcome": "errored_invalid"}]}
TWO_RUNGS = BASIC + '[[models]]\nmodel = "claude-sonnet-4-6"\nmax_tokens = 400\n'


def bodies(words: list[str]) -> list[dict[str, Any]]:
    return [{"id": n, "body": f"case:{word};", "lang": "en", "amount": 1} for n, word in enumerate(words, start=1)]


def stop_of(project: Project, **options: Any) -> ProviderError:
    """Run, and return the error that stops the run and that no row caused."""
    (outcome,) = project.outcomes(**options)
    assert isinstance(outcome.error, ProviderError)
    assert outcome.error.exit_code == 3
    assert outcome.result.status == "error"
    assert outcome.result.rows["failed"] == 0
    return outcome.error


def sizes(project: Project) -> list[int]:
    return [batch["total"] for batch in project.log()["batches"].values()]


def test_a_ladder_of_one_rung_ends_where_another_would_go_up(project: Project) -> None:
    words = ["refused", "midway", "window", "cut", "wrong", "unsure", "late", "fine"]
    rung = "max_tokens = 40000\naccept = 'score > 0.5'\n[retry]\nattempts = 2"
    project.pipeline(BASIC.replace("max_tokens = 200", rung))
    project.rows(bodies(words))
    told = {"refused": "refused", "midway": "refused_midway", "window": "context_window", "cut": "truncated",
            "wrong": "wrong_enum"}  # fmt: skip
    rules: list[dict[str, Any]] = [{"match": f"case:{word};", "outcome": told[word]} for word in told]
    rules.append({"match": "case:unsure;", "output": {**GOOD, "score": 0.4}})
    rules.append({"match": "case:late;", "outcome": "truncated", "times": 1})
    project.faults({"requests": [*rules, {"output": GOOD}]})
    result = project.run()
    assert (result.status, result.submitted) == ("failed_rows", 8 + 3)
    assert result.rows | {"accepted": 3, "review": 1, "failed": 5, "due": 0, "pending": 0} == result.rows
    found = project.sql("SELECT (key ->> 0)::INTEGER, state, rung, attempts, error FROM ledger.row_state ORDER BY 1")
    assert [row[1] for row in found] == ["failed"] * 5 + ["accepted"] * 3
    assert [row[3] for row in found] == [1, 1, 1, 2, 2, 1, 2, 1]
    errors = ["declined", "declined", "context window was exceeded", "cut off at max_tokens", "label"]
    for row, error in zip(found, errors, strict=False):
        assert error in row[4]
    rooms = project.sql("SELECT key ->> 0, list(max_tokens ORDER BY seq) FROM ledger.requests GROUP BY key")
    assert dict(rooms) | {"4": [40_000, 64_000], "7": [40_000, 64_000]} == dict(rooms)
    assert project.sql("SELECT id, _review FROM demo ORDER BY id") == [(6, True), (7, False), (8, False)]


def test_a_share_of_failures_is_borne(project: Project) -> None:
    project.pipeline(BASIC + "[retry]\nmax_failed = 0.25\n")
    rows = bodies(["bad", "a", "b", "c", "bad2", "d", "bad3"])
    project.faults({"requests": [{"match": "case:bad", "outcome": "errored_invalid"}]})
    project.rows(rows[:4])
    first = project.run()
    assert (first.status, first.rows["failed"]) == ("done", 1)
    project.rows(rows)
    second = project.run()  # two of its three rows; those that failed before do not count
    assert (second.status, second.rows["failed"]) == ("failed_rows", 3)
    assert project.run().status == "done"
    third = project.run(retry_failed=True)
    assert (third.status, third.submitted, third.rows["failed"]) == ("failed_rows", 3, 3)


def test_one_error_on_all_of_twenty_lines_blames_no_row(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(33))
    project.faults(PERMANENT)
    error = stop_of(project)
    assert "all 33 requests" in error.what
    assert "told to refuse this" in error.what
    assert project.sql("SELECT count(*) FROM ledger.decisions") == [(0,)]
    assert "all 20 requests" in stop_of(project).what
    project.faults({})
    result = project.run()
    assert (result.status, result.submitted, result.rows["accepted"]) == ("done", 33, 33)
    assert sizes(project) == [33, 20, 20, 13]


def test_nineteen_lines_with_one_error_are_nineteen_failed_rows(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(19))
    project.faults(PERMANENT)
    result = project.run()
    assert (result.status, result.rows["failed"]) == ("failed_rows", 19)


@pytest.mark.parametrize(
    ("kind", "starved"),
    [
        ("errored_credit", range(31, 53)),
        ("errored_permission", range(31, 53)),
        ("errored_credit", range(1, 23)),
    ],
    ids=["credit", "permission", "a good batch after it"],
)
def test_no_credit_on_any_line_stops_the_run_and_keeps_the_others(project: Project, kind: str, starved: range) -> None:
    project.pipeline(BASIC + "[chunking]\nmax_requests = 30\n")
    project.rows([row | {"body": f"case:{row['id']};"} for row in numbered(55)])
    project.faults({"requests": [{"match": f"case:{n};", "outcome": kind} for n in starved]})
    error = stop_of(project)
    assert "22 requests were turned away" in error.what
    assert project.sql("SELECT state, count(*) FROM ledger.row_state GROUP BY state ORDER BY state") == [
        ("accepted", 33), ("new", 22)
    ]  # fmt: skip
    assert project.plan().rows_by_reason["new"] == 22
    project.faults({})
    result = project.run()
    assert (result.status, result.rows["accepted"], result.submitted) == ("done", 55, 22)
    sent = sizes(project)
    assert (sorted(sent[:2]), sent[2:]) == ([25, 30], [20, 2])  # the first two went up together


def test_a_ladder_that_shrinks_while_a_batch_is_in_flight_still_judges_it(project: Project) -> None:
    project.pipeline(TWO_RUNGS)
    project.rows(bodies(["cut", "invalid", "expired"]))
    told = {"cut": "truncated", "invalid": "invalid_json", "expired": "expired"}
    low, high = "claude-haiku-4-5", "claude-sonnet-4-6"
    rules = [{"match": f"case:{word};", "model": high, "outcome": told[word], "times": 1} for word in told]
    project.faults({"requests": [{"model": low, "outcome": "refused"}, *rules, {"output": GOOD}]})
    while not project.log()["batches"] or project.sql("SELECT count(*) FROM ledger.batches WHERE rung = 2") == [(0,)]:
        project.outcomes(no_wait=True)
    project.faults({"requests": [*rules, {"output": GOOD}]})
    project.pipeline()
    result = project.run()
    assert (result.status, result.rows["accepted"]) == ("done", 3)
    assert project.sql("SELECT DISTINCT _rung FROM demo") == [(1,)]


def test_a_list_that_is_refused_stops_the_run_in_its_own_words(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(2))
    project.faults(
        {"calls": [{"call": "create", "fault": "status:500"}, {"call": "list", "fault": "status:404", "times": 9}]}
    )
    stopped = project.run()
    assert (stopped.status, stopped.submitted) == ("gate", 0)
    assert "has no batch endpoint" in str(stopped.gate)
    project.faults({})
    assert project.run().status == "done"
    assert sizes(project) == [2]
