"""What the ledger knows of an output table as the last commit left it, so that changes made by hand are found.

Each commit that writes the table records an event `output_written`: the columns, the number of rows, a checksum of all
values, and under which checks `_current` was set. Columns and number are compared on every run, the checksum where a
run writes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb

from batchpipe.engine.ledger.events import add_event
from batchpipe.engine.output.ownership import OutputPlace, described_columns
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.sql.quoting import Sql, folded, joined, quote_identifier, quote_list, sql, table_parts
from batchpipe.store.database import Session
from batchpipe.store.queries import query

WRITTEN = "output_written"


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """Describes the output table as a commit left it.

    `columns` are the names and types, None in an event of an earlier version. `checksum` holds for the version `engine`
    of DuckDB, whose hash it is. `judge` is the judge hash of the checks and types under which `_current` was set last;
    None where it has to be set again for all rows. `behind` says that the pipeline has written another table since, or
    was linked with an older name since, whose rows the table lacks.
    """

    run_id: str | None
    columns: list[tuple[str, str]] | None
    rows: int
    checksum: str
    engine: str
    judge: str | None
    behind: bool


def last_written(session: Session, resolved: Resolved, table: Sql) -> tuple[Written | None, int]:
    """Return what the newest commit recorded of the output table, None where none did, and the rows that it has now.

    Reads `ledger.events`, the output table.
    """
    statement = query("last_written", pipelines=quote_list(resolved.names), table=table)
    run_id, text, rows, behind = session.one(statement, {"table": _name(resolved)})
    if text is None:
        return None, rows
    data: dict[str, Any] = json.loads(text)
    written = Written(
        run_id=run_id,
        columns=[(name, kind) for name, kind in data["columns"]] if "columns" in data else None,
        rows=data["rows"],
        checksum=data["checksum"],
        engine=data["engine"],
        judge=data["judge"],
        behind=behind,
    )
    return written, rows


def record_written(session: Session, resolved: Resolved, table: Sql, run_id: str | None, judge: str | None) -> None:
    """Record the output table as this commit leaves it.

    Reads the output table. Writes `ledger.events`.
    """
    columns = described_columns(session, resolved)
    rows, checksum = session.one(query("output_checksum", table=table, columns=_names(columns)))
    data = {
        "table": _name(resolved),
        "columns": columns,
        "rows": rows,
        "checksum": checksum,
        "engine": duckdb.__version__,
        "judge": judge,
    }
    add_event(session, resolved.name, WRITTEN, data, run_id=run_id)


def damage(
    session: Session, resolved: Resolved, place: OutputPlace, run_id: str | None, *, values: bool
) -> tuple[bool, str | None]:
    """Return whether the table lacks what the pipeline has written into another table since, or has a row without a
    key, and in words how it was changed by hand since the last commit; None where no change is found.

    With `values` the checksum is compared too, unless the run `run_id` itself has written the table last.
    Reads `ledger.events`, the output table.
    """
    written, rows = last_written(session, resolved, place.quoted if place.columns else query("no_table"))
    if written is None or written.behind or _without_key(session, resolved, place):
        return written is not None, None
    if not place.columns:
        return False, "it was dropped"
    found, changed = list(_changed_columns(place, written)), list(_changed_rows(written, rows))
    known = written.columns or place.columns
    comparable = written.engine == duckdb.__version__ and set(known) <= set(place.columns)
    if values and comparable and not changed and (run_id is None or written.run_id != run_id):
        _, checksum = session.one(query("output_checksum", table=place.quoted, columns=_names(known)))
        changed = [] if checksum == written.checksum else ["values were changed"]
    return False, "; ".join([*found, *changed]) or None


def _without_key(session: Session, resolved: Resolved, place: OutputPlace) -> bool:
    """Return whether the table has a row without a key: earlier versions wrote some that they could not read back."""
    there = {folded(name) for name, _ in place.columns}
    keys = [each.name for each in resolved.key_columns]
    if not there.issuperset(map(folded, keys)):
        return False
    missing = joined(" OR ", (sql("{name} IS NULL", name=quote_identifier(each)) for each in keys))
    return bool(session.one(query("without_key", table=place.quoted, missing=missing))[0])


def with_dropped(found: str | None, place: OutputPlace) -> str | None:
    """Return what was `found` changed by hand, with the indexes and constraints that it is written without."""
    added = [f"{words} was added and is dropped" for words, _ in place.added]
    return "; ".join([*([found] if found else []), *added]) or None


def was_made(session: Session, resolved: Resolved, table: str) -> bool:
    """Return whether the ledger knows that this pipeline made a table of this name. Reads `ledger.events`."""
    return bool(session.one(query("output_made", pipelines=quote_list(resolved.names)), {"table": table})[0])


def _changed_columns(place: OutputPlace, written: Written) -> Iterator[str]:
    """Yield in words how the columns differ from those that were `written`, as far as these are known."""
    if written.columns is None:
        return
    now, before = dict(place.columns), dict(written.columns)
    for name, kind in now.items():
        if name not in before:
            yield f"the column {name} was added and is dropped"
        elif kind != before[name] and written.engine == duckdb.__version__:
            yield f"the column {name} is of another type"
    for name in before:
        if name not in now:
            yield f"the column {name} is missing"


def _changed_rows(written: Written, rows: int) -> Iterator[str]:
    """Yield in words how the number of rows differs from that of the rows that were `written`."""
    if rows < written.rows:
        yield f"{written.rows - rows:,} of {written.rows:,} rows are missing"
    if rows > written.rows:
        yield f"{rows - written.rows:,} rows were added"


def _names(columns: Sequence[tuple[str, str]]) -> Sql:
    """Return the names of columns, quoted."""
    return joined(", ", (quote_identifier(name) for name, _ in columns))


def _name(resolved: Resolved) -> str:
    """Return the table's name as events bear it."""
    return folded(".".join(table_parts(resolved.table)))
