"""Say of a plan how many waves a budget makes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

from batchpipe.decide.chunking import Chunk
from batchpipe.engine.cost.budget import Limit
from batchpipe.engine.cost.estimate import OVERHEAD_TOKENS, Estimate, batch_rungs
from batchpipe.engine.cost.forecast import RungUsd
from batchpipe.engine.cost.reserves import RequestSums, Reserves, read_reserves, sums_of_requests
from batchpipe.engine.cost.waves import ExpectedChunk, WaveLimits, count_waves
from batchpipe.engine.ledger.events import Load
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.sql.quoting import Sql
from batchpipe.store.database import Session

# More US dollars than any job costs: what a budget without a limit leaves.
NO_LIMIT_USD = Decimal(10) ** 12


def with_budget_waves(
    session: Session, resolved: Resolved, chunks: Sequence[Chunk], estimate: Estimate, limit: Limit, busy: Load
) -> Estimate:
    """Return `estimate` with the waves and batches that `limit` makes of `chunks`, and of the rungs above them.

    Reads `work.to_send`, `work.ladder`, the ledger. Writes `work.seen`.
    """
    ladder = {each["rung"]: each for each in session.dictionaries(Sql("SELECT * FROM work.ladder"))}
    if not chunks or estimate.cost_usd is None:
        return estimate
    reserves = read_reserves(session, resolved)
    now = [_due_chunk(session, each, ladder) for each in chunks]
    above = _chunks_above(now, estimate.rungs, ladder)
    chunking = resolved.file.pipeline.chunking
    limits = WaveLimits(
        max_in_flight=chunking.max_in_flight,
        max_queued=chunking.max_queued,
        left_usd=limit.left_usd,
        later_usd=limit.expected_left_usd,
        in_flight=busy.batches,
        bounded=busy.bounded,
    )
    held = count_waves([*now, *above], limits, reserves)
    free = count_waves([*now, *above], replace(limits, left_usd=NO_LIMIT_USD, later_usd=NO_LIMIT_USD), Reserves())
    # Realtime calls make no wave: what a budget holds back of them is asked a moment later.
    rungs = batch_rungs(resolved)
    stages = sorted({each.stage for each in (*now, *above)})
    more = {
        stage: max(made - wanted, 0)
        for stage, made, wanted in zip(stages, held.waves, free.waves, strict=False)
        if stage in rungs
    }
    first = stages[0]
    sent = [each for each in now if each.stage == first]
    return replace(
        estimate,
        waves=estimate.waves + more.get(first, 0),
        further_waves=estimate.further_waves + sum(each for stage, each in more.items() if stage != first),
        more_batches=max(held.batches[0] - len(sent), 0) if first in rungs else 0,
        limited_by=limit.name if held.stopped or any(more.values()) else None,
        stopped=held.stopped,
        without_room=held.left,
    )


def _due_chunk(session: Session, chunk: Chunk, ladder: Mapping[int, Mapping[str, Any]]) -> ExpectedChunk:
    """Return what a chunk of the plan is expected to come to.

    Reads `work.to_send`.
    """
    sums = sums_of_requests(session.connection, chunk.start, chunk.start + chunk.count)
    rung = session.one(Sql("SELECT rung FROM work.to_send WHERE number = $1"), [chunk.start])[0]
    price = ladder[rung]
    expected = sums.input_tokens * float(price["input_usd"]) + sums.output_tokens * float(price["output_usd"])
    return ExpectedChunk(
        rung=rung,
        stage=rung,
        sums=sums,
        expected_usd=expected,
        input_share=sums.input_tokens / max(sums.bytes, 1),
        output_share=min(sums.output_tokens / (sums.requests * price["max_tokens"]), 1.0),
    )


def _chunks_above(
    due: Sequence[ExpectedChunk], rungs: Sequence[RungUsd], ladder: Mapping[int, Mapping[str, Any]]
) -> list[ExpectedChunk]:
    """Return the requests that are expected to climb to each rung, as one chunk for each."""
    found = []
    size = sum(each.sums.bytes for each in due) / max(sum(each.sums.firsts for each in due), 1)
    smallest = min((each.sums.least_bytes for each in due if each.sums.firsts), default=0)
    largest = max((each.sums.most_bytes for each in due), default=0)
    for each in rungs:
        here = sum(chunk.sums.requests for chunk in due if chunk.rung == each.rung)
        climbing = round(each.requests) - here
        if each.rung <= min(chunk.rung for chunk in due) or climbing < 1:
            continue
        price = ladder[each.rung]
        total = round(climbing * size)
        most = (total + climbing * OVERHEAD_TOKENS) * price["most_input_usd"]
        most += climbing * price["max_tokens"] * price["most_output_usd"]
        sums = RequestSums(
            requests=climbing,
            firsts=climbing,
            bytes=total,
            least_bytes=smallest,
            most_bytes=largest,
            max_usd=most,
            again_usd=Decimal(0),
            unpriced=0,
            input_tokens=each.input_tokens,
            output_tokens=each.output_tokens,
        )
        found.append(
            ExpectedChunk(
                rung=each.rung,
                stage=each.rung,
                sums=sums,
                expected_usd=float(each.cost_usd or 0) * climbing / max(each.requests, 1),
                input_share=each.input_tokens / max(each.requests * size, 1),
                output_share=min(each.output_tokens / (max(each.requests, 1) * price["max_tokens"]), 1.0),
                due=False,
            )
        )
    return found
