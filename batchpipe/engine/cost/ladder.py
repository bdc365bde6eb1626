"""Fill the working table of the ladder: the prices of each rung, and what its results showed."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any

from batchpipe.decide.caching import CacheTtl
from batchpipe.engine.cost.answer_days import USUAL_SECONDS, prices_of_answers
from batchpipe.engine.cost.forecast import (
    ENOUGH_RESULTS,
    PastResults,
    forecast_rung,
)
from batchpipe.engine.cost.most import NO_MARKS, most_prices
from batchpipe.engine.cost.price_rows import PriceRow, prices_table
from batchpipe.engine.cost.pricing import Price, PriceFile, PriceStep, Tier, unit_price
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.pipeline.sending import LOCAL_SETTINGS
from batchpipe.providers import REGISTRY, RungSettings
from batchpipe.providers.known import KnownProvider
from batchpipe.sql.quoting import Sql, joined, quote_list, sql
from batchpipe.store.database import Session, quoted
from batchpipe.store.queries import query

PLACES = Decimal("1E-15")
# work.ladder: One row is a rung of the ladder, with its prices and the tokens that its requests are expected to use.
LADDER = Sql("""CREATE OR REPLACE TABLE work.ladder (
    rung SMALLINT, provider VARCHAR, model VARCHAR, settings VARCHAR, max_tokens INTEGER,
    input_usd DECIMAL(20, 15), output_usd DECIMAL(20, 15), most_input_usd DECIMAL(20, 15),
    most_output_usd DECIMAL(20, 15), small_most_input_usd DECIMAL(20, 15), small_most_output_usd DECIMAL(20, 15),
    small_until BIGINT, plain_input_usd DECIMAL(20, 15), write_5m_rate DOUBLE, write_1h_rate DOUBLE, read_rate DOUBLE,
    realtime_input_usd DECIMAL(20, 15), realtime_output_usd DECIMAL(20, 15),
    input_fixed DOUBLE, input_per_byte DOUBLE, output_fixed DOUBLE, output_per_byte DOUBLE, tries DOUBLE,
    input_tries DOUBLE, tries_error DOUBLE, climb DOUBLE, climb_tokens DOUBLE, climb_error DOUBLE, spread DOUBLE,
    error DOUBLE, seen BIGINT, full_price BOOLEAN)""")
# A row climbs by its vote, and not by the answer of one member.
NO_VOTES: Mapping[str, Any] = {"climbable": 0, "climbed": 0, "climbable_tokens": 0.0, "climbed_tokens": 0.0}
_DATE = re.compile(r"-(\d{8}|\d{4}-\d\d-\d\d)$")
EXPECTED = ("tries", "input_tries", "tries_error", "climb", "climb_tokens", "climb_error", "spread", "error", "seen")


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceSource:
    """Where the prices of one provider come from: its price file, else the built-in table, multiplied by a factor.

    `listed_as` is the provider's name in the built-in table; None: that of its protocol's own provider.
    """

    file: PriceFile | None = None
    factor: Decimal = Decimal(1)
    listed_as: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceBook:
    """The source of prices of each provider; `others` is that of a provider without settings."""

    by_provider: Mapping[str, PriceSource] = field(default_factory=dict)
    others: PriceSource = field(default_factory=PriceSource)

    def price(self, resolved: Resolved, rung: RungSettings, day: date, *, realtime: bool = False) -> Price | None:
        """Return the price of a rung on `day`, with the surcharge of its settings; None where no price is known."""
        return self.price_at(resolved.provider_of(rung), rung, day, realtime=realtime)

    def price_at(
        self, provider: KnownProvider, rung: RungSettings, day: date, *, realtime: bool = False
    ) -> Price | None:
        """Return the price of a rung at a provider on `day`; None where no price is known.

        It is the price of the rung's mode, or with `realtime` that of a realtime call. A model has the price of its
        usual name, else of the provider's own name for it, by which a table of a gateway's prices may go.
        """
        source = self.by_provider.get(provider.name, self.others)
        tier: Tier = "realtime" if realtime or rung.mode == "realtime" else "batch"
        found = (
            unit_price(
                provider.name,
                name,
                day,
                tier,
                file=source.file,
                price_factor=source.factor * provider.rules.price_factor(rung),
                listed_as=source.listed_as or provider.module.PRICED_AS,
            )
            for name in _names(provider, rung.model)
        )
        return next((each for each in found if each is not None), None)

    def rows(
        self, provider: KnownProvider, models: Iterable[str], day: date, asked: Collection[str] = ()
    ) -> list[PriceRow]:
        """Return the prices of `models` of a provider on `day`, each by the name that the provider gives it.

        Where several models have one name there, it is that of the one that was `asked` for.
        """
        source = self.by_provider.get(provider.name, self.others)
        listed_as = source.listed_as or provider.module.PRICED_AS

        def rows_of(name: str) -> list[PriceRow]:
            return prices_table(
                [(provider.name, name)], [day], file=source.file, price_factor=source.factor, listed_as=listed_as
            )

        found = {
            model: next(filter(None, map(rows_of, _names(provider, provider.usual_name(model, asked)))), [])
            for model in models
        }
        return [row._replace(model=model) for model, rows in found.items() for row in rows]


def _names(provider: KnownProvider, model: str) -> Iterable[str]:
    """Return the names that the prices of a model may go by: its usual one, then the provider's own for it, or for the
    model that it is a dated version of.
    """
    undated = _DATE.sub("", model)
    return dict.fromkeys((model, provider.models.get(model, model), provider.models.get(undated, model)))


def settings_text(rung: RungSettings) -> str:
    """Return a rung's model and settings as text. `--redo model` and identical requests compare it; `max_tokens` is not
    part of it.

    A gateway's model is not taken for the model of that name at its maker, so that both can be compared.
    """
    gateway = {} if rung.provider in ("", *REGISTRY) else {"provider": rung.provider}
    return json.dumps({"model": rung.model, **gateway, **rung.settings}, sort_keys=True, default=str)


def present_settings(resolved: Resolved) -> list[str]:
    """Return the settings of every rung of the ladder. All versions of the local model have the same."""
    local = [LOCAL_SETTINGS] if resolved.local is not None else []
    return [*local, *(settings_text(each) for each in resolved.rungs)]


def fill_rung_settings(session: Session, resolved: Resolved) -> None:
    """Fill a table of each model and its settings with its rung: the lowest, where two rungs differ only in
    `max_tokens`. The answers of panels vote: none of them is a rung's by itself.

    Writes `work.rung_settings`.
    """
    # work.rung_settings: One row is a rung that is present, with its settings.
    session.execute(Sql("CREATE OR REPLACE TABLE work.rung_settings (settings VARCHAR, rung SMALLINT)"))
    single = [each for each in enumerate(resolved.rungs[: resolved.height], start=1) if each[0] not in resolved.panels]
    rungs = {settings_text(rung): number for number, rung in reversed(single)}
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
    if session.blank:
        session.execute(query("no_recent_batches"))
    else:
        session.execute(query("recent_batches"), {"providers": resolved.provider_names})
    shown = _past_results(session, resolved)
    votes = _past_votes(session, resolved)
    everything = shown.get(None, {})
    for number, rung in enumerate(resolved.rungs, start=1):
        on = resolved.rung_of(number)
        own = shown.get(settings_text(rung), {})
        own = {**own, **votes.get(on, NO_VOTES)} if on in resolved.panels else own
        accept = resolved.file.pipeline.models[on - 1].accept if on < resolved.height else None
        climbs = accept is not None
        expected, dearest = _answer_prices(session, resolved, prices, number)
        realtime = _steps(prices.price(resolved, rung, session.now.date(), realtime=True))
        values = _ladder_prices(_steps(expected), realtime, {} if number in marked else own)
        values |= most_prices(_steps(dearest), ttls.get(number))
        usd = (float(values["input_usd"] or 0), float(values["output_usd"] or 0))
        found = forecast_rung(_past_of(own), _past_of(everything), rung.max_tokens, climbs, usd)
        values |= {
            "rung": number,
            "provider": resolved.provider_of(rung).name,
            "model": rung.model,
            "settings": settings_text(rung),
            "max_tokens": rung.max_tokens,
            "full_price": expected is not None and not expected.exact,
        }
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


def _answer_prices(
    session: Session, resolved: Resolved, prices: PriceBook, number: int
) -> tuple[Price | None, Price | None]:
    """Return the price at which the answers of rung `number` are expected, and the dearest one that may count.

    Each rung in batches is a wave, and those of a rung come after the waves of the rungs below it.
    Reads `work.recent_batches`.
    """
    rung = resolved.rungs[number - 1]
    below = resolved.rungs[: resolved.rung_of(number) - 1]
    waves = sum(each.mode == "batch" for each in (*below, rung))

    def usual_seconds() -> float:
        usual, _, batches = session.one(query("batch_seconds"), {"requests": 0})
        return float(usual) if batches else USUAL_SECONDS

    return prices_of_answers(lambda day: prices.price(resolved, rung, day), session.now, waves, usual_seconds)


def _past_results(session: Session, resolved: Resolved) -> dict[str | None, dict[str, Any]]:
    """Return what earlier results showed, by settings, and under None for all settings together.

    Reads the ledger. Writes `work.seen`.
    """
    if not session.knows(resolved.names):
        return {}
    fill_recent_results(session, resolved)
    found = session.dictionaries(query("past_results"), {"enough": ENOUGH_RESULTS})
    return {each["settings"]: each for each in found}


def _past_votes(session: Session, resolved: Resolved) -> dict[int, dict[str, Any]]:
    """Return by the rungs that ask more than once how many rows were voted on, and how many of them went up.

    Reads `ledger.votes`, `ledger.decisions`, `ledger.results`.
    """
    if not resolved.panels:
        return {}
    pipelines = quote_list(resolved.names)
    seq, _ = session.one(query("recent_window", pipelines=pipelines))
    identity = {"prompt_version": resolved.version.prompt_version, "policy_hash": resolved.policy_hash}
    found = session.dictionaries(
        query("past_votes", pipelines=pipelines), identity | {"seq": seq, "enough": ENOUGH_RESULTS}
    )
    return {each.pop("rung"): {**NO_VOTES, **each} for each in map(dict, found)}


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


def _steps(price: Price | None) -> tuple[PriceStep, ...]:
    return price.steps if price is not None else ()
