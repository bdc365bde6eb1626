"""Print the cost and the time that a plan expects."""

from __future__ import annotations

from dataclasses import asdict
from decimal import Decimal
from typing import Any

from batchpipe.commands.printing.caching import expected_object
from batchpipe.commands.printing.text import count, duration, money
from batchpipe.engine.cost.estimate import Estimate
from batchpipe.pipeline.sending import Chunking


def estimate_object(estimate: Estimate) -> dict[str, Any]:
    """Return `estimate`, `waves` and `hours` of `plan --json`. Realtime calls are neither waves nor hours."""
    return {
        "estimate": {
            "input_tokens": estimate.input_tokens,
            "output_tokens": estimate.output_tokens,
            "cost_usd": estimate.cost_usd,
            "max_usd": estimate.max_usd,
            "realtime_usd": estimate.realtime_usd,
            "cost_low_usd": estimate.low_usd,
            "cost_high_usd": estimate.high_usd,
            "results_seen": estimate.seen,
            "rungs": [asdict(each) for each in estimate.rungs],
            **({"full_price": list(estimate.full_price)} if estimate.full_price else {}),
            "caching": expected_object(estimate.caching),
        },
        "waves": estimate.waves,
        "hours": {
            "usual": round(estimate.usual_seconds / 3_600, 3),
            "high": round(estimate.high_seconds / 3_600, 3),
            "batches_seen": estimate.times.batches,
        },
    }


def full_price_text(estimate: Estimate) -> str:
    """Return for which models the price of realtime calls stands in; empty where the prices of batches are known."""
    models = ", ".join(estimate.full_price)
    return f"no price in batches is known for {models}: the full price stands in for it" if models else ""


def interval_text(estimate: Estimate) -> str:
    """Return the 90% interval of the cost, and the number of results that it is based on."""
    if estimate.low_usd is None or estimate.high_usd is None:
        return ""
    seen = "no results yet" if not estimate.seen else f"estimated from {count(estimate.seen, 'result')}"
    return f" ({money(estimate.low_usd)} to {money(estimate.high_usd)}, {seen})"


def cost_text(estimate: Estimate) -> str:
    """Return the expected cost with its interval, and the most that it can be."""
    if estimate.cost_usd is None:
        return "unknown: a model has no price"
    return f"{money(estimate.cost_usd)} expected{interval_text(estimate)}, {money(estimate.max_usd)} at most"


def rungs_text(estimate: Estimate) -> str:
    """Return how many requests each rung is expected to get, retries included; empty for a single rung."""
    if len(estimate.rungs) < 2:
        return ""
    each_rung = (
        f"{_expected_requests(each.requests)} to {each.model} {_price(each.cost_usd)}" for each in estimate.rungs
    )
    return f"expected, with retries: {', '.join(each_rung)}"


def _expected_requests(number: float) -> str:
    """Return a number that is a mean as `12 requests`, `1 request`, `2.4 requests`, `fewer than 0.1 requests`."""
    if 0 < number < 0.1:
        return "fewer than 0.1 requests"
    rounded = round(number, 1)
    if number >= 10 or rounded == int(rounded):
        return count(round(number), "request")
    return f"{rounded} requests"


def _price(cost_usd: Decimal | None) -> str:
    return f"for {money(cost_usd)}" if cost_usd is not None else "at an unknown price"


def time_text(estimate: Estimate, chunking: Chunking) -> str:
    """Return how long the batches take, one round after the other."""
    times, more = estimate.times, estimate.further_waves
    waves = count(estimate.waves, "wave")
    if estimate.limited_by is not None:
        waves += f" ({estimate.limited_by} makes them)"
    elif estimate.waves > 1:
        waves += f" ({chunking.max_in_flight} batches with {count(chunking.max_queued, 'request')} may wait at once)"
    if more:
        waves += f" and {count(more)} more for retries and higher rungs"
    if estimate.stopped:
        waves += ", until the budget is used up"
    basis = count(times.batches, "earlier batch", "earlier batches") if times.batches else "the provider's own figures"
    return f"{spans_text(estimate)}: {waves}, estimated from {basis}"


def spans_text(estimate: Estimate) -> str:
    """Return how long all rounds of batches take, one after the other; without any, requests are answered at once."""
    usual, high = estimate.usual_seconds, estimate.high_seconds
    if not estimate.waves + estimate.further_waves:
        return "minutes, answered at once"
    return f"about {duration(usual)}, up to {duration(high)}" if high >= 60 else "under a minute"
