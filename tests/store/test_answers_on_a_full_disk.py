"""Answers that are paid for while the disk becomes full: each finds the room that was held for it."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from projects import BASIC, Project, numbered

from batchpipe.common.errors import DatabaseError
from batchpipe.engine.realtime.journal import CallJournal

DISK_BYTES = 8 << 20
NOW = datetime(2026, 11, 29, tzinfo=UTC)
ROWS = 6


class SmallDisk:
    """A file system of a few megabytes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES},mode=700", "tmpfs", str(path)]
        if subprocess.run(command, capture_output=True).returncode:
            pytest.skip("no file system can be mounted here: it needs root")

    def fill(self) -> None:
        with (self.path / "filler").open("ab", buffering=0) as file, suppress(OSError):
            while file.write(bytes(1 << 16)):
                pass

    def free(self) -> None:
        (self.path / "filler").unlink(missing_ok=True)


@pytest.fixture
def small_disk(project: Project) -> Iterator[SmallDisk]:
    """Let the raw folder of the project be on a small disk of its own."""
    disk = SmallDisk(project.root / ".batchpipe" / "raw")
    yield disk
    subprocess.run(["umount", str(disk.path)], check=True)


@pytest.fixture
def late(project: Project) -> Project:
    """Let each answer of the project's emulator take a while."""
    project.rows(numbered(ROWS))
    project.faults({"calls": [{"call": "message", "fault": "late", "seconds": 1.5, "times": ROWS}]})
    return project


def asked(project: Project) -> int:
    return sum(each["path"] == "/v1/messages" for each in project.log()["calls"])


def filled_when(disk: SmallDisk, due: Callable[[], bool]) -> threading.Thread:
    """Fill the disk as soon as `due` says so."""

    def watch() -> None:
        until = time.monotonic() + 30
        while not due() and time.monotonic() < until:
            time.sleep(0.02)
        disk.fill()

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


def test_a_call_that_was_made_has_room_for_its_answer(small_disk: SmallDisk) -> None:
    journal = CallJournal(journal=small_disk.path / "chunk.calls.log", results=small_disk.path / "chunk.jsonl")
    lines = [os.urandom(30_000).hex().encode() + b"\n" for _ in range(4)]
    with journal.held(), journal.with_room(4):
        for name in "abcd":
            journal.start(name, NOW)
        small_disk.fill()
        for line in lines:
            journal.answer(line)
        with pytest.raises(DatabaseError, match="No space left"):
            journal.start("e", NOW)
    assert journal.results.read_bytes() == b"".join(lines)
    assert b'"e"' not in journal.journal.read_bytes()


def test_nothing_is_asked_where_there_is_no_room_for_the_answers(small_disk: SmallDisk) -> None:
    journal = CallJournal(journal=small_disk.path / "chunk.calls.log", results=small_disk.path / "chunk.jsonl")
    with journal.held(), pytest.raises(DatabaseError, match="No space left"), journal.with_room(1_000):
        raise AssertionError
    with journal.held(), journal.with_room(40):
        journal.start("a", NOW)
    assert [each.name for each in small_disk.path.iterdir()] == ["chunk.calls.log"]


def test_a_line_that_does_not_fit_is_left_out_whole(small_disk: SmallDisk) -> None:
    journal = CallJournal(journal=small_disk.path / "chunk.calls.log", results=small_disk.path / "chunk.jsonl")
    journal.answer(b"first\n")
    small_disk.fill()
    with pytest.raises(DatabaseError, match="No space left"):
        journal.answer(bytes(100_000))
    assert journal.results.read_bytes() == b"first\n"


def test_answers_that_come_to_a_full_disk_are_paid_once(small_disk: SmallDisk, late: Project) -> None:
    late.pipeline(BASIC + 'mode = "realtime"\n')
    watch = filled_when(
        small_disk, lambda: sum(each.read_text().count("start") for each in small_disk.path.glob("*.calls.log")) == ROWS
    )
    with suppress(DatabaseError):
        late.run()
    watch.join()
    assert asked(late) == ROWS
    small_disk.free()
    assert late.run().rows["accepted"] == ROWS
    assert asked(late) == ROWS
    assert late.sql("SELECT count(*) FROM ledger.events WHERE kind = 'cost_unknown'") == [(0,)]


def test_a_tried_row_whose_answer_comes_to_a_full_disk_is_paid_once(small_disk: SmallDisk, late: Project) -> None:
    late.pipeline()
    watch = filled_when(small_disk, lambda: late.log()["calls"] != [])
    with suppress(DatabaseError):
        late.attempt(rows=1)
    watch.join()
    assert asked(late) == 1
    small_disk.free()
    assert [row.known for row in late.attempt(rows=1)] == [True]
    assert asked(late) == 1
