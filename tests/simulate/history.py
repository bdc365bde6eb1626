"""The history of a seed: its steps, drawn beforehand, so that a failing history can be shrunk step by step."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

COMMANDS = {"run": 10, "leave": 6, "plan": 3, "status": 2}
EDITS = {"edit rows": 4, "add rows": 2, "remove rows": 2, "edit prompt": 2, "edit accept": 1, "edit ladder": 1}
EVENTS = {"time passes": 3, "clock jumps": 2, "stranger": 1}
FEWEST, MOST = 5, 15


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step: its kind, and the number that its own chance is drawn by."""

    kind: str
    number: int

    def __str__(self) -> str:
        return f"{self.number} {self.kind}"


def history(seed: int) -> Sequence[Step]:
    """Return the steps of a seed: 5 to 15 commands, with edits and events between them."""
    chance = random.Random(f"history {seed}")
    commands = chance.randint(FEWEST, MOST)
    kinds: list[str] = []
    for _ in range(commands):
        kinds += [_drawn(chance, EDITS) for _ in range(chance.choice((0, 0, 1, 1, 2)))]
        kinds += [_drawn(chance, EVENTS) for _ in range(chance.choice((0, 0, 0, 1)))]
        kinds.append(_drawn(chance, COMMANDS))
    return [Step(kind=kind, number=number) for number, kind in enumerate(kinds, start=1)]


def _drawn(chance: random.Random, kinds: dict[str, int]) -> str:
    return chance.choices(list(kinds), list(kinds.values()))[0]
