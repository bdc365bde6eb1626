"""What each collected result cost: the unit prices of the models that answered, and the results with their cost."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from typing import Any

from batchpipe.engine.cost.ladder import PriceBook
from batchpipe.engine.cost.pricing import ALL_INPUT
from batchpipe.engine.exchange.downloads import ended_at
from batchpipe.engine.exchange.run_parts import RunParts
from batchpipe.engine.ledger.events import OpenBatch
from batchpipe.providers import BatchState
from batchpipe.providers.known import KnownProvider
from batchpipe.sql.quoting import Sql, joined, number_sql, sql
from batchpipe.store.database import Session
from batchpipe.store.queries import query

# A batch whose time of creation is further away from its intent was not made at that time.
LONGEST_SUBMIT = timedelta(days=2)
LONGEST_LIFE = timedelta(days=4)
# How many requests' results are collected in one transaction: more rows cost less each, but memory limits them.
MOST_TOGETHER = 100_000
# Token prices have 15 decimal places, and a result's price factor has six. Their product is rounded to 15 places.
_COST = (
    "((({p}.input_usd * s.uncached::DECIMAL(18, 0) + {p}.cache_write_5m_usd * s.write_5m::DECIMAL(18, 0) "
    "+ {p}.cache_write_1h_usd * s.write_1h::DECIMAL(18, 0) + {p}.cache_read_usd * s.reads::DECIMAL(18, 0) "
    "+ {p}.output_usd * s.written::DECIMAL(18, 0))::DECIMAL(28, 15) * s.price_factor::DECIMAL(9, 6))::DECIMAL(38, 15) "
    "+ {p}.web_search_usd * s.searches::DECIMAL(18, 0))"
)


def priced_on(batch: OpenBatch, state: BatchState) -> date:
    """Return the day by whose prices the answers of a batch are paid: that on which they came.

    That is when the batch ended, as the provider says, where it can be so; else when the batch was made.
    """
    created_at = state.created_at or batch.prepared_at
    made_at = created_at if abs(created_at - batch.prepared_at) <= LONGEST_SUBMIT else batch.prepared_at
    at = ended_at(state)
    return (at if at is not None and made_at <= at <= made_at + LONGEST_LIFE else made_at).date()


def collected_together(ended: Sequence[tuple[OpenBatch, BatchState]]) -> Iterator[list[tuple[OpenBatch, BatchState]]]:
    """Yield groups of batches that may be collected together: of one day and provider, and at most `MOST_TOGETHER`
    requests.

    A batch that is presumed or archived is alone in its group.
    """
    group: list[tuple[OpenBatch, BatchState]] = []
    for batch, state in ended:
        alone = batch.state == "presumed" or state.archived
        alike = not group or _read_by(*group[0]) == _read_by(batch, state)
        if group and (alone or not alike or sum(each.requests for each, _ in group) + batch.requests > MOST_TOGETHER):
            yield group
            group = []
        group.append((batch, state))
        if alone:
            yield group
            group = []
    if group:
        yield group


def _read_by(batch: OpenBatch, state: BatchState) -> tuple[object, ...]:
    """Return what decides how the lines of a batch are read and priced: also its address and account, since the table
    of its provider may have been given another address meanwhile.
    """
    sent_to = batch.provider, batch.protocol, batch.endpoint, batch.base_url, batch.key_hash
    return *sent_to, priced_on(batch, state)


def have_one_name(provider: KnownProvider, models: Iterable[str]) -> bool:
    """Return whether two of `models` have one name at the provider: what answered does not tell them apart."""
    asked = set(models)
    return len({provider.own_name(each) for each in asked}) < len(asked)


def fill_result_prices(
    parts: RunParts, prices: PriceBook, provider: KnownProvider, day: date, label: str, asked: Collection[str]
) -> list[tuple[str, str]]:
    """Fill `work.prices` with the unit prices of the models that answered, as they were on `day`.

    Returns the models that answered, each with the id of its chunk.
    All were sent to `provider`, which was called `label` then, and `asked` for these models. `day` is the day on which
    the answers came. Prices are US dollars.
    Reads `work.received`. Writes `work.prices`.
    """
    connection = parts.work.connection
    found = connection.execute(
        Sql("SELECT DISTINCT chunk_id::VARCHAR, model FROM work.received WHERE model IS NOT NULL")
    ).fetchall()
    rows = prices.rows(provider, sorted({model for _, model in found}), day, asked)
    money = Sql("DECIMAL(20, 15)")
    connection.execute(
        # work.prices: One row is the price of a model in a tier, from a day and a number of input tokens on.
        sql(
            "CREATE OR REPLACE TABLE work.prices (provider VARCHAR, model VARCHAR, tier VARCHAR, from_day DATE, "
            "above_input_tokens BIGINT, input_usd {money}, cache_write_5m_usd {money}, cache_write_1h_usd {money}, "
            "cache_read_usd {money}, output_usd {money}, web_search_usd {money}, source VARCHAR, exact BOOLEAN)",
            money=money,
        )
    )
    for row in rows:
        places = joined(", ", [Sql("?")] * len(row))
        connection.execute(sql("INSERT INTO work.prices VALUES ({places})", places=places), [label, *row[1:]])
    return found


def insert_results(session: Session, stamp: Mapping[str, Any]) -> None:
    """Record the results that were received, each with its cost, and the prices that the costs came from.

    `stamp` holds pipeline, run id, time and commit of the transaction.
    Reads `work.received`, `work.sent`, `work.ended`, `work.all_documents`, `work.prices`.
    Writes `ledger.results`, `ledger.prices`.
    """
    session.execute(query("insert_prices"), {"now": session.now, "seq": session.seq})
    # Most models have one price for every length of input: the join by length is left out there.
    stepped = session.one(Sql("SELECT count(*) > 0 FROM work.prices WHERE above_input_tokens > $1"), [ALL_INPUT])[0]
    step = query("price_step") if stepped else number_sql(ALL_INPUT)
    costs = {"cost": sql(_COST, p=Sql("b")), "realtime": sql(_COST, p=Sql("n"))}
    session.execute(query("insert_results", step=step, free=query("free_models"), **costs), stamp)
