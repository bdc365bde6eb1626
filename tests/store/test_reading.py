"""Tests of modes, and of commands that only read: they need no more than to read the database and the project."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
from commandline import surroundings
from projects import BASIC, Project, numbered

from batchpipe.common import modes

NOBODY = 65534
# Source: prctl(2) and capabilities(7) of Linux.
DROP_POWER = 24
DAC_POWERS = (1, 2, 3)
# What every command that reads is given, in one process: to import the program takes longer than to read.
SEVERAL = """
import contextlib, io, json, sys
from batchpipe.cli.main import main
found = []
for arguments in json.loads(sys.argv[1]):
    out, talk = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(talk):
        code = main(arguments)
    found.append([code, out.getvalue(), talk.getvalue()])
print(json.dumps(found))
"""


def modes_below(folder: Path) -> dict[str, set[int]]:
    """Return the modes of the folders and files below `folder`, and of `folder` itself."""
    paths = [folder, *folder.rglob("*")]
    return {
        "folders": {stat.S_IMODE(each.stat().st_mode) for each in paths if each.is_dir()},
        "files": {stat.S_IMODE(each.stat().st_mode) for each in paths if each.is_file()},
    }


@pytest.fixture
def umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)
    modes.share_files(False)


@pytest.mark.usefixtures("umask")
def test_the_working_folder_is_for_its_owner_and_the_database_follows_the_umask(project: Project) -> None:
    project.pipeline(BASIC + "[chunking]\nmax_requests = 2\n")
    project.rows(numbered(3))
    project.run()
    working = project.root / ".batchpipe"
    assert modes_below(working) == {"folders": {0o700}, "files": {0o600}}
    assert stat.S_IMODE((project.root / "batchpipe.duckdb").stat().st_mode) == 0o644
    # What is there keeps its mode, also where it is written anew; what is new is for its owner alone.
    old = next((working / "raw").glob("*.json"))
    for path in (working, working / "raw", old, working / "locks" / "demo.lock"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    project.rows(numbered(4))
    project.run(redo="all")
    found = {path: stat.S_IMODE(path.stat().st_mode) for path in [working, *working.rglob("*")]}
    assert {path for path, mode in found.items() if mode & 0o077} == {
        working, working / "raw", old, working / "locks" / "demo.lock"
    }  # fmt: skip


@pytest.mark.usefixtures("umask")
def test_a_shared_project_follows_the_umask(project: Project) -> None:
    project.settings["shared"] = True
    project.pipeline()
    project.rows(numbered(2))
    project.run()
    assert modes_below(project.root / ".batchpipe") == {"folders": {0o755}, "files": {0o644}}


@pytest.mark.usefixtures("umask")
def test_the_emulators_files_are_for_their_owner(project: Project) -> None:
    project.settings["emulator"] = True
    project.pipeline()
    project.rows(numbered(2))
    project.run()
    assert modes_below(project.root / ".batchpipe") == {"folders": {0o700}, "files": {0o600}}
    assert {path.name for path in (project.root / ".batchpipe" / "emulator").iterdir()} >= {"batchpipe.duckdb"}


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Return a folder that every user may enter, which those of tests are not."""
    folder = Path(tempfile.mkdtemp(prefix="batchpipe-reading-"))
    folder.chmod(0o755)
    yield folder
    subprocess.run(["chmod", "-R", "u+rwX", str(folder)], check=True)
    shutil.rmtree(folder)


