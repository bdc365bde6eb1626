"""What the system refuses a process: streams that take no more, memory, threads. The work goes on, or it is told."""

from __future__ import annotations

import contextlib
import errno
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import duckdb
import pytest
from projects import BASIC, Project, numbered

from batchpipe.commands.call.failure import of_system

FULL = Path("/dev/full")
COMMAND = (sys.executable, "-m", "batchpipe")


def call(project: Project, shell: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a shell, where BATCHPIPE is the program."""
    return subprocess.run(
        ["/bin/sh", "-c", shell.replace("BATCHPIPE", " ".join(COMMAND))],
        cwd=project.root,
        env={**os.environ, **project.environment, "BATCHPIPE_POLL_INTERVAL": "0.05"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def answered(project: Project) -> Project:
    """Two rows and their answers."""
    project.pipeline()
    project.rows(numbered(2))
    project.run()
    return project


@pytest.mark.skipif(not FULL.exists(), reason="this system has no device that is always full")
@pytest.mark.parametrize("words", ["--help", "-V", "results demo", "status --json", "docs first_run"])
def test_an_output_on_a_full_disk_is_told(answered: Project, words: str) -> None:
    ended = call(answered, f"BATCHPIPE {words} > {FULL}")
    assert ended.returncode == 2
    assert "stdout: the output cannot be written: No space left on device" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert call(answered, f"BATCHPIPE {words} > {FULL} 2>&1").returncode == 2


@pytest.mark.skipif(not FULL.exists(), reason="this system has no device that is always full")
def test_a_run_whose_log_is_on_a_full_disk_does_its_work(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(3))
    assert call(project, f"BATCHPIPE run demo --yes 2> {FULL}").returncode == 0
    project.pipeline(BASIC.replace("{{ body }}", "{{ body }}!"))
    assert call(project, f"BATCHPIPE run demo --yes > {FULL} 2>&1").returncode == 2
    assert project.plan().due == 0
    assert project.sql("SELECT count(*) FROM ledger.results") == [(6,)]


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", "<&- >&- 2>&-"])
def test_a_stream_that_is_closed_is_not_asked_for(answered: Project, closed: str) -> None:
    ended = call(answered, f"BATCHPIPE plan demo {closed}")
    assert (ended.returncode, "Traceback" in ended.stderr) == (0, False)
    assert call(answered, f"BATCHPIPE plan nothing {closed}").returncode == 2


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError(), "not enough memory"),
        (duckdb.OutOfMemoryException("Out of Memory Error: Allocation failure"), "not enough memory"),
        (duckdb.OutOfMemoryException("failed to allocate data of size 512.0 MiB (1 MiB/286 MiB used)"), "too long"),
        (ImportError("module.so: failed to map segment from shared object"), "not enough memory"),
        (RuntimeError("can't start new thread"), "thread"),
        (OSError(errno.EMFILE, "Too many open files"), "too many files"),
        (OSError(errno.EFBIG, "Error writing bytes to file. Detail: [errno 27] File too large"), "File too large"),
        (duckdb.IOException("IO Error: Could not write file: No space left on device"), "No space left"),
    ],
)
def test_what_the_system_does_not_give_is_no_bug(error: Exception, words: str) -> None:
    found = of_system(error)
    assert found is not None
    assert (found.exit_code, words in found.what) == (4, True)
    assert of_system(RuntimeError("anything else")) is None


def on_a_terminal(project: Project, arguments: Sequence[str]) -> tuple[subprocess.Popen[bytes], int]:
    """Start a command as `nohup` does, whose streams are a terminal. Return it, and the other end of the terminal."""
    mine, its = os.openpty()
    environment = {**os.environ, **project.environment, "BATCHPIPE_POLL_INTERVAL": "1", "TERM": "xterm"}
    process = subprocess.Popen(
        ["sh", "-c", "trap '' HUP; exec \"$@\"", "sh", *COMMAND, *arguments],
        cwd=project.root,
        env=environment,
        stdin=its,
        stdout=its,
        stderr=its,
    )
    os.close(its)
    return process, mine


def test_a_run_goes_on_when_its_terminal_is_gone(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(3))
    process, terminal = on_a_terminal(project, ["run", "demo"])
    shown = b""
    with contextlib.suppress(OSError):
        while b"submitted" not in shown:
            shown += os.read(terminal, 10_000)
    os.close(terminal)
    process.send_signal(signal.SIGHUP)
    assert process.wait(timeout=120) in (0, 2)
    assert project.plan().due == 0


def test_a_run_whose_terminal_hangs_up_ends_as_at_an_interrupt(project: Project) -> None:
    project.pipeline(BASIC + 'mode = "realtime"\n')
    project.rows(numbered(8))
    project.faults({"calls": [{"call": "message", "fault": "accepted_late", "seconds": 600, "times": 1}]})
    environment = {**os.environ, **project.environment, "TERM": "xterm"}
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(project.root)
        os.execve(COMMAND[0], [*COMMAND, "run", "demo"], environment)
    answered = project.root / ".batchpipe" / "raw"
    while sum(each.read_bytes().count(b"\n") for each in answered.glob("*.jsonl")) < 7:
        assert os.waitpid(child, os.WNOHANG) == (0, 0), os.read(terminal, 10_000)
        time.sleep(0.1)
    os.close(terminal)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 130
    assert project.sql("SELECT status FROM ledger.runs") == [("interrupted",)]
    assert not list((project.root / ".batchpipe" / "logs").glob("bug*"))
    project.faults({})
    assert project.run().rows["accepted"] == 8
    # Only the call that was under way is made again.
    assert sum(each["path"] == "/v1/messages" for each in project.log()["calls"]) == 9
