"""Play jobs wave by wave: what goes up is decided by the engine's own functions, what it costs is drawn.

A job knows nothing at first. Its answers are short, but for a tail that may be as heavy as the room of an answer
lets it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from math import ceil, log
from random import Random

from batchpipe.decide.chunking import is_worth_sending
from batchpipe.decide.reserve import (
    CLASS_WIDTH,
    JOB_RISK,
    LEAST_RESULTS,
    SeenShares,
    largest_fitting,
)
from batchpipe.engine.cost.estimate import OVERHEAD_TOKENS
from batchpipe.engine.cost.reserves import RequestSums, Reserves, RungReserve

INPUT_USD, OUTPUT_USD = 5e-7, 2.5e-6
RUNG = 1

# The length of an answer, as a share of its room.
Tail = Callable[[Random], float]
TAILS: dict[str, Tail] = {
    "one of 1,000 fills the room": lambda draw: 1.0 if draw.random() < 0.001 else 0.02,
    "one of 100 fills the room": lambda draw: 1.0 if draw.random() < 0.01 else 0.03,
    "one of 10 fills the room": lambda draw: 1.0 if draw.random() < 0.1 else 0.05,
    "Pareto, exponent 0.7": lambda draw: 0.01 * draw.paretovariate(0.7),
    "Pareto, exponent 1.1": lambda draw: 0.01 * draw.paretovariate(1.1),
    "Pareto, exponent 2": lambda draw: 0.02 * draw.paretovariate(2.0),
    "log-normal": lambda draw: 0.02 * draw.lognormvariate(0.0, 1.5),
    "even": lambda draw: draw.random(),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A request: its bytes, the tokens of its input, and those of its answer."""

    bytes: int
    input_tokens: int
    output_tokens: int

    @property
    def usd(self) -> float:
        """Return what it costs."""
        return self.input_tokens * INPUT_USD + self.output_tokens * OUTPUT_USD


