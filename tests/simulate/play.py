"""Play one seed: do its steps, hold the rules after each, and bring it to rest at the end."""

from __future__ import annotations

import json
import random
import re
import shutil
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import rules
from .computer import Called, Computer
from .disk import unwatched
from .faults import drawn_delay, drawn_faults
from .history import Step
from .project import HIGH, LABELS, LOW, MANNERS, MIDDLE, Project
from .project import rules as provider_rules
from .provider import Provider
from .rules import Licences, Violation
from .store_points import of_world
from .world import DAY_SECONDS, Trouble, World

SETTLING_RUNS = 10
MOST_ROWS = 30
SUGGESTED = re.compile(r"batchpipe ((?:recover|run) [a-z_]+ --?[^\n;:,`]*)")


@dataclass(slots=True, kw_only=True)
class Played:
    """What came of a seed: the first violation, if any, and the counts of what was done."""

    seed: int
    violation: Violation | None
    step: str
    counts: Counter[str]
    digest: str
    seconds: float
    trace: Sequence[str] = ()


class ViolatedError(Exception):
    """A rule does not hold."""

    def __init__(self, violation: Violation) -> None:
        super().__init__(str(violation))
        self.violation = violation


@dataclass(slots=True)
class Play:
    """A seed under way: its world, its provider, its project and its machine."""

    world: World
    provider: Provider
    project: Project
    computer: Computer
    licences: Licences = field(default_factory=Licences)
    received: set[tuple[str, str]] = field(default_factory=set)

    @property
    def root(self) -> Path:
        """Return the project's folder."""
        return self.computer.root

    @property
    def database(self) -> Path:
        """Return the path of the database."""
        return self.root / "batchpipe.duckdb"

    def step(self, step: Step) -> None:
        """Do one step. Raises ViolatedError where a rule does not hold after it."""
        self.world.say(f"step {step}")
        chance = self.world.drawing("step", step.number)
        DOING[step.kind](self, chance)

    def call(self, *words: str, trouble: Trouble | None = None) -> Called:
        """Run a command, count it, and hold the rules."""
        called = self.computer.call(*words, trouble=trouble)
        self.world.counts[f"commands: {words[0]}"] += 1
        if called.killed:
            self.world.counts["power cuts" if trouble and trouble.power else "kills"] += 1
        self._hold(called)
        return called

    def run(self, chance: random.Random, *words: str) -> None:
        """Run the pipeline with the troubles of this step."""
        faults = drawn_faults(chance)
        self.world.counts["faults"] += len(faults)
        self.provider.rules(provider_rules(faults, **drawn_delay(chance)))
        trouble = Trouble()
        drawn = chance.random()
        if drawn < 0.4:
            trouble.kill_at, trouble.power = round(2 ** chance.uniform(0, 9)), chance.random() < 0.3
        elif drawn < 0.47:
            trouble.full_at = round(2 ** chance.uniform(0, 8))
            self.world.counts["full disks"] += 1
        self.call("run", self.project.name, "--yes", "--json", *words, trouble=trouble)

    def settle(self) -> None:
        """Let nothing go wrong any more, and run until all is at rest; then nothing more may be due or open.

        Raises ViolatedError where it does not come to rest.
        """
        self.world.say("settle")
        self.provider.rules(provider_rules(delay_seconds=600.0))
        self.provider.ahead = self.computer.ahead = 0.0
        name = self.project.name
        words = ["run", name, "--yes", "--approve", "--json"]
        called = self.call(*words)
        for _ in range(SETTLING_RUNS):
            if called.code in (0, 1):
                break
            self.world.now += 3_600
            for suggested in SUGGESTED.findall(called.talk + called.out)[:1]:
                self.call(*suggested.strip().rstrip(".").split())
            called = self.call(*words)
        if called.code not in (0, 1):
            what = f"{called} after {SETTLING_RUNS} runs: {(called.talk + called.out)[-700:]}"
            raise ViolatedError(Violation(rule="every open thing has an end", what=what))
        again = self.call(*words)
        sent = json.loads(again.out).get("submitted")
        if sent:
            raise ViolatedError(Violation(rule="nothing is due at rest", what=f"the next run sent {sent}"))
        self._first(rules.of_raw(self.database, self.received))
        self._first(rules.of_secrets(self.root))

    def _hold(self, called: Called) -> None:
        self._first(rules.of_words(called))
        new = self.provider.look()
        self.world.counts["requests sold"] += len(new)
        self._first(rules.of_sales(new, self.provider.sales, self.project, self.licences))
        if called.words[0] == "run" and called.code in (0, 1, 5):
            self._first(rules.of_output(self.database, self.project, self.provider.sales))
            self.received |= rules.raw_ids(self.root)

    def _first(self, violations: Any) -> None:
        for violation in violations:
            raise ViolatedError(violation)


