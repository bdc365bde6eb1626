"""What requests will cost and how long they take: expected by what this pipeline's results showed, and at most.

Before there are results, a token is taken to be 3.5 bytes of a request (English text has about 4 characters a token,
https://docs.anthropic.com/en/docs/about-claude/glossary#tokens, and JSON escapes add some), an answer to fill 30%
of its room, every answer to be valid at the first try, and one row in five to climb from a rung that has an `accept`.
At most, every byte is a token, every answer fills its room and every row climbs.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any

from batchpipe.decide.caching import CacheTtl, ExpectedCaching, count_primes
from batchpipe.decide.chunking import Chunk, count_rounds
from batchpipe.engine.cost.forecast import (
    ENOUGH_RESULTS,
    DueGroup,
    PastResults,
    RungForecast,
    RungUsd,
    TokenLine,
    deviation,
    forecast_rung,
    further_waves,
    interval,
    reaches,
)
from batchpipe.engine.cost.most import NO_MARKS, most_prices
from batchpipe.engine.cost.pricing import Price, PriceFile, PriceStep, Tier, unit_price
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.providers import RungSettings
from batchpipe.sql.quoting import Sql, joined, quote_list, sql
from batchpipe.store.database import Session, quoted
from batchpipe.store.queries import query

# The most tokens beyond one per byte: hidden prompts of tools and structured outputs.
OVERHEAD_TOKENS = 1_500
# Most batches end within an hour, and none is worked on for more than 24
# (https://docs.anthropic.com/en/docs/build-with-claude/batch-processing).
USUAL_SECONDS, LONGEST_SECONDS = 3_600.0, 86_400.0
PLACES = Decimal("1E-15")
# work.ladder: One row is a rung of the ladder, with its prices and the tokens that its requests are expected to use.
LADDER = Sql("""CREATE OR REPLACE TABLE work.ladder (
    rung SMALLINT, model VARCHAR, settings VARCHAR, max_tokens INTEGER,
    input_usd DECIMAL(20, 15), output_usd DECIMAL(20, 15), most_input_usd DECIMAL(20, 15),
    most_output_usd DECIMAL(20, 15), small_most_input_usd DECIMAL(20, 15), small_most_output_usd DECIMAL(20, 15),
    small_until BIGINT, plain_input_usd DECIMAL(20, 15), write_5m_rate DOUBLE, write_1h_rate DOUBLE, read_rate DOUBLE,
    realtime_input_usd DECIMAL(20, 15), realtime_output_usd DECIMAL(20, 15),
    input_fixed DOUBLE, input_per_byte DOUBLE, output_fixed DOUBLE, output_per_byte DOUBLE, tries DOUBLE,
    input_tries DOUBLE, tries_error DOUBLE, climb DOUBLE, climb_tokens DOUBLE, climb_error DOUBLE, spread DOUBLE,
    error DOUBLE, seen BIGINT)""")


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceBook:
    """The source of prices: the team's price file, else the built-in table, both multiplied by a factor."""

    file: PriceFile | None = None
    factor: Decimal = Decimal(1)

    def price(self, resolved: Resolved, rung: RungSettings, day: date, *, realtime: bool = False) -> Price | None:
        """Return the price of a rung on `day`, with the surcharge of its settings; None where no price is known."""
        factor = self.factor * resolved.rules.price_factor(rung)
        tier: Tier = "realtime" if realtime else "batch"
        return unit_price(resolved.rules.name, rung.model, day, tier, file=self.file, price_factor=factor)


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
    `waves`: rounds of batches for what is due now. `further_waves`: rounds for retries and climbs. `limited_by` names
    the budget that makes more of them, and `more_batches` of what is due now; `stopped`: it does not reach for all.
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


def settings_text(rung: RungSettings) -> str:
    """Return a rung's model and settings as text. `--redo model` and identical requests compare it; `max_tokens` is not
    part of it.
    """
    return json.dumps({"model": rung.model, **rung.settings}, sort_keys=True, default=str)


def fill_rung_settings(session: Session, resolved: Resolved) -> None:
    """Fill a table of each model and its settings with its rung: the lowest, where two rungs differ only in
    `max_tokens`.

    Writes `work.rung_settings`.
    """
    # work.rung_settings: One row is a rung that is present, with its settings.
    session.execute(Sql("CREATE OR REPLACE TABLE work.rung_settings (settings VARCHAR, rung SMALLINT)"))
    rungs = {settings_text(rung): number for number, rung in reversed(list(enumerate(resolved.rungs, start=1)))}
    for settings, number in rungs.items():
        session.execute(Sql("INSERT INTO work.rung_settings VALUES ($1, $2)"), [settings, number])


