"""Print prompt caching: what a plan expects of it, and what it saved or lost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any

from batchpipe.commands.printing.text import count, money, safe, share
from batchpipe.decide.caching import ExpectedCaching
from batchpipe.sql.quoting import Sql
from batchpipe.store.database import Session
from batchpipe.store.queries import query

LIVES: Mapping[str, str] = {"5m": "5 minutes", "1h": "an hour"}


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheSavings:
    """What caching did with one model of a provider: `hits` of `requests` read a prefix from the cache.

    `saved_usd` is compared with no cache. It is below 0 where writing cost more than reading saved.
    """

    model: str
    requests: int
    hits: int
    read_tokens: int
    written_tokens: int
    saved_usd: Decimal


def read_cache_use(session: Session, pipelines: Sql, full_name: Callable[[str | None, str], str]) -> list[CacheSavings]:
    """Return what caching did, by model; `full_name` makes the name that is shown of a provider and a model.

    Reads `ledger.results`, `ledger.prices`.
    """
    found = map(dict, session.dictionaries(query("cache_came_to", pipelines=pipelines)))
    return [CacheSavings(model=full_name(each.pop("provider"), each.pop("model")), **each) for each in found]


def expected_object(caching: Sequence[ExpectedCaching]) -> list[dict[str, Any]]:
    """Return `estimate.caching` of `plan --json`: one object per rung that may use a cache. `step` "none" means no
    cache.
    """
    return [asdict(each) for each in caching]


def expected_cache_text(caching: Sequence[ExpectedCaching]) -> str:
    """Return what the plan does with the cache and why; empty where nothing can be cached."""
    return "; ".join(_expected(each) for each in caching)


def _expected(each: ExpectedCaching) -> str:
    seen = f"by {count(each.hits_seen, 'result')}" if each.hits_seen else "assumed"
    hits = f"{each.hit_share:.0%} of requests find it, {seen}"
    what = f"{safe(each.model)}: about {count(each.tokens)} tokens that every request begins with"
    if each.step == "none":
        return f"{what} are not cached: it does not pay for {count(each.requests, 'request')} ({hits})"
    how = {"prime": "written by 1 request that goes first", "wait": "being written by a request that went first"}
    again = how.get(each.step, "there from before")
    return f"{what}, for {LIVES[each.ttl]}, {again}: {money(each.saved_usd)} saved ({hits})"


def came_to_text(caching: Sequence[CacheSavings]) -> str | None:
    """Return what the cache saved or lost, by model; None where no cache was used."""
    return "; ".join(_came_to(each) for each in caching) or None


def _came_to(each: CacheSavings) -> str:
    found = f"{safe(each.model)}: {share(each.hits, each.requests)} of {count(each.requests, 'request')} found it"
    if each.saved_usd >= 0:
        return f"{found}, {money(each.saved_usd)} saved against no cache"
    return f'{found}, {money(-each.saved_usd)} lost against no cache: `cache = "auto"` leaves it out while that is so'
