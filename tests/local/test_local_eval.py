"""The local rung in evaluations: a line of its own, and a rung that `--tune` may choose."""

from __future__ import annotations

from pathlib import Path

import pytest
from local_project import PIPELINE, LocalProject, body_of

GOLD = '\n[eval]\ngold = "gold.csv"\n'
LADDER = PIPELINE.replace("max_tokens = 200\n", 'max_tokens = 200\naccept = "confidence >= 0.8"\n') + (
    '\n[[models]]\nmodel = "claude-opus-4-8"\nmax_tokens = 200\n'
)


@pytest.fixture
def project(tmp_path: Path) -> LocalProject:
    """A project with 300 answered rows, and gold for 60 of them and for 140 others."""
    project = LocalProject(tmp_path, LADDER)
    project.rows([*range(300), *range(1000, 1140)])
    project.rows(range(300))
    project.command("run", "triage", "--yes")
    project.rows(range(300, 320))
    project.command("run", "triage", "--yes")
    lines = [f"{number},{body_of(number)[0]},{body_of(number)[1]}" for number in [*range(60), *range(1000, 1140)]]
    (tmp_path / "gold.csv").write_text("\n".join(["id,body,label", *lines]) + "\n", encoding="utf-8")
    project.write(LADDER + GOLD)
    return project


def test_an_evaluation_has_a_line_for_a_model_that_has_not_seen_the_gold_rows(project: LocalProject) -> None:
    found = project.json("eval", "triage", "--yes", "--models", "all")
    local, *models = found["models"]
    assert (local["model"], local["rung"], local["n"], local["cost_usd"]) == ("local", 0, 200, 0)
    assert local["fields"]["label"]["accuracy"] > 0.9
    assert [each["rung"] for each in models] == [1, 2]
    assert found["ladder"]["model"] == "local > claude-haiku-4-5 > claude-opus-4-8"
    assert found["ladder"]["cost_usd"] < models[0]["cost_usd"]
    # Version 1 was trained on rows that are gold now: the line is that of another one, which is not recorded.
    assert project.query("SELECT version FROM ledger.local_models") == [(1,)]
    text = project.command("eval", "triage", "--yes", "--models", "all").stdout
    assert any(line.split()[:2] == ["local", "0"] for line in text.splitlines())


def test_tuning_chooses_among_ladders_with_the_local_rung(project: LocalProject) -> None:
    found = project.json("eval", "triage", "--yes", "--tune", "--target", "0.9")
    assert found["promise"]["given"]
    assert found["tuned"][0]["model"] == "local"
    assert found["tuned"][0]["rung"] == 0
    assert found["expected"]["usd_per_1000"] < 0.05
    text = project.command("eval", "triage", "--yes", "--tune", "--target", "0.9").stdout
    accept = f'[[models]]\nmodel = "local"\naccept = "{found["tuned"][0]["accept"]}"\naudit = 0.1\ntarget = 0.9\n'
    assert accept in text
    project.write(LADDER.replace('"_confidence >= 0.6"', f'"{found["tuned"][0]["accept"]}"\ntarget = 0.9') + GOLD)
    project.rows([*range(60), *range(2000, 2040)])
    ran = project.json("run", "triage", "--yes")["local"]
    assert "promised: at least 90.0%" in ran["says"]
    assert ran["answered"] > 20
    with (project.root / "gold.csv").open("a", encoding="utf-8") as gold:
        gold.writelines(f"{number},{body_of(number)[0]},{body_of(number)[1]}\n" for number in range(2000, 2040))
    [week] = project.json("report", "triage")["weeks"]
    assert week["by_rung"]["0"] == week["local_rows"] >= 20
    assert week["usd_per_1000_right"] >= week["usd_per_1000_rows"]


def test_rows_bought_to_compare_teach_the_compared_model_nothing(project: LocalProject) -> None:
    project.write(LADDER)
    project.rows(range(300))
    found = project.json(
        *("eval", "triage", "--yes", "--tune", "--as-good-as", "claude-opus-4-8"),
        *("--target", "0.9", "--labels", "100"),
    )
    assert found["models"][0]["model"] == "local"
    assert found["models"][0]["n"] == 100
    assert found["promise"]["given"]


def test_before_there_is_a_model_the_evaluation_has_no_line_for_it(tmp_path: Path) -> None:
    project = LocalProject(tmp_path, LADDER + GOLD)
    project.rows(range(30))
    lines = [f"{number},{body_of(number)[0]},{body_of(number)[1]}" for number in range(30)]
    (tmp_path / "gold.csv").write_text("\n".join(["id,body,label", *lines]) + "\n", encoding="utf-8")
    found = project.json("eval", "triage", "--yes")
    assert [each["rung"] for each in found["models"]] == [1]
