"""Tests of a database that cannot be read or written: the error is clear, the exit code is 4, and nothing is lost."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import random
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pytest
from calls import ask, call_here, environment
from checkout import ROOT
from projects import Project, numbered

from batchpipe.commands.recover import recover
from batchpipe.commands.status.status import status
from batchpipe.common.errors import DatabaseError
from batchpipe.store.opening import attach

ROWS = 60
NAMESPACE = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]


def can_mount(folder: Path) -> bool:
    script = 'mount -t tmpfs tmpfs "$1" && mount -o remount,ro "$1"'
    try:
        tried = subprocess.run([*NAMESPACE, "sh", "-ec", script, "sh", str(folder)], capture_output=True)
    except OSError:
        return False
    return tried.returncode == 0


@pytest.fixture
def small(project: Project) -> Path:
    """Return a folder with the database, on which a script of `shell` may mount something."""
    folder = project.root / "small"
    folder.mkdir()
    if not can_mount(folder):
        pytest.skip("needs a mount namespace")
    project.settings["database"] = "small/batchpipe.duckdb"
    return folder


def shell(project: Project, script: str, namespace: bool = True) -> subprocess.CompletedProcess[str]:
    """Run `script`, in which `batchpipe` is the command line; its mounts end with it."""
    settings = {f"BATCHPIPE_{name.upper()}": str(value) for name, value in project.settings.items()}
    command = f'batchpipe() {{ "{sys.executable}" -m batchpipe "$@"; }}\n'
    return subprocess.run(
        [*(NAMESPACE if namespace else []), "sh", "-c", command + script],
        cwd=project.root,
        env={**os.environ, **environment(project), **settings, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )


def finished(project: Project, done: subprocess.CompletedProcess[str], codes: set[int]) -> str:
    """Check that a run fails with a clear error and that the next one has every row once; return the first
    one's messages.
    """
    assert "Traceback" not in done.stderr
    assert "a bug in batchpipe" not in done.stderr
    first, second = (json.loads(line) for line in done.stdout.splitlines() if line.startswith("{"))
    code = int(done.stdout.partition("exit ")[2].split()[0])
    assert code in codes, done.stderr
    if code:
        assert first["error"]["code"] == "database"
        assert first["error"]["hint"]
    assert (second["status"], second["rows"]["accepted"]) == ("done", ROWS), done.stderr
    assert project.requests_sent() == ROWS
    return str(first["error"] and first["error"]["hint"])


@pytest.mark.share(2)
@pytest.mark.parametrize("free_kb", [0, 16, 300, 900, 1500])
def test_a_full_disk_stops_the_run_and_the_next_one_finishes_it(project: Project, small: Path, free_kb: int) -> None:
    project.pipeline()
    project.rows(numbered(ROWS))
    done = shell(
        project,
        f"""
        mount -t tmpfs -o size=16m tmpfs small
        dd if=/dev/zero of=small/ballast bs=1024 count={16384 - free_kb} 2>&-
        batchpipe run demo --json; echo "exit $?"
        rm small/ballast
        batchpipe run demo --json
        """,
    )
    hint = finished(project, done, {0, 4})
    if free_kb < 400:
        assert "Free some disk space" in hint


@pytest.mark.share(1)
@pytest.mark.parametrize("free_kb", [0, 300])
def test_results_that_do_not_fit_are_taken_in_later(project: Project, small: Path, free_kb: int) -> None:
    project.pipeline()
    project.rows(numbered(ROWS))
    project.faults({"delay_seconds": 2})
    done = shell(
        project,
        f"""
        mount -t tmpfs -o size=16m tmpfs small
        batchpipe run demo --no-wait >/dev/null
        free=$(df --output=avail -k small | tail -1)
        dd if=/dev/zero of=small/ballast bs=1024 count=$((free - {free_kb})) 2>&-
        batchpipe run demo --json; echo "exit $?"
        rm small/ballast
        batchpipe run demo --json
        """,
    )
    finished(project, done, {0, 4})


@pytest.mark.share(1)
@pytest.mark.parametrize("what", ["folder", "file"])
def test_a_read_only_place_is_told_and_can_still_be_read(project: Project, small: Path, what: str) -> None:
    project.pipeline()
    project.rows(numbered(ROWS))
    place = {"folder": "small", "file": "small/batchpipe.duckdb"}[what]
    done = shell(
        project,
        f"""
        batchpipe run demo --limit 10 >/dev/null
        mount --bind {place} {place} && mount -o remount,ro,bind {place}
        batchpipe status demo >/dev/null || echo "status failed"
        batchpipe run demo --json; echo "exit $?"
        umount {place}
        batchpipe run demo --json
        """,
    )
    assert "status failed" not in done.stdout
    assert "writable" in finished(project, done, {4})


def test_a_limit_on_the_size_of_files_is_a_full_disk(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(ROWS))
    script = """
        (ulimit -f 100; batchpipe run demo --json; echo "exit $?")
        batchpipe run demo --json
        """
    assert "Free some disk space" in finished(project, shell(project, script, namespace=False), {4})


def worked(project: Project) -> Path:
    project.pipeline()
    project.rows(numbered(ROWS))
    assert project.run().rows["accepted"] == ROWS
    return project.root / "batchpipe.duckdb"


CONTENTS = {
    "text": b"this is a letter, and no database\n" * 500,
    "empty": b"",
    "short": b"\x00" * 100,
    "sqlite": b"SQLite format 3\x00" + b"\x00" * 8000,
}


@pytest.mark.share(2)
@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
def test_a_file_that_is_no_database_is_told_and_left_as_it_is(project: Project, content: bytes) -> None:
    project.pipeline()
    project.rows(numbered(5))
    path = project.root / "batchpipe.duckdb"
    path.write_bytes(content)
    for command in (["run", "demo"], ["status", "demo"], ["recover", "demo", "--from-raw"]):
        called = call_here(project, *command)
        talk = called.stderr
        assert called.returncode == 4, talk
        assert talk.startswith("error: ")
        assert str(path) in talk
        assert "Traceback" not in talk
    assert path.read_bytes() == content
    assert not project.log()["batches"]


def test_a_folder_in_the_place_of_the_database_is_told(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(5))
    (project.root / "batchpipe.duckdb").mkdir()
    with pytest.raises(DatabaseError):
        project.run()


def test_a_database_of_a_newer_version_is_not_touched(project: Project) -> None:
    path = worked(project)
    with duckdb.connect(str(path)) as connection:
        connection.execute("INSERT INTO ledger.meta VALUES ('schema_version', '99', now()::TIMESTAMP)")
    before = path.read_bytes()
    for command in (["run", "demo"], ["status"], ["results", "demo"]):
        called = call_here(project, *command)
        talk = called.stderr
        assert called.returncode == 4, talk
        assert "schema version 99" in talk
        assert "pip install -U batchpipe" in talk
    assert path.read_bytes() == before


def test_a_corrupt_database_is_told_and_comes_back_from_the_raw_files(project: Project) -> None:
    path = worked(project)
    output = project.sql("SELECT * EXCLUDE (_completed_at) FROM demo ORDER BY id")
    content = bytearray(path.read_bytes())
    content[4096:8192] = b"\x55" * 4096
    path.write_bytes(content)
    called = call_here(project, "run", "demo")
    talk = called.stderr
    assert called.returncode == 4, talk
    assert "recover PIPELINE --from-raw" in talk
    assert path.read_bytes() == content
    path.rename(project.root / "broken.duckdb")
    ask(project, recover, "demo", None, abandon=False, from_raw=True)
    assert project.sql("SELECT * EXCLUDE (_completed_at) FROM demo ORDER BY id") == output
    assert project.run().submitted == 0
    assert project.requests_sent() == ROWS


def test_bytes_that_rot_anywhere_are_told_or_do_no_harm(project: Project) -> None:
    path = worked(project)
    good = path.read_bytes()
    wal = Path(f"{path}.wal")
    draw = random.Random(20261122)
    told = 0
    for _ in range(15):
        content = bytearray(good)
        if draw.random() < 0.3:
            del content[draw.randrange(len(content)) :]
        else:
            start = draw.randrange(len(content) - 64)
            content[start : start + 64] = draw.randbytes(64)
        path.write_bytes(content)
        wal.unlink(missing_ok=True)
        told += _told(project)
    path.write_bytes(good)
    assert told >= 3
    assert project.requests_sent() == ROWS
    assert project.run().rows["accepted"] == ROWS


def _told(project: Project) -> bool:
    try:
        ask(project, status, ["demo"])
        (outcome,) = project.outcomes(no_new=True)
    except DatabaseError as error:
        return error.hint is not None
    assert outcome.error is None or isinstance(outcome.error, DatabaseError)
    return outcome.error is not None


def test_a_backup_can_be_put_back_at_any_time(project: Project) -> None:
    path = worked(project)
    shutil.copy(path, project.root / "backup.duckdb")
    project.rows(numbered(ROWS + 10))
    project.run()
    shutil.copy(project.root / "backup.duckdb", path)
    found: dict[str, Any] = ask(project, recover, "demo", None, abandon=False, from_raw=True, as_json=True).value[
        "rebuilt"
    ]
    assert found["accepted"] == 10
    assert project.run().submitted == 0


def no_file_has_room() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def test_where_nothing_can_be_written_the_page_before_stays_and_no_command_ends_in_a_traceback(
    project: Project,
) -> None:
    project.pipeline()
    project.rows(numbered(2))
    project.run()
    page = project.root / "report.html"
    page.write_text("the page before", encoding="utf-8")
    before = sorted(project.root.rglob("*"))
    assert "has room" in without_room(project, "report", "--html", "report.html", code=2)
    assert "disk space" in without_room(project, "run", "demo", code=4)
    assert page.read_text(encoding="utf-8") == "the page before"
    assert sorted(project.root.rglob("*")) == before
    # Where DuckDB cannot spill beside the database, it needs a folder for temporary files.
    shutil.rmtree(project.root / ".batchpipe")
    (project.root / ".batchpipe").touch()
    assert "export TMPDIR=" in without_room(project, "check", "demo", code=4)


def without_room(project: Project, *command: str, code: int) -> str:
    """Call a command for which every file is full at its first byte; return what it says."""
    done = subprocess.run(
        [sys.executable, "-m", "batchpipe", *command],
        cwd=project.root,
        env={**os.environ, **project.environment},
        preexec_fn=no_file_has_room,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stderr
    return done.stderr


def test_a_file_or_a_broken_link_in_the_place_of_a_folder_is_told(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(2))
    project.run()
    sent = project.requests_sent()
    project.rows(numbered(4))
    for name in ("raw", "locks", "spill", "work", "."):
        folder = project.root / ".batchpipe" / name
        shutil.rmtree(folder)
        folder.symlink_to(project.root / "nowhere") if name == "locks" else folder.touch()
        with pytest.raises(DatabaseError) as caught:
            project.run()
        assert "ot a directory" in caught.value.what, name
        helps = f"remove the link: rm {folder}" if name == "locks" else "move it away"
        assert helps in str(caught.value.hint), name
        folder.unlink()
    assert project.requests_sent() == sent
    assert project.run().submitted == 2


@pytest.mark.parametrize("target", ["/nowhere/lost.duckdb", "lost.duckdb", "batchpipe.duckdb"])
def test_a_link_that_leads_to_no_database_is_told_and_left_as_it_is(project: Project, target: str) -> None:
    """The disk with the database may be missing: a new one would know nothing of what is paid for."""
    project.pipeline()
    project.rows(numbered(2))
    link = project.root / "batchpipe.duckdb"
    link.symlink_to(target)
    for arguments in (["plan", "demo"], ["run", "demo", "--yes"]):
        done = call_here(project, *arguments)
        assert (done.returncode, f"leads to {target}, which is not there" in done.stderr) == (4, True), done
        assert "remove the link" in done.stderr
    assert project.requests_sent() == 0
    link.unlink()
    assert project.run().rows["accepted"] == 2


def test_a_folder_that_is_a_broken_link_is_told(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(2))
    folder = project.root / "data"
    for target, command in (("nowhere", "status"), ("data", "plan")):
        folder.symlink_to(target)
        done = call_here(project, "--database", "data/x.duckdb", command)
        assert (done.returncode, f"the link data leads to {target}" in done.stderr) == (4, True), done
        folder.unlink()
    (project.root / ".batchpipe").symlink_to(".batchpipe")
    done = call_here(project, "--emulator", "status")
    assert (done.returncode, "the link .batchpipe leads to .batchpipe" in done.stderr) == (4, True), done


@pytest.mark.parametrize("refusal", ["No locks available", "Function not implemented", "File locks are not supported"])
def test_a_file_system_without_locks_is_told_at_once(tmp_path: Path, refusal: str) -> None:
    """DuckDB says it in the words with which it says that another process holds the file."""

    class Lockless:
        def execute(self, statement: str) -> None:
            raise duckdb.IOException(f'IO Error: Could not set lock on file "x.duckdb": {refusal}. See also https://')

    def never(seconds: float) -> None:
        raise AssertionError("nobody holds the file: there is nothing to wait for")

    with pytest.raises(DatabaseError, match=refusal) as caught:
        attach(Lockless(), tmp_path, "store", read_only=False, wait_seconds=30, sleep=never)  # type: ignore[arg-type]
    assert "mount this one with file locks" in str(caught.value.hint)


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_that_locks_for_duckdb_alone_is_told(
    project: Project, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """The lock library makes do with a file on ENOSYS, and then takes our own file for another process."""

    def refused(file: object, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    project.pipeline()
    project.rows(numbered(2))
    monkeypatch.setattr(fcntl, "flock", refused)
    with pytest.raises(DatabaseError, match=os.strerror(number)) as caught:
        project.run()
    assert "mount this one with file locks" in str(caught.value.hint)
    assert project.requests_sent() == 0
