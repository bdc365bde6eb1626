"""Files that a command writes for a person, on a disk that is full: whole, or what stood there before."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pytest
from commandline import CommandLine
from projects import BASIC, Project, numbered

from batchpipe.commands.results.spreadsheet import save_workbook
from batchpipe.common.durable import written_whole
from batchpipe.sql.quoting import Sql

ROOM_BYTES = 6_000
REVIEWED = BASIC + '[review]\nwhere = "true"\n'


@contextmanager
def little_room() -> Iterator[None]:
    """Let no file of this process grow above `ROOM_BYTES`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM_BYTES, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def typed(project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    found = CommandLine(monkeypatch=monkeypatch, capsys=capsys)
    found.provide(project)
    monkeypatch.chdir(project.root)
    return found


def test_what_a_person_has_is_left_where_there_is_no_room_for_the_new_one(project: Project, typed: CommandLine) -> None:
    project.pipeline(REVIEWED)
    project.rows([{**row, "body": "a long text " * 30} for row in numbered(80)])
    project.run()
    for command in (
        ["review", "demo", "--export", "sheet.csv", "--force", "--again"],
        ["results", "demo", "--to", "rows.csv", "--force"],
        ["results", "demo", "--to", "rows.json", "--force"],
        ["report", "demo", "--html", "page.html", "--with-rows"],
    ):
        target = Path(command[3])
        target.write_text("what a person wrote", encoding="utf-8")
        before = sorted(project.root.iterdir())
        with little_room():
            found = typed(*command)
        assert found.code == 2, (command, found)
        assert "cannot be written: " in found.talk
        assert "File too large" in found.talk
        assert "exception_type" not in found.talk
        assert target.read_text(encoding="utf-8") == "what a person wrote"
        assert sorted(project.root.iterdir()) == before


def test_pages_that_were_written_in_part_are_written_again(typed: CommandLine, tmp_path: Path) -> None:
    folder = tmp_path / "site"
    with little_room():
        found = typed("docs", "--html", str(folder))
    assert (found.code, "the pages cannot be written: File too large" in found.talk) == (2, True), found
    assert typed("docs", "--html", str(folder)).code == 0
    assert (folder / "start" / "install.html").exists()


def test_a_workbook_that_does_not_fit_says_so_once() -> None:
    rows = Sql("SELECT i, repeat('text', 100) AS body FROM range(2_000) t(i)")
    with duckdb.connect() as connection, pytest.raises(OSError, match="No space left on device"):
        save_workbook(connection, rows, Path("/dev/full"), 2_000)


def test_a_file_is_put_in_place_whole(tmp_path: Path) -> None:
    path = tmp_path / "page.html"

    def written(text: str, error: type[BaseException] | None = None) -> None:
        with written_whole(path) as beside:
            beside.write_text(text, encoding="utf-8")
            if error is not None:
                raise error

    written("whole")
    with pytest.raises(KeyboardInterrupt):
        written("half", KeyboardInterrupt)
    assert [(each.name, each.read_text(encoding="utf-8")) for each in tmp_path.iterdir()] == [("page.html", "whole")]


def test_what_a_killed_process_leaves_is_no_data_file_and_goes_after_a_day(tmp_path: Path) -> None:
    path = tmp_path / "rows[1].csv"
    path.write_text("id\n1\n", encoding="utf-8")
    killed = (
        "import os, sys\nfrom pathlib import Path\nfrom batchpipe.common.durable import written_whole\n"
        "with written_whole(Path(sys.argv[1])) as beside:\n    beside.write_text('id')\n    os.kill(os.getpid(), 9)\n"
    )
    assert subprocess.run([sys.executable, "-c", killed, str(path)]).returncode == -9
    (left,) = set(tmp_path.iterdir()) - {path}
    with duckdb.connect() as connection:  # an input of all CSV files reads no half of one
        found = connection.execute("SELECT * FROM read_csv($1)", [str(tmp_path / "*.csv")]).fetchall()
    assert found == [(1,)]

    for seconds, names in ((0, {path, left}), (90_000, {path})):
        os.utime(left, (left.stat().st_atime, left.stat().st_mtime - seconds))
        with written_whole(path) as beside:
            beside.write_text("id\n2\n", encoding="utf-8")
        assert set(tmp_path.iterdir()) == names
