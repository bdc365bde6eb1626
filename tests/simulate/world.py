"""The world of one seed: its time, its chance, the trace of what happened, and the kill that is waited for."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

START = datetime(2026, 11, 2, 8, 0, tzinfo=UTC).timestamp()
TICK_SECONDS = 0.001
LEAST_SLEEP_SECONDS = 200.0
SHARE_OF_WAIT = 1.0  # so that a day of waiting takes some seven looks
DAY_SECONDS = 86_400.0
MOST_SLEEP_SECONDS = DAY_SECONDS / 4
LONGEST_COMMAND_SECONDS = 45 * DAY_SECONDS
MOST_OPERATIONS = 20_000


class KilledError(BaseException):
    """The machine is dead: nothing of the command goes on."""


class EndlessError(BaseException):
    """A command did not end in more time than any wait may take, or it is busy without end."""


@dataclass(slots=True, kw_only=True)
class Trouble:
    """What befalls one command: a kill or a full disk at operation number `kill_at` or `full_at` (0: never).

    `power`: the kill is a power cut, which forgets what was not flushed. `sleeps` are called, one after the other, when
    the command sleeps or calls the provider.
    """

    kill_at: int = 0
    power: bool = False
    full_at: int = 0
    meanwhile: list[Callable[[], None]] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class Doing:
    """A command under way: its trouble, the operations so far, when it began, and whether it was killed."""

    trouble: Trouble
    since: float
    operations: int = 0
    dead: bool = False
    full: bool = False
    on_kill: Callable[[bool], None] = lambda power: None
    on_full: Callable[[], None] = lambda: None


@dataclass(slots=True, kw_only=True)
class World:
    """The time that is true (seconds since 1970), and everything that a seed decides."""

    seed: int
    folder: Path
    now: float = START
    trace: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    doing: list[Doing] = field(default_factory=list)
    chance: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.chance = random.Random(f"world {self.seed}")

    def drawing(self, *names: object) -> random.Random:
        """Return chance of its own for a thing, so that no other thing changes what it draws."""
        return random.Random(f"{self.seed} {' '.join(str(each) for each in names)}")

    def time(self) -> float:
        """Return the time; each look at it takes a moment."""
        self.now += TICK_SECONDS
        return self.now

    def say(self, text: str) -> None:
        """Add a line to the trace."""
        self.trace.append(text)

    def digest(self) -> str:
        """Return a hash of the whole trace."""
        return hashlib.md5("\n".join(self.trace).encode()).hexdigest()

    def reached(self, operation: str) -> None:
        """Count an operation of the command that is under way; it may be the one at which the machine dies.

        A command that is dead does nothing any more.
        """
        if not self.doing:
            return
        doing = self.doing[-1]
        if doing.dead:
            return
        doing.operations += 1
        self.trace.append(f"  {doing.operations} {operation}")
        if doing.operations > MOST_OPERATIONS:
            raise EndlessError
        if doing.operations == doing.trouble.kill_at:
            doing.dead = True
            self.trace.append("  killed" + (" by a power cut" if doing.trouble.power else ""))
            doing.on_kill(doing.trouble.power)
            raise KilledError
        if doing.operations == doing.trouble.full_at:
            doing.full = True
            self.trace.append("  the disk is full")
            doing.on_full()

    def sleep(self, seconds: float) -> None:
        """Let time pass; a machine sleeps longer than it is asked to, the more so the longer it has waited."""
        doing = self.doing[-1] if self.doing else None
        if doing is not None and doing.dead:
            raise KilledError
        waited = self.now - doing.since if doing is not None else 0.0
        self.now += (
            max(seconds, LEAST_SLEEP_SECONDS, min(waited * SHARE_OF_WAIT, MOST_SLEEP_SECONDS))
            if seconds >= 0.5
            else seconds
        )
        if doing is None:
            return
        self._meanwhile(doing)
        if self.now - doing.since > LONGEST_COMMAND_SECONDS:
            raise EndlessError

    def called(self) -> None:
        """Let others act while a command waits for the network."""
        if self.doing:
            self._meanwhile(self.doing[-1])

    def _meanwhile(self, doing: Doing) -> None:
        if doing.trouble.meanwhile and not doing.dead:
            doing.trouble.meanwhile.pop(0)()
