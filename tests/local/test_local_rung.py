"""The local rung end to end, by the real commands on the emulator."""

from __future__ import annotations

import re
from pathlib import Path

from local_project import LABELS, PIPELINE, WITHOUT, LocalProject, body_of


def test_rows_are_answered_once_there_is_something_to_learn_from(tmp_path: Path) -> None:
    project = LocalProject(tmp_path)
    project.rows(range(300))
    first = project.json("run", "triage", "--yes")
    assert (first["submitted"], first["rows"]["accepted"]) == (300, 300)

    project.rows(range(300, 500))
    planned = project.json("plan", "triage")
    second = project.json("run", "triage", "--yes")

    answered = project.query("SELECT count(*) FROM triage WHERE _rung = 0")[0][0]
    assert 100 < answered < 200
    assert second["submitted"] == planned["requests"] == 200 - answered
    assert planned["due"] == 200
    assert second["rows"]["accepted"] == 200
    [week] = project.json("report", "triage")["weeks"]
    assert (week["rows"], week["local_rows"]) == (500, answered)
    assert week["by_rung"] == {"0": answered, "1": 500 - answered}
    assert week["usd_per_1000_right"] is None  # nothing says what is right
    assert "by the local model" in project.command("report", "triage").stdout
    facts = project.query("SELECT DISTINCT _model, _batch_id, _cost_usd FROM triage WHERE _rung = 0")
    assert facts == [("local:v1", None, 0)]


def test_all_that_follows(tmp_path: Path) -> None:
    project = LocalProject(tmp_path)
    project.rows(range(300))
    project.command("run", "triage", "--yes")
    project.rows(range(300, 500))
    project.command("run", "triage", "--yes")
    answered = project.query("SELECT count(*) FROM triage WHERE _rung = 0")[0][0]
    assert project.query("SELECT count(_confidence) FROM triage") == [(answered,)]
    again = project.json("run", "triage", "--yes")
    assert (again["submitted"], again["local"]["answered"]) == (0, 0)
    assert project.json("plan", "triage", "--redo", "model")["due"] == 0
    assert project.json("plan", "triage", "--redo", "local")["requests"] == answered
    assert project.json("plan", "triage", "--redo", "local:v1")["requests"] == answered
    for command in ("plan", "run"):
        refused = project.command(command, "triage", "--redo", "local:v99", code=2).stderr
        assert "there is no version 'local:v99' of the local model" in refused
        assert "There is local:v1." in refused
    assert project.json("plan", "triage", "--redo", "all")["requests"] == 200
    assert project.json("plan", "triage", "--redo", "accept")["requests"] == 0
    project.write(PIPELINE.replace("_confidence >= 0.6", "_confidence >= 0.6 AND label <> 'bug'"))
    bugs = project.query("SELECT count(*) FROM triage WHERE _rung = 0 AND label = 'bug'")[0][0]
    assert project.json("plan", "triage", "--redo", "accept")["requests"] == bugs
    project.write(WITHOUT)
    removed = project.json("plan", "triage")
    assert (removed["due"], removed["edited"][0]["what"].count("local (")) == (0, 1)
    assert project.json("plan", "triage", "--redo", "model")["requests"] == answered
    project.write(PIPELINE)
    for name in ("status", "results", "report", "show"):
        assert "local:v1" in project.command(name, "triage", *(["301"] if name == "show" else [])).stdout, name
    local_row = project.query("SELECT min(id) FROM triage WHERE _rung = 0")[0][0]
    assert re.search(r"^  _cost_usd +0$", project.command("show", "triage", str(local_row)).stdout, re.MULTILINE)


def test_a_row_that_is_asked_again_counts_once_in_its_week(tmp_path: Path) -> None:
    project = LocalProject(tmp_path)
    for night in (range(150), range(150, 200)):
        project.rows(night)
        project.command("run", "triage", "--yes")
    answered = project.query("SELECT count(*) FROM triage WHERE _rung = 0")[0][0]
    assert answered > 20
    project.command("run", "triage", "--redo", "local", "--yes")
    found = project.json("report", "triage")
    [week] = found["weeks"]
    assert (week["rows"], week["local_rows"], week["by_rung"]) == (200, 0, {"1": 200})
    assert week["usd_per_1000_rows"] == found["usd_per_1000_accepted"]


def test_a_panel_above_it_is_asked_of_each_member_once(tmp_path: Path) -> None:
    members = 'panel = ["claude-haiku-4-5", "claude-sonnet-4-6"]'
    project = LocalProject(tmp_path, PIPELINE.replace('model = "claude-haiku-4-5"', members))
    project.rows(range(150))
    assert project.json("run", "triage", "--yes")["submitted"] == 300
    project.rows(range(200, 240))
    plan = project.json("plan", "triage")
    ran = project.json("run", "triage", "--yes")
    above = 40 - ran["local"]["answered"]
    assert 0 < above < 20
    assert plan["requests"] == ran["submitted"] == 2 * above
    assert ran["rows"]["accepted"] == 40


def test_a_number_is_the_same_value_however_it_is_written(tmp_path: Path) -> None:
    levels = dict(zip(LABELS, (1.0, 1e3, 1e-7), strict=True))
    project = LocalProject(
        tmp_path,
        PIPELINE.replace('type = "string"', 'type = "number"').replace(
            '["billing", "bug", "praise"]', str(list(levels.values()))
        ),
    )
    lines = [
        # What the models write is 1, 1000 and 0.0000001; the local model writes 1.0, 1000.0 and 1e-07.
        f'{{"match": " n{number} (", "output": {{"label": {levels[body_of(number)[1]]:.7g}, "confidence": 0.9}}}}\n'
        for number in range(400)
    ]
    (tmp_path / "answers.jsonl").write_text("".join(lines).replace("1e-07", "0.0000001"), encoding="utf-8")
    for night in (range(150), range(150, 300), range(300, 400)):
        body = [f"{number},{body_of(number)[0]}" for number in night]
        (tmp_path / "rows.csv").write_text("\n".join(["id,body", *body]) + "\n", encoding="utf-8")
        project.command("run", "triage", "--yes")
    # The audited rows of the second night agree, although they are written in another way.
    assert project.query("SELECT count(*) FILTER (_rung = 0) > 50 FROM triage WHERE id >= 300") == [(True,)]
