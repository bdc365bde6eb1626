"""Choose cache marks: which rungs may bear one, what the next chunk does with it, and what the plan expects of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

from batchpipe.decide.caching import (
    CacheDecision,
    CacheHits,
    CacheMark,
    CacheTtl,
    ExpectedCaching,
    PrefixState,
    TokenRates,
    choose_ttl,
    expect_caching,
)
from batchpipe.decide.fingerprint import digest
from batchpipe.decide.tokens import CACHED_BYTES_PER_TOKEN
from batchpipe.engine.cost.estimate import recent_times
from batchpipe.engine.cost.ladder import PLACES, PriceBook, settings_text
from batchpipe.engine.cost.pricing import PriceStep
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.sql.quoting import quote_list
from batchpipe.store.database import Session
from batchpipe.store.queries import query

# For how long counts what batches showed of a cache.
MEMORY = timedelta(days=30)
LEAST_HEAD = 100
UNMARKED = CacheDecision(step="none")


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheMarks:
    """Says how requests are marked while they are rendered.

    With `fixed` all requests bear a mark of that lifetime; else each rung has its own mark in `by_rung`, or none.
    """

    fixed: CacheTtl | None = None
    by_rung: Mapping[int, CacheMark] = field(default_factory=dict)

    def ttl(self, rung: int) -> CacheTtl | None:
        """Return the lifetime that requests of `rung` are marked with; None where they bear no mark."""
        mark = self.by_rung.get(rung)
        if mark is None:
            return self.fixed
        return None if mark.is_hopeless else mark.ttl


NO_CACHE_MARKS = CacheMarks()


def fixed_cache_marks(resolved: Resolved) -> CacheMarks:
    """Return the marks that the pipeline file orders; none with `cache = "auto"`."""
    cache = resolved.file.pipeline.prompt.cache
    return CacheMarks(fixed=cache if cache == "5m" or cache == "1h" else None)


def choose_cache_marks(session: Session, resolved: Resolved, prices: PriceBook) -> CacheMarks:
    """Return the marks of the rungs where one may pay with `cache = "auto"`, else the marks that the file orders.

    Reads `ledger.results`, `ledger.requests`, `ledger.events`.
    """
    if resolved.file.pipeline.prompt.cache != "auto" or not _prefix(resolved):
        return fixed_cache_marks(resolved)
    found = {}
    for number in range(1, len(resolved.rungs) + 1):
        mark = _mark(session, resolved, prices, number)
        if mark is not None:
            found[number] = mark
    return CacheMarks(by_rung=found)


def cached_head(resolved: Resolved) -> str:
    """Return what all user messages begin with, where it is long enough for a block of its own; else an empty text."""
    head = resolved.templates.static_head
    return head if len(head) >= LEAST_HEAD * CACHED_BYTES_PER_TOKEN else ""


def _prefix(resolved: Resolved) -> str:
    """Return what every request begins with, as far as it is the same for all."""
    templates = resolved.templates
    turns = templates.turns_text if templates.system_is_static else ""
    return (templates.static_system or "") + turns + cached_head(resolved)


def prefix_tokens(resolved: Resolved) -> int:
    """Return about how many tokens every request begins with."""
    return len(_prefix(resolved).encode("utf-8", "replace")) // CACHED_BYTES_PER_TOKEN


def prefix_id(resolved: Resolved, rung: int) -> str:
    """Return the hash of what is cached: the model with its settings, the schema that it sees, and the prefix."""
    prefix = _prefix(resolved).encode("utf-8", "replace").decode()  # JSON holds no half of a surrogate pair
    settings, output_format = resolved.rungs[rung - 1], resolved.file.pipeline.output.format
    visible = resolved.rules_of(settings).visible_schema(
        output_format=output_format, sent_schema=resolved.sent_schema(settings)
    )
    return digest(["prefix", settings_text(settings), visible, prefix])


def _mark(session: Session, resolved: Resolved, prices: PriceBook, number: int) -> CacheMark | None:
    """Return the mark of rung `number`; None where its requests bear no marks, its prefix is too short to be cached, or
    its price is not known.
    """
    rung = resolved.rungs[number - 1]
    rules = resolved.rules_of(rung)
    tokens = prefix_tokens(resolved)
    if not rules.marks_cache(rung.usual_name) or tokens < rules.cached_from_tokens(rung.usual_name):
        return None
    price = prices.price(resolved, rung, session.now.date())
    if price is None:
        return None
    step = price.step(tokens)
    rates: dict[CacheTtl, TokenRates] = {
        "5m": _rates(step, step.cache_write_5m),
        "1h": _rates(step, step.cache_write_1h),
    }
    hits = _read_hits(session, rung.model)
    times = recent_times(session, resolved)
    ttl = choose_ttl(rates, hits, times.high_seconds, times.batches)
    prefix = prefix_id(resolved, number)
    state = read_prefix_state(session, resolved, prefix)
    return CacheMark(
        prefix=prefix, tokens=tokens, ttl=ttl, rates=rates[ttl], hits=hits.get(ttl, CacheHits()), state=state
    )


def _rates(step: PriceStep, write: Decimal) -> TokenRates:
    """Return the prices of a token, in US dollars, where `write` is the price of one that is written to the cache."""
    return TokenRates(input=step.input, write=write, read=step.cache_read)


def _read_hits(session: Session, model: str) -> dict[CacheTtl, CacheHits]:
    """Return what the newest batches of `model` read from the cache and wrote to it, by lifetime.

    Reads the ledger.
    """
    rows = session.rows(query("cache_hits"), {"model": model, "since": session.now - MEMORY})
    return {ttl: CacheHits(read=read, written=written, requests=requests) for ttl, read, written, requests in rows}


def read_prefix_state(session: Session, resolved: Resolved, prefix: str) -> PrefixState:
    """Return what the ledger knows of a prefix in the cache, over the last 30 days.

    Reads the ledger.
    """
    statement = query("cache_seen", pipelines=quote_list(resolved.names))
    row = session.one(statement, {"prefix": prefix, "since": session.now - MEMORY})
    return PrefixState(primed_at=row[0], used_until=row[1], primes=row[2], uncached=row[3])


def current_cache_mark(session: Session, resolved: Resolved, cache_marks: CacheMarks, rung: int) -> CacheMark | None:
    """Return the mark of `rung` with what is known of its cache by now; None where its requests go without a mark.

    Reads the ledger.
    """
    mark = cache_marks.by_rung.get(rung)
    if mark is None or mark.is_hopeless:
        return None
    hits = _read_hits(session, resolved.rungs[rung - 1].model).get(mark.ttl, mark.hits)
    return replace(mark, hits=hits, state=read_prefix_state(session, resolved, mark.prefix))


def cache_event_data(resolved: Resolved, cache_marks: CacheMarks, rung: int, decision: CacheDecision) -> dict[str, Any]:
    """Return what is recorded of a chunk's cache marks; nothing where no mark was thought of."""
    if cache_marks.fixed is not None:
        return {"cache": cache_marks.fixed, "cache_step": "fixed", "cache_prefix": prefix_id(resolved, rung)}
    mark = cache_marks.by_rung.get(rung)
    if mark is None:
        return {}
    marked = decision.step != "none"
    return {"cache": mark.ttl if marked else None, "cache_step": decision.step, "cache_prefix": mark.prefix}


def price_due_requests(session: Session, resolved: Resolved, cache_marks: CacheMarks) -> list[ExpectedCaching]:
    """Return what caching is expected to do for the due requests, by rung.

    Reads `work.to_send`, `work.ladder`. Writes `work.ladder`: what a token of input then costs, in US dollars.
    """
    found = []
    for rung, requests, tokens in session.rows(query("due_on_rungs")) if cache_marks.by_rung else ():
        mark = cache_marks.by_rung.get(rung)
        if mark is None:
            continue
        each = expect_caching(mark, rung, resolved.rungs[rung - 1].model, requests, session.now)
        found.append(each)
        whole = mark.rates.input * max(tokens, mark.tokens * requests)
        factor = 1 - each.saved_usd / whole if whole else Decimal(1)
        input_usd = (mark.rates.input * factor).quantize(PLACES)
        session.execute(query("price_with_cache"), {"rung": rung, "input_usd": input_usd})
    return sorted(found, key=lambda each: each.rung)
