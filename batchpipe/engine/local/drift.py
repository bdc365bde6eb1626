"""Drift: whether the audited rows of a version agree less often than its answers did out of fold."""

from __future__ import annotations

from dataclasses import dataclass

from batchpipe.engine.local.versions import RecordedLocalVersion
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.local_model.trust import drifted
from batchpipe.sql.canonical import json_field_sql
from batchpipe.sql.quoting import Sql, joined, quote_list, sql
from batchpipe.store.database import Session
from batchpipe.store.queries import query


@dataclass(frozen=True, slots=True, kw_only=True)
class SetAside:
    """A version that answers no more, and why."""

    version: int
    why: str


def find_drift(session: Session, resolved: Resolved, version: RecordedLocalVersion) -> SetAside | None:
    """Return the version as set aside where its audited rows agree too seldom; None where they do not.

    The bound holds however often one looks: it is wrong for 1% of versions in all their life. Each audited row counts
    with what was expected when it was audited: the lowest of these is held against the agreement.
    Reads `ledger.local_answers`, `ledger.decisions`, `ledger.results`.
    """
    rung = resolved.local
    assert rung is not None
    agree = joined(
        " AND ",
        (
            sql(
                "{said} IS NOT DISTINCT FROM {upper}",
                said=json_field_sql(Sql("a.output"), name),
                upper=json_field_sql(Sql("r.output"), name),
            )
            for name in rung.fields
        ),
    )
    statement = query("local_audits", agree=agree, pipelines=quote_list(resolved.names))
    rows = session.rows(statement, {"version": version.version})
    if not rows:
        return None
    agreed = sum(same for same, _ in rows)
    expected = min(each for _, each in rows)
    if not drifted(len(rows), agreed, expected):
        return None
    share = f"{agreed:,} of {len(rows):,} audited rows agree with the next rung"
    why = f"local:v{version.version} is set aside: {share}, where at least {expected:.1%} were expected"
    return SetAside(version=version.version, why=why)
