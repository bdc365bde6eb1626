"""Play one seed: do its steps, hold the rules after each, and bring it to rest at the end."""

from __future__ import annotations

import json
import random
import re
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from batchpipe.common.machine import Machine
from batchpipe.store.migration import migrations

from . import rules
from .acts import ACTS, trouble
from .computer import Called, Computer
from .disk import of_world, unwatched
from .edits import EDITS, add_rows, turn_a_switch
from .history import Step
from .mishaps import DATABASE, MISHAPS, older_image
from .project import LADDERS, Project
from .provider import Provider
from .rules import Days, Licences, ViolatedError, Violation
from .world import Trouble, World

SETTLING_RUNS = 10
LOCAL_RUNGS = 0.2  # how many seeds have a ladder that begins with the local model
OLDER_DATABASES, OLDEST = 0.1, 7  # how many seeds begin on an older schema version, and the oldest of these versions
FROM_BEGINNING = (
    "edit the modes", "edit the chain", "edit items", "edit the hook", "edit the votes", "edit the pictures"
)  # fmt: skip
DONE = (0, 1)
WRITTEN = (0, 1, 5)
SUGGESTED = re.compile(r"batchpipe ((?:recover|run) [a-z_]+ --[a-z][^\n;:,`]*|eval [a-z_]+(?= takes in the answer))")


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


