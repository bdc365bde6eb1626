"""Pages name the provider of a model: two providers may have models of one name."""

from __future__ import annotations

import pytest
from projects import BASIC, Project, numbered

from pages.shown import client_of

LADDER = BASIC.replace(
    'model = "claude-haiku-4-5"\nmax_tokens = 200\n',
    'model = "claude-haiku-4-5"\nmax_tokens = 200\nwhen = "amount < 3"\n\n'
    '[[models]]\nmodel = "other:claude-haiku-4-5"\nmax_tokens = 200\n',
)
TABLE = '[providers.other]\nprotocol = "anthropic"\nbase_url = "{url}"\nkey = "${{OTHER_KEY}}"\n'
BOTH = ["claude-haiku-4-5", "other:claude-haiku-4-5"]


def test_every_page_tells_two_providers_of_one_model_apart(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    url = project.emulator.base_url
    more = {"OTHER_KEY": "test-key", "BATCHPIPE_TRUST": f"OTHER_KEY@{url}"}
    monkeypatch.setattr(Project, "environment", project.environment | more)
    (project.root / "batchpipe.toml").write_text(TABLE.format(url=url), encoding="utf-8")
    project.rows(numbered(12))
    project.pipeline(LADDER)
    project.faults({"requests": [{"match": "number 5", "outcome": "refused"}]})
    run = project.run().run_id
    with client_of(project) as client:
        assert sorted(each["model"] for each in client.get("/batches.json").json()) == BOTH
        assert [each["model"] for each in client.get(f"/p/demo/runs/{run}.json").json()["by_model"]] == BOTH
        (failed,) = client.get("/p/demo/rows.json", params={"state": "failed"}).json()["rows"]
        assert failed["model"] == "other:claude-haiku-4-5"
        assert "2 other:claude-haiku-4-5" in client.get("/batches", headers={"hx-request": "true"}).text
