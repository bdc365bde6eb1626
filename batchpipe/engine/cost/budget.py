"""Compute what is left of each budget, from what was spent and from what is reserved for open batches.

What is reserved for an open batch is taken off every limit, and off the limits of the day and the month even after
midnight. So a day keeps its limit, whether a batch counts on the day it was sent, ended or was collected. With
`reserve = "most"` the reserve is the most that the batch can cost, also for batches that were sent before it was set.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from math import ceil
from typing import Literal

from batchpipe.common.errors import PipelineError
from batchpipe.engine.ledger.events import NO_LOAD, NO_RUN, Load, Spent, load_of_all, spent, spent_by_all
from batchpipe.pipeline.model import Budget, PipelineFile
from batchpipe.project.settings_place import price_hint, project_budget
from batchpipe.store.database import Session

OWN = "[budget]"
Period = Literal["ever", "day", "month", "run"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """One limit in US dollars: its name, the allowed amount, what was spent of it, and what is left of it.

    `left_usd` is less by what is reserved for open batches: it limits what may be sent. `expected_left_usd` is less by
    what open batches are expected to cost: a plan is compared with it.
    """

    name: str
    period: Period
    allowed_usd: Decimal
    spent_usd: Decimal
    left_usd: Decimal
    expected_left_usd: Decimal

    @property
    def passed_usd(self) -> Decimal:
        """Return by how much more than allowed was spent."""
        return max(self.spent_usd - self.allowed_usd, Decimal(0))

    @property
    def passed_text(self) -> str:
        """Return the message that more was spent than is allowed."""
        more = f"${self.spent_usd:.4f} was spent, ${self.passed_usd:.4f} more than allowed"
        table = project_budget() if self.name.startswith(project_budget()) else OWN
        return f'{self.name} of ${self.allowed_usd:f} is passed: {more}; reserve = "most" under {table} never passes'

    @property
    def expected_usd(self) -> Decimal:
        """Return what open batches are expected to cost."""
        return self.allowed_usd - self.spent_usd - self.expected_left_usd

    @property
    def reserved_usd(self) -> Decimal:
        """Return what is reserved for open batches."""
        return self.allowed_usd - self.spent_usd - self.left_usd


def limits(budget: Budget, max_usd: Decimal | None, spent: Spent, load: Load, table: str = OWN) -> Iterator[Limit]:
    """Yield each limit that is set, with what is left of it. `table` is where `budget` is written."""
    most = budget.reserve == "most"
    held, expected = load.max_usd if most else load.reserved_usd, load.expected_usd
    of_run = load.max_usd_of_run if most else load.reserved_usd_of_run
    found: tuple[tuple[str, Period, Decimal | None, Decimal, Decimal, Decimal], ...] = (
        (f"{table} max_usd", "ever", budget.max_usd, spent.ever, held, expected),
        (f"{table} max_usd_per_day", "day", budget.max_usd_per_day, spent.today, held, expected),
        (f"{table} max_usd_per_month", "month", budget.max_usd_per_month, spent.this_month, held, expected),
        ("--max-usd", "run", max_usd, spent.by_run, of_run, of_run),
    )
    for name, period, allowed, paid, at_most, likely in found:
        if allowed is not None:
            left = allowed - paid
            yield Limit(
                name=name,
                period=period,
                allowed_usd=allowed,
                spent_usd=paid,
                left_usd=left - at_most,
                expected_left_usd=left - likely,
            )


def project_limits(session: Session, file: PipelineFile, run_id: str) -> tuple[Limit, ...]:
    """Return the limits of all pipelines of the project together; nothing is read where none is set.

    Reads the ledger.
    """
    budget = file.project_budget
    if not _is_set(budget):
        return ()
    return tuple(limits(budget, None, spent_by_all(session, run_id), load_of_all(session, run_id), project_budget()))


def room_of_one(session: Session, file: PipelineFile, names: Sequence[str], max_usd: Decimal | None) -> Decimal | None:
    """Return US dollars that a single request may cost, once nothing is in flight; None where no limit is set.

    Reads the ledger.
    """
    if not has_limit(file, max_usd):
        return None
    own = limits(file.pipeline.budget, max_usd, spent(session, names, NO_RUN), NO_LOAD)
    return min(each.allowed_usd - each.spent_usd for each in (*own, *project_limits(session, file, NO_RUN)))


def has_limit(file: PipelineFile, max_usd: Decimal | None) -> bool:
    """Return whether any limit is set: by the pipeline, by the project, or by `max_usd` for this call."""
    return max_usd is not None or _is_set(file.pipeline.budget) or _is_set(file.project_budget)


def no_price(models: Sequence[str], limit: str = "") -> str:
    """Return the sentence that no price is known for `models`, and that the `limit` cannot be kept then."""
    known = f"no price is known for {', '.join(models) or 'a model of the ladder'}"
    return f"{limit} cannot be kept: {known}" if limit else known


def unpriced(file: PipelineFile, limit: Limit, models: Sequence[str]) -> PipelineError:
    """Return the error that a limit cannot be kept, because no price is known for `models`, which are to be asked."""
    return PipelineError(no_price(models, limit.name), where=file.where("[[models]]"), hint=price_hint())


def _is_set(budget: Budget) -> bool:
    return any(each is not None for each in (budget.max_usd, budget.max_usd_per_day, budget.max_usd_per_month))


def tightest(
    budget: Budget, max_usd: Decimal | None, spent: Spent, load: Load, further: Sequence[Limit] = ()
) -> Limit | None:
    """Return the limit that has the least left, `further` ones included; None where no limit is set."""
    every = (*limits(budget, max_usd, spent, load), *further)
    return min(every, key=lambda each: each.left_usd, default=None)


def periods(limit: Limit, cost_usd: Decimal) -> int | None:
    """Return how many days (or months) it takes to spend `cost_usd`, the present one included; None if it is never
    possible.
    """
    if cost_usd <= limit.expected_left_usd:
        return 1
    if limit.period not in ("day", "month") or not limit.allowed_usd:
        return None
    return 1 + ceil((cost_usd - max(limit.expected_left_usd, Decimal(0))) / limit.allowed_usd)
