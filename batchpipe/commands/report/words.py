"""Print the tokens of a report's requests, and the cost of what brought no answer."""

from __future__ import annotations

from batchpipe.commands.printing.text import count, money, safe
from batchpipe.commands.report.read import Report, Sums


def booked_text(found: Report) -> str | None:
    """Return what was paid for and brought no answer; None where there is no such thing."""
    return f"{money(found.booked_usd)} at most, paid for what brought no answer" if found.booked_usd else None


def reported_text(found: Report) -> str:
    """Return what gateways say that their answers cost, beside the sum computed here; "" where they say nothing."""
    return "; ".join(
        f"{money(each.reported_usd)} by {safe(each.provider)} for {count(each.results, 'result')}, "
        f"{money(each.computed_usd)} computed here"
        for each in found.reported
    )


def tokens_text(sums: Sums) -> str:
    """Return the numbers of tokens by kind."""
    named = (
        (sums.input_tokens, "input"),
        (sums.cache_read_tokens, "cache read"),
        (sums.cache_write_5m_tokens, "cache write 5 min"),
        (sums.cache_write_1h_tokens, "cache write 1 h"),
        (sums.output_tokens, "output"),
        (sums.thinking_tokens, "of it thinking"),
    )
    return ", ".join(f"{number:,} {name}" for number, name in named if number) or "none"
