"""Make a `Call` from the global options: find the root, read the settings, make paths absolute."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from batchpipe.commands.call.call import Call, Talk
from batchpipe.commands.call.options import Globals
from batchpipe.common.errors import UsageError
from batchpipe.common.given import home_path
from batchpipe.common.machine import THIS_MACHINE, Machine
from batchpipe.project.project import find_root
from batchpipe.project.settings import Settings, load_settings

COMMAND_LINE = "the command line"


def make_talk(*, json: bool, environment: Mapping[str, str], quiet: bool = False) -> Talk:
    """Return the streams of a command that needs no project."""
    return Talk(json=json, stdout=sys.stdout, stderr=sys.stderr, quiet=quiet, **_audience(json, environment))


def make_call(
    given: Globals,
    pipelines: Sequence[str],
    *,
    json: bool,
    start: Path,
    environment: Mapping[str, str],
    command: str,
    interrupted: Callable[[], bool],
    serves: bool = False,
    machine: Machine = THIS_MACHINE,
) -> Call:
    """Return the call of a command about `pipelines`. `serves` is true for `batchpipe emulator`.

    Raises UsageError for a folder that does not exist, pipelines of several projects, and emulator options without
    `--emulator`.
    """
    root = _root(given.directory, pipelines, start)
    settings = _settings(given, root, start, environment)
    if not (settings.emulator or serves):
        for option, value in (("--answers", given.answers), ("--faults", given.faults)):
            if value is not None:
                what = f"{option} is for the emulator"
                raise UsageError(what, where=COMMAND_LINE, hint=f"Add --emulator, or leave {option} out.")
    return Call(
        json=json,
        stdout=sys.stdout,
        stderr=sys.stderr,
        root=root,
        start=start,
        settings=settings,
        environment=environment,
        command=command,
        options=_options(given, root, start),
        interrupted=interrupted,
        debug=given.debug,
        machine=machine,
        quiet=given.quiet,
        **_audience(json, environment),
    )


def _options(given: Globals, root: Path, start: Path) -> str:
    """Return the program's options as a person would type them again in `start`.

    Where the name of a file led to the project, a command that names no file needs -C.
    """
    if given.directory is None and find_root(start).resolve() != root.resolve():
        given = replace(given, directory=os.path.relpath(root, start))
    return given.typed


def _audience(json: bool, environment: Mapping[str, str]) -> dict[str, Any]:
    """Return who reads the streams: a terminal, a person who can be asked, and how wide the terminal is."""
    if json or environment.get("TERM") == "dumb":
        return {"terminal": False, "talks_to_person": False}
    watched = sys.stderr.isatty() and sys.stdin is not None and sys.stdin.isatty()
    width = shutil.get_terminal_size().columns
    return {"terminal": sys.stdout.isatty(), "talks_to_person": watched, "width": width}


def _settings(given: Globals, root: Path, start: Path, environment: Mapping[str, str]) -> Settings:
    paths = {"database": given.database, "emulator_answers": given.answers, "emulator_faults": given.faults}
    command_line: dict[str, Any] = {
        name: str(start / home_path(value, COMMAND_LINE)) for name, value in paths.items() if value is not None
    }
    if given.emulator:
        command_line["emulator"] = True
    if given.log_format is not None:
        command_line["log_format"] = given.log_format
    return load_settings(root, environment=environment, command_line=command_line, env=given.env)


def _root(directory: str | None, pipelines: Sequence[str], start: Path) -> Path:
    """Return the project's root: `-C DIR`, else that of the named pipeline files, else that of the working folder."""
    if directory is not None:
        root = start / home_path(directory, "-C")
        if not root.is_dir():
            hint = "Name the project's folder; to make one: batchpipe init DIR"
            raise UsageError(f"there is no folder {directory}", where="-C", hint=hint)
        return root.resolve()
    named = [start / each for each in pipelines if each.endswith(".toml") or "/" in each or "\\" in each]
    roots = list(dict.fromkeys(find_root(path) for path in named if path.exists()))
    if len(roots) > 1:
        what = f"the pipelines belong to several projects: {', '.join(str(each) for each in roots)}"
        raise UsageError(what, where=COMMAND_LINE, hint="Run them one project at a time, or name the root: -C DIR")
    return roots[0] if roots else find_root(start)
