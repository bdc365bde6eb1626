"""The commands of a history, with what goes wrong while they are under way."""

from __future__ import annotations

import csv
import json
import os
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchpipe.commands.call.begin import make_call
from batchpipe.commands.call.options import Globals
from batchpipe.commands.review.desk import open_desk
from batchpipe.common.machine import Machine
from batchpipe.engine.quality.withdrawals import withdraw

from .disk import unwatched
from .mishaps import clock_jumps, delete_locks, drawn_delay, drawn_faults
from .project import LABELS, LADDERS
from .rules import ViolatedError, Violation, opened
from .world import Trouble

if TYPE_CHECKING:
    from .play import Play

KILLED, POWER, FULL, MEANWHILE = 0.35, 0.3, 0.06, 0.2
ORDERS = ("all", "accept", "model", "label = 'bug'", "id::INTEGER % 2 = 0")


def trouble(play: Play, chance: random.Random) -> Trouble:
    """Return what befalls a command of this step, and put the provider's faults in force."""
    faults = drawn_faults(chance)
    play.world.counts["faults"] += len(faults)
    play.provider.rules(play.project.provider_rules(faults, **drawn_delay(chance)))
    found = Trouble()
    drawn = chance.random()
    if drawn < KILLED:
        found.kill_at, found.power = round(2 ** chance.uniform(0, 9)), chance.random() < POWER
    elif drawn < KILLED + FULL:
        found.full_at = round(2 ** chance.uniform(0, 8))
        play.world.counts["full disks"] += 1
    if chance.random() < MEANWHILE:
        quiet: list[Callable[[], None]] = [lambda: None] * chance.randint(0, 8)
        found.meanwhile = [*quiet, lambda: _meanwhile(play, chance)]
    return found


def _meanwhile(play: Play, chance: random.Random) -> None:
    """Let something happen while a command waits: another process, an edit's pause, a machine that sleeps."""
    play.world.counts["things meanwhile"] += 1
    what = chance.choice(("run", "run", "plan", "status", "try", "cancel", "sleep", "jump", "locks"))
    play.world.say(f"    meanwhile: {what}")
    name = play.project.name
    if what == "sleep":
        play.world.now += chance.choice((90.0, 900.0, 3 * 3_600.0))
    elif what == "jump":
        clock_jumps(play, chance)
    elif what == "cancel":
        play.call("cancel", name, rival=True)
    elif what == "try":
        play.call("try", name, "--rows", "2", "--json", rival=True)
    else:
        if what == "locks":
            delete_locks(play, chance)
        words = ("run", name, "--yes", "--no-wait", "--json") if what in ("run", "locks") else (what, name, "--json")
        play.call(*words, rival=True)


def _run(*more: str) -> Callable[[Play, random.Random], None]:
    def run(play: Play, chance: random.Random) -> None:
        play.run(chance, *more)

    return run


def _order(play: Play, chance: random.Random) -> None:
    """Order that something is answered again."""
    play.world.counts["orders"] += 1
    order = chance.choice(ORDERS)
    if order == "model" and play.project.local:
        order = "local"
    if order == "accept" and not play.project.accept:
        order = "all"
    play.licences.everything.append(play.world.now)
    play.run(chance, "--redo", order, *(["--limit", "3"] if chance.random() < 0.3 else []))


def _some(play: Play, chance: random.Random) -> None:
    choices = (["--limit", str(chance.randint(1, 5))], ["--no-new"], ["--retry-failed"], ["--where", "id::INTEGER < 5"])
    play.run(chance, *chance.choice(choices))


def _pilot(play: Play, chance: random.Random) -> None:
    play.run(chance, "--pilot", str(chance.randint(1, 4)))


def _try(play: Play, chance: random.Random) -> None:
    words = ["try", play.project.name, "--rows", str(chance.randint(1, 3)), "--json"]
    play.call(*words, trouble=trouble(play, chance))


def _cancel(play: Play, chance: random.Random) -> None:
    play.call("cancel", play.project.name, trouble=trouble(play, chance))


def _eval(play: Play, chance: random.Random) -> None:
    """Measure the models with gold rows."""
    if not play.project.judged:
        return
    models = chance.choice(((), ("--models", "all"), ("--model", LADDERS[play.project.family][0][-1])))
    waits = chance.choice(((), ("--no-wait",), ("--wait", "20m")))
    play.call("eval", play.project.name, "--json", *models, *waits, trouble=trouble(play, chance))


def _review(play: Play, chance: random.Random) -> None:
    """Let a person look at rows in a file: some are right, some are corrected, some were left."""
    project = play.project
    if not project.judged:
        return
    path = play.root / "review.csv"
    exported = play.call("review", project.name, "--export", "review.csv", "--force", "--again")
    if exported.code != 0 or not path.exists():
        return
    said: dict[tuple[int, str], str] = {}
    with unwatched():
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            names, rows = list(reader.fieldnames or ()), list(reader)
        for row in rows:
            drawn = chance.random()
            if drawn < 0.4:
                continue
            row["_verdict"] = "ok"
            if drawn > 0.7:
                row["label"] = chance.choice(LABELS)
            key = int(float(row["id"]))
            said[key, project.shown(key)] = row["label"]
        with path.open("w", encoding="utf-8-sig", newline="") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(rows)
    chance_of = trouble(play, chance)
    project.perhaps |= said.keys()
    imported = play.call("review", project.name, "--import", "review.csv", trouble=chance_of)
    if imported.code == 0:
        play.world.counts["rows reviewed"] += len(said)
        project.said += said.items()
        project.perhaps -= said.keys()


