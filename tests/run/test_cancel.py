"""Tests of `cancel`: it pauses first, asks the provider without an open database, and keeps what is finished."""

from __future__ import annotations

import time
from typing import Any

import pytest
from calls import ask, spawn
from projects import Project, numbered

from batchpipe.commands.cancel import cancel
from batchpipe.commands.status.status import status
from batchpipe.common.errors import UsageError


def in_flight(project: Project, count: int = 10, **rules: Any) -> None:
    """A pipeline with one batch that ends only if it is canceled."""
    project.pipeline()
    project.rows(numbered(count))
    project.faults({"delay_seconds": 3600, **rules})
    project.run(no_wait=True)


def events(project: Project) -> list[str]:
    kinds = "('paused', 'cancel_requested', 'cancel_answered', 'cancel_failed', 'resumed')"
    return [kind for (kind,) in project.sql(f"SELECT kind FROM ledger.events WHERE kind IN {kinds} ORDER BY seq")]


def cancels(project: Project) -> int:
    """Return how often the provider was asked to cancel."""
    return sum(each["path"].endswith("/cancel") for each in project.log()["calls"])


def test_what_is_in_flight_is_canceled_and_what_is_finished_is_kept(project: Project) -> None:
    in_flight(project, 20, finished_before_cancel=0.5)
    printed = ask(project, cancel, ["demo"])
    assert printed.code == 0
    assert "1 batch with 20 requests" in printed.out
    assert "batchpipe run demo --resume" in printed.out
    assert events(project) == ["paused", "cancel_requested", "cancel_answered"]
    assert ask(project, status, ["demo"], as_json=True).value["paused"] is True
    assert "run demo --resume" in ask(project, status, ["demo"]).out
    refused = project.outcomes()[0].result
    assert refused.status == "gate"
    sent = project.requests_sent()
    result = project.run(resume=True, no_new=True)
    ((accepted, kept),) = project.sql("SELECT count(*), count(*) FILTER (_cost_usd > 0) FROM demo")
    assert 0 < accepted < 20
    assert kept == accepted == result.rows["accepted"]
    assert project.requests_sent() == sent
    project.faults({})
    assert project.run().rows["accepted"] == 20
    assert project.requests_sent() == sent + 20 - accepted
    assert events(project)[-1] == "resumed"


def test_the_intent_is_recorded_before_the_call_and_repeating_it_changes_nothing(project: Project) -> None:
    in_flight(project)
    first = ask(project, cancel, ["demo"], as_json=True).value
    assert first["newly_paused"] is True
    assert first["error"] is None
    assert [each["outcome"] for each in first["batches"]] in (["canceling"], ["ended"])
    recorded = project.sql("SELECT count(*) FROM ledger.events")
    asked = cancels(project)
    again = ask(project, cancel, ["demo"], as_json=True)
    assert again.code == 0
    assert again.value["newly_paused"] is False
    assert [each["outcome"] for each in again.value["batches"]] == ["asked_before"]
    assert cancels(project) == asked == 1
    assert project.sql("SELECT count(*) FROM ledger.events") == recorded


def test_with_nothing_in_flight_it_still_pauses_and_needs_no_key(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(2))
    printed = ask(project, cancel, ["demo"], keyless=True)
    assert printed.code == 0
    assert "nothing was in flight" in printed.out
    assert project.outcomes()[0].result.status == "gate"
    assert project.run(resume=True).rows["accepted"] == 2
    assert project.run().status == "done"


@pytest.mark.parametrize("fault", ["status:500", "reset", "status:403"])
def test_a_provider_that_fails_is_exit_3_and_the_next_call_asks_again(project: Project, fault: str) -> None:
    in_flight(project, calls=[{"call": "cancel", "fault": fault}])
    printed = ask(project, cancel, ["demo"], as_json=True)
    assert printed.code == 3
    assert printed.value["error"]["code"] == "provider"
    assert printed.value["batches"][0]["outcome"] == "failed"
    assert events(project) == ["paused", "cancel_requested", "cancel_failed"]
    assert project.sql("SELECT state, cancel_requested_at FROM ledger.batches") == [("in_flight", None)]
    assert project.outcomes()[0].result.status == "gate"
    again = ask(project, cancel, ["demo"])
    assert again.code == 0
    assert "being canceled" in again.out or "already ended" in again.out
    assert events(project)[-2:] == ["cancel_requested", "cancel_answered"]


def test_without_a_key_it_pauses_and_says_what_is_missing(project: Project) -> None:
    in_flight(project)
    printed = ask(project, cancel, ["demo"], keyless=True)
    assert printed.code == 3
    assert "ANTHROPIC_API_KEY" in printed.talk
    assert events(project) == ["paused"]


def test_a_batch_that_ended_meanwhile_is_no_failure(project: Project) -> None:
    in_flight(project)
    project.faults({"delay_seconds": 0})
    context = project.context()
    ((batch_id,),) = project.sql("SELECT batch_id FROM ledger.batches")
    provider = context.providers_of(project.pipeline()).named("anthropic")
    for _ in range(50):
        if provider.poll(batch_id).ended:
            break
        time.sleep(0.02)
    context.close()
    printed = ask(project, cancel, ["demo"], as_json=True)
    assert printed.code == 0
    assert printed.value["batches"][0]["outcome"] == "ended"
    assert project.run(resume=True).rows["accepted"] == 10


def test_a_submit_of_unknown_outcome_is_left_alone(project: Project) -> None:
    in_flight(project, calls=[{"call": "create", "fault": "accepted_then_reset"}])
    printed = ask(project, cancel, ["demo"], as_json=True)
    assert printed.code == 0
    assert printed.value["batches"] == []
    assert printed.value["unsure"] == 1
    assert cancels(project) == 0


def test_a_run_that_waits_sees_the_pause_and_leaves_with_exit_6(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(4))
    project.faults({"delay_seconds": 3600})
    project.settings["poll_interval"] = 0.2
    running = spawn(project, "run", "demo", "--json")
    try:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and running.poll() is None:
            if ask(project, status, ["demo"], as_json=True).value["batches"]:
                break
            time.sleep(0.1)
        assert ask(project, cancel, ["demo"]).code == 0
        out, talk = running.communicate(timeout=60)
    finally:
        running.kill()
    assert running.returncode == 6, (out, talk)
    project.faults({})
    assert project.run(resume=True).rows["accepted"] == 4


def test_it_is_told_what_to_cancel(project: Project) -> None:
    project.pipeline()
    with pytest.raises(UsageError, match="no pipeline is named"):
        ask(project, cancel, [])
