"""Compute the highest prices that requests of a rung can have: what the most that they can cost is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from batchpipe.decide.caching import CacheTtl
from batchpipe.engine.cost.pricing import Price, PriceStep

NO_MARKS: Mapping[int, CacheTtl] = {}


def most_prices(steps: Sequence[PriceStep], ttl: CacheTtl | None) -> dict[str, Any]:
    """Return the columns of `work.ladder` with the highest prices of a rung, in US dollars per token.

    A request writes a cache only where it is marked: `ttl` is the lifetime of its mark. The prices `small_...` are
    those of requests with at most `small_until` tokens of input, where larger ones are dearer. The `..._rate`s are the
    prices of cached tokens as shares of `plain_input_usd`; without a mark every token counts as a plain one.
    """
    if not steps:
        return {}
    first = steps[0]
    dearest = {
        "most_input_usd": max(_input(each, ttl) for each in steps),
        "most_output_usd": max(each.output for each in steps),
    }
    small = {"small_most_input_usd": _input(first, ttl), "small_most_output_usd": first.output}
    rates = {
        "write_5m_rate": _rate(first.cache_write_5m, first, ttl),
        "write_1h_rate": _rate(first.cache_write_1h, first, ttl),
        "read_rate": _rate(first.cache_read, first, ttl),
    }
    until = steps[1].above_input_tokens if len(steps) > 1 else None
    return {**dearest, **small, "small_until": until, "plain_input_usd": first.input, **rates}


def most_unmarked_usd(price: Price, tokens_in: int, tokens_out: int) -> Decimal:
    """Return the most that so many tokens can cost, in US dollars, whatever is written to a cache and in whatever
    tier.
    """
    most_in = max(max(step.input, step.cache_write_5m, step.cache_write_1h) for step in price.steps)
    return most_in * tokens_in + max(step.output for step in price.steps) * tokens_out


def _input(step: PriceStep, ttl: CacheTtl | None) -> Decimal:
    """Return the highest price of a token of input."""
    if ttl is None:
        return step.input
    return max(step.input, step.cache_write_5m if ttl == "5m" else step.cache_write_1h)


def _rate(price: Decimal, step: PriceStep, ttl: CacheTtl | None) -> float:
    """Return a price as a share of the price of a plain token."""
    return float(price / step.input) if ttl is not None and step.input else 1.0
