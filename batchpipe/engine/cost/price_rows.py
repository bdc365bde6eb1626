"""Prices as rows of a table, to join with results."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import NamedTuple

from batchpipe.engine.cost.pricing import TOKEN_KINDS, Price, PriceFile, Tier, unit_price

_PLACES = Decimal("1e-15")


class PriceRow(NamedTuple):
    """US dollars per token to 15 decimals, from `from_day` until the model's next day.

    The price is for requests with more input, of all kinds, than `above_input_tokens`.
    """

    provider: str
    model: str
    tier: str
    from_day: date
    above_input_tokens: int
    input: Decimal
    cache_write_5m: Decimal
    cache_write_1h: Decimal
    cache_read: Decimal
    output: Decimal
    web_search: Decimal
    source: str
    exact: bool


def prices_table(
    models: Iterable[tuple[str, str]],
    days: Iterable[date],
    *,
    tiers: Iterable[Tier] = ("batch", "realtime"),
    file: PriceFile | None = None,
    price_factor: Decimal = Decimal(1),
    listed_as: str | None = None,
) -> list[PriceRow]:
    """Return the prices of (provider, model) pairs on `days`, as rows to join with.

    A day has no rows where its prices are those of the day before it in `days`. A model whose price is not known has no
    rows.
    """
    ordered, wanted = sorted(set(days)), tuple(tiers)
    rows = []
    for provider, model in sorted(set(models)):
        for tier in wanted:
            last: Price | None = None
            for day in ordered:
                price = unit_price(
                    provider, model, day, tier, file=file, price_factor=price_factor, listed_as=listed_as
                )
                if price is not None and (last is None or replace(price, day=last.day) != last):
                    rows.extend(_rows(price))
                    last = price
    return rows


def _rows(price: Price) -> list[PriceRow]:
    """Return a price as rows, one per step."""
    return [
        PriceRow(
            provider=price.provider,
            model=price.model,
            tier=price.tier,
            from_day=price.day,
            above_input_tokens=step.above_input_tokens,
            **{kind: getattr(step, kind).quantize(_PLACES) for kind in (*TOKEN_KINDS, "web_search")},
            source=price.source,
            exact=price.exact,
        )
        for step in price.steps
    ]
