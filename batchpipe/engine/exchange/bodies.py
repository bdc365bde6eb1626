"""The requests of a chunk as they are sent: without marks where they are not wanted, with their files in them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from batchpipe.engine.exchange.run_parts import RunParts
from batchpipe.engine.source.request_files import with_files
from batchpipe.engine.source.snapshot import Snapshot
from batchpipe.engine.votes.slots import slots
from batchpipe.providers import Provider
from batchpipe.sql.quoting import quote_literal, sql
from batchpipe.store.database import streamed_rows
from batchpipe.store.queries import query


def chunk_requests(
    parts: RunParts,
    provider: Provider,
    rendered: Path,
    snapshot: Snapshot,
    chunk_id: str,
    names: Mapping[str, str],
    *,
    unmarked: bool,
) -> Iterable[tuple[str, bytes]]:
    """Return the requests of a chunk as (custom id, params). With `unmarked` they lose their cache marks.

    `names` are those of uploads, by hash: other files stand in the requests.
    Reads `work.chunk` and the file of rendered requests. What it returns raises ChangedFileError.
    """
    statement = query(
        "chunk_params",
        rendered=sql("read_parquet({plan})", plan=quote_literal(str(rendered))),
        chunk_id=quote_literal(chunk_id),
        **slots(parts.resolved, "chunk_params"),
    )
    if provider.limits.create == "label":
        statement = query("chunk_params_in_order", params=statement)
    connection, files = parts.work.connection, parts.files
    read = files.of_chunk(connection, snapshot, chunk_id) if files is not None else None
    rows: Iterable[tuple[str, bytes]] = streamed_rows(connection.execute(statement))
    if unmarked:
        rows = ((custom_id, provider.unmarked(params)) for custom_id, params in rows)
    if names:
        rows = _named(rows, provider, names)
    return rows if read is None else with_files(rows, read)


def _named(
    rows: Iterable[tuple[str, bytes]], provider: Provider, names: Mapping[str, str]
) -> Iterator[tuple[str, bytes]]:
    for custom_id, params in rows:
        yield custom_id, provider.naming_uploads(params, names)
