"""Compute what is left of each budget, from what was spent and from the most that open batches can cost.

The most that an open batch can cost is taken off every limit, and off the limits of the day and the month even after
midnight. So the spending of a day never passes its limit, whether a batch counts on the day it was sent, ended or was
collected.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from math import ceil
from typing import Literal

from batchpipe.engine.ledger.events import Load, Spent
from batchpipe.pipeline.model import Budget

Period = Literal["ever", "day", "month", "run"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """One limit in US dollars: its name, the allowed amount, and what is left of it.

    `left_usd` is less by the most that open batches can cost: it limits what may be sent. `expected_left_usd` is less
    by what open batches are expected to cost: a plan is compared with it.
    """

    name: str
    period: Period
    allowed_usd: Decimal
    left_usd: Decimal
    expected_left_usd: Decimal


def limits(budget: Budget, max_usd: Decimal | None, spent: Spent, load: Load) -> Iterator[Limit]:
    """Yield each limit that is set, with what is left of it."""
    held, expected = load.max_usd, load.expected_usd
    found: tuple[tuple[str, Period, Decimal | None, Decimal, Decimal, Decimal], ...] = (
        ("[budget] max_usd", "ever", budget.max_usd, spent.ever, held, expected),
        ("[budget] max_usd_per_day", "day", budget.max_usd_per_day, spent.today, held, expected),
        ("[budget] max_usd_per_month", "month", budget.max_usd_per_month, spent.this_month, held, expected),
        ("--max-usd", "run", max_usd, spent.by_run, load.max_usd_of_run, load.max_usd_of_run),
    )
    for name, period, allowed, paid, at_most, likely in found:
        if allowed is not None:
            left = allowed - paid
            yield Limit(
                name=name,
                period=period,
                allowed_usd=allowed,
                left_usd=left - at_most,
                expected_left_usd=left - likely,
            )


def has_limit(budget: Budget, max_usd: Decimal | None) -> bool:
    """Return whether any limit is set."""
    return any(each is not None for each in (budget.max_usd, budget.max_usd_per_day, budget.max_usd_per_month, max_usd))


def tightest(budget: Budget, max_usd: Decimal | None, spent: Spent, load: Load) -> Limit | None:
    """Return the limit that has the least left; None where no limit is set."""
    return min(limits(budget, max_usd, spent, load), key=lambda each: each.left_usd, default=None)


def periods(limit: Limit, cost_usd: Decimal) -> int | None:
    """Return in how many days (or months) `cost_usd` can be spent, with the present one; None where it never can."""
    if cost_usd <= limit.expected_left_usd:
        return 1
    if limit.period not in ("day", "month") or not limit.allowed_usd:
        return None
    return 1 + ceil((cost_usd - max(limit.expected_left_usd, Decimal(0))) / limit.allowed_usd)
