"""Read result files into `work.lines`, one row for each line, and find what is wrong with the lines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

from batchpipe.common.secrets import redacted
from batchpipe.engine.exchange.downloads import ShortResultsError
from batchpipe.engine.ledger.raw_folder import open_results, saving
from batchpipe.providers import BatchState, ProviderRules
from batchpipe.sql.connection import Connection
from batchpipe.sql.quoting import Sql, quote_identifier
from batchpipe.store.database import Work
from batchpipe.store.disk import disk_error
from batchpipe.store.memory import VECTOR_ROWS
from batchpipe.store.queries import query

BLOCK_BYTES = 2_097_152
MENDED = ".mended-"
# The columns with the words of `words_of_lines`.
_SHOWN = ("error_message", "error_type", "stop_reason", "oddity")

# A row of `work.ended`: chunk id, batch id (None for a realtime call), time of completion, file of the results.
EndedResults = tuple[str, str | None, datetime, Path]


def fill_ended(connection: Connection, rows: Sequence[EndedResults]) -> None:
    """Fill `work.ended` with the batches that are collected together, one row for each.

    Writes `work.ended`.
    """
    connection.execute(query("ended"))
    for *known, path in rows:
        connection.execute(Sql("INSERT INTO work.ended VALUES ($1, $2, $3, $4)"), [*known, str(path)])


def read_lines(work: Work, rules: ProviderRules, paths: Sequence[Path], *, exact_inputs: bool = False) -> None:
    """Fill `work.lines` from `paths`, the files of `work.ended`.

    Lines are read as JSON first. Where that leaves a line unclear or a request without a line, or with `exact_inputs`,
    mended copies of the files are read as text.
    Reads `work.sent`, `work.ended`. Writes `work.lines`, `work.ended`.
    """
    connection = work.connection
    measured = [_line_bytes(path) for path in paths]
    sent = connection.execute(Sql("SELECT count(*) FROM work.sent WHERE leads")).fetchone()
    requests = sent[0] if sent else 0
    size = sum(each for _, each in measured)
    work.memory.make_room_for_answers(size * VECTOR_ROWS // max(requests, VECTOR_ROWS))
    _read(connection, rules, paths, [longest for longest, _ in measured], text=False)
    if exact_inputs or connection.execute(query("clear_lines")).fetchone() != (requests,):
        _read_mended(connection, rules, paths, exact_inputs=exact_inputs)
    _redact(connection)


def _redact(connection: Connection) -> None:
    """Take the values of keys out of what the provider says of results. Their answers stay as they came.

    Reads and writes `work.lines`.
    """
    words = [said for (said,) in connection.execute(query("words_of_lines")).fetchall()]
    changed = {said: shown for said in words if (shown := redacted(said)) != said}
    for column in _SHOWN if changed else ():
        texts = {"said": list(changed), "shown": list(changed.values())}
        connection.execute(query("redact_words", column=quote_identifier(column)), texts)


def _read(
    connection: Connection, rules: ProviderRules, paths: Sequence[Path], longest: Sequence[int], *, text: bool
) -> None:
    """Fill `work.lines` from `paths`, whose longest lines have `longest` bytes.

    Reads `work.ended`. Writes `work.lines`.
    """
    parameters = {
        "paths": [str(path) for path in paths],
        "maximum_object_size": 2 * max(longest, default=BLOCK_BYTES),
    }
    connection.execute(query("lines", lines=rules.lines_sql(text=text)), parameters)


def _read_mended(connection: Connection, rules: ProviderRules, paths: Sequence[Path], *, exact_inputs: bool) -> None:
    """Fill `work.lines` from mended copies of `paths`; a damaged line gets the id of ours that stands in its text.

    Reads `work.sent`, `work.ended`. Writes `work.lines`, `work.ended`.
    """
    with TemporaryDirectory(prefix=MENDED, dir=paths[0].parent) as folder:
        copies = []
        for number, path in enumerate(paths):
            copy = Path(folder) / f"{number}.jsonl"
            with saving(copy), open_results(path) as source, copy.open("wb") as target:
                target.writelines(rules.mended_lines(_lines_of(source), exact_inputs=exact_inputs))
            connection.execute(query("read_from_copy"), {"path": str(path), "copy": str(copy)})
            copies.append(copy)
        _read(connection, rules, copies, [_line_bytes(copy)[0] for copy in copies], text=True)
    connection.execute(query("ids_of_damaged_lines"))


def _lines_of(source: IO[bytes]) -> Iterator[bytes]:
    """Yield the lines of a file, each with its line break."""
    begun: list[bytes] = []
    while block := source.read(BLOCK_BYTES):
        first, *lines = block.split(b"\n")
        begun.append(first)
        for line in lines:
            yield b"".join(begun) + b"\n"
            begun = [line]
    if last := b"".join(begun):
        yield last + b"\n"


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


def refuse_short_results(connection: Connection, faults: Mapping[str, int], state: BatchState) -> None:
    """Raise ShortResultsError where results have fewer answers than the batch counts, and lack so many lines.

    A file may be there before it is whole. A damaged line may be one that seems to be missing.
    Reads `work.lines`, `work.sent`.
    """
    counted = state.counts.get("succeeded", 0)
    row = connection.execute(query("answers_in_lines")).fetchone()
    answers = row[0] if row else 0
    if faults["missing"] > faults["malformed"] and answers < counted:
        raise ShortResultsError(f"the results have {answers:,} of {counted:,} answers that the batch counts")


def _blocks(path: Path) -> Iterator[bytes]:
    """Yield the content of a file of results. Raises DatabaseError where it cannot be read."""
    try:
        with open_results(path) as file:
            while block := file.read(BLOCK_BYTES):
                yield block
    except OSError as error:
        raise disk_error(error, path) from error


def _line_bytes(path: Path) -> tuple[int, int]:
    """Return a number of bytes that no line of the file is longer than, and the bytes of all lines together."""
    longest, open_bytes, size = BLOCK_BYTES, 0, 0
    for block in _blocks(path):
        size += len(block)
        first = block.find(b"\n")
        if first < 0:
            open_bytes += len(block)
        else:
            longest = max(longest, open_bytes + first)
            open_bytes = len(block) - block.rfind(b"\n")
    return max(longest, open_bytes), size
