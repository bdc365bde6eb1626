"""US dollars as text."""

from __future__ import annotations

from decimal import Decimal


def money(value: Decimal | None) -> str:
    """Return US dollars as text: `$12.30`, `$0.0123`, `under $0.0001`; `unknown` for None."""
    if value is None:
        return "unknown"
    sign, size = ("-" if value < 0 else ""), abs(value)
    if size >= 1 or not size:
        return f"{sign}${size:,.2f}"
    return f"{sign}${size:.4f}" if size >= Decimal("0.00005") else "under $0.0001"
