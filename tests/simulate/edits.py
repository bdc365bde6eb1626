"""Edits of the project: its rows, prompt, schema, ladder, checks, keys and name."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from .parts.switches import SWITCHES
from .project import LABELS, LADDERS, MANNERS, MEMBERS, NAMES, Project

MOST_ROWS = 30
KEY_TYPES = ("BIGINT", "INTEGER", "VARCHAR", "DOUBLE", "DECIMAL(12, 2)")


def drawn_body(chance: random.Random) -> str:
    """Return the text of a row; now and then one that other rows have too."""
    number = chance.randint(1, 12) if chance.random() < 0.3 else chance.randint(100, 999_999)
    return f"{number} is {chance.choice(LABELS)}; {chance.choice(MANNERS)}"


def add_rows(project: Project, chance: random.Random) -> None:
    """Add a few rows with new keys."""
    for _ in range(chance.randint(1, 6)):
        if len(project.rows) < MOST_ROWS:
            project.rows[project.next_key] = drawn_body(chance)
            project.next_key += 1


def _repeat_rows(project: Project, chance: random.Random) -> None:
    """Add rows with new keys that ask the same as others."""
    bodies = sorted(set(project.rows.values()))
    for _ in range(chance.randint(1, 3)):
        if len(project.rows) < MOST_ROWS:
            project.rows[project.next_key] = chance.choice(bodies)
            project.next_key += 1


def _edit_rows(project: Project, chance: random.Random) -> None:
    keys = sorted(project.rows)
    for key in chance.sample(keys, min(len(keys), chance.randint(1, 4))):
        project.rows[key] = drawn_body(chance)


def _remove_rows(project: Project, chance: random.Random) -> None:
    keys = sorted(project.rows)
    for key in chance.sample(keys, min(len(keys) - 1, chance.randint(1, 2))):
        project.removed[key] = project.rows.pop(key)


def _bring_back_rows(project: Project, chance: random.Random) -> None:
    project.rows.update(project.removed)
    project.removed.clear()


def _edit_prompt(project: Project, chance: random.Random) -> None:
    project.common = chance.choice(("Which kind is", "Say what kind is", "Name the kind of"))


def _edit_accept(project: Project, chance: random.Random) -> None:
    project.accept = not project.accept


def _edit_ladder(project: Project, chance: random.Random) -> None:
    project.models = chance.choice(LADDERS[project.family])


def _edit_modes(project: Project, chance: random.Random) -> None:
    rungs = range(len(project.models))
    project.realtime = frozenset(chance.choice(((), rungs, rungs[:1], rungs[1:])))
    project.stragglers = chance.choice((0, 0, 3, 20))


def _edit_items(project: Project, chance: random.Random) -> None:
    project.items = not project.items


def _edit_hook(project: Project, chance: random.Random) -> None:
    project.hook = not project.hook


def _edit_judging(project: Project, chance: random.Random) -> None:
    project.judged = not project.judged


def _edit_chain(project: Project, chance: random.Random) -> None:
    project.followers = chance.choice((0, 1, 1, 2))


def _edit_schema(project: Project, chance: random.Random) -> None:
    project.note = not project.note


def _edit_check(project: Project, chance: random.Random) -> None:
    project.check = not project.check


def _edit_type(project: Project, chance: random.Random) -> None:
    project.score_column = chance.choice(("", "DECIMAL(4,2)", "FLOAT"))


def _retype_key(project: Project, chance: random.Random) -> None:
    project.key_type = chance.choice(KEY_TYPES)


def _edit_pilot(project: Project, chance: random.Random) -> None:
    project.pilot = chance.choice((0, 0, 3, 5))


def _edit_budget(project: Project, chance: random.Random) -> None:
    project.max_usd = chance.choice(("", "0.002", "0.02", "1"))
    project.day_usd = chance.choice(("", "", "0.002", "0.02"))
    project.reserve = chance.choice(("", "most"))


def _edit_project_budget(project: Project, chance: random.Random) -> None:
    project.all_usd = chance.choice(("", "0.003", "0.03"))
    project.all_day_usd = chance.choice(("", "", "0.003", "0.03"))


def _edit_votes(project: Project, chance: random.Random) -> None:
    project.samples = chance.choice((1, 2, 3))
    project.most_samples = max(project.most_samples, project.samples)
    project.member = chance.choice(("", *MEMBERS[project.family])) if project.samples == 1 else ""


def _edit_pictures(project: Project, chance: random.Random) -> None:
    project.pictures = not project.pictures


def _draw_pictures(project: Project, chance: random.Random) -> None:
    """Draw other pictures of a few rows; now and then one that the row had before."""
    keys = sorted(project.rows)
    for key in chance.sample(keys, min(len(keys), chance.randint(1, 4))):
        project.drawn[key] = chance.choice((0, 1, 2, chance.randint(3, 999_999)))


def turn_a_switch(project: Project, chance: random.Random) -> None:
    """Turn one of the file's switches; now and then back."""
    name = chance.choice(list(SWITCHES))
    project.turn(name, chance.choice(("", *SWITCHES[name].values)))


def _edit_local(project: Project, chance: random.Random) -> None:
    project.local = not project.local


def _edit_chunks(project: Project, chance: random.Random) -> None:
    project.max_requests = chance.choice((1, 2, 4, 6, 50))


def _rename(project: Project, chance: random.Random) -> None:
    project.rename(chance.choice([each for each in NAMES if each != project.name]))


def _rename_silently(project: Project, chance: random.Random) -> None:
    _rename(project, chance)
    project.renamed_from = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """An edit, and how often it is drawn."""

    weight: int
    make: Callable[[Project, random.Random], None]


EDITS: Mapping[str, Edit] = {
    "edit rows": Edit(weight=6, make=_edit_rows),
    "add rows": Edit(weight=5, make=add_rows),
    "repeat rows": Edit(weight=2, make=_repeat_rows),
    "remove rows": Edit(weight=3, make=_remove_rows),
    "bring back rows": Edit(weight=2, make=_bring_back_rows),
    "edit the prompt": Edit(weight=4, make=_edit_prompt),
    "edit accept": Edit(weight=2, make=_edit_accept),
    "edit the ladder": Edit(weight=2, make=_edit_ladder),
    "edit the schema": Edit(weight=2, make=_edit_schema),
    "edit a check": Edit(weight=2, make=_edit_check),
    "edit a type": Edit(weight=1, make=_edit_type),
    "retype the key": Edit(weight=2, make=_retype_key),
    "edit the pilot": Edit(weight=1, make=_edit_pilot),
    "edit the budget": Edit(weight=2, make=_edit_budget),
    "edit the project's budget": Edit(weight=1, make=_edit_project_budget),
    "edit the votes": Edit(weight=1, make=_edit_votes),
    "edit the pictures": Edit(weight=1, make=_edit_pictures),
    "draw pictures": Edit(weight=2, make=_draw_pictures),
    "edit the chunks": Edit(weight=2, make=_edit_chunks),
    "turn a switch": Edit(weight=6, make=turn_a_switch),
    "edit the local model": Edit(weight=1, make=_edit_local),
    "edit the modes": Edit(weight=3, make=_edit_modes),
    "edit items": Edit(weight=1, make=_edit_items),
    "edit the hook": Edit(weight=1, make=_edit_hook),
    "edit judging": Edit(weight=2, make=_edit_judging),
    "edit the chain": Edit(weight=3, make=_edit_chain),
    "rename": Edit(weight=2, make=_rename),
    "rename silently": Edit(weight=1, make=_rename_silently),
}
