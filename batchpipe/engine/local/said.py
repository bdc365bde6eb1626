"""Ask the local model what templates want to know about a few rows of a snapshot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from batchpipe.engine.local.plan_part import Hints
from batchpipe.engine.source.snapshot import Snapshot
from batchpipe.sql.connection import Connection
from batchpipe.sql.quoting import Sql, joined, sql
from batchpipe.template.hints import HintUse, RowHints


def said_of(
    connection: Connection,
    snapshot: Snapshot,
    hints: Hints,
    column: Sql,
    listed: Sql,
    also: Sequence[HintUse] = (),
) -> dict[Any, RowHints]:
    """Return what the local model says of the rows whose `column` is in the SQL list `listed`, by that column.

    `also` are calls of other templates.
    """
    statement = sql(
        "SELECT {column}, {select} FROM {relation} s WHERE {column} IN ({listed})",
        column=column,
        select=joined(", ", hints.select),
        relation=snapshot.relation,
        listed=listed,
    )
    rows = connection.execute(statement).fetchall()
    return dict(zip([row[0] for row in rows], hints.of([row[1:] for row in rows], also), strict=True))
