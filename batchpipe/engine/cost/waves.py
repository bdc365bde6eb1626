"""Count the waves that a budget makes of a plan: what goes up now, what once that has been paid for, and so on.

A wave is what goes up without waiting. Whole chunks go up as long as what is reserved for them fits; a chunk is cut
only where nothing else is in flight. Once a wave has come back, its cost takes the place of its reserve, and its
results say more of what the rest will cost. `batchpipe/engine/batches/next_chunks.py` decides the same of what is sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from batchpipe.decide.chunking import is_worth_sending
from batchpipe.decide.reserve import largest_fitting
from batchpipe.engine.cost.reserves import RequestSums, Reserves


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedChunk:
    """A chunk that will go up: its rung, what its requests come to, and their expected cost in US dollars.

    `input_share` and `output_share` are what its requests are expected to use, as in `SeenShares`. Chunks of a later
    `stage` go up after all of the stage before have come back.
    """

    rung: int
    stage: int
    sums: RequestSums
    expected_usd: float
    input_share: float
    output_share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class WaveLimits:
    """What limits a wave: batches and requests at once, and US dollars.

    `left_usd` is left now, and `later_usd` once what is in flight has come back (`in_flight` batches). `bounded` chunks
    of the job have reserved a bound before.
    """

    max_in_flight: int
    max_queued: int
    left_usd: Decimal
    later_usd: Decimal
    in_flight: int
    bounded: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetWaves:
    """The waves and the batches of each stage of a plan. With `stopped` the budget does not reach for all of it."""

    waves: Sequence[int]
    batches: Sequence[int]
    stopped: bool = False


@dataclass(slots=True, kw_only=True)
class _Simulation:
    """The state between two waves: what is left, what is in flight, and what is known of the requests."""

    limits: WaveLimits
    reserves: Reserves
    left: Decimal = field(init=False)
    flying: bool = field(init=False)
    number: int = field(init=False)
    cut: bool = False

    def __post_init__(self) -> None:
        self.left, self.flying = self.limits.left_usd, self.limits.in_flight > 0
        self.number = self.limits.bounded + 1

    def wave(self, chunks: list[ExpectedChunk]) -> int | None:
        """Take what goes up now off `chunks`; return the number of its batches. None: the budget is used up."""
        taken: list[ExpectedChunk] = []
        queued, room = 0, self.left
        while chunks and len(taken) < self.limits.max_in_flight and queued < self.limits.max_queued:
            whole = min(chunks[0].sums.requests, self.limits.max_queued - queued)
            if queued and not is_worth_sending(whole, chunks[0].sums.requests):
                break
            fitting = self._fitting(chunks[0], whole, room, alone=not taken and not self.flying)
            if not fitting:
                self.cut = True
                break
            first, rest = _cut(chunks.pop(0), fitting)
            if rest is not None:
                chunks.insert(0, rest)
            room -= self.reserves.usd(first.rung, first.sums, self.number)
            self.number += 1
            queued += fitting
            taken.append(first)
        if not taken and not self.flying:
            return None
        self._come_back(taken)
        return len(taken)

    def _fitting(self, chunk: ExpectedChunk, count: int, room: Decimal, *, alone: bool) -> int:
        """Return how many of the first `count` requests of a chunk fit into the room that is left."""

        def fits(requests: int) -> bool:
            """Return whether so many requests fit."""
            return self.reserves.usd(chunk.rung, chunk.sums.share(requests), self.number) <= room

        fitting = largest_fitting(count, fits, whole_only=not alone)
        too_few = self.cut and self.reserves.knows(chunk.rung) and not is_worth_sending(fitting, count)
        return 0 if too_few else fitting

    def _come_back(self, taken: Sequence[ExpectedChunk]) -> None:
        """Take the expected cost of what came back off the budget, and learn from its results."""
        if self.flying:
            self.left, self.flying = self.limits.later_usd, False
        for each in taken:
            self.left -= Decimal(repr(each.expected_usd))
            self.reserves = self.reserves.after(each.rung, each.sums.firsts, each.input_share, each.output_share)


def count_waves(chunks: Sequence[ExpectedChunk], limits: WaveLimits, reserves: Reserves) -> BudgetWaves:
    """Return the waves and batches that `chunks` make within `limits`, stage by stage."""
    state = _Simulation(limits=limits, reserves=reserves)
    waves, batches = [], []
    for stage in sorted({each.stage for each in chunks}):
        rest = [each for each in chunks if each.stage == stage]
        waves.append(0)
        batches.append(0)
        while rest:
            sent = state.wave(rest)
            if sent is None:
                return BudgetWaves(waves=waves, batches=batches, stopped=True)
            waves[-1] += bool(sent)
            batches[-1] += sent
    return BudgetWaves(waves=waves, batches=batches)


def _cut(chunk: ExpectedChunk, count: int) -> tuple[ExpectedChunk, ExpectedChunk | None]:
    """Return the first `count` requests of a chunk, and the rest of it; None where nothing is left."""
    whole = chunk.sums.requests
    parts = [
        ExpectedChunk(
            rung=chunk.rung,
            stage=chunk.stage,
            sums=chunk.sums.share(requests),
            expected_usd=chunk.expected_usd * requests / whole,
            input_share=chunk.input_share,
            output_share=chunk.output_share,
        )
        for requests in (count, whole - count)
        if requests
    ]
    return parts[0], parts[1] if len(parts) > 1 else None
