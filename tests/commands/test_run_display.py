"""Tests of what a person sees of a run, drawn in a real terminal of 80 and of 200 columns, and as lines."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import termios
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pyte
import pytest
from commandline import COMMAND, CommandLine, surroundings
from projects import BASIC, Project, numbered

from batchpipe.commands.printing.text import wrapped
from batchpipe.commands.run.display import BatchView, LimitView, RunView, fitting_lines, view_lines
from batchpipe.commands.run.expected_end import seconds_left
from batchpipe.engine.cost.estimate import Times

NOON = datetime(2026, 7, 1, 12)  # noqa: DTZ001 - times are naive UTC


def seen(folder: Path, columns: int, rows: int, *arguments: str, environment: Mapping[str, str]) -> list[list[str]]:
    """Call the command line in a terminal, and return every picture that its screen has shown, without the blanks.

    Each picture is whole: a picture is taken when nothing more has come for a moment.
    """
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(folder)
        os.environ.update({**environment, "TERM": "xterm-256color"})
        os.environ.pop("COLUMNS", None)
        os.execv(COMMAND[0], [*COMMAND, *arguments])
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    screen = pyte.Screen(columns, rows)
    stream = pyte.ByteStream(screen)
    pictures: list[list[str]] = []
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        if not select.select([terminal], [], [], 0.03)[0]:
            picture = [line.rstrip() for line in screen.display if line.strip()]
            if picture and (not pictures or picture != pictures[-1]):
                pictures.append(picture)
            continue
        try:
            block = os.read(terminal, 65_536)
        except OSError:  # the other end has closed
            break
        if not block:
            break
        stream.feed(block)
    os.waitpid(child, 0)
    os.close(terminal)
    pictures.append([line.rstrip() for line in screen.display if line.strip()])
    return pictures


@pytest.mark.parametrize(("columns", "rows"), [(80, 24), (200, 50)])
def test_a_run_in_a_terminal(project: Project, columns: int, rows: int) -> None:
    """Whole words, the money, the time and the batches while it waits; and at the end nothing that is not true."""
    project.rows(numbered(12))
    project.pipeline(BASIC + "\n[chunking]\nmax_requests = 5\n\n[budget]\nmax_usd = 2\n")
    project.faults({"delay_seconds": 2.5})
    pictures = seen(project.root, columns, rows, "run", "demo", environment=surroundings(project))
    waiting = [each for each in pictures if any("waiting for 3 batches" in line for line in each)]
    assert waiting, pictures
    last = "\n".join(waiting[-1])
    assert "12 pending of 12 rows" in last
    assert " of $2.00 spent ([budget] max_usd)" in last
    assert " s so far" in last
    assert last.count("5 requests") == 2
    words = {word for picture in pictures for line in picture for word in line.split()}
    assert {"claude-haiku-4-5", "requests", "rows"} <= words
    assert all(len(line) <= columns for picture in pictures for line in picture)
    end = "\n".join(pictures[-1])
    assert "demo (prompt v1): done" in end
    assert "waiting for" not in end
    assert "so far" not in end


def test_quiet_prints_only_what_is_wrong(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = CommandLine(monkeypatch=monkeypatch, capsys=capsys)
    typed.provide(project)
    monkeypatch.chdir(project.root)
    project.rows(numbered(3))
    project.pipeline(BASIC + '\n[check]\nignore = "P004"\n')
    for words in (
        ["check"],
        ["plan", "demo"],
        ["run", "demo", "--no-wait", "--pending-ok"],
        ["run", "demo"],
        ["status"],
        ["status", "demo"],
        ["run", "demo"],
        ["cancel", "demo"],
    ):
        found = typed("--quiet", *words)
        assert (found.code, found.out, found.talk) == (0, "", ""), words
    assert typed("-q", "run", "demo", "--json").value["gate"] is not None
    stopped = typed("run", "demo", "-q")
    assert stopped.code == 6
    assert "paused" in stopped.out
    assert "paused" in typed("status", "--quiet").out
    assert len(typed("results", "demo", "--quiet").out.splitlines()) == 4
    project.pipeline(BASIC.replace("{{ body }}", "{{ bdy }}"))
    assert "bdy" in typed("check", "-q").out
    assert "there is no pipeline" in typed("status", "other", "-q").talk


def test_status_has_a_line_for_each_pipeline(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = CommandLine(monkeypatch=monkeypatch, capsys=capsys)
    typed.provide(project)
    monkeypatch.chdir(project.root)
    project.rows(numbered(3))
    for name in ("demo", "a_second_one"):
        project.pipeline(name=name)
    project.faults({"delay_seconds": 3600})
    assert typed("run", "demo", "--no-wait").code == 5
    found = typed("status")
    lines = found.out.splitlines()
    assert [line.split("  ")[0] for line in lines] == ["a_second_one", "demo"]
    assert " new " in lines[0]
    assert lines[1].startswith("demo          in flight  3 pending; 1 batch with 3 requests, ")
    assert "more of one: batchpipe status" in found.talk
    assert "batch" in typed("status", "demo").out
    project.pipeline(name="a_name_that_takes_most_of_a_line_of_eighty_columns_by_itself")
    assert f"{'demo':<28}  in flight  3 pending" in typed("status").out


class TestLines:
    BATCH = BatchView(
        name="msgbatch_01ABCDEFGHJKMNPQRSTVWXYZ",
        state="in_flight",
        model="claude-haiku-4-5",
        requests=1200,
        since=NOON - timedelta(minutes=2),
        expires_at=NOON + timedelta(hours=23),
        done=300,
    )
    VIEW = RunView(
        pipeline="demo",
        step="uploading 3 of 16 batches",
        input=9000,
        rows={"accepted": 10, "failed": 2},
        batches=[BATCH] * 9,
        cost_usd=Decimal("1.1"),
        limit=LimitView("[budget] max_usd", Decimal("1.2"), Decimal(5)),
        waits="200 requests for room in [budget] max_usd",
        elapsed_seconds=720,
        left_seconds=1200,
        batches_before=12,
    )

    def test_all_that_is_known_is_said(self) -> None:
        lines = [line for line, _ in view_lines([self.VIEW], NOON, 200)]
        assert lines[:5] == [
            "demo  uploading 3 of 16 batches, $1.10 spent in this run",
            "  10 accepted, 2 failed of 9,000 rows",
            "  12 min so far, about 20 min left, estimated from 12 earlier batches",
            "  $1.20 of $5.00 spent ([budget] max_usd)",
            "  waiting: 200 requests for room in [budget] max_usd",
        ]
        assert "300 of 1,200 requests done" in lines[5]
        assert lines[-1] == "  and 1 more batch"

    def test_what_batches_share_is_said_once_on_a_narrow_screen(self) -> None:
        wide = replace(self.BATCH, requests=10_000, done=9_000)
        lines = [line for line, _ in view_lines([replace(self.VIEW, batches=[self.BATCH, wide])], NOON, 80)]
        assert lines[-3:] == [
            "  msgbatch_01ABCDEFGHJKMNPQRSTVWXYZ  300 of 1,200 requests done     2 min old",
            "  msgbatch_01ABCDEFGHJKMNPQRSTVWXYZ  9,000 of 10,000 requests done  2 min old",
            "  in_flight  claude-haiku-4-5  the first expires in 23 h",
        ]
        other = replace(self.BATCH, model="claude-opus-4-8")
        lines = [line for line, _ in view_lines([replace(self.VIEW, batches=[self.BATCH, other])], NOON, 80)]
        assert sum("claude-opus-4-8" in line for line in lines) == 1

    @pytest.mark.parametrize(("pipelines", "height"), [(1, 24), (2, 24), (5, 24), (40, 24), (40, 5)])
    def test_what_is_too_much_for_the_screen_is_left_out(self, pipelines: int, height: int) -> None:
        lines = fitting_lines([self.VIEW] * pipelines, NOON, 80, height)
        assert len(lines) < height
        assert all(len(line) <= 80 for line, _ in lines)
        named = sum(line.startswith("demo  ") for line, _ in lines)
        assert named == pipelines or lines[-1][0] == f"and {pipelines - named} more pipelines"

    @pytest.mark.parametrize(
        ("ages", "further", "times", "left"),
        [
            ([], 0, Times(usual_seconds=60, high_seconds=90, batches=4), None),
            ([10], 0, Times(), None),
            ([10], 0, Times(usual_seconds=60, high_seconds=90, batches=4), 50),
            ([70, 10], 1, Times(usual_seconds=60, high_seconds=90, batches=4), 110),
            ([70], 0, Times(usual_seconds=60, high_seconds=90, batches=4), 20),
            ([100], 0, Times(usual_seconds=60, high_seconds=90, batches=4), None),
        ],
    )
    def test_the_expected_end(self, ages: list[int], further: int, times: Times, left: float | None) -> None:
        begun = [NOON - timedelta(seconds=age) for age in ages]
        assert seconds_left(begun, further, times, NOON) == left


def test_a_name_longer_than_the_terminal_loses_nothing() -> None:
    name = "a_pipeline_whose_name_is_longer_than_a_line_of_a_narrow_terminal"
    named = replace(TestLines.VIEW, pipeline=name)
    lines = [line for line, _ in view_lines([named], NOON, 40)]
    assert max(map(len, lines)) <= 40
    assert name in "".join(lines).replace(" ", "")


def test_long_lines_break_between_words() -> None:
    pair = "  cost      " + "ten letters " * 9
    assert all(line.startswith(" " * 12) for line in wrapped(pair, 60).splitlines()[1:])
    assert max(len(line) for line in wrapped(pair, 60).splitlines()) <= 60
    assert wrapped("a " + "x" * 100, 60).splitlines() == ["a", "  " + "x" * 100]
    command = "To go on: batchpipe run demo --approve -C a/folder --emulator --database another.duckdb"
    assert wrapped(command, 40).splitlines()[-1].strip() == command.removeprefix("To go on: ")
    assert wrapped("表" * 25 + " " + "表" * 25, 60).count("\n") == 1
    assert wrapped("short\n\nlines", 60) == "short\n\nlines"
