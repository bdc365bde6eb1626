"""Tests of `[tool.batchpipe.notify]`: what is told, once each, by a command and a webhook; and what fails."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from commandline import COMMAND, CommandLine
from projects import BASIC, Project, numbered

import batchpipe
from batchpipe.cli.main import main
from batchpipe.common.machine import Machine
from batchpipe.decide.notices import EndedRun, is_stuck, run_to_tell

SECRET = "very-secret-path"
PROGRAM = """
import os, pathlib, sys, time
here = pathlib.Path(__file__).parent
with open(here / "told.jsonl", "ab") as file:
    file.write(sys.stdin.buffer.read() + b"\\n")
while (here / "hang").exists():
    time.sleep(0.05)
sys.exit(3 if (here / "fail").exists() else 0)
"""
# What is left has the streams of the command.
LEAVES = """
import pathlib, subprocess, sys
left = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
(pathlib.Path(__file__).parent / "left").write_text(str(left.pid))
"""


class Hook:
    """A webhook on loopback that keeps what was posted; `status` is what it answers."""

    def __init__(self) -> None:
        self.posted: list[dict[str, Any]] = []
        self.status = 200
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.path == f"/{SECRET}":
                    hook.posted.append(json.loads(body))
                self.send_response(hook.status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *arguments: object) -> None:
                return

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/{SECRET}"


@pytest.fixture
def hook() -> Iterator[Hook]:
    made = Hook()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def typed(
    project: Project, hook: Hook, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> CommandLine:
    """The command line in a project that tells a program and a webhook; the variable HOOK holds the address."""
    (project.root / "tell.py").write_text(PROGRAM)
    settings = [
        "[tool.batchpipe.notify]",
        f"command = {json.dumps([sys.executable, 'tell.py'])}",
        'webhook = "${HOOK}"',
    ]
    (project.root / "batchpipe.toml").write_text("\n".join(settings))
    monkeypatch.setenv("HOOK", hook.url)
    monkeypatch.chdir(project.root)
    line = CommandLine(monkeypatch=monkeypatch, capsys=capsys)
    line.provide(project)
    return line


def told(root: Path) -> list[dict[str, Any]]:
    """What the program was told since the last call."""
    path = root / "told.jsonl"
    found = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    path.unlink(missing_ok=True)
    return found


def test_each_change_is_told_once(project: Project, hook: Hook, typed: CommandLine) -> None:
    project.rows(numbered(3))
    project.pipeline()
    project.pipeline(BASIC.replace("SELECT id,", "SELECT id + 100 AS id,"), "other")
    assert typed("run", "--all").code == 0
    first = told(project.root)
    assert [(each["event"], each["pipeline"], each["status"]) for each in first] == [
        ("done", "demo", "done"),
        ("done", "other", "done"),
    ]
    assert hook.posted == first
    assert (first[0]["submitted"], first[0]["results"], first[0]["rows"]["accepted"]) == (3, 3, 3)
    assert first[0]["text"] == "demo is done: 3 results"
    hook.posted.clear()

    assert typed("run", "--all").code == 0
    assert (told(project.root), hook.posted) == ([], [])

    project.rows(numbered(5))
    for _ in range(2):
        assert typed("run", "demo", "--max-usd", "0").code == 6
    (gate,) = told(project.root)
    assert (gate["event"], gate["status"]) == ("gate", "gate")
    assert "--max-usd of $0 is reached" in gate["gate"]

    assert typed("run", "demo", "--no-wait", "--pending-ok").code == 0
    assert told(project.root) == []
    time.sleep(0.3)
    assert typed("run", "demo").code == 0
    (done,) = told(project.root)
    assert (done["event"], done["results"]) == ("done", 2)

    project.rows([*numbered(5), {"id": 6, "body": "bad", "lang": "en", "amount": 1}])
    project.faults({"requests": [{"match": "bad", "outcome": "errored_invalid"}]})
    assert typed("run", "demo").code == 1
    (failed,) = told(project.root)
    assert (failed["event"], failed["status"], failed["rows"]["failed"]) == ("failed", "failed_rows", 1)
    assert typed("run", "demo", "--emulator", "--retry-failed").code == 0
    assert told(project.root) == []
    kinds = project.sql("SELECT kind, count(*) FROM ledger.events WHERE kind LIKE 'notif%' GROUP BY kind")
    assert kinds == [("notified", 5)]


def test_errors_are_told_also_where_no_run_began(project: Project, typed: CommandLine) -> None:
    """The provider that is away is told once, and again after it was there; a file that is wrong, too."""
    project.rows(numbered(2))
    project.pipeline()
    typed.monkeypatch.delenv("ANTHROPIC_API_KEY")
    assert [typed("run", "demo").code for _ in range(2)] == [3, 3]
    (error,) = told(project.root)
    assert (error["event"], error["status"]) == ("failed", "error")
    assert error["text"].startswith("demo failed: there is no key")
    assert "ANTHROPIC_API_KEY" in error["hint"]
    typed.provide(project)
    assert typed("run", "demo").code == 0
    assert [each["event"] for each in told(project.root)] == ["done"]
    (project.root / "pipelines" / "broken.toml").write_text("[input]\nquery = 1\n")
    assert [typed("run", "--all").code for _ in range(2)] == [2, 2]
    (broken,) = told(project.root)
    assert (broken["pipeline"], broken["event"], broken["run_id"]) == ("broken", "failed", None)


def test_a_call_that_was_killed_before_it_told_is_told_by_the_next(project: Project, typed: CommandLine) -> None:
    project.rows(numbered(2))
    project.pipeline()
    (project.root / "hang").touch()
    run = subprocess.Popen(
        [*COMMAND, "run", "demo"], cwd=project.root, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 60
    while not (project.root / "told.jsonl").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    (project.root / "hang").unlink()
    told(project.root)
    found = typed("status", "--notify")
    assert (found.code, "told: demo is done: 2 results" in found.talk) == (0, True)
    assert [each["event"] for each in told(project.root)] == ["done"]
    assert "told:" not in typed("status", "--notify").talk
    assert typed("run", "demo").code == 0
    assert told(project.root) == []


def test_three_tries_then_an_event_and_no_secret_anywhere(
    project: Project, hook: Hook, typed: CommandLine, capsys: pytest.CaptureFixture[str]
) -> None:
    project.rows(numbered(2))
    project.pipeline()
    (project.root / "fail").touch()
    hook.status = 503
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        time.sleep(min(seconds, 0.05))

    assert main(["run", "demo", "--quiet"], Machine(sleep=sleep)) == 0
    out, talk = capsys.readouterr()
    assert out == ""
    assert "could not be delivered: Python ended with exit code 3" in talk.replace("python3.11", "Python").replace(
        Path(sys.executable).name, "Python"
    )
    assert "the webhook at 127.0.0.1 answered 503" in talk
    assert len(told(project.root)) == len(hook.posted) == 3
    assert [each for each in pauses if each >= 1] == [1.0, 2.0, 1.0, 2.0]
    events = project.sql("SELECT kind, data::VARCHAR FROM ledger.events WHERE kind LIKE 'notif%'")
    assert [kind for kind, _ in events] == ["notify_failed"]
    assert "503" in events[0][1]
    assert SECRET not in talk + events[0][1]
    assert typed("run", "demo").code == 0
    assert told(project.root) == []


@pytest.mark.parametrize("in_path", [True, False])
def test_a_variable_within_the_address_of_a_webhook_is_confirmed(
    project: Project, hook: Hook, typed: CommandLine, in_path: bool
) -> None:
    project.rows(numbered(1))
    project.pipeline()
    address = hook.url.removesuffix(f"/{SECRET}")
    text = address + ("/${TOKEN}" if in_path else f"/{SECRET}?${{TOKEN}}")
    (project.root / "batchpipe.toml").write_text(f'[notify]\nwebhook = "{text}"\n')
    typed.monkeypatch.setenv("TOKEN", SECRET)
    for command in (("run", "demo"), ("status", "--notify")):
        ended = typed(*command)
        assert (ended.code, f"TOKEN@{address}" in ended.talk) == (3, True), ended.talk
        assert SECRET not in ended.talk
    opened = batchpipe.Project(project.root)
    for run in (opened.pipeline("demo").run, opened.run):
        with pytest.raises(batchpipe.CredentialsError, match=r"TOKEN is not sent"):
            run()
    assert (project.log()["calls"], hook.posted) == ([], [])
    assert typed("run", "demo", "--emulator").code == 0
    typed.monkeypatch.setenv("BATCHPIPE_TRUST", f"TOKEN@{address}")
    assert typed("run", "demo").code == 0
    assert [each["event"] for each in hook.posted] == ["done"] * in_path


def test_a_command_that_leaves_a_process_behind_is_run_once(project: Project, typed: CommandLine) -> None:
    project.rows(numbered(1))
    project.pipeline()
    (project.root / "tell.py").write_text(LEAVES + PROGRAM)
    assert typed("run", "demo").code == 0
    left = int((project.root / "left").read_text())
    os.kill(left, signal.SIGKILL)
    (notice,) = [each for each in told(project.root) if each["event"] == "done"]
    assert notice["text"] == "demo is done: 1 result"
    assert project.sql("SELECT count(*) FROM ledger.events WHERE kind = 'notify_failed'") == [(0,)]


def test_a_batch_that_is_held_is_told_once(project: Project, typed: CommandLine) -> None:
    project.rows(numbered(2))
    project.pipeline()
    typed.monkeypatch.setenv("BATCHPIPE_RECONCILE_WAIT", "3600")
    project.faults({"calls": [{"call": "create", "fault": "reset", "times": 1}]})
    assert typed("run", "demo", "--no-wait").code == 5
    (stuck,) = told(project.root)
    assert (stuck["event"], stuck["requests"], stuck["state"]) == ("stuck", 2, "held")
    assert typed("status", "--notify", "--quiet").talk == ""
    assert told(project.root) == []


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ('command = "tell.py now"', "No shell reads the command"),
        ("on = []", "Give a command or a webhook"),
        ('webhook = "hooks.example/very-secret-path"', "Write a URL like"),
        ('command = ["x"]\non = ["never"]', "on"),
        ('command = ["x"]\nchannel = "ops"', "channel"),
    ],
)
def test_a_wrong_table_is_an_error(project: Project, typed: CommandLine, table: str, words: str) -> None:
    (project.root / "batchpipe.toml").write_text(f"[tool.batchpipe.notify]\n{table}\n")
    found = typed("status")
    assert (found.code, words in found.talk, SECRET in found.talk) == (2, True, False)


def test_without_the_setting_nobody_can_be_told(project: Project, typed: CommandLine) -> None:
    (project.root / "batchpipe.toml").write_text("")
    assert "[notify] in batchpipe.toml" in typed("status", "--notify").talk


class TestDecision:
    def run(self, number: int, status: str, message: str | None = None, submitted: int = 0) -> EndedRun:
        return EndedRun(run_id=str(number), status=status, message=message, submitted=submitted, results=0)

    def test_a_gate_that_is_met_again_changes_nothing(self) -> None:
        """Also where its amounts differ; after another state it is told again."""
        one, two = self.run(1, "gate", "$1.20 is left", 5), self.run(2, "gate", "$0.90 is left")
        assert run_to_tell([one], None) is one
        assert run_to_tell([two, one], "1") is None
        assert run_to_tell([two, one], None) is two
        assert run_to_tell([self.run(3, "gate", "the pilot waits"), two, one], "1") is not None
        quiet = self.run(3, "done")
        assert run_to_tell([quiet, two, one], "1") is None
        again = self.run(4, "gate", "$1.20 is left")
        assert run_to_tell([again, quiet, two, one], "1") is again

    def test_open_and_pending_runs_say_nothing(self) -> None:
        runs = [self.run(2, "pending", submitted=3), self.run(1, "interrupted", submitted=2)]
        assert run_to_tell(runs, None) is None
        assert run_to_tell([self.run(3, "failed_rows", submitted=1), *runs], None) is not None
        assert run_to_tell([], None) is None

    @pytest.mark.parametrize(
        ("hours", "held", "high_hours", "batches", "stuck"),
        [
            (0.1, True, 1, 0, True),
            (23, False, 24, 0, False),
            (24, False, 24, 0, True),
            (3, False, 0.5, 4, False),
            (3, False, 0.5, 5, True),
            (0.9, False, 0.01, 50, False),
            (2.5, False, 2, 50, False),
        ],
    )
    def test_a_stuck_batch(self, hours: float, held: bool, high_hours: float, batches: int, stuck: bool) -> None:
        now = datetime(2026, 7, 1)  # noqa: DTZ001 - times are naive UTC
        found = is_stuck(
            timedelta(hours=hours), held=held, expires_at=None, now=now, high_seconds=high_hours * 3600, batches=batches
        )
        assert found is stuck
