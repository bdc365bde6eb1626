"""Count the waves that a budget makes of a plan: what goes up now, what once that has been paid for, and so on.

A wave is what goes up without waiting. Whole chunks go up as long as what is reserved for them fits; a chunk is cut
only where nothing else is in flight. What does not fit then is passed over for what does. Once a wave has come back,
its cost takes the place of its reserve, and its results say more of what the rest will cost.
`batchpipe/engine/batches/next_chunks.py` decides the same of what is sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from batchpipe.decide.chunking import PASSED_AT_MOST, is_worth_sending
from batchpipe.decide.reserve import largest_fitting
from batchpipe.engine.cost.reserves import RequestSums, Reserves


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedChunk:
    """A chunk that will go up: its rung, what its requests come to, and their expected cost in US dollars.

    `input_share` and `output_share` are what its requests are expected to use, as in `SeenShares`. Chunks of a later
    `stage` go up after all of the stage before have come back. `due` says that its requests are due now.
    """

    rung: int
    stage: int
    sums: RequestSums
    expected_usd: float
    input_share: float
    output_share: float
    due: bool = True


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
    """The waves and the batches of each stage of a plan. With `stopped` the budget does not reach for all of it.

    It does not reach for `left` of the requests that are due now.
    """

    waves: Sequence[int]
    batches: Sequence[int]
    stopped: bool = False
    left: int = 0


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
        queued, passed, room = 0, 0, self.left
        while passed < min(len(chunks), PASSED_AT_MOST) and self._is_open(taken, queued):
            chunk, alone = chunks[passed], not taken and not self.flying
            whole = min(chunk.sums.requests, self.limits.max_queued - queued)
            if queued and not is_worth_sending(whole, chunk.sums.requests):
                break
            fitting = self._fitting(chunk, whole, room, alone=alone, careful=passed > 0)
            if not fitting:
                if not alone and self._may_fit(chunk):
                    self.cut = True
                    break
                passed += 1
                continue
            first, rest = _cut(chunks.pop(passed), fitting)
            if rest is not None:
                chunks.insert(passed, rest)
            room -= self.reserves.usd(first.rung, first.sums, self.number)
            self.number += 1
            queued += fitting
            taken.append(first)
        if not taken and not self.flying:
            return None
        self._come_back(taken)
        return len(taken)

    def _is_open(self, taken: Sequence[ExpectedChunk], queued: int) -> bool:
        """Return whether a further batch may go up beside those that are `taken`, with `queued` requests."""
        return len(taken) < self.limits.max_in_flight and queued < self.limits.max_queued

    def _may_fit(self, chunk: ExpectedChunk) -> bool:
        """Return whether a request of a chunk fits once the wave has come back, if that costs nothing."""
        left = self.limits.later_usd if self.flying else self.left
        return self.reserves.usd(chunk.rung, chunk.sums.share(1), self.number) <= left

    def _fitting(self, chunk: ExpectedChunk, count: int, room: Decimal, *, alone: bool, careful: bool) -> int:
        """Return how many of the first `count` requests of a chunk fit into the room that is left.

        With `careful`, or once the budget has cut a chunk, they are none where they are too few for a batch.
        """

        def fits(requests: int) -> bool:
            """Return whether so many requests fit."""
            return self.reserves.usd(chunk.rung, chunk.sums.share(requests), self.number) <= room

        fitting = largest_fitting(count, fits, whole_only=not alone)
        careful = careful or (self.cut and self.reserves.knows(chunk.rung))
        return 0 if careful and not is_worth_sending(fitting, count) else fitting

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
    left: list[ExpectedChunk] = []
    for stage in sorted({each.stage for each in chunks}):
        rest = [each for each in chunks if each.stage == stage]
        waves.append(0)
        batches.append(0)
        while rest:
            sent = state.wave(rest)
            if sent is None:
                left += rest
                break
            waves[-1] += bool(sent)
            batches[-1] += sent
    due = sum(each.sums.requests for each in left if each.due)
    return BudgetWaves(waves=waves, batches=batches, stopped=bool(left), left=due)


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
            due=chunk.due,
        )
        for requests in (count, whole - count)
        if requests
    ]
    return parts[0], parts[1] if len(parts) > 1 else None
