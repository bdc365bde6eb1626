"""The history of a seed: its steps, drawn beforehand, so that a failing history can be shrunk step by step."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from .acts import ACTS
from .edits import EDITS
from .mishaps import MISHAPS

FEWEST, MOST = 5, 15


class Weighted(Protocol):
    """What is drawn the more often, the greater its weight."""

    @property
    def weight(self) -> int:
        """How often it is drawn."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step: its kind, and the number that its own chance is drawn by."""

    kind: str
    number: int

    def __str__(self) -> str:
        return f"{self.number} {self.kind}"


def history(seed: int, without: Sequence[str] = ()) -> Sequence[Step]:
    """Return the steps of a seed: 5 to 15 commands, with edits and mishaps between, but without some kinds."""
    chance = random.Random(f"history {seed}")
    kinds: list[str] = []
    edits: Mapping[str, Weighted] = EDITS
    acts: Mapping[str, Weighted] = ACTS
    for _ in range(min(chance.randint(FEWEST, MOST), chance.randint(FEWEST, MOST))):
        kinds += [_drawn(chance, edits) for _ in range(chance.choice((0, 0, 1, 1, 2)))]
        kinds += [_drawn(chance, MISHAPS) for _ in range(chance.choice((0, 0, 0, 1)))]
        kinds.append(_drawn(chance, acts))
    return [Step(kind=kind, number=number) for number, kind in enumerate(kinds, start=1) if kind not in without]


def _drawn(chance: random.Random, kinds: Mapping[str, Weighted]) -> str:
    return chance.choices(list(kinds), [each.weight for each in kinds.values()])[0]