def _take_back(play: Play, chance: random.Random) -> None:
    """Let the person take back the last word about some rows; the word before it stands again."""
    project = play.project
    keys = sorted({key for (key, _), _ in project.said} | {key for key, _ in project.perhaps})
    if not project.judged or not keys:
        return
    taken = chance.sample(keys, min(len(keys), chance.randint(1, 3)))
    found: set[int] = set()

    def task(machine: Machine) -> int:
        call = make_call(
            Globals(),
            [],
            json=True,
            start=Path.cwd(),
            environment=os.environ,
            command="take back",
            interrupted=lambda: False,
            machine=machine,
        )
        file = call.one_pipeline(project.name, "review NAME")
        with call.context() as context, open_desk(context, file, {}, "every") as desk:
            rows = {int(float(json.loads(row.key)[0])): row.key for row in desk.all_rows()}
            asked = [rows[key] for key in taken if key in rows]
            words = withdraw(context, desk.work, desk.resolved, asked, context.person)
            found.update(key for key in rows if rows[key] in words)
        return 0

    called = play.call("take", "back", *map(str, taken), trouble=trouble(play, chance), task=task)
    for key in taken:
        words = [each for each in project.said if each[0][0] == key]
        unsure = called.killed or any(place[0] == key for place in project.perhaps)
        if unsure:  # whether it was taken back, or which word
            project.perhaps |= {place for place, _ in words}
            project.said = [each for each in project.said if each[0][0] != key]
        elif key in found and words:
            play.world.counts["reviews taken back"] += 1
            last = max(place for place, each in enumerate(project.said) if each[0][0] == key)
            del project.said[last]
            project.kept.add(key)  # a row that was kept because of the word stays so until it changes


def _resume(play: Play, chance: random.Random) -> None:
    play.run(chance, "--resume")


def _recover(play: Play, chance: random.Random) -> None:
    play.call("recover", play.project.name, "--from-raw", trouble=trouble(play, chance))


def _abandon(play: Play, chance: random.Random) -> None:
    play.licences.everything.append(play.world.now)
    play.call("recover", play.project.name, "--abandon")


def _plan(play: Play, chance: random.Random) -> None:
    """Plan; where all was at rest, run too and hold that the run did what the plan said.

    Where a budget makes waves of the plan, the run sends the first of them. A run in realtime, of stragglers also, goes
    on with what its own answers make due.
    """
    project = play.project
    resting = play.resting and not project.pilot and not project.realtime and not project.stragglers
    planned = play.call("plan", play.project.name, "--json")
    if not resting or planned.code != 0 or chance.random() < 0.4:
        return
    play.provider.rules(play.project.provider_rules(delay_seconds=600.0))
    ran = play.call("run", play.project.name, "--yes", "--no-wait", "--json")
    if ran.code not in (0, 1, 5):
        return
    said, did = json.loads(planned.out), json.loads(ran.out)
    pairs: dict[str, tuple[Any, Any]] = {"requests": (said["requests"], did["submitted"])}
    pairs["input"] = (said["rows"]["input"], did["rows"]["input"])
    waves = said["waves"]
    if waves > 1 and did["submitted"] < said["requests"]:
        del pairs["requests"]
    for name, (expected, found) in pairs.items():
        if expected != found:
            what = f"plan says {expected} {name}, run did {found}"
            raise ViolatedError(Violation(rule="run does what plan says", what=what))


def _results_file(play: Play, chance: random.Random) -> None:
    """Write the output table to a file; where the command ended well, the file has every row of the table."""
    name, table = play.project.name, play.project.table
    called = play.call("results", name, "--to", "out.csv", "--force", trouble=trouble(play, chance))
    if called.code != 0:
        return
    with unwatched(), (play.root / "out.csv").open(encoding="utf-8-sig", newline="") as file:
        written = sum(1 for _ in csv.DictReader(file))
    with opened(play.database) as connection:
        rows = connection.execute(f"SELECT count(*) FROM {table}").fetchall()[0][0]
    if written != rows:
        what = f"{called}: {written} rows are written, the table has {rows}"
        raise ViolatedError(Violation(rule="a file of results is whole", what=what))


def _look(*words: str) -> Callable[[Play, random.Random], None]:
    def look(play: Play, chance: random.Random) -> None:
        play.call(*(each.format(name=play.project.name) for each in words))

    return look


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """A command of a history, and how often it is drawn."""

    weight: int
    do: Callable[[Play, random.Random], None]


ACTS: Mapping[str, Act] = {
    "run": Act(weight=20, do=_run()),
    "run and leave": Act(weight=14, do=_run("--no-wait")),
    "run for a while": Act(weight=3, do=_run("--wait", "20m")),
    "run some": Act(weight=4, do=_some),
    "order": Act(weight=3, do=_order),
    "pilot": Act(weight=2, do=_pilot),
    "plan": Act(weight=6, do=_plan),
    "try": Act(weight=4, do=_try),
    "cancel": Act(weight=2, do=_cancel),
    "resume": Act(weight=2, do=_resume),
    "recover": Act(weight=2, do=_recover),
    "abandon": Act(weight=1, do=_abandon),
    "eval": Act(weight=3, do=_eval),
    "review": Act(weight=3, do=_review),
    "take back": Act(weight=2, do=_take_back),
    "plan all": Act(weight=1, do=_look("plan", "--all", "--json")),
    "graph": Act(weight=1, do=_look("graph")),
    "status": Act(weight=2, do=_look("status", "{name}", "--json")),
    "report": Act(weight=1, do=_look("report", "{name}")),
    "results to a file": Act(weight=1, do=_results_file),
    "results": Act(weight=1, do=_look("results", "{name}")),
    "show": Act(weight=1, do=_look("show", "{name}", "1")),
    "check": Act(weight=1, do=_look("check", "{name}")),
    "list held": Act(weight=1, do=_look("recover", "{name}", "--json")),
}
