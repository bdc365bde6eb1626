"""The checkout that the tests are part of: its files, copies of its examples, and its command line."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path
from unittest import mock

from batchpipe.cli.main import main

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "batchpipe"
DATA = ROOT.parent / "shared" / "data"

PARTS = ("pyproject.toml", "pipelines", "prompts")


def module_files() -> dict[str, Path]:
    """Return every module of the package by its name without the leading `batchpipe.`; the package itself is ""."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if parts[0] == "docs":  # files to copy, for other programs
            continue
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def tracked_files() -> list[Path]:
    """Return the files of the repository that git lists; without git, all that are not hidden."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if listed.returncode == 0:
        names = [name for name in listed.stdout.decode().split("\0") if name]
        return [path for name in names if (path := ROOT / name).is_file()]
    return [
        path
        for path in sorted(ROOT.rglob("*"))
        if path.is_file() and not any(part.startswith((".", "__pycache__")) for part in path.relative_to(ROOT).parts)
    ]


def copy_examples(folder: Path) -> Path:
    """Copy the example project into `folder`: pipelines, prompts and the file that marks the root."""
    folder.mkdir(parents=True, exist_ok=True)
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, folder / part)
        else:
            shutil.copy(source, folder / part)
    return folder


def batchpipe(
    *arguments: str, cwd: Path, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Call the command line in this process, without a terminal: a start of Python costs more than most commands."""
    out, talk = io.StringIO(), io.StringIO()
    surroundings = {"COLUMNS": "80", **(environment or {})}
    with mock.patch.dict(os.environ, surroundings), chdir(cwd), redirect_stdout(out), redirect_stderr(talk):
        code = main(list(arguments))
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), talk.getvalue())


def python(arguments: Sequence[str], *, cwd: Path, timeout_seconds: float = 300) -> subprocess.CompletedProcess[str]:
    """Call this Python in a process of its own, which imports the package of this checkout."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_seconds,
        check=False,
    )
