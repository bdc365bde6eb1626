"""Find the contents that several requests of a plan send, so that each is uploaded once and named by all of them.

An upload takes a call of its own, and its content has to be deleted later: it is made where it keeps a million bytes
or more from being sent again. Its request then has the bytes of a name where they are counted.
"""

from __future__ import annotations

from collections.abc import Sequence

from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.engine.source.contents import ContentColumn, content_columns, content_lines
from batchpipe.engine.source.snapshot import Snapshot
from batchpipe.sql.connection import Connection
from batchpipe.sql.quoting import Sql, joined, number_sql, quote_literal, sql
from batchpipe.store.queries import query

# What an upload has to save: the bytes of a content, for each request that names it but the first.
LEAST_SAVED_BYTES = 1_000_000
# A little more than the longest name of an upload, with what stands around it.
NAME_BYTES = 200


def find_shared_files(connection: Connection, resolved: Resolved, snapshot: Snapshot) -> None:
    """Find what is uploaded once for several of the requests to send, and count their bytes so.

    Reads `work.to_send` and the snapshot. Writes `work.shared_files`, and the bytes of lines in `work.to_send`.
    """
    columns = content_columns(resolved.input_columns)
    rungs = {rung: types for rung in range(1, len(resolved.rungs) + 1) if (types := _uploadable(resolved, rung))}
    if not columns or not rungs:
        connection.execute(query("no_shared_files"))
        return
    every = sorted({each for given in rungs.values() for each in given})
    lines = contents_of_types(columns, snapshot, every)
    connection.execute(
        query(
            "shared_files",
            lines=lines,
            rungs=joined(", ", map(number_sql, rungs)),
            least=number_sql(LEAST_SAVED_BYTES),
        )
    )
    for rung, given in rungs.items():
        fits = joined(" OR ", (sql("starts_with(media_type, {each})", each=quote_literal(each)) for each in given))
        connection.execute(
            sql("DELETE FROM work.shared_files WHERE rung = {rung} AND NOT ({fits})", rung=number_sql(rung), fits=fits)
        )
    if connection.execute(Sql("SELECT count(*) FROM work.shared_files")).fetchall() != [(0,)]:
        connection.execute(query("count_shared_bytes", lines=lines, name_bytes=number_sql(NAME_BYTES)))


def shared_contents(columns: Sequence[ContentColumn], snapshot: Snapshot) -> Sql:
    """Return a SELECT of the contents of all `columns` that may be in `work.shared_files`."""
    return contents_of_types(columns, snapshot, ("image/", "application/"))


def contents_of_types(columns: Sequence[ContentColumn], snapshot: Snapshot, types: Sequence[str]) -> Sql:
    """Return a SELECT of `position`, `media_type`, `sha256`, `size` of the contents with a type that begins so."""
    fits = joined(" OR ", (sql("starts_with(media_type, {each})", each=quote_literal(each)) for each in types))
    return sql(
        "SELECT position, split_part(line, ' ', 1) AS media_type, regexp_extract(line, '^\\S+ ([0-9a-f]{{64}})', 1) "
        "AS sha256, TRY_CAST(split_part(split_part(line, chr(9), 2), ' ', 1) AS BIGINT) AS size FROM ({lines}) "
        "WHERE regexp_matches(line, '^\\S+ [0-9a-f]{{64}}\\t') AND ({fits})",
        lines=content_lines(columns, snapshot.file),
        fits=fits,
    )


def _uploadable(resolved: Resolved, rung: int) -> tuple[str, ...]:
    """Return the beginnings of the media types that are uploaded for a rung; none where nothing is."""
    settings = resolved.rungs[rung - 1]
    provider = resolved.provider_of(settings)
    if settings.mode == "realtime" or not provider.uploads_files:
        return ()
    return provider.rules.media.uploads