def without_root_powers() -> None:
    """Take from a process of root that it may read and write what belongs to others."""
    library = ctypes.CDLL(None, use_errno=True)
    for power in DAC_POWERS:
        if library.prctl(DROP_POWER, power, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl")


def as_another_user(folder: Path, commands: list[list[str]]) -> list[Any]:
    """Call commands as a user who may read the folder and not write to it."""
    root = os.geteuid() == 0
    for path in [folder, *folder.rglob("*")]:
        if root:
            os.chown(path, NOBODY, NOBODY)
    if not root:
        folder.chmod(0o555)
        (folder / ".batchpipe").chmod(0)
        (folder / "batchpipe.duckdb").chmod(0o444)
    return without_powers(folder, commands)


def without_powers(folder: Path, commands: list[list[str]], **environment: str) -> list[Any]:
    """Call commands in a process that may read and write what modes allow, and no more."""
    done = subprocess.run(
        [sys.executable, "-c", SEVERAL, json.dumps(commands)],
        cwd=folder,
        capture_output=True,
        text=True,
        preexec_fn=without_root_powers if os.geteuid() == 0 else None,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "PYTHONDONTWRITEBYTECODE": "1",
            **environment,
        },
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    found: list[Any] = json.loads(done.stdout)
    return found


READING = [
    ["plan", "demo"],
    ["plan", "demo", "--rows"],
    ["results", "demo"],
    ["results", "demo", "--json"],
    ["show", "demo", "1"],
    ["status"],
    ["status", "demo", "--json"],
    ["report"],
    ["report", "demo", "--json"],
    ["diff", "demo"],
    ["check", "demo"],
    ["graph"],
    ["docs", "start/install"],
    ["schema"],
    ["review", "demo", "--report"],
    ["diff", "demo", "--json"],
    ["show", "demo", "1", "--json"],
]


@pytest.mark.usefixtures("umask")
def test_reading_needs_the_database_and_the_project_alone(
    open_folder: Path, tmp_path: Path, project_at: Callable[[Path], Project]
) -> None:
    project = project_at(open_folder)
    project.pipeline()
    project.rows(numbered(3))
    project.run()
    project.pipeline(BASIC.replace("{{ body }}", "Text: {{ body }}"))
    project.run()
    before = sorted(open_folder.rglob("*"))
    written = tmp_path / "report.html"
    pages = [["report", "demo", "--html", str(written)], ["diff", "demo", "--html", str(tmp_path / "diff.html")]]
    refused = ["report", "demo", "--html", "report.html"]
    found = as_another_user(open_folder, [*READING, *pages, refused])
    code, _, talk = found.pop()
    assert (code, "report.html" in talk, "Traceback" in talk) == (2, True, False), (code, talk)
    assert "</html>" in written.read_text(encoding="utf-8")
    for command, (code, out, talk) in zip([*READING, *pages], found, strict=True):
        assert code == 0, (command, talk)
        assert (out + talk).strip(), command
    assert [row.split(",")[0] for row in found[2][1].splitlines()] == ["id", "1", "2", "3"]
    assert sorted(open_folder.rglob("*")) == before
    # A file of an older schema version has to be written once: that is said, with the way out.
    subprocess.run(["chmod", "u+w", str(open_folder), str(open_folder / "batchpipe.duckdb")], check=True)
    with duckdb.connect(str(open_folder / "batchpipe.duckdb")) as connection:
        connection.execute("UPDATE ledger.meta SET value = '1' WHERE name = 'schema_version'")
    found = as_another_user(open_folder, [["plan", "demo"], ["run", "demo"], ["cancel", "demo", "--database", "x.db"]])
    (code, _, talk), (run_code, _, run_talk), (other_code, _, other_talk) = found
    assert code == 4, talk
    assert "schema version 1" in talk
    assert "--database COPY" in talk
    assert (run_code, other_code) == (4, 4), run_talk + other_talk


def test_a_raw_file_that_may_not_be_read_is_named_with_the_command_that_helps(project: Project) -> None:
    project.pipeline(BASIC + 'mode = "realtime"\n')
    project.rows(numbered(3))
    project.run()
    calls = len(project.log()["calls"])
    (project.root / "batchpipe.duckdb").unlink()
    raw = project.root / ".batchpipe" / "raw"
    words = surroundings(project)
    for ending, command, code in (
        (".json", ["run", "demo"], 6),
        (".requests.parquet", ["try", "demo"], 6),
        (".jsonl.zst", ["recover", "demo", "--from-raw"], 4),
        (".jsonl.zst", ["try", "demo"], 4),
        (".jsonl.zst", ["run", "demo"], 4),
    ):
        (path,) = raw.glob(f"*{ending}")
        path.chmod(0)
        ((found, out, talk),) = without_powers(project.root, [command], **words)
        path.chmod(0o600)
        assert (found, str(path) in out + talk) == (code, True), (ending, out, talk)
        assert "chmod u+r" in out + talk
    ((found, _, talk),) = without_powers(project.root, [["run", "demo"]], **words)
    assert (found, len(project.log()["calls"])) == (0, calls), talk
