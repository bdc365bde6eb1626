"""Compare the cost of the likeliest values in a prompt with that of the whole list of a field's values, which could be
cached.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from batchpipe.decide.tokens import BYTES_PER_TOKEN
from batchpipe.engine.cost.ladder import PriceBook
from batchpipe.engine.local.plan_part import Hints
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.template.hints import HintUse
from batchpipe.template.values import printed


@dataclass(frozen=True, slots=True, kw_only=True)
class HintCost:
    """What a call of likely() costs on the first rung, US dollars for 1,000 rows in batches.

    `tokens` is what it takes of a row, `full_tokens` what all `values` take; `full_usd` is their price where they are
    not cached, `cached_usd` where they are read from the cache, None where all that could be cached is too short for
    it. Prices are None where they are not known.
    """

    call: str
    model: str
    tokens: int
    usd: Decimal | None
    values: int
    full_tokens: int
    full_usd: Decimal | None
    cached_usd: Decimal | None


def hint_costs(
    resolved: Resolved, hints: Hints | None, prices: PriceBook, day: date, prefix: int
) -> Sequence[HintCost]:
    """Return what each call of likely() in the templates costs, in their order; `prefix` are the tokens that every
    request begins with.

    Its tokens are those of the rows that were rendered; where no model says anything, a row has all values.
    """
    uses = [each for each in resolved.templates.hints if each.field is not None]
    return [_cost(resolved, hints, prices, day, prefix, each) for each in uses]


def _cost(resolved: Resolved, hints: Hints | None, prices: PriceBook, day: date, prefix: int, use: HintUse) -> HintCost:
    rung, field = resolved.rungs[0], use.field or ""
    values = resolved.templates.listed(field)
    full = _tokens(len(printed(values).encode("utf-8", "replace")))
    tokens = full
    if hints is not None and hints.rows and (field, use.count) in hints.bytes_of:
        tokens = _tokens(hints.bytes_of[field, use.count] / hints.rows)
    rules, price = resolved.rules_of(rung), prices.price(resolved, rung, day)
    step = price.step(full) if price is not None else None
    is_cached = prefix + full >= rules.cached_from_tokens(rung.usual_name)
    return HintCost(
        call=use.shown,
        model=rung.model,
        tokens=tokens,
        usd=step.input * tokens * 1000 if step is not None else None,
        values=len(values),
        full_tokens=full,
        full_usd=step.input * full * 1000 if step is not None else None,
        cached_usd=step.cache_read * full * 1000 if step is not None and is_cached else None,
    )


def _tokens(size: float) -> int:
    return round(size / BYTES_PER_TOKEN)
