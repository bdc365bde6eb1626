"""Ask the engine how many due requests fit one body, so that no request passes through Python for its size."""

from __future__ import annotations

from batchpipe.decide.chunking import ENVELOPE_BYTES, REQUEST_OVERHEAD_BYTES, body_bytes
from batchpipe.sql.connection import Connection
from batchpipe.store.queries import query


def fit(
    connection: Connection, start: int, most: int, most_bytes: int, most_token_bytes: int | None = None
) -> tuple[int, int]:
    """Return how many requests of `work.to_send` from number `start` on fit one body, and the bytes of that body.

    They are of one group, `most` at most, and their body has at most `most_bytes`; what stands for their tokens has at
    most `most_token_bytes`. The first one is taken in any case.
    Reads `work.to_send`.
    """
    stretch = {"start": start, "stop": start + most}
    count, params_bytes, token_bytes, alike = connection.execute(query("stretch"), stretch).fetchall()[0]
    bound = most_token_bytes if most_token_bytes is not None else token_bytes
    if not alike or body_bytes(count, params_bytes) > most_bytes or token_bytes > bound:
        limits = {"params_bytes": most_bytes - ENVELOPE_BYTES, "overhead_bytes": REQUEST_OVERHEAD_BYTES}
        limits["token_bytes"] = bound
        count, params_bytes = connection.execute(query("fitting"), stretch | limits).fetchall()[0]
    return count, body_bytes(count, params_bytes)
