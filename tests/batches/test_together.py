"""Tests that batches which ended together are collected together, or one by one if one of them needs it."""

from __future__ import annotations

import time
from typing import Any

import pytest
from projects import BASIC, Project, numbered

CHUNKS = BASIC + "[chunking]\nmax_requests = 5\nmax_in_flight = 4\n"
ROWS = 14
BATCHES = 4


def sent(project: Project, *requests: dict[str, Any]) -> Project:
    """Send four batches of different sizes in one call; they have ended before the next call."""
    project.pipeline(CHUNKS)
    project.rows(numbered(ROWS))
    if requests:
        project.faults({"requests": requests})
    assert project.run(no_wait=True).submitted == ROWS
    return project


@pytest.fixture
def ended(project: Project) -> Project:
    return sent(project)


def commits(project: Project) -> list[int]:
    """Return the number of batches in each commit of results, in order."""
    statement = "SELECT count(DISTINCT chunk_id) FROM ledger.results GROUP BY seq ORDER BY seq"
    return [count for (count,) in project.sql(statement)]


def answered(project: Project) -> int:
    ((rows, labels),) = project.sql("SELECT count(*), count(label) FROM demo")
    assert rows == labels
    return int(rows)


def test_batches_that_ended_together_are_one_commit(ended: Project) -> None:
    result = ended.run()
    assert (result.status, result.rows["accepted"], answered(ended)) == ("done", ROWS, ROWS)
    assert commits(ended) == [BATCHES]
    facts = "SELECT count(*), count(DISTINCT chunk_id) FROM ledger.events WHERE kind = 'batch_collected'"
    assert ended.sql(facts) == [(BATCHES, BATCHES)]
    stored = "SELECT count(*) FROM ledger.results JOIN ledger.batches USING (chunk_id, batch_id)"
    assert ended.sql(stored) == [(ROWS,)]


def test_what_each_batch_came_to_is_told_for_itself(ended: Project) -> None:
    ended.run()
    sizes = "SELECT chunk_id, count(*) FROM ledger.results GROUP BY ALL"
    counts = "(data -> 'states' ->> 'accepted')::INTEGER"
    told = f"SELECT chunk_id, {counts} FROM ledger.events WHERE kind = 'batch_collected'"
    assert sorted(map(str, ended.sql(sizes))) == sorted(map(str, ended.sql(told)))


@pytest.mark.parametrize("fault", ["missing_line", "doubled_line", "foreign_line", "bad_json_line"])
def test_a_file_that_is_out_of_the_ordinary_costs_the_others_nothing(ended: Project, fault: str) -> None:
    ended.faults({"calls": [{"call": "results", "fault": fault, "times": 1}]})
    result = ended.run()
    assert (result.status, result.rows["accepted"], answered(ended)) == ("done", ROWS, ROWS)
    assert (result.submitted, commits(ended)) == (0, [1] * BATCHES)
    assert ended.requests_sent() == ROWS


def test_an_answer_counts_whatever_error_stands_before_it(ended: Project) -> None:
    ended.faults({"calls": [{"call": "results", "fault": "differing_double", "times": 99}]})
    result = ended.run()
    assert (result.status, result.rows["accepted"], answered(ended), result.submitted) == ("done", ROWS, ROWS, 0)
    assert ended.sql("SELECT count(*) FROM ledger.results WHERE outcome <> 'answered' OR cost_usd <= 0") == [(0,)]


def test_a_file_that_is_not_whole_yet_is_waited_for(ended: Project) -> None:
    ended.faults({"calls": [{"call": "results", "fault": "missing_line", "times": 12}]})
    result = ended.run()
    assert (result.status, result.rows["accepted"], answered(ended), result.submitted) == ("done", ROWS, ROWS, 0)
    assert [each for each in ended.said if "answers that the batch counts" in each]


def test_the_wait_for_a_whole_file_ends(ended: Project) -> None:
    ended.settings["reconcile_wait"] = 0.1
    ended.faults({"calls": [{"call": "results", "fault": "missing_line", "times": 9999}]})
    ended.run(no_wait=True)
    for _ in range(5):
        time.sleep(0.2)
        ended.run(no_wait=True)
    missing = "SELECT count(*) FROM ledger.results WHERE outcome = 'missing'"
    assert ended.sql(missing) == [(BATCHES,)]


def test_an_answer_that_is_not_valid_is_no_reason_to_go_one_by_one(project: Project) -> None:
    result = sent(project, {"match": "number 3", "outcome": "wrong_enum", "times": 1}).run()
    assert (result.status, result.submitted, answered(project)) == ("done", 1, ROWS)
    assert commits(project) == [BATCHES, 1]


def test_a_request_that_failed_for_good_is_looked_at_with_its_batch_alone(project: Project) -> None:
    result = sent(project, {"match": "number 3", "outcome": "errored_invalid", "times": 1}).run()
    assert (result.status, result.rows["failed"], answered(project)) == ("failed_rows", 1, ROWS - 1)
    assert commits(project) == [1] * BATCHES
