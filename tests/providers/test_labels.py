"""Tests of runs with providers that keep labels: creates whose reply is lost, and refusals that are somebody else's."""

from __future__ import annotations

from typing import Any

import pytest
from projects import BASIC, Project, numbered

from batchpipe.common.errors import ProviderError
from batchpipe.engine.waits.accounts import Intent
from batchpipe.providers.gemini import calls as gemini_calls
from batchpipe.providers.openai import calls as openai_calls

MODELS = {"openai": "openai:gpt-6-luna", "gemini": "gemini:gemini-3.8-flash"}
Named = tuple[str | None, str | None, str]
LOST = {"call": "create", "fault": "accepted_then_reset"}


@pytest.fixture(params=MODELS)
def begun(request: pytest.FixtureRequest, project: Project) -> Project:
    project.settings["reconcile_wait"] = 0.2
    project.pipeline(BASIC.replace("claude-haiku-4-5", MODELS[request.param]))
    project.rows(numbered(4))
    return project


def ours(project: Project) -> int:
    return sum(not batch["stranger"] for batch in project.log()["batches"].values())


@pytest.mark.parametrize(("seconds", "says"), [(-90_000, True), (-400, False), (400, True), (90_000, False)])
def test_a_provider_whose_clock_is_off_is_sent_one_batch(
    begun: Project, seconds: int, says: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its list lags, and has many pages with batches of the same size."""
    for module in (openai_calls, gemini_calls):
        monkeypatch.setattr(module, "_PAGE", 2)
    for age in (0, 90, 400, 90_000, 200_000):
        begun.control("stranger", {"requests": 4, "age_seconds": age})
    lag = {"call": "list", "fault": "list_lag", "seconds": 0.1, "times": 2}
    faults: dict[str, Any] = {"calls": [LOST, lag], "clock_offset_seconds": seconds, "date_header": says}
    begun.faults({**faults, "list_order": "shuffled"})
    (found,) = begun.outcomes(wait_seconds=60.0)
    assert (found.error, found.result.status, found.result.rows["accepted"]) == (None, "done", 4)
    assert ours(begun) == 1


@pytest.mark.parametrize("label", ["upper", "cut", None])
def test_a_list_that_changes_or_drops_labels_is_sent_one_batch(begun: Project, label: str | None) -> None:
    """Neither does it name the input; then the size and the time tell, and the custom ids decide."""
    begun.control("stranger", {"requests": 4, "age_seconds": 90_000})
    begun.faults({"calls": [LOST, {"call": "list", "fault": "status:503", "times": 9999}]})
    begun.settings["reconcile_wait"] = 3600.0
    (found,) = begun.outcomes(no_wait=True)
    assert found.result.status == "pending"
    ((chunk,),) = begun.sql("SELECT chunk_id::VARCHAR FROM ledger.batches WHERE state = 'held'")
    shown = {"upper": f"BATCHPIPE-{chunk.upper()}", "cut": f"batchpipe-{chunk[:24]}", None: None}[label]
    drops = {
        "changes": {"data.*.metadata": {"batchpipe": shown}, "operations.*.metadata.displayName": shown},
        "removes": ["data.*.input_file_id", "operations.*.metadata.inputConfig"],
    }
    begun.settings["reconcile_wait"] = 0.2
    begun.faults({"calls": [{"call": "list", "fault": "changed", "times": 9999, **drops}]})
    (found,) = begun.outcomes(wait_seconds=60.0)
    assert (found.error, found.result.status, found.result.rows["accepted"]) == (None, "done", 4)
    assert ours(begun) == 1


def test_only_a_key_of_the_same_account_is_believed(begun: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    made = begun.context
    keys = ("OPENAI_API_KEY", "GEMINI_API_KEY")

    def with_key(key: str) -> None:
        def context() -> Any:
            found = made()
            found.environment = {**begun.environment, **dict.fromkeys(keys, key)}
            return found

        monkeypatch.setattr(begun, "context", context)

    begun.faults({"calls": [LOST, {"call": "list", "fault": "status:503", "after": 1, "times": 9999}]})
    begun.settings["reconcile_wait"] = 3600.0
    with_key("test-key")
    (found,) = begun.outcomes(no_wait=True)
    assert found.result.status == "pending"
    begun.faults({"delay_seconds": 0.1})
    begun.settings["reconcile_wait"] = 0.0
    with_key("test-key@other")
    for _ in range(4):
        (found,) = begun.outcomes(no_wait=True)
        assert (found.error, found.result.status) == (None, "gate")
    assert ours(begun) == 1
    with_key("test-key")
    (found,) = begun.outcomes()
    assert (found.error, found.result.status, found.result.rows["accepted"]) == (None, "done", 4)
    assert ours(begun) == 1


@pytest.mark.parametrize(
    ("mine", "theirs", "same"),
    [
        (("org", "space", "key"), ("org", "space", "other"), True),
        (("org", "space", "key"), ("org", "other", "key"), False),
        (("org", None, "key"), ("org", None, "other"), False),
        (("org", None, "key"), ("org", None, "key"), True),
        (("org", "space", "key"), ("org", None, "other"), False),
        (("org", None, "key"), ("other", None, "key"), False),
        ((None, "space", "key"), ("org", "space", "other"), True),
        ((None, None, "key"), (None, None, "other"), False),
        ((None, None, "key"), (None, None, "key"), True),
    ],
)
def test_an_account_is_an_organization_and_a_workspace(mine: Named, theirs: Named, same: bool) -> None:
    """An organisation has several projects, and each of them a list of its own."""
    made = [Intent(base_url="u", organization=a, workspace=b, key_hash=c) for a, b, c in (mine, theirs)]
    assert made[0].is_account_of(made[1]) == made[1].is_account_of(made[0]) == same


@pytest.mark.parametrize("fault", ["redirect", "status_html:400", "status:400"])
def test_an_upload_that_is_refused_stops_the_run_and_fails_no_row(begun: Project, fault: str) -> None:
    """Lines are looked at after the create: what refuses a whole file says nothing of a row."""
    begun.faults({"calls": [{"call": "upload", "fault": fault, "times": 9999}]})
    (found,) = begun.outcomes()
    assert isinstance(found.error, ProviderError)
    assert begun.sql("SELECT state, count(*) FROM ledger.row_state GROUP BY ALL") == [("new", 4)]
    assert "between you and the provider" in str(found.error.hint)
    begun.faults({})
    (found,) = begun.outcomes()
    assert (found.error, found.result.status, found.result.rows["accepted"]) == (None, "done", 4)


@pytest.mark.parametrize("fault", ["redirect", "status_html:400"])
def test_a_realtime_call_that_somebody_else_refuses_stops_the_run_and_fails_no_row(begun: Project, fault: str) -> None:
    path = begun.root / "pipelines" / "demo.toml"
    path.write_text(path.read_text(encoding="utf-8") + 'mode = "realtime"\n', encoding="utf-8")
    begun.faults({"calls": [{"call": "message", "fault": fault, "times": 9999}]})
    (found,) = begun.outcomes()
    assert isinstance(found.error, ProviderError)
    assert begun.sql("SELECT DISTINCT state FROM ledger.row_state") == [("new",)]
    begun.faults({})
    (found,) = begun.outcomes()
    assert (found.error, found.result.status, found.result.rows["accepted"]) == (None, "done", 4)
    assert begun.sql("SELECT count(*) FROM ledger.events WHERE kind = 'cost_booked'") == [(0,)]
