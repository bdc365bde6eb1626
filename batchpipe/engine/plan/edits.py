"""Find what was edited since answers were given: the ladder, and the types of input columns.

An edit of the ladder makes no row due by itself; `--redo` would. What a change of a type costs is said.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Literal

from batchpipe.engine.cost.ladder import present_settings
from batchpipe.engine.plan.orders import Order, make_order
from batchpipe.engine.plan.plan import Plan
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.sql.quoting import quote_list
from batchpipe.store.database import Session
from batchpipe.store.queries import query


@dataclass(frozen=True, slots=True, kw_only=True)
class LadderEdit:
    """Says what of the ladder was edited since rows were answered, and what `--redo` with `argument` would send more.

    Costs are US dollars; None where they are not known.
    """

    argument: Literal["accept", "model"]
    what: str
    requests: int = 0
    cost_usd: Decimal | None = None
    max_usd: Decimal | None = None


def ladder_edits(session: Session, resolved: Resolved) -> list[LadderEdit]:
    """Return what was edited of `accept`, and of the models and their settings, since the standing rows were answered.

    Reads `work.standing_policies`, `work.standing`, `ledger.policies`, `ledger.decisions`, `ledger.requests`.
    """
    if not session.knows(resolved.names):
        return []
    names = quote_list(resolved.names)
    today = [each.accept for each in resolved.file.pipeline.models]
    edits = []
    before = [json.loads(text) for (text,) in session.rows(query("standing_accepts", pipelines=names))]
    words = list(dict.fromkeys(each for accepts in before for each in _accept_words(accepts, today)))
    if words:
        edits.append(LadderEdit(argument="accept", what="; ".join(words)))
    present = quote_list(present_settings(resolved))
    if session.one(query("any_settings_off_the_ladder", pipelines=names, present=present))[0]:
        gone = session.rows(query("models_off_the_ladder", pipelines=names, present=present))
        if gone:
            listed = ", ".join(f"{model} ({rows:,} rows)" for model, rows in gone)
            what = f"a model or its settings were edited: answers are by {listed} as it was set then"
            edits.append(LadderEdit(argument="model", what=what))
    return edits


def order_of(session: Session, resolved: Resolved, edit: LadderEdit) -> Order:
    """Return the order that would apply the edit to answered rows."""
    return make_order(resolved, session.connection, "redo", edit.argument, None)


def with_cost(edit: LadderEdit, plan: Plan, redone: Plan) -> LadderEdit:
    """Return `edit` with what its order sends more in the plan `redone` than in `plan`."""
    cost, most = redone.estimate.cost_usd, redone.estimate.max_usd
    cost_before, most_before = plan.estimate.cost_usd, plan.estimate.max_usd
    return replace(
        edit,
        requests=redone.requests - plan.requests,
        cost_usd=cost - cost_before if cost is not None and cost_before is not None else None,
        max_usd=most - most_before if most is not None and most_before is not None else None,
    )


def _accept_words(before: Sequence[str | None], today: Sequence[str | None]) -> list[str]:
    """Return in words how `accept` was edited, rung by rung. Rungs that are new or gone have no older `accept`."""
    words = []
    for number, (old, new) in enumerate(zip(before, today, strict=False), start=1):
        if old != new:
            words.append(f"accept of rung {number} was edited: {old or 'none'} before, {new or 'none'} now")
    return words


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
