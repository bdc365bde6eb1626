"""The list of failed rows and the counts of rows by state: as the ledger's own view of rows has them, also while
failed rows are on their way again, and after a pipeline was renamed.
"""

from __future__ import annotations

from typing import Any

from projects import BASIC, Project, numbered
from starlette.testclient import TestClient

from pages.shown import client_of

BY_STATE = "SELECT state, count(*) FROM ledger.row_state WHERE pipeline IN ({names}) GROUP BY ALL"


def failed(client: TestClient, name: str = "demo", **query: Any) -> dict[str, Any]:
    found: dict[str, Any] = client.get(f"/p/{name}/rows.json", params={"state": "failed", **query}).json()
    return found


def keys(found: dict[str, Any]) -> list[str]:
    return [key for (key,) in (each["key"] for each in found["rows"])]


def states(client: TestClient, name: str = "demo") -> dict[str, int]:
    (found,) = (each for each in client.get("/.json").json() if each["pipeline"] == name)
    return {state: number for state, number in found["rows"].items() if number and state != "review"}


def test_failed_rows_leave_the_list_as_soon_as_they_are_asked_again(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(12))
    project.faults({"requests": [{"match": f"text number 1{n}", "outcome": "refused"} for n in "012"]})
    project.run()
    with client_of(project) as client:
        found = failed(client)
        assert (found["matching"], keys(found)) == (3, ["10", "11", "12"])
        ((error, number),) = ((each["error"], each["rows"]) for each in found["by_error"])
        assert (number, keys(failed(client, error=error))) == (3, ["10", "11", "12"])
        assert (failed(client, error="another")["matching"], keys(failed(client, error="another"))) == (0, [])
        assert keys(failed(client, limit=1, offset=1)) == ["11"]
        assert states(client) == {"accepted": 9, "failed": 3} == dict(project.sql(BY_STATE.format(names="'demo'")))
    project.faults({})
    (outcome,) = project.outcomes(no_wait=True, retry_failed=True, where="input.id > 10")
    assert outcome.result.submitted == 2
    with client_of(project) as client:
        assert keys(failed(client)) == ["10"]
        expected = {"accepted": 9, "failed": 1, "pending": 2}
        assert states(client) == expected == dict(project.sql(BY_STATE.format(names="'demo'")))
    project.run()
    (project.root / "pipelines" / "demo.toml").unlink()
    project.pipeline('name = "later"\nrenamed_from = "demo"\n' + BASIC, "later")
    project.run("later")
    with client_of(project) as client:
        assert keys(failed(client, "later")) == ["10"]
        assert states(client, "later") == {"accepted": 11, "failed": 1}
    project.run("later", retry_failed=True)
    with client_of(project) as client:
        assert keys(failed(client, "later")) == []
        assert states(client, "later") == {"accepted": 12}
    assert project.sql("SELECT count(*) FROM ledger.decisions WHERE pipeline = 'later'") == [(1,)]
