"""Read result files into `work.lines`, one row for each line, and find what is wrong with the lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from batchpipe.engine.ledger.raw_folder import open_results
from batchpipe.providers import ProviderRules
from batchpipe.sql.connection import Connection
from batchpipe.sql.quoting import Sql
from batchpipe.store.database import VECTOR_ROWS, Work
from batchpipe.store.queries import query

BLOCK_BYTES = 2_097_152

# A row of `work.ended`: chunk id, batch id (None for a realtime call), time of completion, file of the results.
EndedResults = tuple[str, str | None, datetime, Path]


def fill_ended(connection: Connection, rows: Sequence[EndedResults]) -> None:
    """Fill `work.ended` with the batches that are collected together, one row for each.

    Writes `work.ended`.
    """
    connection.execute(query("ended"))
    for *known, path in rows:
        connection.execute(Sql("INSERT INTO work.ended VALUES ($1, $2, $3, $4)"), [*known, str(path)])


def read_lines(work: Work, rules: ProviderRules, paths: Sequence[Path]) -> None:
    """Fill `work.lines` from `paths`, the files of `work.ended`.

    Lines are read as JSON first. Where that leaves a line unclear, all are read again as text.
    Reads `work.sent`, `work.ended`. Writes `work.lines`.
    """
    connection = work.connection
    measured = [_line_bytes(path) for path in paths]
    longest = max((each for each, _ in measured), default=BLOCK_BYTES)
    sent = connection.execute(Sql("SELECT count(*) FROM work.sent WHERE leads")).fetchone()
    rows = max(sent[0] if sent else 0, VECTOR_ROWS)
    work.make_room_for_answers(sum(size for _, size in measured) * VECTOR_ROWS // rows)
    parameters = {"paths": [str(path) for path in paths], "maximum_object_size": 2 * longest}
    for text in (False, True):
        connection.execute(query("lines", lines=rules.lines_sql(text=text)), parameters)
        if connection.execute(query("unclear_lines")).fetchone() == (0,):
            return


def line_faults(connection: Connection) -> tuple[Mapping[str, int], bool]:
    """Return how many lines are not what was sent, by the kind of fault, and whether any line at all is ours.

    Reads `work.lines`, `work.sent`.
    """
    cursor = connection.execute(query("line_faults"))
    names = [each[0] for each in cursor.description or ()]
    row = cursor.fetchone()
    assert row is not None
    found = dict(zip(names, row, strict=True))
    ours = found.pop("ours")
    return found, ours > 0


def _line_bytes(path: Path) -> tuple[int, int]:
    """Return a number of bytes that no line of the file is longer than, and the bytes of all lines together."""
    longest, open_bytes, size = BLOCK_BYTES, 0, 0
    with open_results(path) as file:
        while block := file.read(BLOCK_BYTES):
            size += len(block)
            first = block.find(b"\n")
            if first < 0:
                open_bytes += len(block)
            else:
                longest = max(longest, open_bytes + first)
                open_bytes = len(block) - block.rfind(b"\n")
    return max(longest, open_bytes), size
