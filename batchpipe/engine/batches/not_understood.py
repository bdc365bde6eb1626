"""Handle results that are not understood: report them, stop the run if all are like that, and book the most that they
can have cost.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any

from batchpipe.common.secrets import redacted
from batchpipe.engine.cost.estimate import OVERHEAD_TOKENS
from batchpipe.engine.cost.ladder import PriceBook
from batchpipe.engine.cost.most import most_unmarked_usd
from batchpipe.engine.exchange.run_parts import RunParts
from batchpipe.engine.ledger.events import add_event
from batchpipe.providers import RungSettings
from batchpipe.providers.known import KnownProvider
from batchpipe.sql.connection import Connection
from batchpipe.store.database import Session
from batchpipe.store.queries import query

MAX_KEPT_LINE = 4_000
MOST_SAID = 5


def odd_results(connection: Connection) -> list[dict[str, Any]]:
    """Return what is not understood of the received results, by kind, the most frequent first.

    Each has `oddity` (what it is, in words), `cost_known`, `count`, and the `custom_id` and the `line` of one of them.
    Reads `work.received`, `work.prices`.
    """
    names = ("oddity", "cost_known", "count", "custom_id", "line")
    found = connection.execute(query("odd_results", free=query("free_models"))).fetchall()
    return [dict(zip(names, row, strict=True)) for row in found]


def oddity_warnings(odd: list[dict[str, Any]]) -> list[str]:
    """Return what a person is told of results that are not understood."""
    found = []
    for each in odd[:MOST_SAID]:
        many = f"{each['count']:,} results are" if each["count"] != 1 else "1 result is"
        cost = "" if each["cost_known"] else ". What that cost is not known; budgets hold the most that it can be"
        found.append(f"{many} not understood: {each['oddity']} (in {each['custom_id']}){cost}")
    left = sum(each["count"] for each in odd[MOST_SAID:])
    return [*found, *([f"{left:,} more results are not understood"] if left else [])]


def none_understood(connection: Connection, odd: list[dict[str, Any]]) -> str | None:
    """Return why the run stops after a batch of which no result is understood. Return None if one is, or if the batch
    is small.

    Reads `work.outcomes`, `work.received`.
    """
    found = connection.execute(query("none_understood")).fetchone()
    if not found:
        return None
    seen = "; ".join(f"{each['oddity']} ({each['count']:,})" for each in odd[:MOST_SAID])
    return f"none of the {found[0]:,} results of a batch is understood: {seen or 'they have no lines'}"


def stop_message(uniform: tuple[Any, ...] | None, account: tuple[Any, ...] | None) -> str | None:
    """Return why no other request can succeed: all requests or the account had one error. None if one may."""
    if account is not None:
        return f"{account[1]:,} requests were turned away: {account[0]}"
    if uniform is not None:
        return f"all {uniform[1]:,} requests of a batch failed with the same error: {uniform[0]}"
    return None


def note_odd_results(session: Session, parts: RunParts, odd: list[dict[str, Any]], chunk_id: str) -> None:
    """Record that results have a type or shape that the protocol does not know, with one of them as an example.

    Writes `ledger.events`.
    """
    if odd:
        data = {
            "count": sum(each["count"] for each in odd),
            "custom_id": odd[0]["custom_id"],
            "line": redacted(odd[0]["line"] or "")[:MAX_KEPT_LINE],
            "seen": {each["oddity"]: each["count"] for each in odd[:MOST_SAID]},
        }
        parts.add_event(session, "results_unknown", data, chunk_id=chunk_id)


def book_unknown_costs(
    session: Session, parts: RunParts, prices: PriceBook, provider: KnownProvider, day: date
) -> None:
    """Book the most that the results of this commit whose cost is not known can have cost at `provider`.

    `day` is the day on which their batches were made. Where the price of the model is not known either, nothing bounds
    the cost, and `held_usd` is NULL.
    Reads `ledger.results`, `ledger.requests`. Writes `ledger.events`.
    """
    by_chunk: dict[str, tuple[int, Decimal | None]] = {}
    for each in session.dictionaries(query("requests_of_unknown_cost"), {"seq": session.seq}):
        results, so_far = by_chunk.get(each["chunk_id"], (0, Decimal(0)))
        most = _most_usd(each, prices, parts.providers.known.labelled(provider.name), day)
        held = None if so_far is None or most is None else so_far + most
        by_chunk[each["chunk_id"]] = (results + each["requests"], held)
    for chunk_id, (results, held) in by_chunk.items():
        data = {"results": results, "held_usd": None if held is None else f"{held:f}"}
        add_event(session, parts.resolved.name, "cost_unknown", data, run_id=parts.run_id, chunk_id=chunk_id)


def _most_usd(
    requests: Mapping[str, Any], prices: PriceBook, provider: KnownProvider | None, day: date
) -> Decimal | None:
    """Return the most that requests with one model and settings can have cost; None where no price is known."""
    settings = json.loads(requests["settings"])
    model = settings.pop("model", requests["model"])
    settings.pop("provider", None)
    rung = RungSettings(model=model, max_tokens=requests["max_tokens"], settings=settings)
    price = prices.price_at(provider, rung, day, realtime=requests["realtime"]) if provider is not None else None
    if price is None:
        return None
    tokens_in = requests["bytes"] + OVERHEAD_TOKENS * requests["requests"]
    return most_unmarked_usd(price, tokens_in, requests["max_tokens"])
