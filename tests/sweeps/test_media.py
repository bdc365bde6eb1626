"""Tests that a run over pictures loses nothing and pays nothing twice, killed at any step or with any fault.

`pytest tests/sweeps/test_media.py --full-sweep` kills it at every point, and makes every fault, with `-n 2`
by two processes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from crash.faults import FAULTS, LIST_LAG, SUBMIT_TIMEOUT, fault
from crash.parts import Sweep
from crash.scenario import LABELS, PICTURED, PICTURED_RULES, pictures
from crash.sweep import Runner, answered, fresh

from batchpipe.engine.batches import submit

TRIED_IN_SHORT = 1
# What may go wrong with uploads, beside what goes wrong with batches.
OF_UPLOADS = {
    f"an upload: {name}": [fault("upload", name, after=after, times=times)]
    for name in ("reset", "status:500", "status:429", "accepted_then_reset", "accepted_then_empty", "html")
    for after, times in ((0, 1), (1, 2), (3, 1))
}
EVERY = FAULTS | {f"{name}, {number}": calls for number, (name, calls) in enumerate(OF_UPLOADS.items())}


@pytest.fixture
def runner() -> Iterator[Runner]:
    """A process that forks the runs."""
    found = Runner()
    yield found
    found.close()


def scenario() -> dict[str, Any]:
    return {"pipeline": PICTURED, "rules": PICTURED_RULES, "files": pictures()}


def test_a_run_over_pictures_killed_at_any_point_goes_on(runner: Runner, tmp_path: Path, sweep: Sweep) -> None:
    names = sweep.try_points(runner, tmp_path, TRIED_IN_SHORT, **scenario())
    assert Counter(names)["before call upload_file"] >= 1


def test_a_run_over_pictures_survives_faults(tmp_path: Path, sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submit, "SUBMIT_TIMEOUT_SECONDS", SUBMIT_TIMEOUT)
    with fresh(tmp_path / "usual", **scenario()) as project:
        monkeypatch.chdir(project.root)
        assert project.run().status == "done"
        usual = answered(project)
    for number, name in enumerate(sweep.choose(list(EVERY), TRIED_IN_SHORT)):
        with fresh(tmp_path / f"fault-{number}", **scenario()) as project:
            monkeypatch.chdir(project.root)
            project.settings = {"poll_interval": 0.02, "reconcile_wait": 4 * LIST_LAG}
            project.faults({**PICTURED_RULES, "calls": EVERY[name]})
            result = project.run()
            assert (result.status, result.rows["accepted"]) == ("done", len(LABELS)), name
            sent = answered(project)
            assert (sent - usual, usual - sent) == (Counter(), Counter()), name
            assert dict(project.sql("SELECT id, label FROM demo WHERE _current AND NOT _review")) == LABELS, name
