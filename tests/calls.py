"""Calls of commands in a test's project, as a person or a program makes them, and what they print."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from checkout import batchpipe
from projects import Project

from batchpipe.commands.call.call import Call
from batchpipe.project.settings import load_settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Printed:
    """The result of a command: its exit code, its data (stdout), and its messages (stderr)."""

    code: int
    out: str
    talk: str

    @property
    def value(self) -> Any:
        """Return the JSON value on stdout, with numbers as they were written."""
        return json.loads(self.out, parse_float=Decimal)


def environment(project: Project) -> dict[str, str]:
    return {"ANTHROPIC_API_KEY": "test-key", "ANTHROPIC_BASE_URL": project.emulator.base_url}


def ask(
    project: Project,
    command: Callable[..., int],
    *arguments: Any,
    as_json: bool = False,
    terminal: bool = False,
    start: Path | None = None,
    keyless: bool = False,
    **options: Any,
) -> Printed:
    """Call `command` as the command line does; with `keyless` without the key and address of the provider."""
    out, talk = io.StringIO(), io.StringIO()
    call = Call(
        root=project.root,
        start=start or project.root,
        settings=load_settings(project.root, environment={}, command_line=project.settings),
        environment={} if keyless else project.environment,
        json=as_json,
        terminal=terminal,
        talks_to_person=False,
        stdout=out,
        stderr=talk,
        command="batchpipe",
        options="",
        interrupted=lambda: False,
    )
    code = command(call, *arguments, **options)
    return Printed(code=code, out=out.getvalue(), talk=talk.getvalue())


def call_here(project: Project, *arguments: str, key: str = "test-key") -> subprocess.CompletedProcess[str]:
    """Run `batchpipe ARGUMENTS` in the project, in this process."""
    surroundings = environment(project) | settings_of(project) | {"ANTHROPIC_API_KEY": key}
    return batchpipe(*arguments, cwd=project.root, environment=surroundings)


def settings_of(project: Project) -> dict[str, str]:
    """Return the project's settings as variables of the environment."""
    return {f"BATCHPIPE_{name.upper()}": str(value) for name, value in project.settings.items()}


def spawn(project: Project, *arguments: str) -> subprocess.Popen[str]:
    """Run `batchpipe ARGUMENTS` in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "batchpipe", *arguments],
        cwd=project.root,
        env={
            **os.environ,
            **environment(project),
            **settings_of(project),
            "PYTHONPATH": str(Path(__file__).parents[1]),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
