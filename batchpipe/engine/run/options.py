"""What one call of `run`, or of `plan`, asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from batchpipe.engine.plan.orders import OrderKind, order_argument
from batchpipe.engine.plan.plan import PlanOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """Holds what one call of `run` asks for; `max_usd` is in US dollars.

    `by` (naive UTC) is when the answers are to be there: what batches do not bring until then is asked in realtime.
    """

    params: Mapping[str, Any] = field(default_factory=dict)
    limit: int | None = None
    where: str | None = None
    no_new: bool = False
    redo: str | None = None
    keep: str | None = None
    retry_failed: bool = False
    withdraw: Sequence[int] = ()
    pilot: int | None = None
    max_usd: Decimal | None = None
    no_wait: bool = False
    approve: bool = False
    resume: bool = False
    by: datetime | None = None

    @property
    def orders(self) -> list[tuple[OrderKind, str]]:
        """Return the orders that the call asks for, as (kind, argument)."""
        orders: list[tuple[OrderKind, str]] = []
        if self.redo is not None:
            orders.append(("redo", order_argument(self.redo)))
        if self.keep is not None:
            orders.append(("keep", order_argument(self.keep)))
        if self.retry_failed:
            orders.append(("retry_failed", "all"))
        return orders

    @property
    def plan(self) -> PlanOptions:
        """Return what the call asks of its first plan."""
        return PlanOptions(limit=self.limit, where=self.where, no_new=self.no_new)
