"""Cut the due requests into chunks. The engine says how many fit one body: none passes through Python for that."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from batchpipe.decide.chunking import (
    ENVELOPE_BYTES,
    REQUEST_OVERHEAD_BYTES,
    Chunk,
    ChunkLimits,
    body_bytes,
    partition,
)
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.engine.votes.slots import slots
from batchpipe.providers import RungSettings
from batchpipe.sql.connection import Connection
from batchpipe.sql.quoting import Sql
from batchpipe.store.queries import query


def number_requests(connection: Connection, resolved: Resolved, room_usd: Decimal | None) -> None:
    """Number the requests in the order in which they are sent.

    What may cost more than `room_usd` (US dollars), the room of a single request in a budget, comes last of its kind,
    in chunks of its own: it holds up no other.
    Reads `work.leading`. Writes `work.to_send`.
    """
    statement = query("number_requests", **slots(resolved, "number_requests"))
    connection.execute(statement, {"room_usd": room_usd})


def cut(connection: Connection, resolved: Resolved, start: int) -> tuple[Chunk, ...]:
    """Return the chunks of the requests of `work.to_send` from number `start` on.

    Reads `work.to_send`.
    """

    def fit_from(place: int, most: int, most_bytes: int) -> tuple[int, int]:
        """Return how many requests fit one body, and its bytes; `place` counts from `start`."""
        return fit(connection, start + place, most, most_bytes, limits.max_token_bytes)

    found: list[Chunk] = []
    for limits, stop in _limits_of_ranges(connection, resolved):
        if stop > start:
            found += [
                replace(each, start=start + each.start) for each in partition(fit_from, limits, total=stop - start)
            ]
            start = stop
    return tuple(found)


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


def _limits_of_ranges(connection: Connection, resolved: Resolved) -> list[tuple[ChunkLimits, int]]:
    """Return the limits of the due requests, each up to a number; they differ where rungs have other providers.

    Reads `work.to_send`.
    """
    by_rung = [_limits(resolved, rung) for rung in resolved.rungs]
    if all(each == by_rung[0] for each in by_rung):
        total = connection.execute(Sql("SELECT count(*) FROM work.to_send")).fetchall()[0][0]
        return [(by_rung[0], int(total))]
    stops = connection.execute(
        Sql("SELECT rung, max(number) + 1 AS stop FROM work.to_send GROUP BY rung ORDER BY stop")
    ).fetchall()
    return [(by_rung[rung - 1], stop) for rung, stop in stops]


def _limits(resolved: Resolved, rung: RungSettings) -> ChunkLimits:
    """Return the pipeline's limits of a chunk of a rung, within its provider's own."""
    chunking, limits = resolved.file.pipeline.chunking, resolved.provider_of(rung).batch_limits
    return ChunkLimits(
        max_requests=min(chunking.max_requests, limits.max_requests),
        max_bytes=min(chunking.max_bytes, limits.max_bytes),
        max_in_flight=chunking.max_in_flight,
        differ=limits.create == "blind",
        max_token_bytes=limits.max_token_bytes,
    )
