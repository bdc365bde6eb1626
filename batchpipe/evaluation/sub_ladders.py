"""Ladders without some of the rungs: what each would have answered and cost, by the answers that are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import combinations

from batchpipe.evaluation.ladder_cost import FinalAnswer, LadderResult, Row, ThresholdLadder, climb, measure

# The confidence given to an answer that satisfies its rung's `accept`; any other answer has a lower one.
ACCEPTED = 1.0

# With at most so many rungs every choice of rungs is tried; with more, each rung alone, all rungs, and all but one.
MOST_RUNGS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class RungShare:
    """The part of one rung in a ladder.

    `n` rows keep the answer of this rung, and `hits` of them are right. `cost_usd` is the cost of all its answers, kept
    or not.
    """

    rung: int
    n: int
    hits: int
    cost_usd: Decimal


def known_rows(
    answers: Sequence[Mapping[int, FinalAnswer]], masks: Sequence[int], ladder: ThresholdLadder, rungs: int
) -> list[Row] | None:
    """Return the rows as `climb` takes them; None if a row would reach a rung whose answer to it is not known.

    `answers` has for each row the known answers by rung. Bit r - 1 of a row's mask says whether it may use rung r.
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


def sub_ladders(answers: Sequence[Mapping[int, FinalAnswer]], masks: Sequence[int], rungs: int) -> list[LadderResult]:
    """Return the results of the ladders of some of the rungs, with each rung's own `accept`.

    A ladder is left out if its result is not known for all rows.
    """
    found = []
    for chosen in _choices(rungs):
        ladder = ThresholdLadder(rungs=chosen, accepts=(ACCEPTED,) * len(chosen))
        rows = known_rows(answers, masks, ladder, rungs)
        if rows:
            found.append(measure(rows, ladder))
    return found


def _choices(rungs: int) -> list[tuple[int, ...]]:
    every = range(1, rungs + 1)
    sizes = every if rungs <= MOST_RUNGS else sorted({1, rungs - 1, rungs})
    return [chosen for size in sizes for chosen in combinations(every, size)]


def rung_shares(answers: Sequence[Mapping[int, FinalAnswer]], masks: Sequence[int], rungs: int) -> list[RungShare]:
    """Return the part of each rung in the whole ladder; an empty list if the ladder's result is not known."""
    ladder = ThresholdLadder(rungs=tuple(range(1, rungs + 1)), accepts=(ACCEPTED,) * rungs)
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
