"""The ladders that leave rungs out: what each would have made of rows whose answers are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import combinations

from batchpipe.evaluation.ladder_cost import Answer, Ladder, LadderResult, Row, climb, measure

# An answer that `accept` holds for has this confidence, any other one less.
ACCEPTED = 1.0

# Up to so many rungs every choice of them is tried; of more, each alone, all, and all but one.
MOST_RUNGS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class RungShare:
    """What a rung does in its ladder: `n` rows whose answer stands are its own, `hits` of them right. `cost_usd` is of
    all that it was asked."""

    rung: int
    n: int
    hits: int
    cost_usd: Decimal


def known_rows(
    answers: Sequence[Mapping[int, Answer]], masks: Sequence[int], ladder: Ladder, rungs: int
) -> list[Row] | None:
    """The rows as `climb` takes them; None where a row would come to a rung whose answer to it is not known.

    `answers` are by rung, `masks` say which rungs a row may use: bit r - 1.
    """
    rows: list[Row] = []
    for given, mask in zip(answers, masks, strict=True):
        for rung in ladder.rungs:
            if not mask >> (rung - 1) & 1:
                continue
            if rung not in given:
                return None
            if given[rung].valid and given[rung].confidence == ACCEPTED:
                break
        usable = range(1, rungs + 1)
        rows.append([given.get(rung) if mask >> (rung - 1) & 1 else None for rung in usable])
    return rows


def sub_ladders(answers: Sequence[Mapping[int, Answer]], masks: Sequence[int], rungs: int) -> list[LadderResult]:
    """Every choice of the rungs whose outcome is known for all rows, with each rung's own `accept`."""
    found = []
    for chosen in _choices(rungs):
        ladder = Ladder(rungs=chosen, accepts=(ACCEPTED,) * len(chosen))
        rows = known_rows(answers, masks, ladder, rungs)
        if rows:
            found.append(measure(rows, ladder))
    return found


def _choices(rungs: int) -> list[tuple[int, ...]]:
    every = range(1, rungs + 1)
    sizes = every if rungs <= MOST_RUNGS else sorted({1, rungs - 1, rungs})
    return [chosen for size in sizes for chosen in combinations(every, size)]


def rung_shares(answers: Sequence[Mapping[int, Answer]], masks: Sequence[int], rungs: int) -> list[RungShare]:
    """What each rung does in the whole ladder; none where the whole ladder's outcome is not known."""
    ladder = Ladder(rungs=tuple(range(1, rungs + 1)), accepts=(ACCEPTED,) * rungs)
    rows = known_rows(answers, masks, ladder, rungs) or []
    n, hits = dict.fromkeys(ladder.rungs, 0), dict.fromkeys(ladder.rungs, 0)
    cost = dict.fromkeys(ladder.rungs, Decimal(0))
    for row in rows:
        way = climb(row, ladder)
        if way.rung is not None:
            n[way.rung] += 1
            hits[way.rung] += way.correct
        for rung in ladder.rungs:
            answer = row[rung - 1]
            if answer is None:
                continue
            cost[rung] += answer.cost_usd
            if answer.valid and answer.confidence == ACCEPTED:
                break
    return [RungShare(rung=rung, n=n[rung], hits=hits[rung], cost_usd=cost[rung]) for rung in ladder.rungs if rows]
