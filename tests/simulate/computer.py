"""A machine that runs the real commands in this process, with a clock of its own, and that may die or fill up."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Sequence
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from batchpipe.cli.main import main
from batchpipe.common.errors import BatchpipeError
from batchpipe.common.machine import Machine

from .disk import Disk, Files, fill, free, let_go, unwatched, watching
from .provider import Provider
from .wire import Wire
from .world import Doing, EndlessError, KilledError, Trouble, World

T = TypeVar("T")
E = TypeVar("E", bound=Exception)

KEY = "sk-simulated-0123456789abcdef"
CLEARED = ("ANTHROPIC_", "BATCHPIPE_", "OPENAI_", "GEMINI_", "GOOGLE_", "FORCE_COLOR", "NO_COLOR")
KILLED = -9
ENDLESS = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Called:
    """A command that ended, or did not: its words, its exit code, and what it printed."""

    words: Sequence[str]
    code: int
    out: str
    talk: str
    operations: int = 0

    @property
    def killed(self) -> bool:
        """Return whether the machine died."""
        return self.code == KILLED

    def __str__(self) -> str:
        return f"batchpipe {' '.join(self.words)} -> {self.code}"


@dataclass(slots=True, kw_only=True)
class Computer:
    """A machine with a project folder. Its clock is `ahead` of the true time by so many seconds."""

    world: World
    provider: Provider
    name: str
    root: Path
    key: str = KEY
    ahead: float = 0.0

    def clock(self) -> datetime:
        """Return the machine's time as naive UTC."""
        return datetime.fromtimestamp(self.world.time() + self.ahead, UTC).replace(tzinfo=None)

    def call(self, *words: str, trouble: Trouble | None = None, task: Callable[[Machine], int] | None = None) -> Called:
        """Run one command line, or `task` in its place; after a kill the folder is as the dead machine left it."""
        trouble = trouble or Trouble()
        disk = Disk(self.root, self.world.reached)
        left: list[Files] = []
        chance = self.world.drawing("disk", len(self.world.trace))

        def killed(power: bool) -> None:
            with unwatched():
                files = disk.read()
                left.append(disk.after_power_cut(files, chance) if power else files)

        doing = Doing(trouble=trouble, since=self.world.now, on_kill=killed, on_full=lambda: fill(disk))
        wire = Wire(self.world, self.provider.answer, self.provider.time, self.provider.incoming, lambda: doing.dead)
        machine = Machine(
            clock=self.clock,
            monotonic=self.world.time,
            sleep=self.world.sleep,
            chance=self.world.drawing(self.name, "ids", len(self.world.trace)),
            pool=self._pool,
            transport=wire,
            git_commit=lambda folder: None,
        )
        self.world.say(f"{self.name}: batchpipe {' '.join(words)}")
        out, talk = io.StringIO(), io.StringIO()
        disk.begin()
        self.world.doing.append(doing)
        try:
            with self._environment(), chdir(self.root), redirect_stdout(out), redirect_stderr(talk), watching(disk):
                code = main(list(words), machine) if task is None else task(machine)
        except BatchpipeError as error:  # of a task: `main` raises none
            code = error.exit_code
            talk.write(str(error))
        except KilledError:
            code = KILLED
        except EndlessError:
            code = ENDLESS
        finally:
            free(disk)
            let_go()
            self.world.doing.remove(doing)
        if left:  # whatever the command did while it fell apart did not happen
            code = KILLED
            with unwatched():
                disk.write(left[0])
        self.world.say(f"  exit {code} after {doing.operations}")
        return Called(words=words, code=code, out=out.getvalue(), talk=talk.getvalue(), operations=doing.operations)

    def _pool(self, calls: Sequence[Callable[[], T]], most: int, expected: tuple[type[E], ...] = ()) -> list[T | E]:
        """Make the calls one after the other, in an order that the seed draws."""
        order = list(range(len(calls)))
        self.world.drawing("pool", len(self.world.trace)).shuffle(order)
        found: dict[int, T | E] = {}
        other: Exception | None = None
        for place in order:
            try:
                found[place] = calls[place]()
            except expected as error:
                found[place] = error
            except Exception as error:  # noqa: BLE001 - as the pool of threads does, all calls are made first
                other = other or error
        if other is not None:
            raise other
        return [found[place] for place in range(len(calls))]

    def _environment(self) -> Any:
        """Return a context in which the process has this machine's environment."""
        return _Environment(
            {
                "ANTHROPIC_API_KEY": self.key,
                "ANTHROPIC_BASE_URL": "http://127.0.0.1:9",
                "OPENAI_API_KEY": self.key,
                "OPENAI_BASE_URL": "http://127.0.0.1:9/v1",
                "GEMINI_API_KEY": self.key,
                "GOOGLE_GEMINI_BASE_URL": "http://127.0.0.1:9",
                "TERM": "dumb",
                "HOME": str(self.root.parent / "home"),
                "USER": self.name,
            }
        )


class _Environment:
    """A context that changes the process's environment."""

    def __init__(self, values: dict[str, str]) -> None:
        self.values = values
        self.before: dict[str, str] = {}

    def __enter__(self) -> None:
        self.before = dict(os.environ)
        for name in list(os.environ):
            if name.startswith(CLEARED):
                del os.environ[name]
        os.environ.update(self.values)

    def __exit__(self, *_: object) -> None:
        os.environ.clear()
        os.environ.update(self.before)