def fill_ladder(
    session: Session,
    resolved: Resolved,
    prices: PriceBook,
    marked: Collection[int] = (),
    ttls: Mapping[int, CacheTtl] = NO_MARKS,
) -> None:
    """Fill a row per rung with its model, `max_tokens`, prices per token and the forecast for a request.

    The input of the rungs in `marked` is priced without a cache: the effect of caching is computed for the queue. A
    rung's requests can write a cache only where `ttls` has the lifetime that they are marked with. The table stays
    empty where nothing was rendered: nothing will be sent, and no price is needed.
    Reads `work.rendered`, `ledger.batches`, `ledger.results`, `ledger.requests`.
    Writes `work.ladder`, `work.recent_batches`.
    """
    session.execute(LADDER)
    if not session.one(Sql("SELECT count(*) FROM work.rendered"))[0]:
        return
    session.execute(query("recent_batches"), {"provider": resolved.rules.name})
    shown = _past_results(session, resolved)
    everything = shown.get(None, {})
    for number, rung in enumerate(resolved.rungs, start=1):
        own = shown.get(settings_text(rung), {})
        accept = resolved.file.pipeline.models[number - 1].accept
        climbs = accept is not None and number < len(resolved.rungs)
        day = session.now.date()
        steps = _steps(prices.price(resolved, rung, day))
        realtime = _steps(prices.price(resolved, rung, day, realtime=True))
        values = _ladder_prices(steps, realtime, {} if number in marked else own)
        values |= most_prices(steps, ttls.get(number))
        usd = (float(values["input_usd"] or 0), float(values["output_usd"] or 0))
        found = forecast_rung(_past_of(own), _past_of(everything), rung.max_tokens, climbs, usd)
        values |= {"rung": number, "model": rung.model, "settings": settings_text(rung), "max_tokens": rung.max_tokens}
        values |= {
            "input_fixed": found.input.fixed,
            "input_per_byte": found.input.per_byte,
            "output_fixed": found.output.fixed,
            "output_per_byte": found.output.per_byte,
        }
        values |= {name: getattr(found, name) for name in EXPECTED}
        statement = sql(
            "INSERT INTO work.ladder ({columns}) VALUES ({places})",
            columns=quoted(*values),
            places=joined(", ", [Sql("?")] * len(values)),
        )
        session.execute(statement, list(values.values()))


EXPECTED = ("tries", "input_tries", "tries_error", "climb", "climb_tokens", "climb_error", "spread", "error", "seen")


def _past_results(session: Session, resolved: Resolved) -> dict[str | None, dict[str, Any]]:
    """Return what earlier results showed, by settings, and under None for all settings together.

    Reads the ledger. Writes `work.seen`.
    """
    fill_recent_results(session, resolved)
    found = session.dictionaries(query("past_results"), {"enough": ENOUGH_RESULTS})
    return {each["settings"]: each for each in found}


def fill_recent_results(session: Session, resolved: Resolved) -> None:
    """Fill a table of the newest results.

    Reads the ledger. Writes `work.seen`.
    """
    pipelines = quote_list(resolved.names)
    identity = {"prompt_version": resolved.version.prompt_version, "policy_hash": resolved.policy_hash}
    seq, every = session.one(query("recent_window", pipelines=pipelines))
    session.execute(query("recent_results", pipelines=pipelines), identity | {"seq": seq, "every": every})


def _past_of(shown: Mapping[str, Any]) -> PastResults:
    """Return earlier results as values; `shown` may lack columns."""
    found = {name: shown[name] for name in PastResults.__dataclass_fields__ if name in shown}
    return PastResults(**found | {"present": bool(shown.get("present"))})


def _ladder_prices(steps: Sequence[PriceStep], realtime: Sequence[PriceStep], own: Mapping[str, Any]) -> dict[str, Any]:
    """Return US dollars per token. The input's price includes the effect of the cache in the rung's `own` results."""
    factor = _cache_factor(steps[0], own) if steps else Decimal(1)
    return {
        "input_usd": (steps[0].input * factor).quantize(PLACES) if steps else None,
        "output_usd": steps[0].output if steps else None,
        "realtime_input_usd": (realtime[0].input * factor).quantize(PLACES) if realtime else None,
        "realtime_output_usd": realtime[0].output if realtime else None,
    }


