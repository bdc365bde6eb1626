"""What is kept of a plan: the keys that it looked at, and how many of its requests are asked in realtime."""

from __future__ import annotations

from collections.abc import Sequence

from batchpipe.decide.chunking import Chunk
from batchpipe.engine.plan.plan import DUE_REASONS
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.sql.connection import Connection
from batchpipe.sql.quoting import Sql, quote_list, sql


def keep_first_look(connection: Connection) -> None:
    """Keep for the run's end which keys the first plan looked at and which of them were due.

    Reads `work.compared`, `work.plan`. Writes `work.touched`, `work.due_keys`.
    """
    connection.execute(
        # work.touched: One row is a key of the input that the run may change.
        Sql("CREATE OR REPLACE TABLE work.touched AS SELECT key_id FROM work.compared WHERE reason <> 'not_selected'")
    )
    connection.execute(
        # work.due_keys: One row is a key of the plan that is due.
        sql(
            "CREATE OR REPLACE TABLE work.due_keys AS SELECT key_id FROM work.plan WHERE reason IN ({due})",
            due=quote_list(DUE_REASONS),
        )
    )


def asked_in_realtime(connection: Connection, resolved: Resolved, chunks: Sequence[Chunk]) -> tuple[int, int]:
    """Return how many of the requests, and of their chunks, are of rungs in realtime.

    Reads `work.to_send`.
    """
    rungs = [number for number, each in enumerate(resolved.rungs, start=1) if each.mode == "realtime"]
    if not rungs or not chunks:
        return 0, 0
    statement = Sql(
        "SELECT count(*), count(*) FILTER (number IN (SELECT unnest($starts::BIGINT[]))) FROM work.to_send "
        "WHERE rung IN (SELECT unnest($rungs::INTEGER[]))"
    )
    starts = [each.start for each in chunks]
    found = connection.execute(statement, {"starts": starts, "rungs": rungs}).fetchone()
    return found if found is not None else (0, 0)