@dataclass(frozen=True, slots=True, kw_only=True)
class Wave:
    """What went up together: the requests, what was reserved for them, and what they cost, in US dollars."""

    requests: int
    reserved_usd: float
    cost_usd: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job that was played to its end. `left` requests did not fit into the budget of `allowed_usd`."""

    tail: str
    rows: int
    most: bool
    allowed_usd: float
    whole_usd: float
    waves: Sequence[Wave]
    left: int

    @property
    def passed_usd(self) -> float:
        """Return by how much the budget was passed."""
        return max(sum(each.cost_usd for each in self.waves) - self.allowed_usd, 0.0)


def played(count: int, seed: int) -> list[Job]:
    """Play `count` jobs; each is the same for the same seed and number."""
    return [play(Random(f"{seed}/{number}"), most=number % 10 == 9) for number in range(count)]


def play(draw: Random, *, most: bool) -> Job:
    """Play one job to its end; with `most` it reserves the most that its requests can cost."""
    name = draw.choice(list(TAILS))
    room = draw.choice((100, 400, 2_000, 8_000))
    rows = _rows(draw, draw.choice((60, 200, 1_000, 3_000)), room, TAILS[name])
    whole = sum(each.usd for each in rows)
    allowed = whole * draw.choice((0.3, 0.7, 0.9, 1.0, 1.05, 1.2, 2.0, 4.0))
    waves: list[Wave] = []
    start, spent = 0, 0.0
    while start < len(rows):
        known = Reserves(most=True) if most else Reserves(rungs={RUNG: _reserve(rows[:start], room)})
        number = sum(each.reserved_usd < _most_usd(rows, each, room) for each in waves) + 1
        fitting = _fitting(known, rows[start:], room, number, Decimal(repr(allowed - spent)))
        if not fitting or (waves and known.knows(RUNG) and not is_worth_sending(fitting, len(rows) - start)):
            break
        sent = rows[start : start + fitting]
        reserved = float(known.usd(RUNG, _sums(sent, room), number))
        waves.append(Wave(requests=fitting, reserved_usd=reserved, cost_usd=sum(each.usd for each in sent)))
        spent += waves[-1].cost_usd
        start += fitting
    return Job(
        tail=name,
        rows=len(rows),
        most=most,
        allowed_usd=allowed,
        whole_usd=whole,
        waves=waves,
        left=len(rows) - start,
    )


def _fitting(known: Reserves, rows: Sequence[Row], room: int, number: int, left: Decimal) -> int:
    """Return how many of `rows` fit into what is left."""
    return largest_fitting(len(rows), lambda count: known.usd(RUNG, _sums(rows[:count], room), number) <= left)


def _rows(draw: Random, count: int, room: int, tail: Tail) -> list[Row]:
    """Draw requests."""
    typical, found = draw.choice((800, 4_000, 40_000)), []
    for _ in range(count):
        size = round(typical * draw.lognormvariate(0.0, 0.4)) + 200
        tokens = max(round(size * draw.gauss(0.25, 0.02)), 1)
        answer = min(max(round(room * tail(draw)), 1), room)
        found.append(Row(bytes=size, input_tokens=tokens, output_tokens=answer))
    return found


def _most_usd(rows: Sequence[Row], wave: Wave, room: int) -> float:
    """Return the most that the requests of a wave can cost, at least."""
    return wave.requests * (min(each.bytes for each in rows) * INPUT_USD + room * OUTPUT_USD)


def _sums(rows: Sequence[Row], room: int) -> RequestSums:
    """Return what requests come to, as the engine reads it."""
    size = sum([each.bytes for each in rows])
    most = (size + OVERHEAD_TOKENS * len(rows)) * INPUT_USD + len(rows) * room * OUTPUT_USD
    return RequestSums(
        requests=len(rows),
        firsts=len(rows),
        bytes=size,
        least_bytes=min([each.bytes for each in rows]),
        most_bytes=max([each.bytes for each in rows]),
        max_usd=Decimal(repr(most)),
        again_usd=Decimal(0),
        unpriced=0,
        input_tokens=0,
        output_tokens=0,
    )


def _reserve(rows: Sequence[Row], room: int) -> RungReserve:
    """Return what is known once `rows` have been answered."""
    known = RungReserve(
        plain_usd=INPUT_USD, input_usd=INPUT_USD, output_usd=OUTPUT_USD, tier=1.0, small_until=None, room=room
    )
    if len(rows) < LEAST_RESULTS:
        return known
    seen = SeenShares(
        results=len(rows),
        input=_classes([each.input_tokens / each.bytes for each in rows]),
        output=_classes([each.output_tokens / room for each in rows]),
    )
    return replace(known, seen=seen, least_bytes=min(each.bytes for each in rows))


def _classes(shares: Sequence[float]) -> dict[float, int]:
    """Count shares by their classes."""
    numbers = Counter(ceil(log(each) / log(CLASS_WIDTH)) for each in shares)
    return {CLASS_WIDTH**number: count for number, count in numbers.items()}


def broken(jobs: Sequence[Job]) -> list[str]:
    """Return which promises were broken."""
    found = []
    passed = [each for each in jobs if each.passed_usd]
    if any(each.most for each in passed):
        found.append('a job with reserve = "most" passed its budget')
    if len(passed) > max(JOB_RISK * len(jobs), 1 if len(jobs) < 1 / JOB_RISK else 0):
        found.append(f"{len(passed):,} of {len(jobs):,} jobs passed their budget")
    for each in passed:
        exceeded = max(wave.cost_usd - wave.reserved_usd for wave in each.waves)
        if each.passed_usd > exceeded:
            found.append(f"a job passed its budget by ${each.passed_usd:.4f}, and a wave its bound by ${exceeded:.4f}")
    return found


def summary(jobs: Sequence[Job]) -> str:
    """Return a line for each tail: jobs, those that passed, waves on average where the budget reached, and unsent."""
    lines = []
    for name in TAILS:
        mine = [each for each in jobs if each.tail == name and not each.most]
        reached = [each for each in mine if each.allowed_usd >= 1.2 * each.whole_usd]
        if reached:
            waves = sum(len(each.waves) for each in reached) / len(reached)
            unsent = sum(each.left for each in reached) / sum(each.rows for each in reached)
            lines.append(
                f"{name}: {len(mine):,} jobs, {sum(each.passed_usd > 0 for each in mine)} passed their budget; "
                f"with 1.2 times the cost and more {waves:.1f} waves, {unsent:.1%} not sent"
            )
    return "\n".join(lines)
