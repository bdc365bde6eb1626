"""Tests of review at a real terminal: keys, screens, and the state of the terminal afterwards."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from commandline import COMMAND, in_process_of_its_own, surroundings
from projects import BASIC, Project, numbered

EVERY = f'{BASIC}\n[review]\nwhere = "true"\n'
CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
OWN_SCREEN = "\x1b[?1049l"
KEYS = "[a] accept"


class Person:
    """A user at a pseudo-terminal, who waits for what the screen shows, types, and changes the window's size."""

    def __init__(self, folder: Path, *arguments: str, environment: dict[str, str], size: tuple[int, int]) -> None:
        self.child, self.fd = pty.fork()
        if self.child == 0:
            time.sleep(0.2)  # until the window has its size
            os.chdir(folder)
            os.environ.update({**environment, "TERM": "xterm-256color", "USER": "ada"})
            for name in ("GITHUB_ACTOR", "GITLAB_USER_LOGIN", "COLUMNS", "LINES"):
                os.environ.pop(name, None)
            os.execv(COMMAND[0], [*COMMAND, *arguments])
        self.resize(*size)
        self.raw = ""
        self.before = termios.tcgetattr(self.fd)

    def resize(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    @property
    def screen(self) -> str:
        """Return the last screen without colours."""
        return CODES.sub("", self.raw.rpartition("\x1b[H")[2])

    def sees(self, *texts: str, fits: Callable[[str], bool] = lambda screen: True) -> str:
        """Return the screen once it shows all of `texts` and fits the window."""
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            drawn = self.raw.endswith("\x1b[J")
            if drawn and all(each in self.screen for each in texts) and fits(self.screen):
                return self.screen
            if not self._read():
                break
        raise AssertionError(f"{texts} not seen in:\n{self.screen}\n---\n{len(self.raw)}")

    def types(self, keys: str) -> None:
        os.write(self.fd, keys.encode())

    def ends(self) -> tuple[int, str]:
        """Return the exit code, and what was printed after the last screen."""
        while self._read():
            pass
        _, status = os.waitpid(self.child, 0)
        self.child = 0
        return os.waitstatus_to_exitcode(status), CODES.sub("", self.raw.rpartition(OWN_SCREEN)[2])

    def terminal_is_its_own(self) -> bool:
        return bool(termios.tcgetattr(self.fd)[3] & (termios.ECHO | termios.ICANON) == termios.ECHO | termios.ICANON)

    def close(self) -> None:
        if self.child:
            os.kill(self.child, signal.SIGKILL)
            os.waitpid(self.child, 0)
        os.close(self.fd)

    def _read(self) -> bool:
        if not select.select([self.fd], [], [], 0.2)[0]:
            return True
        try:
            block = os.read(self.fd, 65_536)
        except OSError:  # the other end has closed
            return False
        self.raw += block.decode(errors="replace")
        return bool(block)


Sit = Callable[..., Person]


@pytest.fixture
def sit(project: Project) -> Iterator[Sit]:
    people: list[Person] = []

    def begin(*options: str, size: tuple[int, int] = (100, 30)) -> Person:
        people.append(Person(project.root, "review", "demo", *options, environment=surroundings(project), size=size))
        return people[-1]

    yield begin
    for each in people:
        each.close()


@pytest.fixture
def five(project: Project) -> Project:
    project.rows(numbered(5))
    project.pipeline(EVERY)
    project.run()
    return project


def answers(project: Project) -> dict[int, tuple[str, float]]:
    return {key: (label, score) for key, label, score in project.sql("SELECT id, label, score FROM demo")}


def said(project: Project) -> list[tuple[str, str, str]]:
    return project.sql("SELECT key, verdict, reviewed_by FROM ledger.reviews ORDER BY seq")


def test_accept_correct_skip_back_leave(five: Project, sit: Sit) -> None:
    before = answers(five)
    label = next(each for each in ("billing", "bug", "other") if each != before[2][0])
    symbol = {"billing": "1", "bug": "2", "other": "3"}[label]
    person = sit()
    shown = person.sees("row 1 of 5", KEYS, "text number 1", "[review] where holds")
    assert before[1][0] in shown
    assert not person.terminal_is_its_own()

    person.types("a")
    person.sees("row 2 of 5", "1 accepted, 0 corrected, 0 skipped")
    person.types("c")
    person.sees("which field?", "1 label", "2 score")
    person.types("1")
    person.sees("label: which value?", "1 billing", "2 bug", "3 other")
    person.types(symbol)
    person.sees(f"→ {label}", KEYS)
    person.types("c2")
    person.sees(f"score: {before[2][1]}")
    person.types("\x15" + "7")
    person.sees("score: 7▏")
    person.types("\n")
    person.sees("→ 7", "score: 7 is more than 1")
    person.types("a")
    person.sees("row 2 of 5", "not taken:")
    person.types("c2\x157\x7f0.75\n")
    person.sees("→ 0.75", KEYS)
    person.types("a")
    person.sees("row 3 of 5", "1 accepted, 1 corrected, 0 skipped")

    person.types("s")
    person.sees("row 4 of 5", "1 skipped")
    person.types("b")
    person.sees("row 3 of 5")
    person.types("b")
    person.sees("row 2 of 5", "you said: corrected", f"→ {label}")
    person.types("b")
    person.sees("row 1 of 5", "you said: accepted")
    person.types("b")
    person.sees("this is the first row")
    person.types("q")
    code, printed = person.ends()
    assert code == 0
    assert "demo: 1 accepted, 1 corrected, 1 skipped; 3 rows left to review." in printed
    assert "people agreed with 1 of 2 answers, 50.0% (95% interval 9.5% to 90.5%)" in printed
    assert person.terminal_is_its_own()

    after = answers(five)
    assert after == {**before, 2: (label, 0.75)}
    assert said(five) == [('["1"]', "accepted", "ada"), ('["2"]', "corrected", "ada")]


def test_back_takes_a_word_back_by_a_newer_one(five: Project, sit: Sit) -> None:
    before = answers(five)
    person = sit()
    person.sees("row 1 of 5")
    person.types("c2\x15" + "0.5\na")
    person.sees("row 2 of 5", "1 corrected")
    person.types("b")
    person.sees("row 1 of 5", "→ 0.5")
    person.types(f"c2\x15{before[1][1]}\na")
    person.sees("row 2 of 5", "1 accepted, 0 corrected")
    person.types("q")
    assert person.ends()[0] == 0
    assert answers(five) == before
    assert [verdict for _, verdict, _ in said(five)] == ["corrected", "accepted"]


def test_the_last_row_ends_it_and_the_next_session_goes_on(five: Project, sit: Sit) -> None:
    person = sit()
    person.sees("row 1 of 5")
    person.types("aasaa")
    code, printed = person.ends()
    assert code == 0
    assert "4 accepted, 0 corrected, 1 skipped; 1 row left to review." in printed
    person = sit()
    person.sees("row 1 of 1", "text number 3")
    person.types("\x1b[Aa")
    assert person.ends()[0] == 0
    person = sit()
    assert "there is nothing to review" in person.ends()[1]
    person = sit("--again")
    person.sees("row 1 of 5", "reviewed by ada")
    person.types("q")
    assert person.ends()[0] == 0


def test_the_window_is_resized(five: Project, sit: Sit) -> None:
    def within(columns: int, lines: int) -> Callable[[str], bool]:
        def fits(screen: str) -> bool:
            drawn = screen.split("\n")
            return len(drawn) == lines and all(len(line.rstrip("\r")) <= columns for line in drawn)

        return fits

    person = sit(size=(100, 30))
    person.sees("row 1 of 5", KEYS, fits=within(100, 30))
    person.resize(60, 12)
    person.sees("row 1 of 5", KEYS, "leave", fits=within(60, 12))
    person.types("c1")
    person.sees("which value?", fits=within(60, 12))
    person.resize(120, 40)
    person.sees("which value?", "3 other", fits=within(120, 40))
    person.types("\x1b")
    person.sees(KEYS, fits=within(120, 40))
    person.resize(20, 4)
    person.sees("leave", fits=within(20, 4))
    person.resize(80, 24)
    person.types("a")
    person.sees("row 2 of 5", fits=within(80, 24))
    person.types("q")
    assert person.ends()[0] == 0
    assert len(said(five)) == 1


def test_what_does_not_fit_is_scrolled(project: Project, sit: Sit) -> None:
    text = "\n".join(f"line {number}" for number in range(100))
    project.rows([{**numbered(1)[0], "body": text}])
    project.pipeline(EVERY)
    project.run()
    person = sit(size=(80, 20))
    assert "line 60 " not in person.sees("line 5 ", KEYS)
    person.types("\x1b[B" * 6)
    assert "line 5 " not in person.sees("line 60 ", KEYS)
    person.types("\x1b[5~" * 20)
    person.sees("line 0 ", KEYS)
    person.types("q")
    assert person.ends()[0] == 0


@pytest.mark.parametrize("how", ["control-c", "killed", "hangs up"])
def test_the_terminal_is_given_back_however_it_ends(five: Project, sit: Sit, how: str) -> None:
    person = sit()
    person.sees("row 1 of 5")
    person.types("a")
    person.sees("row 2 of 5")
    assert not person.terminal_is_its_own()
    if how == "control-c":
        person.types("\x03")
    elif how == "killed":
        os.kill(person.child, signal.SIGTERM)
    else:
        person.types("\x04")
    code, printed = person.ends()
    assert code == (0 if how == "hangs up" else 130)
    assert "Traceback" not in printed
    assert person.raw.count(OWN_SCREEN) == 1
    assert person.terminal_is_its_own()
    assert len(said(five)) == 1


def test_it_can_be_stopped_and_goes_on(five: Project, sit: Sit) -> None:
    person = sit()
    person.sees("row 1 of 5")
    os.kill(person.child, signal.SIGTSTP)
    assert os.WIFSTOPPED(os.waitpid(person.child, os.WUNTRACED)[1])
    assert person.terminal_is_its_own()
    person.raw = ""
    os.kill(person.child, signal.SIGCONT)
    person.sees("row 1 of 5", KEYS)
    person.types("aq")
    assert person.ends()[0] == 0
    assert len(said(five)) == 1


def test_nothing_of_the_data_steers_the_terminal(project: Project, sit: Sit) -> None:
    evil = "\x1b]0;owned\x07\x1b[2J[bold red]not markup[/] \u202e"
    project.rows([{**numbered(1)[0], "body": evil, "lang": "\x9b31m"}])
    project.pipeline(EVERY)
    project.run()
    person = sit()
    shown = person.sees("\\x1b]0;owned\\x07\\x1b[2J[bold red]not markup[/] \\u202e", "\\x9b31m")
    assert "\x1b" not in shown
    person.types("q")
    assert person.ends()[0] == 0
    assert "\x1b]0" not in person.raw
    assert "\x9b" not in person.raw


def test_the_database_is_free_while_a_person_thinks_and_new_answers_are_seen(five: Project, sit: Sit) -> None:
    person = sit()
    person.sees("row 1 of 5")
    assert five.run(redo="all").submitted == 5
    person.types("a")
    person.sees("a run has answered this row again")
    person.types("q")
    assert person.ends()[0] == 0
    assert said(five) == []


def test_many_values_are_typed_and_found(project: Project, sit: Sit) -> None:
    many = json.dumps([f"queue_{number}" for number in range(90)])
    project.rows(numbered(2))
    project.pipeline(EVERY.replace('["billing", "bug", "other"]', many))
    project.run()
    person = sit()
    person.sees("row 1 of 2")
    person.types("c1")
    person.sees("90 values fit")
    person.types("_7")
    person.sees("label: _7▏", "11 values fit", "queue_70")
    person.types("7\n")
    person.sees("→ queue_77", KEYS)
    person.types("aq")
    assert person.ends()[0] == 0
    assert project.sql("SELECT label FROM demo WHERE id = 1") == [("queue_77",)]


def test_an_optional_value_is_left_out_and_unicode_is_typed(project: Project, sit: Sit) -> None:
    extra = '[output.fields.tone]\ntype = "string"\nenum = ["calm", "cross"]\noptional = true\n'
    extra += '[output.fields.note]\ntype = "string"\n[[models]]'
    project.rows(numbered(1))
    project.pipeline(EVERY.replace("[[models]]", extra))
    project.run()
    person = sit()
    person.sees("row 1 of 1", "note")
    person.types("c3")
    person.sees("0 (none)", "1 calm", "2 cross")
    person.types("0c4\x15naïve 日本 \x1b[3~ok\n")
    person.sees("→ naïve 日本 ok", KEYS)
    person.types("a")
    assert person.ends()[0] == 0
    assert project.sql("SELECT tone, note FROM demo") == [(None, "naïve 日本 ok")]


def test_without_a_terminal_it_says_what_to_use(five: Project) -> None:
    found = in_process_of_its_own(five.root, "review", "demo", environment=surroundings(five))
    assert (found.code, found.out) == (2, "")
    assert "there is no terminal to review at" in found.talk
    assert "batchpipe review demo --export review.csv" in found.talk
