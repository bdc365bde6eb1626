"""Read a terminal key by key, draw whole screens, and leave the terminal as it was found."""

from __future__ import annotations

import codecs
import contextlib
import os
import re
import select
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TextIO

from batchpipe.common.errors import UsageError

ESCAPE_SECONDS = 0.05
RESIZED, ENDED, ENTER, ESCAPE, BACKSPACE, CLEAR, UP, DOWN = (
    "resized",
    "ended",
    "enter",
    "escape",
    "backspace",
    "clear",
    "up",
    "down",
)
NAMED = {"\n": ENTER, "\r": ENTER, "\x7f": BACKSPACE, "\x08": BACKSPACE, "\x15": CLEAR, "\x04": ENDED}
SEQUENCES = {"[A": UP, "OA": UP, "[5~": UP, "[B": DOWN, "OB": DOWN, "[6~": DOWN}
# UNKNOWN: a key that has no meaning here. CUT: the beginning of a key whose rest is not read yet.
UNKNOWN = re.compile(r"\x1b(?:\[[0-9;?]*[A-Za-z~]|O[A-Za-z])")
CUT = re.compile(rb"\x1b(?:\[[0-9;?]*|O)?\Z")
OTHER_SCREEN, OWN_SCREEN = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
FALLBACK = os.terminal_size((80, 24))


@dataclass(slots=True, kw_only=True)
class Terminal:
    """A terminal that is read key by key."""

    fd: int
    stdout: TextIO
    _woken: int
    _pending: list[str] = field(default_factory=list)
    _decoder: Any = field(default_factory=lambda: codecs.getincrementaldecoder("utf-8")("replace"))

    @property
    def size(self) -> os.terminal_size:
        """Return the terminal's columns and lines as they are now, whatever the environment says."""
        with contextlib.suppress(OSError):
            found = os.get_terminal_size(self.stdout.fileno())
            if found.columns and found.lines:
                return found
        return FALLBACK

    def draw(self, lines: Sequence[str]) -> None:
        """Replace what is on the screen. Every line ends its own colours."""
        text = "\x1b[H" + "\x1b[K\r\n".join(lines[: self.size.lines]) + "\x1b[K\x1b[J"
        self.stdout.write(text)
        self.stdout.flush()

    def key(self) -> str:
        """Wait for a key: return one character, one of the names above, or `resized` where the window has changed."""
        while not self._pending:
            ready, _, _ = select.select([self.fd, self._woken], [], [])
            if self._woken in ready:
                os.read(self._woken, 4096)
                return RESIZED
            self._read()
        return self._pending.pop(0)

    def _read(self) -> None:
        block = os.read(self.fd, 4096)
        if not block:
            self._pending.append(ENDED)
            return
        while CUT.search(block) and select.select([self.fd], [], [], ESCAPE_SECONDS)[0]:
            block += os.read(self.fd, 4096)
        self._pending += _keys(self._decoder.decode(block))


def _keys(text: str) -> Iterator[str]:
    place = 0
    while place < len(text):
        if text[place] != "\x1b":
            yield NAMED.get(text[place], text[place])
            place += 1
            continue
        found = next((each for each in SEQUENCES if text.startswith(each, place + 1)), None)
        if found is not None:
            yield SEQUENCES[found]
            place += 1 + len(found)
            continue
        unknown = UNKNOWN.match(text, place)
        if unknown is None:
            yield ESCAPE
        place = unknown.end() if unknown else place + 1


def is_terminal(stdout: TextIO) -> bool:
    """Return whether a person sits at the terminal, for both input and output."""
    return sys.stdin.isatty() and stdout.isatty()


@contextmanager
def opened(stdout: TextIO) -> Iterator[Terminal]:
    """Open the terminal key by key, on a screen of its own; restore it at the end, whatever happens.

    Raises UsageError on a system without such a terminal.
    """
    try:
        import termios
        import tty
    except ImportError as error:
        hint = "Review in a spreadsheet: --export review.csv, then --import review.csv."
        raise UsageError("this system has no such terminal", where="review", hint=hint) from error
    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)
    woken, wake = os.pipe()
    os.set_blocking(wake, False)

    def enter() -> None:
        tty.setcbreak(fd, termios.TCSADRAIN)
        stdout.write(OTHER_SCREEN)
        stdout.flush()

    def leave() -> None:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)
        with contextlib.suppress(OSError, ValueError):
            stdout.write(OWN_SCREEN)
            stdout.flush()

    try:
        with _signals(enter, leave, wake):
            enter()
            yield Terminal(fd=fd, stdout=stdout, _woken=woken)
    finally:
        leave()
        os.close(woken)
        os.close(wake)


@contextmanager
def _signals(enter: Callable[[], None], leave: Callable[[], None], wake: int) -> Iterator[None]:
    """Let a resize wake the reader, and a stop (Ctrl-Z) restore the terminal until the work goes on.

    The signal itself writes to `wake`: a Python handler would run too late where the reader is about to wait.
    """

    def stopped(*_: object) -> None:
        leave()
        os.kill(os.getpid(), signal.SIGSTOP)
        enter()

    handlers: dict[signal.Signals, Callable[..., None]] = {signal.SIGWINCH: lambda *_: None, signal.SIGTSTP: stopped}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    woken_before = signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(woken_before)
        for number, handler in before.items():
            signal.signal(number, handler)
