"""Budgets: what has been spent and the most that what is in flight can cost, against what the file allows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from batchpipe.engine.facts import Load, Spent
from batchpipe.pipeline.model import Budget


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """One limit in US dollars: its name, what it allows, what is left of it."""

    name: str
    allowed_usd: Decimal
    left_usd: Decimal


def limits(budget: Budget, max_usd: Decimal | None, spent: Spent, load: Load) -> Iterator[Limit]:
    """What is left of each limit, the most that open batches can cost taken off."""
    pairs = (
        ("[budget] max_usd", budget.max_usd, spent.ever + load.max_usd),
        ("[budget] max_usd_per_day", budget.max_usd_per_day, spent.today + load.max_usd),
        ("[budget] max_usd_per_month", budget.max_usd_per_month, spent.this_month + load.max_usd),
        ("--max-usd", max_usd, spent.by_run + load.max_usd_of_run),
    )
    for name, allowed, used in pairs:
        if allowed is not None:
            yield Limit(name=name, allowed_usd=allowed, left_usd=allowed - used)


def tightest(budget: Budget, max_usd: Decimal | None, spent: Spent, load: Load) -> Limit | None:
    """The limit that has least left; None where there is none."""
    return min(limits(budget, max_usd, spent, load), key=lambda each: each.left_usd, default=None)
