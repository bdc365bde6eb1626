"""What the ledger knows of an output table as the last commit left it, so that changes made by hand are found.

Each commit that writes the table records an event `output_written`: the number of rows, a checksum of all values, and
under which checks `_current` was set. The number is compared on every run, the checksum where a run writes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import duckdb

from batchpipe.engine.ledger.events import add_event
from batchpipe.engine.output.ownership import table_columns
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.sql.quoting import Sql, folded, joined, quote_identifier, quote_list, sql, table_parts
from batchpipe.store.database import Session
from batchpipe.store.queries import query

WRITTEN = "output_written"


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """Describes the output table as a commit left it.

    `checksum` holds for the version `engine` of DuckDB, whose hash it is. `judge` is the judge hash of the checks and
    types under which `_current` was set last; None where it has to be set again for all rows. `behind` says that the
    pipeline has written another table since, or was linked with an older name since, whose rows the table lacks.
    """

    run_id: str | None
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
    rows, checksum = session.one(query("output_checksum", table=table, columns=_columns(resolved)))
    data = {
        "table": _name(resolved),
        "rows": rows,
        "checksum": checksum,
        "engine": duckdb.__version__,
        "judge": judge,
    }
    add_event(session, resolved.name, WRITTEN, data, run_id=run_id)


def damage(
    session: Session, resolved: Resolved, table: Sql, run_id: str | None, *, values: bool
) -> tuple[bool, str | None]:
    """Return whether the table lacks what the pipeline has written into another table since, or has a row without a
    key, and in words how it was changed by hand since the last commit; None where no change is found.

    With `values` the checksum is compared too, unless the run `run_id` itself has written the table last.
    Reads `ledger.events`, the output table.
    """
    written, rows = last_written(session, resolved, table)
    if written is None or written.behind or _without_key(session, resolved, table):
        return written is not None, None
    return False, _changed(session, resolved, table, run_id, written, rows, values=values)


def _without_key(session: Session, resolved: Resolved, table: Sql) -> bool:
    """Return whether the table has a row without a key: earlier versions wrote some that they could not read back."""
    missing = joined(" OR ", (sql("{name} IS NULL", name=quote_identifier(each.name)) for each in resolved.key_columns))
    return bool(session.one(query("without_key", table=table, missing=missing))[0])


def _changed(
    session: Session, resolved: Resolved, table: Sql, run_id: str | None, written: Written, rows: int, *, values: bool
) -> str | None:
    """Return in words how the table of so many `rows` differs from what was `written`; None where it does not."""
    if rows < written.rows:
        return f"{written.rows - rows:,} of {written.rows:,} rows are missing"
    if rows > written.rows:
        return f"{rows - written.rows:,} rows were added"
    if not values or written.engine != duckdb.__version__ or (run_id is not None and written.run_id == run_id):
        return None
    _, checksum = session.one(query("output_checksum", table=table, columns=_columns(resolved)))
    return None if checksum == written.checksum else "values were changed"


def _columns(resolved: Resolved) -> Sql:
    """Return the names of all columns of the output table, quoted."""
    return joined(", ", (quote_identifier(name) for name, _ in table_columns(resolved)))


def _name(resolved: Resolved) -> str:
    """Return the table's name as events bear it."""
    return folded(".".join(table_parts(resolved.table)))
