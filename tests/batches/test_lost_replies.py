"""Tests of submits whose reply is lost: the list is believed only whole, from the same account, by its own clock."""

from __future__ import annotations

from typing import Any

import pytest
from projects import Project, numbered

from batchpipe.providers.anthropic import calls

LOST = {"call": "create", "fault": "accepted_then_reset"}
NEVER_MADE = {"call": "create", "fault": "reset"}


@pytest.fixture
def begun(project: Project) -> Project:
    project.settings["reconcile_wait"] = 0.3
    project.pipeline()
    project.rows(numbered(4))
    return project


def finish(project: Project, faults: dict[str, Any]) -> None:
    """Run to the end; every row is accepted."""
    project.faults(faults)
    (found,) = project.outcomes(wait_seconds=180.0)
    assert (found.error, found.result.status, found.result.rows["accepted"]) == (None, "done", 4)


def ours(project: Project) -> int:
    return sum(not batch["stranger"] for batch in project.log()["batches"].values())


@pytest.mark.parametrize("seconds", [-3600, -400, 400, 3600])
@pytest.mark.parametrize("says", [True, False], ids=["says its time", "does not say it"])
def test_a_provider_whose_clock_is_off_is_sent_one_batch(begun: Project, seconds: int, says: bool) -> None:
    finish(begun, {"calls": [LOST], "clock_offset_seconds": seconds, "date_header": says})
    assert ours(begun) == 1
    ((offset,),) = begun.sql("SELECT data ->> 'clock_offset_seconds' FROM ledger.events WHERE kind = 'chunk_prepared'")
    assert (abs(float(offset) - seconds) < 60) if says else offset is None


@pytest.mark.parametrize("order", ["oldest", "shuffled"])
def test_all_pages_are_read_in_whatever_order_they_come(
    begun: Project, order: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "_PAGE", 2)
    for _ in range(5):
        begun.control("stranger", {"requests": 3, "age_seconds": 90_000})
    finish(begun, {"calls": [LOST], "list_order": order})
    assert ours(begun) == 1


def test_batches_of_the_size_made_hours_away_are_looked_into_before_none_is_believed(begun: Project) -> None:
    for age in (7200, 80_000):
        begun.control("stranger", {"requests": 4, "age_seconds": age})
    begun.control("stranger", {"requests": 4, "age_seconds": 100_000})
    finish(begun, {"calls": [NEVER_MADE]})
    assert ours(begun) == 1
    looked = begun.sql("SELECT count(DISTINCT data ->> 'batch_id') FROM ledger.events WHERE kind = 'chunk_presumed'")
    assert looked == [(2,)]
    assert begun.sql("SELECT count(*) FROM ledger.events WHERE kind = 'chunk_trouble'") == [(3,)]


def test_a_list_that_is_never_whole_asks_a_person(begun: Project) -> None:
    begun.settings["reconcile_wait"] = 0.05
    broken = {"call": "list", "fault": "changed", "after": 1, "times": 9999, "changes": {"has_more": None}}
    begun.faults({"calls": [NEVER_MADE, broken]})
    (found,) = begun.outcomes(wait_seconds=180.0)
    assert (found.error, found.result.status) == (None, "gate")
    assert "the list of batches cannot be read whole" in str(found.result.gate)
    finish(begun, {})
    assert ours(begun) == 1


def test_only_a_key_of_the_same_account_is_believed(begun: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {"ANTHROPIC_BASE_URL": begun.emulator.base_url}
    begun.faults({"calls": [LOST], "delay_seconds": 0.2})
    begun.settings["reconcile_wait"] = 3600.0
    made = begun.context

    def with_key(key: str) -> None:
        def context() -> Any:
            found = made()
            found.environment = {**keys, "ANTHROPIC_API_KEY": key}
            return found

        monkeypatch.setattr(begun, "context", context)

    with_key("test-key")
    (found,) = begun.outcomes(no_wait=True)
    assert found.result.status == "pending"
    begun.settings["reconcile_wait"] = 0.0
    with_key("test-key@other")
    for _ in range(4):
        (found,) = begun.outcomes(no_wait=True)
        assert (found.error, found.result.status) == (None, "gate")
        assert "workspace wrkspc_default" in str(found.result.gate)
    # Where replies name no account, another key is another account.
    begun.faults({"account_headers": False})
    with_key("key-nobody-knows")
    (found,) = begun.outcomes(no_wait=True)
    assert found.result.status == "gate"
    # Another key of the account is believed.
    begun.faults({})
    with_key("second-key")
    (found,) = begun.outcomes()
    assert (found.error, found.result.status, found.result.rows["accepted"]) == (None, "done", 4)
    assert ours(begun) == 1
