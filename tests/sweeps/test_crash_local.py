"""Tests that a night with a local rung, killed at any step, goes on: no row is lost, and nothing is paid twice.

`pytest tests/sweeps/test_crash_local.py --full-sweep` kills it at every point, with `-n 2` by two processes.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from crash.parts import Sweep
from crash.scenario import LOW, PIPELINE, said
from crash.sweep import KILLED, Findings, Runner, Tally, answered, fresh
from local_project import LABELS, body_of
from projects import Project

LOCAL = (
    PIPELINE.replace('"bug", "other"', '"bug", "praise"')
    .replace("[output.fields.score]", "[output.fields.confidence]")
    .replace("score >= 0.5", "confidence >= 0.5")
    .replace("max_requests = 4", "max_requests = 100")
    .replace("[[models]]\n", '[[models]]\nmodel = "local"\naccept = "_confidence >= 0.9"\naudit = 0.1\n[[models]]\n', 1)
    .replace('user_text = "{{ body }}"', 'user_text = "{{ fields.label.likely(2) }} {{ body }}"')
)
FIRST, SECOND = range(130), range(130, 160)
TRIED_IN_SHORT = 2
RUNS_OF_A_NIGHT = 5  # a run waits for a minute: on a busy machine its rows may be pending then
WRONG = """
SELECT count(*) FILTER (label IS DISTINCT FROM split_part(body, ' is ', 2)), count(*), count(*) FILTER (_rung = 0)
FROM demo JOIN read_csv('{rows}', header = true) USING (id)
"""


def rules() -> dict[str, Any]:
    """Return what the models say: the label that ends the text; the first one is unsure of some rows."""
    answers = [said(label, 0.9, match=f" is {label}") for label in LABELS]
    for each in answers:
        each["output"]["confidence"] = each["output"].pop("score")
    unsure = {"output": {"label": "bug", "confidence": 0.1}, "match": "today", "model": LOW}
    return {"requests": [unsure, *answers]}


def first_night(runner: Runner, folder: Path, saved: Path) -> None:
    """Save a project at `saved` whose first night has answered enough rows to learn from."""
    with fresh(folder, rules=rules(), pipeline=LOCAL) as project:
        write_rows(project, FIRST)
        ended = (runner.run(project).outcome for _ in range(RUNS_OF_A_NIGHT))
        assert any(outcome is not None and outcome["status"] == "done" for outcome in ended)
        project.close()
        shutil.copytree(folder, saved)


@contextmanager
def second_night(folder: Path, saved: Path) -> Iterator[Project]:
    """Put the saved project back where it was made, with an emulator that goes on, and a second night that is due."""
    shutil.copytree(saved, folder)
    project = Project(folder)
    try:
        project.faults(rules())
        write_rows(project, range(SECOND.stop))
        yield project
    finally:
        project.close()
        shutil.rmtree(folder)


def write_rows(project: Project, numbers: range) -> None:
    lines = [f"{number},{' is '.join(body_of(number))}" for number in numbers]
    (project.root / "rows.csv").write_text("\n".join(["id,body", *lines]) + "\n", encoding="utf-8")


def examined(project: Project, usual: Counter[str] | None, runner: Runner) -> list[str]:
    """Run to the end and once more; return what is wrong."""
    last, third = runner.run(project), runner.run(project)
    found = []
    for name, ran in (("next", last), ("third", third)):
        if ran.outcome is None or ran.outcome["status"] != "done":
            found.append(f"the {name} run ended with {ran.code}: {ran.outcome}")
    if third.outcome is None or third.outcome["submitted"]:
        found.append(f"the third run sent something: {third.outcome}")
    wrong, rows, local = project.sql(WRONG.format(rows=project.root / "rows.csv"))[0]
    if (wrong, rows) != (0, SECOND.stop) or not local:
        found.append(f"{wrong} rows are wrong, {rows} rows are there, {local} by the local model")
    if usual is not None and answered(project) != usual:
        twice, missing = answered(project) - usual, usual - answered(project)
        found.append(f"{twice.total()} requests were sent beside those of an unbroken run, {missing.total()} were not")
    double = project.sql(
        "SELECT count(*) FROM (SELECT key_id FROM ledger.decisions WHERE state = 'accepted' "
        "AND reason <> 'carried_over' GROUP BY key_id HAVING count(*) > 1)"
    )
    answers = project.sql(
        "SELECT count(*), count(DISTINCT custom_id) FROM ledger.local_answers WHERE custom_id IS NOT NULL"
    )
    if double != [(0,)] or answers[0][0] != answers[0][1]:
        found.append(f"answered twice: {double}, {answers}")
    return found


def test_a_night_with_a_local_rung_killed_at_any_point_goes_on(tmp_path: Path, sweep: Sweep) -> None:
    # scikit-learn takes longer to load than a night to run.
    runner = Runner(loaded=("sklearn.svm", "sklearn.isotonic"))
    folder, saved = tmp_path / "project", tmp_path / "saved"
    try:
        first_night(runner, folder, saved)
        with second_night(folder, saved) as project:
            whole = runner.run(project)
            assert whole.outcome is not None
            usual = answered(project)
            assert examined(project, usual, runner) == []
        names = whole.outcome["points"]
        tally = Tally()
        for point in sweep.choose(range(1, len(names) + 1), TRIED_IN_SHORT):
            with second_night(folder, saved) as project:
                killed = runner.run(project, kill_at=point).code == KILLED
                found = Findings(rows_lost=0, paid_twice=0, raw_lost=0, wrong=examined(project, usual, runner))
                tally.add(found, f"{point} {names[point - 1]}", killed)
        sweep.tried(tally)
        assert tally.killed == tally.points
    finally:
        runner.close()