def _cache_factor(step: PriceStep, own: Mapping[str, Any]) -> Decimal:
    """Return what the input of the `own` results cost by `step`, divided by its cost without a cache."""
    if own.get("billed", 0) < ENOUGH_RESULTS or not step.input:
        return Decimal(1)
    kinds = (
        (own["uncached_tokens"], step.input),
        (own["cache_write_5m_tokens"], step.cache_write_5m),
        (own["cache_write_1h_tokens"], step.cache_write_1h),
        (own["cache_read_tokens"], step.cache_read),
    )
    tokens = sum(count for count, _ in kinds)
    return sum((count * price for count, price in kinds), Decimal(0)) / (tokens * step.input) if tokens else Decimal(1)


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
    Reads `work.to_send`, `work.ladder`, `ledger.batches`.
    """
    if not chunks:
        return NOTHING
    ladder = {each["rung"]: each for each in session.dictionaries(Sql("SELECT * FROM work.ladder ORDER BY rung"))}
    expected = {rung: _expected(each) for rung, each in ladder.items()}
    if once:
        expected = {rung: each.once() for rung, each in expected.items()}
    groups = _groups(session)
    by_rung = _by_rung(groups, expected, ladder)
    most = session.one(query("most"), {"overhead_bytes": OVERHEAD_TOKENS, "climbs": not once})[0]
    cost = _sum([each.cost_usd for each in by_rung])
    low = high = None
    if cost is not None:
        usd = {rung: (float(each["input_usd"] or 0), float(each["output_usd"] or 0)) for rung, each in ladder.items()}
        low, high = interval(cost, deviation(groups, expected, usd))
    chunking = resolved.file.pipeline.chunking
    rounds = count_rounds(chunks, chunking.max_in_flight, chunking.max_queued)
    requests = sum(each.count for each in chunks)
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
        further_waves=further_waves(groups, expected, -(-requests // max(rounds, 1))),
        times=_times(session, requests, len(chunks)),
        caching=caching,
    )


def _expected(row: Mapping[str, Any]) -> RungForecast:
    return RungForecast(
        input=_line(row, "input"), output=_line(row, "output"), **{name: row[name] for name in EXPECTED}
    )


def _line(row: Mapping[str, Any], name: str) -> TokenLine:
    return TokenLine(fixed=row[f"{name}_fixed"], per_byte=row[f"{name}_per_byte"], deviation=0.0)


def _groups(session: Session) -> list[DueGroup]:
    """Return the due requests, grouped by their rung and by the rungs that their rows may use.

    Reads `work.to_send`, `work.ladder`.
    """
    rows: dict[tuple[int, int], list[tuple[Any, ...]]] = {}
    for start, rungs, *each in session.rows(query("due_by_rung")):
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
    groups: Sequence[DueGroup], expected: Mapping[int, RungForecast], ladder: Mapping[int, Mapping[str, Any]]
) -> list[RungUsd]:
    """Return for each rung that rows will reach the expected requests, tokens and cost."""
    totals: dict[int, list[float]] = {}
    for group in groups:
        for place, (rung, (rows, share)) in enumerate(zip(group.path, reaches(group.path, expected), strict=True)):
            each, total = expected[rung], totals.setdefault(rung, [0.0, 0.0, 0.0])
            total[0] += group.requests * rows * each.tries
            total[1] += group.input_tokens[place] * share * each.input_tries
            total[2] += group.output_tokens[place] * rows * each.tries
    found = []
    for rung, (requests, input_tokens, output_tokens) in sorted(totals.items()):
        if requests:
            row, tokens = ladder[rung], (round(input_tokens), round(output_tokens))
            found.append(
                RungUsd(
                    rung=rung,
                    model=row["model"],
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
    session.execute(query("recent_batches"), {"provider": resolved.rules.name})
    return _times(session, 0, 1)


def _times(session: Session, requests: int, chunks: int) -> Times:
    """Return how long earlier batches of about this plan's size took.

    Reads `work.recent_batches`.
    """
    usual, high, batches = session.one(query("batch_seconds"), {"requests": requests / max(chunks, 1)})
    return Times(usual_seconds=usual, high_seconds=high, batches=batches) if batches else Times()


def _steps(price: Price | None) -> tuple[PriceStep, ...]:
    return price.steps if price is not None else ()
