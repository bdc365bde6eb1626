"""Say at the end of a run that a budget was passed: batches cost more than the bound that was reserved for them."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from batchpipe.engine.cost.budget import Limit, has_limit, limits
from batchpipe.engine.ledger.events import add_event, load, spent
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.sql.quoting import quote_list
from batchpipe.store.database import Database, Work
from batchpipe.store.queries import query


def record_passed_limits(
    database: Database, work: Work, resolved: Resolved, run_id: str, max_usd: Decimal | None
) -> Sequence[Limit]:
    """Return the limits of which more was spent than they allow, where that was not said before; record them.

    Reads the ledger. Writes `ledger.events`.
    """
    budget, names = resolved.file.pipeline.budget, resolved.names
    if not has_limit(budget, max_usd):
        return ()
    with database.reading(work) as session:
        money = spent(session, names, run_id)
        passed = [each for each in limits(budget, max_usd, money, load(session, names, run_id)) if each.passed_usd]
        said = set(session.rows(query("budget_passed", pipelines=quote_list(names)))) if passed else set()
    found = [each for each in passed if (each.name, each.spent_usd) not in said]
    if not found:
        return ()
    with database.writing(work, run_id) as session:
        for each in found:
            data = {"limit": each.name, "allowed_usd": each.allowed_usd, "spent_usd": each.spent_usd}
            add_event(session, resolved.name, "budget_passed", data, run_id=run_id)
    return found
