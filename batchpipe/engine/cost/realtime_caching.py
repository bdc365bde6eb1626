"""Compare batches with realtime calls where every request begins with the same long text.

The cache of a prompt is cheap where calls follow each other: the first ones write the prefix, and the others read it at
a tenth of its price or less. In a batch the requests run side by side, at a time that nobody knows, so that many miss
it; with a prefix long enough the half price of a batch is then the dearer one.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from batchpipe.decide.concurrency import START
from batchpipe.engine.cost.estimate import Estimate
from batchpipe.engine.cost.forecast import RungUsd
from batchpipe.engine.cost.ladder import PriceBook
from batchpipe.engine.resolved.resolve import Resolved

# A saving below 5% is not reported: both figures are estimates.
WORTH_SAYING = Decimal("0.95")


@dataclass(frozen=True, slots=True, kw_only=True)
class DearerBatches:
    """Says that batches of a rung's model cost more than realtime calls that find `prefix_tokens` in the cache.

    `writes` is how many requests are taken to write them. Costs are US dollars.
    """

    rung: int
    model: str
    prefix_tokens: int
    writes: int
    batch_usd: Decimal
    realtime_usd: Decimal


def dearer_batches(
    resolved: Resolved, prices: PriceBook, estimate: Estimate, prefix_tokens: int, day: date
) -> list[DearerBatches]:
    """Return the rungs in batches that are expected to cost less in realtime, at the prices of `day`."""
    found = (_compared(resolved, prices, each, prefix_tokens, day) for each in estimate.rungs)
    return [each for each in found if each is not None and each.realtime_usd < WORTH_SAYING * each.batch_usd]


def _compared(
    resolved: Resolved, prices: PriceBook, usd: RungUsd, prefix_tokens: int, day: date
) -> DearerBatches | None:
    """Return both costs of a rung; None if they cannot be compared: no batch, no cache, or no price.

    As many calls as begin at once write the prefix, since none of them can find it.
    """
    rung = resolved.rungs[usd.rung - 1]
    rules, requests = resolved.rules_of(rung), round(usd.requests)
    marks = rules.marks_cache(rung.usual_name)
    if rung.mode != "batch" or not requests or (marks and resolved.file.pipeline.prompt.cache == "off"):
        return None
    if prefix_tokens < max(rules.cached_from_tokens(rung.usual_name), 1):
        return None
    price = prices.price(resolved, rung, day, realtime=True)
    if price is None or usd.cost_usd is None:
        return None
    step = price.step(round(usd.input_tokens / requests))
    writes = min(requests, 1 if marks else int(START))
    write = step.cache_write_5m if marks else step.input
    own = max(usd.input_tokens - prefix_tokens * requests, 0)
    prefix = prefix_tokens * (writes * write + (requests - writes) * step.cache_read)
    return DearerBatches(
        rung=usd.rung,
        model=usd.model,
        prefix_tokens=prefix_tokens,
        writes=writes,
        batch_usd=usd.cost_usd,
        realtime_usd=own * step.input + prefix + usd.output_tokens * step.output,
    )
