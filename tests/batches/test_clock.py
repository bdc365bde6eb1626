"""Tests with a clock that passes days within seconds: expiry, late results, and results that are gone."""

from __future__ import annotations

from datetime import timedelta

import pytest
from clocked import Clock
from projects import BASIC, Project, numbered

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
FOREVER = {"delay_seconds": 1e9}


@pytest.fixture
def clock(project: Project) -> Clock:
    project.pipeline()
    project.rows(numbered(12))
    return Clock(project=project)


def submit(clock: Clock) -> None:
    outcome = clock.run(no_wait=True)
    assert (outcome.error, outcome.result.status, outcome.result.submitted) == (None, "pending", 12)


def said(project: Project, words: str) -> int:
    return sum(words in each for each in project.said)


def test_what_an_expired_batch_had_finished_is_kept(project: Project, clock: Clock) -> None:
    project.faults({"delay_seconds": 1e9, "finished_before_expiry": 0.5})
    submit(clock)
    clock.advance(24 * HOUR - timedelta(minutes=50))
    clock.step = 300.0
    project.said.clear()
    outcome = clock.run(wait=2 * HOUR)
    assert said(project, "warning: msgbatch") == 1
    assert said(project, " expires at ") == 1
    (first, *later) = project.log()["batches"].values()
    finished = first["request_counts"]["succeeded"]
    assert 0 < finished < 12
    assert outcome.result.rows["accepted"] == finished
    assert project.sql("SELECT count(*) FROM demo") == [(finished,)]
    # Only what had not been finished is sent again.
    assert [batch["total"] for batch in later] == [12 - finished]
    project.faults({})
    outcome = clock.run()
    assert (outcome.result.status, outcome.result.rows["accepted"]) == ("done", 12)
    assert project.requests_sent() == 12 + 12 - finished


def test_a_batch_of_yesterday_is_collected_without_a_warning(project: Project, clock: Clock) -> None:
    submit(clock)
    clock.advance(20 * HOUR)
    outcome = clock.run()
    assert (outcome.result.status, outcome.result.submitted, outcome.result.rows["accepted"]) == ("done", 0, 12)
    assert said(project, "warning:") == 0


def test_results_that_are_gone_are_said_with_the_time_that_their_provider_keeps_them(
    project: Project, clock: Clock
) -> None:
    submit(clock)
    project.pipeline(BASIC.replace("claude-haiku-4-5", "openai:gpt-6-luna"))
    clock.advance(31 * DAY)
    clock.run()
    assert said(project, "(it keeps them for 29 days)") == 1
    submitted = len(project.said)
    project.rows(numbered(14))
    assert clock.run(no_wait=True).error is None
    clock.advance(31 * DAY)
    project.faults({"calls": [{"call": "results", "fault": "status:404", "protocol": "openai", "times": 9}]})
    clock.run(wait=2 * HOUR)
    assert "(it keeps them for 30 days)" in " ".join(project.said[submitted:])


def test_results_are_collected_on_day_28(project: Project, clock: Clock) -> None:
    submit(clock)
    clock.advance(28 * DAY)
    outcome = clock.run()
    assert (outcome.error, outcome.result.status, outcome.result.submitted) == (None, "done", 0)
    assert outcome.result.rows["accepted"] + said(project, "expired") >= 12
    assert project.requests_sent() == 12
    assert said(project, "are kept until") == 1


def test_results_gone_on_day_30_are_due_again(project: Project, clock: Clock) -> None:
    submit(clock)
    clock.advance(30 * DAY)
    outcome = clock.run()
    assert said(project, "(it keeps them for 29 days); its rows are due again") == 1
    assert (outcome.error, outcome.result.status, outcome.result.submitted) == (None, "done", 12)
    assert outcome.result.rows["accepted"] == 12
    assert project.sql("SELECT state FROM ledger.batches ORDER BY prepared_at") == [("gone",), ("collected",)]


def test_results_that_were_saved_in_time_are_used_when_the_provider_has_none(project: Project, clock: Clock) -> None:
    submit(clock)
    (batch_id,) = project.log()["batches"]
    (chunk_id,) = project.sql("SELECT chunk_id::VARCHAR FROM ledger.batches")[0]
    for _ in range(2):
        fetch(project, f"/v1/messages/batches/{batch_id}")
    raw = project.root / ".batchpipe" / "raw" / f"{chunk_id}.jsonl"
    raw.write_bytes(fetch(project, f"/v1/messages/batches/{batch_id}/results"))
    clock.advance(30 * DAY)
    outcome = clock.run()
    assert (outcome.error, outcome.result.status, outcome.result.submitted) == (None, "done", 0)
    assert outcome.result.rows["accepted"] == 12
    assert project.requests_sent() == 12


def fetch(project: Project, path: str) -> bytes:
    """Return the reply of the provider's API for `path`."""
    import urllib.request

    headers = {"x-api-key": "test-key", "anthropic-version": "2023-06-01"}
    request = urllib.request.Request(f"{project.emulator.base_url}{path}", headers=headers)
    with urllib.request.urlopen(request) as answer:
        found: bytes = answer.read()
    return found


