"""Count the rows of a pipeline by state, and say what waits for room in a budget: what a run shows, too."""

from __future__ import annotations

from dataclasses import dataclass

from batchpipe.commands.printing.text import count
from batchpipe.engine.ledger.events import standing_reviews
from batchpipe.pipeline.model import PipelineFile
from batchpipe.sql.quoting import Sql, quote_list
from batchpipe.store.database import Session
from batchpipe.store.queries import query

ROW_STATES = ("accepted", "review", "failed", "pending", "retry", "escalated", "kept", "new")


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """A pipeline as the ledger knows it: `names` are its own name and the older one whose history it continues.

    `file` is None where the file is gone or cannot be read.
    """

    name: str
    names: tuple[str, ...]
    file: PipelineFile | None = None


def rows_by_state(session: Session, named: Named) -> dict[str, int]:
    """Return the number of keys in each state of `ROW_STATES`.

    Reads `ledger.decisions`, `ledger.requests`, `ledger.batches`, the valid reviews.
    """
    reviewed = standing_reviews(session, named.names)
    statement = query("rows_by_state", pipelines=quote_list(named.names), reviewed=reviewed)
    counts = dict.fromkeys(ROW_STATES, 0)
    for state, review, number in session.rows(statement):
        counts[state] = counts.get(state, 0) + number
        counts["review"] += number if review else 0
    return counts


def awaited_room(session: Session, pipelines: Sql) -> str | None:
    """Return which requests wait for room in which budget; None where none do.

    Reads `ledger.events`.
    """
    found = session.rows(query("budget_awaited", pipelines=pipelines))
    return f"{count(found[0][0], 'request')} for room in {found[0][1]}" if found else None
