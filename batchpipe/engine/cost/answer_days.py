"""Compute the prices of answers that come later: a price may change while a batch is under way."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta

from batchpipe.engine.cost.pricing import Price

# The provider's own figures for a round of batches: usually an hour, 24 hours at most.
USUAL_SECONDS, LONGEST_SECONDS = 3_600.0, 86_400.0


def prices_of_answers(
    price_on: Callable[[date], Price | None], now: datetime, waves: int, usual_seconds: Callable[[], float]
) -> tuple[Price | None, Price | None]:
    """Return the price at which the answers of wave number `waves` are expected, and the dearest one that may count.

    `price_on` gives the price of a day (UTC). `usual_seconds` says how long a wave usually takes; it is asked only
    where the price changes before the last moment at which the answers may come.
    """
    today = price_on(now.date())
    last = price_on((now + waves * timedelta(seconds=LONGEST_SECONDS)).date())
    if today is None or last is None or today.steps == last.steps:
        return today, today
    expected = price_on((now + waves * timedelta(seconds=usual_seconds())).date())
    return expected, max(today, last, key=lambda price: (price.steps[0].output, price.steps[0].input))