def _body(play: Play, chance: random.Random) -> str:
    number = chance.randint(1, 12) if chance.random() < 0.3 else chance.randint(100, 999_999)
    return f"{number} is {chance.choice(LABELS)}; {chance.choice(MANNERS)}"


def _add_rows(play: Play, chance: random.Random) -> None:
    for _ in range(chance.randint(1, 6)):
        if len(play.project.rows) < MOST_ROWS:
            play.project.rows[play.project.next_key] = _body(play, chance)
            play.project.next_key += 1


def _edit_rows(play: Play, chance: random.Random) -> None:
    keys = sorted(play.project.rows)
    for key in chance.sample(keys, min(len(keys), chance.randint(1, 4))):
        play.project.rows[key] = _body(play, chance)


def _remove_rows(play: Play, chance: random.Random) -> None:
    keys = sorted(play.project.rows)
    for key in chance.sample(keys, min(len(keys) - 1, chance.randint(1, 2))):
        del play.project.rows[key]


def _edit_prompt(play: Play, chance: random.Random) -> None:
    play.project.common = chance.choice(("Which kind is", "Say what kind is", "Name the kind of"))


def _edit_accept(play: Play, chance: random.Random) -> None:
    play.project.accept = not play.project.accept


def _edit_ladder(play: Play, chance: random.Random) -> None:
    play.project.models = chance.choice(((LOW, MIDDLE), (LOW,), (LOW, HIGH), (MIDDLE, HIGH)))


def _edited(edit: Callable[[Play, random.Random], None]) -> Callable[[Play, random.Random], None]:
    def edited(play: Play, chance: random.Random) -> None:
        play.world.counts["edits"] += 1
        edit(play, chance)
        with unwatched():
            play.project.write(play.root)

    return edited


def _time_passes(play: Play, chance: random.Random) -> None:
    play.world.now += chance.choice((300.0, 3_600.0, 9 * 3_600.0, 2 * DAY_SECONDS))


def _clock_jumps(play: Play, chance: random.Random) -> None:
    play.world.counts["clock jumps"] += 1
    far = chance.choice((-3_600.0, -400.0, -60.0, 60.0, 400.0, 3_600.0))
    if chance.random() < 0.5:
        play.computer.ahead = far
    else:
        play.provider.ahead = far


def _stranger(play: Play, chance: random.Random) -> None:
    play.provider.stranger(chance.randint(1, 6))


def _look(command: str) -> Callable[[Play, random.Random], None]:
    def look(play: Play, chance: random.Random) -> None:
        play.call(command, play.project.name, "--json")

    return look


DOING: dict[str, Callable[[Play, random.Random], None]] = {
    "run": lambda play, chance: play.run(chance),
    "leave": lambda play, chance: play.run(chance, "--no-wait"),
    "plan": _look("plan"),
    "status": _look("status"),
    "add rows": _edited(_add_rows),
    "edit rows": _edited(_edit_rows),
    "remove rows": _edited(_remove_rows),
    "edit prompt": _edited(_edit_prompt),
    "edit accept": _edited(_edit_accept),
    "edit ladder": _edited(_edit_ladder),
    "time passes": _time_passes,
    "clock jumps": _clock_jumps,
    "stranger": _stranger,
}


def play(seed: int, steps: Sequence[Step], folder: Path) -> Played:
    """Play the steps of a seed in `folder`, which is made and removed."""
    began = time.process_time()
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "home").mkdir(parents=True)
    root = folder / "machine"
    root.mkdir()
    world = World(seed=seed, folder=folder)
    of_world(world)
    provider = Provider(world, folder / "provider")
    played = Play(world, provider, Project(), Computer(world=world, provider=provider, name="a", root=root))
    violation, at = None, "begin"
    try:
        for _ in range(2):
            _add_rows(played, world.drawing("rows"))
        played.project.write(root)
        for step in steps:
            at = str(step)
            played.step(step)
        at = "settle"
        played.settle()
    except ViolatedError as error:
        violation = error.violation
        world.say(str(violation))
    finally:
        provider.close()
        shutil.rmtree(folder, ignore_errors=True)
    return Played(
        seed=seed,
        violation=violation,
        step=at,
        counts=world.counts,
        digest=world.digest(),
        seconds=time.process_time() - began,
        trace=world.trace,
    )
