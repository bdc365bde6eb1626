"""What requests will cost and how long they take: expected by what this pipeline's results showed, and at most.

Before there are results, a token is taken to be 3.5 bytes of a request (English text has about 4 characters a token,
https://docs.anthropic.com/en/docs/about-claude/glossary#tokens, and JSON escapes add some), an answer to fill 30%
of its room, every answer to be valid at the first try, and one row in five to climb from a rung that has an `accept`.
At most, every byte is a token, every answer fills its room and every row climbs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from batchpipe.decide.caching import ExpectedCaching, count_primes
from batchpipe.decide.chunking import Chunk, count_rounds
from batchpipe.engine.cost.answer_days import LONGEST_SECONDS, USUAL_SECONDS
from batchpipe.engine.cost.forecast import (
    DueGroup,
    RungForecast,
    RungUsd,
    TokenLine,
    deviation,
    further_waves,
    interval,
    reaches,
)
from batchpipe.engine.cost.ladder import EXPECTED
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.sql.quoting import Sql
from batchpipe.store.database import Session
from batchpipe.store.queries import query

# The most tokens beyond one per byte: hidden prompts of tools and structured outputs.
OVERHEAD_TOKENS = 1_500
# Most batches end within an hour, and none is worked on for more than 24
# (https://docs.anthropic.com/en/docs/build-with-claude/batch-processing).


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """Seconds that one round of batches takes: half of the earlier batches took less than `usual_seconds`, 90 of 100
    took less than `high_seconds`.

    `batches`: number of earlier batches that this is based on. Without any, the provider's own figures stand: usually
    an hour, 24 hours at most.
    """

    usual_seconds: float = USUAL_SECONDS
    high_seconds: float = LONGEST_SECONDS
    batches: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """The expected cost in US dollars, tokens and time of a plan. A cost is None where a model's price is not known.

    All numbers but `max_usd` expect as many retries and climbs as earlier results had. The cost lies between `low_usd`
    and `high_usd` with a probability of 90%.
    `seen`: number of earlier results with the same model and settings that this estimate is based on.
    `waves`: rounds of batches for what is due now. `further_waves`: rounds for retries and climbs. What is asked in
    realtime is answered at once, and makes no round. `limited_by` names the budget that makes more of them, and
    `more_batches` of what is due now; `stopped`: it does not reach for all. `without_room` requests that are due now do
    not fit into it.
    `full_price` are models whose price in batches is not known: the price of realtime calls stands in for it.
    """

    input_tokens: int
    output_tokens: int
    cost_usd: Decimal | None
    max_usd: Decimal | None
    realtime_usd: Decimal | None
    low_usd: Decimal | None = None
    high_usd: Decimal | None = None
    rungs: Sequence[RungUsd] = ()
    seen: int = 0
    waves: int = 0
    further_waves: int = 0
    times: Times = field(default_factory=Times)
    caching: Sequence[ExpectedCaching] = ()
    limited_by: str | None = None
    more_batches: int = 0
    stopped: bool = False
    without_room: int = 0
    full_price: Sequence[str] = ()

    @property
    def usual_seconds(self) -> float:
        """Return the seconds that all rounds usually take, one after the other."""
        return (self.waves + self.further_waves) * self.times.usual_seconds

    @property
    def high_seconds(self) -> float:
        """Return the seconds that all rounds take where each of them is slow."""
        return (self.waves + self.further_waves) * self.times.high_seconds


NOTHING = Estimate(
    input_tokens=0,
    output_tokens=0,
    cost_usd=Decimal(0),
    max_usd=Decimal(0),
    realtime_usd=Decimal(0),
    low_usd=Decimal(0),
    high_usd=Decimal(0),
)


def estimate(
    session: Session,
    resolved: Resolved,
    chunks: Sequence[Chunk],
    *,
    caching: Sequence[ExpectedCaching] = (),
    once: bool = False,
) -> Estimate:
    """Estimate what the requests of `work.to_send`, sent as `chunks`, will cost, and what they can cost at most.

    They cost most if every row climbs to the top of the ladder. The effect of `caching` is in `work.ladder` already;
    the requests that write a cache go first, in a round of their own.
    With `once` (a pilot) each row is asked once: there is no retry and no climb before the pilot is approved.
    Reads `work.to_send`, `work.ladder`, `work.parts`, `ledger.batches`.
    """
    if not chunks:
        return NOTHING
    ladder = {each["rung"]: each for each in session.dictionaries(Sql("SELECT * FROM work.ladder ORDER BY rung"))}
    expected = {number: _expected(each) for number, each in ladder.items()}
    if once:
        expected = {number: each.once() for number, each in expected.items()}
    # A member of a panel has a number of its own, and its row climbs from the rung of the panel.
    rung = Sql("q.of_rung") if resolved.panels else Sql("q.rung")
    groups = _groups(session, rung, resolved.contexts)
    names = [resolved.providers.full_name(each) for each in resolved.rungs]
    by_rung = _by_rung(groups, expected, ladder, names, _others(resolved))
    # A row that climbs to a rung that asks more than once pays for all of its members.
    ladder_sql = query("ladder_of_members") if resolved.panels else Sql("work.ladder")
    most = session.one(
        query("most", ladder=ladder_sql, of_rung=rung), {"overhead_bytes": OVERHEAD_TOKENS, "climbs": not once}
    )[0]
    cost = _sum([each.cost_usd for each in by_rung])
    low = high = None
    if cost is not None:
        usd = {rung: (float(each["input_usd"] or 0), float(each["output_usd"] or 0)) for rung, each in ladder.items()}
        low, high = interval(cost, deviation(groups, expected, usd))
    chunking = resolved.file.pipeline.chunking
    sent = in_batches(session, resolved, chunks)
    rounds = count_rounds(sent, chunking.max_in_flight, chunking.max_queued)
    requests = sum(each.count for each in sent)
    per_wave = -(-requests // rounds) if rounds else chunking.max_queued
    return Estimate(
        input_tokens=sum(each.input_tokens for each in by_rung),
        output_tokens=sum(each.output_tokens for each in by_rung),
        cost_usd=cost,
        max_usd=most,
        realtime_usd=_sum([each.realtime_usd for each in by_rung]),
        low_usd=low,
        high_usd=high,
        rungs=by_rung,
        seen=min((expected[group.path[0]].seen for group in groups), default=0),
        waves=rounds + bool(count_primes(caching)),
        further_waves=further_waves(
            groups, expected, per_wave, batch_rungs(resolved), resolved.file.pipeline.retry.stragglers
        ),
        times=_times(session, requests, len(sent)),
        caching=caching,
        full_price=[names[each.rung - 1] for each in by_rung if ladder[each.rung]["full_price"]],
    )


def batch_rungs(resolved: Resolved) -> set[int]:
    """Return the numbers in `Resolved.rungs` of what is asked in batches."""
    return {number for number, each in enumerate(resolved.rungs, start=1) if each.mode == "batch"}


def in_batches(session: Session, resolved: Resolved, chunks: Sequence[Chunk]) -> Sequence[Chunk]:
    """Return those of `chunks` that are sent as batches.

    Reads `work.to_send`.
    """
    asked = {number for number, each in enumerate(resolved.rungs, start=1) if each.mode == "realtime"}
    if not asked:
        return chunks
    found = session.rows(query("rungs_of_numbers"), {"numbers": [each.start for each in chunks]})
    rungs: dict[int, int] = dict(found)
    return [each for each in chunks if rungs[each.start] not in asked]


def _others(resolved: Resolved) -> dict[int, list[int]]:
    """Return the further members of each rung that asks more than once, each by its number in `Resolved.rungs`."""
    return {rung: [each.seat for each in panel.parts[1:]] for rung, panel in resolved.panels.items()}


def _expected(row: Mapping[str, Any]) -> RungForecast:
    return RungForecast(
        input=_line(row, "input"), output=_line(row, "output"), **{name: row[name] for name in EXPECTED}
    )


def _line(row: Mapping[str, Any], name: str) -> TokenLine:
    return TokenLine(fixed=row[f"{name}_fixed"], per_byte=row[f"{name}_per_byte"], deviation=0.0)


def _groups(session: Session, of_rung: Sql, contexts: Sequence[int | None]) -> list[DueGroup]:
    """Return the due requests, grouped by their rung and by the rungs that their rows may use.

    `of_rung` is SQL for the rung of a request `q`; `contexts` are the tokens that each rung's model takes.

    Reads `work.to_send`, `work.ladder`.
    """
    rows: dict[tuple[int, int], list[tuple[Any, ...]]] = {}
    for start, rungs, *each in session.rows(query("due_by_rung", of_rung=of_rung), {"contexts": contexts}):
        rows.setdefault((start, rungs), []).append(tuple(each))
    return [
        DueGroup(
            requests=each[0][1],
            path=tuple(row[0] for row in each),
            input_tokens=tuple(row[2] for row in each),
            output_tokens=tuple(row[3] for row in each),
        )
        for each in rows.values()
    ]


def _by_rung(
    groups: Sequence[DueGroup],
    expected: Mapping[int, RungForecast],
    ladder: Mapping[int, Mapping[str, Any]],
    names: Sequence[str],
    others: Mapping[int, Sequence[int]],
) -> list[RungUsd]:
    """Return for each rung that rows will reach the expected requests, tokens and cost; `names` are the models'.

    `others` are the further members of each rung that asks more than once: they are asked by rows that climb to it.
    """
    totals: dict[int, list[float]] = {}
    for group in groups:
        for place, (rung, (rows, share)) in enumerate(zip(group.path, reaches(group.path, expected), strict=True)):
            each, total = expected[rung], totals.setdefault(rung, [0.0, 0.0, 0.0])
            total[0] += group.requests * rows * each.tries
            total[1] += group.input_tokens[place] * share * each.input_tries
            total[2] += group.output_tokens[place] * rows * each.tries
            for other in others.get(rung, ()) if place else ():
                member, sums = expected[other], totals.setdefault(other, [0.0, 0.0, 0.0])
                sums[0] += group.requests * rows * member.tries
                sums[1] += group.input_tokens[place] * share * member.input_tries
                sums[2] += group.output_tokens[place] * rows * member.tries
    found = []
    for rung, (requests, input_tokens, output_tokens) in sorted(totals.items()):
        if requests:
            row, tokens = ladder[rung], (round(input_tokens), round(output_tokens))
            found.append(
                RungUsd(
                    rung=rung,
                    model=names[rung - 1],
                    requests=requests,
                    input_tokens=tokens[0],
                    output_tokens=tokens[1],
                    cost_usd=_usd(tokens, row["input_usd"], row["output_usd"]),
                    realtime_usd=_usd(tokens, row["realtime_input_usd"], row["realtime_output_usd"]),
                )
            )
    return found


def _usd(tokens: tuple[int, int], input_usd: Decimal | None, output_usd: Decimal | None) -> Decimal | None:
    """Return the cost of (input, output) tokens; None where a price is not known."""
    if input_usd is None or output_usd is None:
        return None
    return tokens[0] * input_usd + tokens[1] * output_usd


def _sum(costs: Sequence[Decimal | None]) -> Decimal | None:
    """Return the sum of the costs; None where one of them is not known."""
    known = [each for each in costs if each is not None]
    return sum(known, Decimal(0)) if len(known) == len(costs) else None


def recent_times(session: Session, resolved: Resolved) -> Times:
    """Return how long the newest batches took, of any size.

    Reads `ledger.batches`. Writes `work.recent_batches`.
    """
    return times_of_providers(session, resolved.provider_names)


def times_of_providers(session: Session, providers: Sequence[str]) -> Times:
    """Return how long the newest batches of these providers took, of any size.

    Reads `ledger.batches`. Writes `work.recent_batches`.
    """
    session.execute(query("recent_batches"), {"providers": list(providers)})
    return _times(session, 0, 1)


def _times(session: Session, requests: int, chunks: int) -> Times:
    """Return how long earlier batches of about this plan's size took.

    Reads `work.recent_batches`.
    """
    usual, high, batches = session.one(query("batch_seconds"), {"requests": requests / max(chunks, 1)})
    return Times(usual_seconds=usual, high_seconds=high, batches=batches) if batches else Times()
