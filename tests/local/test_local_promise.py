"""When a version of the local model may answer: the test on gold, audits, drift, a changed schema."""

from __future__ import annotations

from pathlib import Path

import pytest
from local_project import PIPELINE, LocalProject, body_of

GOLD = '\n[eval]\ngold = "gold.csv"\n'


def gold(project: LocalProject, numbers: range) -> None:
    """Write gold for the messages of `numbers`."""
    lines = ["id,body,label", *(f"{number},{body_of(number)[0]},{body_of(number)[1]}" for number in numbers)]
    (project.root / "gold.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.mark.parametrize(("target", "passes"), [(0.8, True), (0.999, False)])
def test_with_gold_a_version_answers_once_it_has_passed(tmp_path: Path, target: float, passes: bool) -> None:
    project = LocalProject(tmp_path, PIPELINE.replace("audit = 0.1", f"audit = 0.1\ntarget = {target}") + GOLD)
    gold(project, range(1000, 1200))
    project.rows(range(300))
    project.command("run", "triage", "--yes")
    project.rows(range(300, 400))
    planned = project.json("plan", "triage")["local"]
    ran = project.json("run", "triage", "--yes")["local"]
    assert planned["says"] == ran["says"]
    assert (ran["answered"] > 0) == passes
    assert ("promised: at least 80.0%" if passes else "local:v1 did not pass the test of 99.9%") in ran["says"]
    tests = project.query("SELECT data ->> 'number', data ->> 'passed' FROM ledger.events WHERE kind = 'local_tested'")
    assert tests == [("1", str(passes).lower())]
    project.rows(range(400, 410))
    project.command("run", "triage", "--yes")
    tests = project.query("SELECT count(*) FROM ledger.events WHERE kind = 'local_tested'")
    assert tests == [(1 if passes else 2,)]  # a version that did not pass learns from the rows that went up


def test_gold_and_the_review_sample_never_teach(tmp_path: Path) -> None:
    project = LocalProject(tmp_path, PIPELINE + GOLD + "[review]\nsample = 0.2\n")
    gold(project, range(100))
    project.rows(range(300))
    project.command("run", "triage", "--yes")
    project.rows(range(300, 310))
    project.command("run", "triage", "--yes")
    [(answers, trained_on)] = project.query("SELECT answers, trained_on FROM ledger.local_models")
    assert answers == trained_on
    assert 130 < answers < 190


def test_audited_rows_go_up_and_their_upper_answer_stands(tmp_path: Path) -> None:
    project = LocalProject(tmp_path, PIPELINE.replace("audit = 0.1", "audit = 0.5"))
    project.rows(range(300))
    project.command("run", "triage", "--yes")
    project.rows(range(300, 400))
    planned = project.json("plan", "triage")["local"]
    project.command("run", "triage", "--yes")
    audited = project.query("SELECT count(*) FROM ledger.local_answers WHERE custom_id IS NULL")[0][0]
    assert audited == planned["audited"] > 20
    stands = project.query(
        "SELECT count(*), min(_rung) FROM triage WHERE json_array(id::VARCHAR)::VARCHAR IN ("
        "SELECT key FROM ledger.row_state JOIN ledger.local_answers a USING (key_id) WHERE a.custom_id IS NULL)"
    )
    assert stands == [(audited, 1)]


def test_a_version_that_drifts_is_set_aside_and_status_names_what_to_redo(tmp_path: Path) -> None:
    project = LocalProject(tmp_path, PIPELINE.replace("audit = 0.1", "audit = 0.5"))
    project.rows(range(300))
    project.command("run", "triage", "--yes")
    project.turned = True
    project.rows(range(300, 380))
    project.command("run", "triage", "--yes")
    standing = project.query("SELECT count(*) FROM triage WHERE _model = 'local:v1'")[0][0]
    project.rows(range(380, 382))
    said = project.json("run", "triage", "--yes")["local"]["says"]
    assert project.query("SELECT data ->> 'version' FROM ledger.events WHERE kind = 'local_set_aside'") == [("1",)]
    status = project.command("status", "triage").stdout
    assert f"{standing} rows" in status
    assert "run triage --redo local:v1" in status
    assert said
    project.rows(range(300, 382))
    assert project.json("plan", "triage", "--redo", "local:v1")["requests"] == standing


def test_another_list_of_values_retires_the_model(tmp_path: Path) -> None:
    project = LocalProject(tmp_path)
    project.rows(range(300))
    project.command("run", "triage", "--yes")
    project.rows(range(300, 310))
    project.command("run", "triage", "--yes")
    project.write(PIPELINE.replace('"praise"]', '"praise", "other"]') + "[rerun]\nschema_changed = false\n")
    project.rows(range(310, 320))
    project.command("run", "triage", "--yes")
    assert project.query("SELECT version FROM ledger.local_models ORDER BY seq") == [(1,), (2,)]
    assert project.query("SELECT count(DISTINCT shape) FROM ledger.local_models") == [(2,)]
