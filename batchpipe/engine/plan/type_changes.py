"""Name the input columns whose type has changed since the standing answers, and what that costs."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from batchpipe.engine.plan.plan import Plan
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.sql.quoting import quote_list
from batchpipe.store.database import Session
from batchpipe.store.queries import query


@dataclass(frozen=True, slots=True, kw_only=True)
class TypeChange:
    """A column that has the type `now` and had the type `before`. `due` rows have another value because of it;
    answering them costs `cost_usd`.

    The cost is their part of the expected cost of the plan; None where no price is known.
    """

    column: str
    before: str
    now: str
    due: int
    cost_usd: Decimal | None


def type_changes(session: Session, resolved: Resolved, plan: Plan) -> list[TypeChange]:
    """Return the changes of types that no run has recorded yet, and those for which rows are due.

    Reads `work.standing`, `work.standing_policies`, `work.plan`, `ledger.policies`.
    """
    if not session.knows(resolved.names):
        return []
    columns = {each.name: each.type for each in (*resolved.key_columns, *resolved.hash_columns)}
    key = [each.name for each in resolved.key_columns]
    pipelines = quote_list(resolved.names)
    past = session.rows(query("past_types", pipelines=pipelines), {"key": key})
    if all(columns.get(name, kind) == kind for name, kind, _ in past):
        return []
    rows = session.rows(query("due_by_type", pipelines=pipelines))
    due = {(name, kind): number for name, kind, number in rows}
    changes = []
    for name, kind, is_newest in past:
        number = due.get((name, kind), 0)
        if columns.get(name, kind) != kind and (is_newest or number):
            cost = plan.estimate.cost_usd
            part = None if cost is None else cost * number / max(plan.requests, number, 1)
            changes.append(TypeChange(column=name, before=kind, now=columns[name], due=number, cost_usd=part))
    return changes
