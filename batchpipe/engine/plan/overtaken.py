"""Tell, in the transaction that commits an intent, whether somebody else has asked for the same since the plan.

Locks of ours are politeness: two runs without a common lock file buy nothing twice, because the one that commits later
sees what the other has committed, and plans anew.
"""

from __future__ import annotations

from dataclasses import dataclass

from batchpipe.engine.ledger.renames import linked_names
from batchpipe.engine.plan.plan import Plan
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.sql.quoting import Sql, quote_list
from batchpipe.store.database import CATALOG, Session
from batchpipe.store.queries import query


@dataclass(slots=True)
class PlanOvertakenError(Exception):
    """Rows of a plan were asked for, decided or reviewed since it was made: nothing is sent before a new plan.

    `linked` are the pipelines that renames link to this one, in either direction.
    """

    linked: tuple[str, ...]


def refuse_overtaken(session: Session, resolved: Resolved, plan: Plan, run_id: str) -> None:
    """Compare the rows that go up now with what others have committed since `plan`.

    Where nobody else has committed anything, that takes one small statement. What others did with rows that were sent
    before costs nothing, and rows of later chunks are compared when these go up. A row that a linked pipeline has asked
    for or that a person has reviewed is left out from now on; what happened under the pipeline's own names the next
    plan sees by itself.
    Reads `work.chunk`, `work.due`, the ledger. Writes `work.left_out`. Raises PlanOvertakenError.
    """
    since = {"since": plan.seq, "run_id": run_id}
    if not session.one(query("committed_since"), since)[0]:
        return
    linked = linked_names(session, resolved.names)
    # A transaction writes to one database only, and sees another one as it was when it first looked.
    with session.connection.cursor() as beside:
        beside.execute(f"USE {CATALOG}")
        newer = query("newer_facts", pipelines=quote_list(linked))
        if beside.execute(query("asked_since", newer=newer), since).fetchone() == (False,):
            return
        beside.execute(Sql("CREATE TABLE IF NOT EXISTS work.left_out (key_id UUID)"))
        own = quote_list(resolved.names)
        beside.execute(query("leave_out", newer=newer, own=own), since)
    raise PlanOvertakenError(tuple(linked))