@dataclass(slots=True)
class Play:
    """A seed under way: its world, its provider, its project and its machines.

    `rival` is another process on the same project. `resting`: the last run ended with nothing in flight. `rotten` are
    the chunks of which a raw file was damaged.
    """

    world: World
    provider: Provider
    project: Project
    computer: Computer
    rival: Computer
    licences: Licences = field(default_factory=Licences)
    days: Days = field(default_factory=Days)
    received: set[tuple[str, str]] = field(default_factory=set)
    rotten: set[str] = field(default_factory=set)
    backups: list[dict[str, bytes]] = field(default_factory=list)
    resting: bool = False

    @property
    def root(self) -> Path:
        """Return the project's folder."""
        return self.computer.root

    @property
    def database(self) -> Path:
        """Return the path of the database."""
        return self.root / DATABASE

    def step(self, step: Step) -> None:
        """Do one step. Raises ViolatedError where a rule does not hold after it."""
        self.world.say(f"step {step}")
        chance = self.world.drawing("step", step.number)
        if step.kind in EDITS:
            self.world.counts["edits"] += 1
            EDITS[step.kind].make(self.project, chance)
            self.write()
        elif step.kind in MISHAPS:
            MISHAPS[step.kind].happen(self, chance)
        else:
            ACTS[step.kind].do(self, chance)

    def write(self) -> None:
        """Write the project's files as they stand now."""
        with unwatched():
            self.project.write(self.root, self.world.now + self.computer.ahead)

    def run(self, chance: random.Random, *words: str) -> None:
        """Run the pipeline with the troubles of this step."""
        chained = self.project.followers and chance.random() < 0.8
        which = ["--all"] if chained else [self.project.name]
        if chance.random() < 0.06:
            words = (*words, *chance.choice((("--realtime",), ("--by", "2026-11-03T07:00+00:00"))))
        if chained:  # what is said of rows holds for pipelines that are named
            words = tuple(word for word in words if word in ("--no-wait", "--wait", "20m", "--no-new", "--resume"))
        self.call("run", *which, "--yes", "--json", *words, trouble=trouble(self, chance))

    def call(
        self,
        *words: str,
        trouble: Trouble | None = None,
        rival: bool = False,
        task: Callable[[Machine], int] | None = None,
    ) -> Called:
        """Run a command, or `task` in its place, count it, and hold the rules. Raises ViolatedError."""
        called = (self.rival if rival else self.computer).call(*words, trouble=trouble, task=task)
        counts = self.world.counts
        counts["commands"] += 1
        counts[f"commands: {words[0]}"] += 1
        if called.killed:
            counts["power cuts" if trouble is not None and trouble.power else "kills"] += 1
        self._hold(called)
        return called

    def settle(self) -> None:
        """Let nothing go wrong any more, and run until all is at rest; then nothing more may be due or open.

        Raises ViolatedError where it does not come to rest.
        """
        self.world.say("settle")
        project = self.project
        project.max_usd, project.day_usd, project.all_usd, project.all_day_usd, project.pilot = "", "", "", "", 0
        project.turn("month", "")
        which = "--all" if project.followers else project.name
        self.write()
        self.provider.rules(project.provider_rules(delay_seconds=600.0))
        self.provider.ahead = self.computer.ahead = 0.0
        words = ["run", which, "--yes", "--approve", "--resume"]
        called = self.call(*words)
        for _ in range(SETTLING_RUNS):
            if called.code in DONE:
                break
            self.world.now += 3_600
            self._obey(called.talk + called.out)
            called = self.call(*words)
        if called.code not in DONE:
            what = f"{called} after {SETTLING_RUNS} runs: {(called.talk + called.out)[-900:]}"
            raise ViolatedError(Violation(rule="every open thing has an end", what=what))
        again = self.call(*words, "--json")
        found = json.loads(again.out)
        sent = sum(each.get("submitted") or 0 for each in (found if isinstance(found, list) else [found]))
        if sent:
            raise ViolatedError(Violation(rule="nothing is due at rest", what=f"the next run sent {sent}"))
        self._first(rules.of_raw(self.database, self.received, project, again.talk))
        self._first(rules.of_whole_output(self.database, project))
        self._first(rules.of_secrets(self.root))

    def _obey(self, text: str) -> None:
        """Do what a gate tells the person to do."""
        renamed = re.search(r'renamed_from = "([a-z]+)"', text)
        if renamed and renamed[1] != self.project.renamed_from:
            self.project.renamed_from = renamed[1]
            self.write()
            return
        for suggested in SUGGESTED.findall(text)[:1]:
            words = suggested.strip().rstrip(".").split()
            if "--abandon" in words or "--leave" in words:
                self.licences.everything.append(self.world.now)
            self.call(*words)

    def _hold(self, called: Called) -> None:
        self._first(rules.of_words(called))
        self._first(rules.of_raw_files(self.root, self.rotten))
        new = self.provider.look()
        # A realtime call whose reply was lost, on the way or with the machine, is booked, and asked again.
        self.licences.places |= {each.place for each in new if each.lost}
        if called.killed:
            self.licences.places |= rules.not_saved(self.root, new)
        self.world.counts["requests sold"] += len(new)
        self._first(rules.of_sales(new, self.provider.sales, self.project, self.licences))
        self._first(rules.of_budget(new, self.provider.sales, self.project, called))
        if not self.world.counts["clock jumps"]:
            self._first(self.days.passed(new, self.provider.sales, self.project, called))
        if called.words[0] != "run":
            return
        self.resting = called.code in DONE
        if called.code in WRITTEN and len(self.world.doing) == 0:
            judged = "--where" not in called.words
            self._first(rules.of_output(self.database, self.project, self.provider.sales, judged=judged))
            if called.code in DONE and "--all" in called.words and not self.project.has_budget:
                self._first(rules.of_chain(self.database, self.project, self.provider.sales))
            self.received |= {each for each in rules.raw_ids(self.root) if each[0] not in self.rotten}

    def _first(self, violations: Iterable[Violation]) -> None:
        for violation in violations:
            raise ViolatedError(violation)


def begin(project: Project, chance: random.Random) -> None:
    """Draw what a project has from its beginning."""
    project.family = chance.choice(("anthropic", "anthropic", "openai", "gemini", "mixed"))
    project.models = LADDERS[project.family][0]
    for kind in (
        "edit the modes",
        "edit the chain",
        "edit items",
        "edit the hook",
        "edit the votes",
        "edit the pictures",
    ):
        if chance.random() < 0.25:
            EDITS[kind].make(project, chance)
    project.judged = chance.random() < 0.5
    for _ in range(chance.choice((0, 0, 1, 2))):
        turn_a_switch(project, chance)


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
    computer, rival = (Computer(world=world, provider=provider, name=name, root=root) for name in ("a", "b"))
    played = Play(world, provider, Project(), computer, rival)
    violation, at = None, "begin"
    try:
        begin(played.project, world.drawing("project"))
        played.project.local = world.drawing("local").random() < LOCAL_RUNGS
        if world.drawing("older").random() < OLDER_DATABASES:
            with unwatched():
                played.database.write_bytes(older_image(world.drawing("schema").randint(OLDEST, len(migrations()) - 1)))
        for place in range(2):
            add_rows(played.project, world.drawing("rows", place))
        played.write()
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
