"""Choose the options without which DuckDB cannot read a CSV file: its encoding, and room for long lines."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import duckdb

# A line that is longer is no line: a quote was most likely left open.
MOST_LINE_BYTES = 100_000_000
SEEN_BYTES = 1_000
UTF_16_MARKS = (b"\xff\xfe", b"\xfe\xff")


def first_options(path: Path) -> dict[str, str]:
    """Return the encoding of a file that begins like UTF-16: with its mark, or with a zero in each second byte."""
    with path.open("rb") as file:
        seen = file.read(SEEN_BYTES)
    halves = (seen[::2], seen[1::2])
    zeros = [each.count(0) > 0.8 * len(each) for each in halves if each]
    return {"encoding": "'utf-16'"} if seen.startswith(UTF_16_MARKS) or zeros.count(True) == 1 else {}


def more_options(error: duckdb.Error, options: Mapping[str, str]) -> dict[str, str]:
    """Return what may help beside `options` against an `error` of the reader; nothing where nothing is known to."""
    text = str(error)
    if "not utf-8 encoded" in text and "encoding" not in options:
        return {"encoding": "'latin-1'"}
    found = re.search(r"Maximum line size of (\d+) bytes exceeded\. Actual Size:(\d+) bytes", text)
    if found and max(int(found[1]), int(found[2])) < MOST_LINE_BYTES // 2:
        return {"max_line_size": str(2 * max(int(found[1]), int(found[2])))}
    return {}


def notes(options: Mapping[str, str], columns: Sequence[str]) -> tuple[str, ...]:
    """Return what a person should know of the options that were chosen, and of the columns that were found."""
    encoding = options.get("encoding", "").strip("'")
    said = []
    if encoding:
        said.append(f"the file is not UTF-8: it is read as {encoding}; if letters look wrong, save it as UTF-8")
    if "max_line_size" in options:
        said.append("the file has lines of more than 2 MB: the query makes room for them")
    if all(re.fullmatch(r"column\d+", column) for column in columns):
        said.append(f"the file has no line with names: its columns are called {', '.join(columns[:3])} and so on")
    if len(columns) == 1 and re.search(r"[,;\t|]", columns[0]):
        said.append(
            f"only one column was found, {columns[0]!r}: most likely some lines have more values than others; "
            "correct the file and call `batchpipe new` again"
        )
    return tuple(said)
