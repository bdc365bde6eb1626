"""Choose the budget that a new pipeline begins with: its own input fits into it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from math import ceil
from pathlib import Path

import duckdb

from batchpipe.engine.cost.estimate import OVERHEAD_TOKENS
from batchpipe.engine.cost.most import most_unmarked_usd
from batchpipe.engine.cost.pricing import unit_price
from batchpipe.providers import DEFAULT_PROVIDER
from batchpipe.sql.quoting import quote_identifier

# What every budget is at least, in US dollars, and what it is a multiple of.
LEAST_USD = 5
# Generous: an answer fills half of its room, and a token has 3 bytes. A request has so many bytes around its texts.
ROOM_USED, BYTES_PER_TOKEN, BYTES_AROUND = 0.5, 3, 1_200


@dataclass(frozen=True, slots=True, kw_only=True)
class InputSize:
    """The number of rows, the bytes of their columns together, and those of the longest row as JSON, as it is sent."""

    rows: int
    bytes: int
    longest: int


def input_size(root: Path, relation: str, columns: Sequence[str], setup: Sequence[str] = ()) -> InputSize:
    """Return the size of the `columns` of a data file; `relation` is SQL that reads it from `root` after `setup`."""
    # One call of many arguments: a sum of a thousand columns would be nested deeper than DuckDB takes.
    texts = ", ".join(f"CAST({quote_identifier(each)} AS VARCHAR)" for each in columns) or "NULL"
    sizes = f"strlen(concat({texts})) AS text, strlen(to_json(concat({texts}))::VARCHAR) AS sent"
    sums = "count(*), coalesce(sum(text), 0)::BIGINT, coalesce(max(sent), 0)::BIGINT"
    with duckdb.connect() as session:
        session.execute("SET file_search_path = $1", [root.resolve().as_posix()])
        for each in setup:
            session.execute(each)
        row = session.execute(f"SELECT {sums} FROM (SELECT {sizes} FROM {relation})").fetchone()
    rows, size, longest = row or (0, 0, 0)
    return InputSize(rows=rows, bytes=size, longest=longest)


def budget_usd(size: InputSize, prompt_bytes: int, models: Sequence[tuple[str, int]]) -> int:
    """Return US dollars that rows of `size` fit into, also if all of them go up the ladder.

    A run reserves the most that a request can cost before it sends it. So there is room for the longest row on the
    dearest model, also when all others are paid for.
    `models` are the models of the ladder, also as `provider:model`, with their `max_tokens`. `prompt_bytes` go with
    each row.
    """
    tokens = Decimal(size.bytes + size.rows * (prompt_bytes + BYTES_AROUND)) / BYTES_PER_TOKEN
    longest = size.longest + prompt_bytes + BYTES_AROUND + OVERHEAD_TOKENS if size.rows else 0
    cost = reserve = Decimal(0)
    for model, room in models:
        provider, _, name = model.rpartition(":")
        price = unit_price(provider or DEFAULT_PROVIDER, name, datetime.now(UTC).date())
        if price is not None:
            step = price.step(0)
            reserve = max(reserve, most_unmarked_usd(price, longest, room))
            cost += tokens * step.input + size.rows * room * Decimal(repr(ROOM_USED)) * step.output
    return max(ceil((cost + reserve) / LEAST_USD) * LEAST_USD, LEAST_USD)
