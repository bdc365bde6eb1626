"""The command line, called in this process, in a process of its own, and at a terminal."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from projects import Project

from batchpipe.cli.main import main

COMMAND = [sys.executable, "-m", "batchpipe"]
SETTLED_SECONDS = 1.5
FAST = {"BATCHPIPE_POLL_INTERVAL": "0.02", "BATCHPIPE_RECONCILE_WAIT": "0.3"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Typed:
    """The result of a command line: its exit code, data on stdout, and messages on stderr."""

    code: int
    out: str
    talk: str

    @property
    def value(self) -> Any:
        """Return the JSON value on stdout, with money as it was written."""
        return json.loads(self.out, parse_float=Decimal)


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandLine:
    """A caller of `main` in this process and the working folder; the emulator of a `Project` is the provider."""

    monkeypatch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]

    def provide(self, project: Project) -> None:
        """Set the environment to the project's emulator and a key."""
        for name, value in surroundings(project).items():
            self.monkeypatch.setenv(name, value)

    def __call__(self, *arguments: str) -> Typed:
        self.capsys.readouterr()
        code = main(list(arguments))
        out, talk = self.capsys.readouterr()
        return Typed(code=code, out=out, talk=talk)


def surroundings(project: Project) -> dict[str, str]:
    return {"ANTHROPIC_API_KEY": "test-key", "ANTHROPIC_BASE_URL": project.emulator.base_url, **FAST}


def in_process_of_its_own(
    folder: Path, *arguments: str, environment: Mapping[str, str] | None = None, seconds: float = 120
) -> Typed:
    """Call the command line without a terminal."""
    done = subprocess.run(
        [*COMMAND, *arguments],
        cwd=folder,
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=seconds,
    )
    return Typed(code=done.returncode, out=done.stdout, talk=done.stderr)


def interrupted(
    folder: Path, *arguments: str, after: str, number: int = signal.SIGINT, environment: Mapping[str, str]
) -> Typed:
    """Call the command line, and send the signal `number` once it has printed `after` on stderr and waits.

    It polls so rarely that it sleeps then.
    """
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        cwd=folder,
        env={**os.environ, **environment, "BATCHPIPE_POLL_INTERVAL": "30"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    said = ""
    while after not in said:
        line = process.stderr.readline()
        assert line, f"it ended after {said!r}"
        said += line
    time.sleep(SETTLED_SECONDS)
    process.send_signal(number)
    out, rest = process.communicate(timeout=60)
    return Typed(code=process.returncode, out=out, talk=said + rest)


def at_terminal(
    folder: Path,
    *arguments: str,
    answers: Sequence[tuple[str, str]] = (),
    environment: Mapping[str, str] | None = None,
    seconds: float = 120,
) -> tuple[int, str]:
    """Call the command line at a terminal of 120 columns, and type each of `answers` once its prompt is shown."""
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(folder)
        os.environ.update({**(environment or {}), "COLUMNS": "120", "TERM": "xterm-256color"})
        os.execv(COMMAND[0], [*COMMAND, *arguments])
    shown, left, deadline = b"", list(answers), time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not select.select([terminal], [], [], 0.1)[0]:
            continue
        try:
            block = os.read(terminal, 65_536)
        except OSError:  # the other end has closed
            break
        if not block:
            break
        shown += block
        if left and left[0][0].encode() in shown:
            os.write(terminal, left.pop(0)[1].encode())
    else:
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    os.close(terminal)
    return os.waitstatus_to_exitcode(status), shown.decode()