def test_a_post_that_lands_minutes_after_our_time_out_is_found(project: Project, clock: Clock) -> None:
    later = {"call": "create", "fault": "landed_later", "seconds": 480, "answer": "reset"}
    project.faults({"calls": [later]})
    outcome = clock.run()
    assert (outcome.error, outcome.result.status, outcome.result.rows["accepted"]) == (None, "done", 12)
    assert project.requests_sent() == 12


def test_nothing_is_believed_lost_before_the_wait_is_over(project: Project, clock: Clock) -> None:
    project.faults({"calls": [{"call": "create", "fault": "reset"}]})
    begun = clock.now()
    outcome = clock.run(wait=timedelta(seconds=500))
    assert outcome.result.status == "pending"
    assert project.requests_sent() == 0
    assert project.sql("SELECT state FROM ledger.batches") == [("held",)]
    outcome = clock.run()
    assert (outcome.result.status, outcome.result.rows["accepted"]) == ("done", 12)
    assert project.requests_sent() == 12
    (sent_at,) = project.sql("SELECT max(prepared_at) FROM ledger.batches")[0]
    assert sent_at - begun >= timedelta(seconds=600)


def test_a_batch_that_may_be_ours_and_is_gone_waits_for_a_person(project: Project, clock: Clock) -> None:
    project.faults({"calls": [{"call": "create", "fault": "accepted_then_reset"}]})
    assert clock.run(wait=timedelta(seconds=1)).result.status == "pending"
    clock.advance(30 * DAY)
    for _ in range(2):
        outcome = clock.run()
        assert (outcome.error, outcome.result.status) == (None, "gate")
        assert outcome.result.gate is not None
        assert "whose results are gone" in outcome.result.gate
        assert project.requests_sent() == 12
    # The rest goes on.
    project.rows(numbered(15))
    outcome = clock.run()
    assert (outcome.result.status, outcome.result.submitted, outcome.result.rows["accepted"]) == ("gate", 3, 3)
    assert outcome.result.rows["pending"] == 12


def test_a_404_that_lasts_stops_the_run_and_names_workspace_and_key(project: Project, clock: Clock) -> None:
    submit(clock)
    outcome = clock.run(key="test-key@other")
    assert outcome.error is not None
    assert outcome.error.exit_code == 3
    (key_hash,) = project.sql("SELECT key_hash FROM ledger.batches")[0]
    assert outcome.error.where == f"workspace wrkspc_default, key {key_hash}"
    assert outcome.result.rows["pending"] == 12
    assert project.requests_sent() == 12
    outcome = clock.run()
    assert (outcome.error, outcome.result.status, outcome.result.rows["accepted"]) == (None, "done", 12)
    assert project.requests_sent() == 12


def test_a_404_that_lasts_from_one_cron_call_to_the_next_stops_them_too(project: Project, clock: Clock) -> None:
    submit(clock)
    first = clock.run(key="test-key@other", no_wait=True)
    assert (first.error, first.result.status, first.result.rows["pending"]) == (None, "pending", 12)
    clock.advance(timedelta(minutes=15))
    second = clock.run(key="test-key@other", no_wait=True)
    assert second.error is not None
    assert second.error.exit_code == 3
    # The right key finds it again, and a 404 after that begins anew.
    third = clock.run()
    assert (third.error, third.result.rows["accepted"]) == (None, 12)
    assert project.sql("SELECT missing_since FROM ledger.batches") == [(None,)]
    assert project.requests_sent() == 12


def test_a_404_for_a_while_after_the_create_is_waited_out(project: Project, clock: Clock) -> None:
    project.faults({"calls": [{"call": "retrieve", "fault": "status:404", "times": 5},
                              {"call": "results", "fault": "status:404", "times": 5}]})  # fmt: skip
    outcome = clock.run()
    assert (outcome.error, outcome.result.status, outcome.result.rows["accepted"]) == (None, "done", 12)
    assert project.requests_sent() == 12


def test_two_orphans_and_a_stranger_of_one_size(project: Project, clock: Clock) -> None:
    project.pipeline(BASIC + "[chunking]\nmax_requests = 1\nmax_in_flight = 4\n")
    project.rows(numbered(4))
    lost = [{"call": "create", "fault": fault, "after": number}
            for number, fault in enumerate(("accepted_then_reset", "reset", "accepted_then_empty"))]  # fmt: skip
    project.faults({"calls": lost})
    project.control("stranger", {"requests": 1})
    outcome = clock.run()
    assert (outcome.error, outcome.result.status, outcome.result.rows["accepted"]) == (None, "done", 4)
    ours = [batch for batch in project.log()["batches"].values() if not batch["stranger"]]
    assert sorted(each["params_md5"] for batch in ours for each in batch["requests"]) == sorted(
        {each["params_md5"] for batch in ours for each in batch["requests"]}
    )
