"""Tests of several processes at once: two runs, two pipelines, two databases of one account, and other readers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pytest
from projects import BASIC, Project, numbered

from batchpipe.common.errors import LockedError
from batchpipe.engine.context import Context
from batchpipe.engine.run.runner import RunOutcome

WAITS = {"delay_seconds": 1e9}
CHUNKS = BASIC + "[chunking]\nmax_requests = 5\nmax_in_flight = 3\n"

HOLD = """
import duckdb, sys, time
while True:
    try:
        connection = duckdb.connect("batchpipe.duckdb", read_only=sys.argv[1] == "read")
        break
    except duckdb.Error:
        time.sleep(0.01)
print("held", flush=True)
time.sleep(600)
"""


@contextmanager
def batchpipe(project: Project, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Start the command line in a process of its own, which ends with the test."""
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
        "ANTHROPIC_API_KEY": "test-key",
        "ANTHROPIC_BASE_URL": project.emulator.base_url,
        "BATCHPIPE_POLL_INTERVAL": "0.05",
        "BATCHPIPE_RECONCILE_WAIT": "0.5",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "batchpipe", *arguments],
        cwd=project.root,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@contextmanager
def held(folder: Path, mode: str) -> Iterator[int]:
    """Hold the database of `folder` in another process, to "read" or to "write"; yields the id of that process."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, mode], cwd=folder, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process.pid
    finally:
        process.kill()
        process.communicate()


def patient(context: Context) -> Context:
    context.database.wait_seconds = 120.0
    return context


def until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def in_thread(project: Project) -> tuple[threading.Thread, list[RunOutcome]]:
    outcomes: list[RunOutcome] = []
    thread = threading.Thread(target=lambda: outcomes.extend(project.outcomes()))
    thread.start()
    return thread, outcomes


def test_the_second_run_of_a_pipeline_names_the_first_and_leaves(project: Project) -> None:
    project.pipeline(CHUNKS)
    project.rows(numbered(12))
    project.faults(WAITS)
    with batchpipe(project, "run", "demo", "--json") as first:
        until(lambda: len(project.log()["batches"]) == 3)
        with batchpipe(project, "run", "demo", "--json") as second:
            out, _ = second.communicate(timeout=60)
        assert second.returncode == 4
        assert first.poll() is None
        said = json.loads(out)
        assert f"process {first.pid}" in said["error"]["message"]
        with pytest.raises(LockedError, match=f"process {first.pid}"):
            project.run()
        first.send_signal(signal.SIGKILL)
        first.wait()
    # A killed process leaves no lock behind.
    project.faults({})
    result = project.run()
    assert (result.status, result.rows["accepted"], result.submitted) == ("done", 12, 0)
    assert project.requests_sent() == 12


def test_two_pipelines_at_once_on_one_database(project: Project) -> None:
    project.rows(numbered(12))
    for name in ("alpha", "omega"):
        project.pipeline(CHUNKS.replace("{{ body }}", "{{ body }} " + name), name)
    with batchpipe(project, "run", "alpha", "--json") as one, batchpipe(project, "run", "omega", "--json") as two:
        for process in (one, two):
            out, talk = process.communicate(timeout=120)
            assert process.returncode == 0, talk
            assert json.loads(out)["rows"]["accepted"] == 12
    assert project.requests_sent() == 24
    assert project.sql("SELECT count(*) FROM alpha JOIN omega USING (id)") == [(12,)]
    # Two processes that read the number of the last commit at once would write the same one.
    assert project.sql("SELECT count(*) - count(DISTINCT seq) FROM ledger.commits") == [(0,)]


def test_two_databases_of_one_account_leave_each_other_alone(
    tmp_path: Path, project_at: Callable[[Path], Project]
) -> None:
    made = []
    for name in ("dev", "prod"):
        (tmp_path / name).mkdir()
        each = project_at(tmp_path / name)
        each.pipeline(CHUNKS)
        each.rows(numbered(12))
        made.append(each)
    dev, prod = made
    own = prod.emulator
    prod.emulator = dev.emulator
    try:
        # Both lose the answer of every submit at first, so that both search the same list.
        dev.faults({"calls": [{"call": "create", "fault": "accepted_then_reset", "times": 6}]})
        threads = [in_thread(each) for each in made]
        for thread, _ in threads:
            thread.join()
        for each, (_, outcomes) in zip(made, threads, strict=True):
            (outcome,) = outcomes
            assert (outcome.error, outcome.result.status, outcome.result.rows["accepted"]) == (None, "done", 12)
            assert each.sql("SELECT count(*) FROM demo") == [(12,)]
        ids = [set(each.sql("SELECT batch_id FROM ledger.batches WHERE state = 'collected'")) for each in made]
        assert not ids[0] & ids[1]
        assert dev.requests_sent() == 24
    finally:
        prod.emulator = own


@pytest.mark.parametrize("mode", ["read", "write"])
def test_a_run_waits_for_who_holds_the_database_and_goes_on_saving(
    project: Project, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    # The project's runs wait 5 seconds; this one waits as the command line does.
    context = project.context
    monkeypatch.setattr(project, "context", lambda: patient(context()))
    project.pipeline(CHUNKS)
    project.rows(numbered(12))
    project.faults(WAITS)
    raw = project.root / ".batchpipe" / "raw"
    thread, outcomes = in_thread(project)
    until(lambda: len(project.log()["batches"]) == 3)
    with held(project.root, mode) as holder:
        if mode == "write":
            until(lambda: any(f"(process {holder})" in each for each in project.said))
        project.faults({})
        until(lambda: len(list(raw.glob("*.jsonl"))) == 3)
        until(lambda: any(f"(process {holder})" in each for each in project.said))
        assert any("waiting for batchpipe.duckdb: it is held by python" in each for each in project.said)
        assert thread.is_alive()
    thread.join()
    (outcome,) = outcomes
    assert (outcome.error, outcome.result.status, outcome.result.rows["accepted"]) == (None, "done", 12)
    assert project.requests_sent() == 12


def test_readers_in_a_loop_never_make_a_run_fail(project: Project) -> None:
    project.pipeline(CHUNKS)
    project.rows(numbered(30))
    path = str(project.root / "batchpipe.duckdb")
    code = (
        "import duckdb, sys, time\n"
        "while True:\n"
        "    try:\n"
        "        with duckdb.connect(sys.argv[1], read_only=True) as connection:\n"
        "            connection.execute('SELECT count(*) FROM ledger.events').fetchall()\n"
        "    except duckdb.Error:\n"
        "        time.sleep(0.005)\n"
        "    time.sleep(0.02)\n"
    )
    readers = [subprocess.Popen([sys.executable, "-c", code, path]) for _ in range(2)]
    try:
        result = project.run()
    finally:
        for each in readers:
            each.kill()
            each.wait()
    assert (result.status, result.rows["accepted"], result.submitted) == ("done", 30, 30)
    with duckdb.connect(path, read_only=True) as connection:
        assert connection.execute("SELECT count(*) FROM demo").fetchall() == [(30,)]
