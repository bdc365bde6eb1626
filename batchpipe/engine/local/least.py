"""The least confidence that an `accept` takes."""

from __future__ import annotations

from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.pipeline.sending import CONFIDENCE_COLUMN
from batchpipe.sql.conditions import INPUT_PREFIX, OUTPUT_PREFIX
from batchpipe.sql.connection import Connection
from batchpipe.sql.quoting import Sql, joined, quote_identifier, sql, type_sql
from batchpipe.store.queries import query


def least_confidence(connection: Connection, resolved: Resolved) -> float:
    """Return the least confidence, in steps of 0.0001, at which the local rung's `accept` holds by itself; else 0.

    Other fields and the input's columns are unknown there.
    """
    rung = resolved.local
    assert rung is not None
    sure = {CONFIDENCE_COLUMN, rung.confidence}
    types = {each.name: each.type for each in resolved.columns}
    inputs = {each.name: each.type for each in resolved.input_columns}
    values: list[Sql] = [Sql("step / 10000.0 AS confidence")]
    for name in sorted(rung.accept.outputs):
        value = Sql("step / 10000.0") if name in sure else sql("NULL::{kind}", kind=type_sql(types[name]))
        values.append(sql("{value} AS {name}", value=value, name=quote_identifier(OUTPUT_PREFIX + name)))
    for name in sorted(rung.accept.inputs):
        null = sql("NULL::{kind}", kind=type_sql(inputs[name]))
        values.append(sql("{null} AS {name}", null=null, name=quote_identifier(INPUT_PREFIX + name)))
    statement = query("least_confidence", values=joined(", ", values), truth=rung.accept.truth)
    found = connection.execute(statement).fetchone()
    return float(found[0]) if found is not None and found[0] is not None else 0.0
