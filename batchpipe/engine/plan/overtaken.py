"""Find what other processes have asked for, while a plan is made and in the transaction that commits an intent.

The lock files alone do not keep two runs from buying the same. Two runs without a common lock file buy nothing twice,
because the one that commits later sees what the other has committed, and plans anew. A pipeline and its evaluations
leave to each other what they have in flight.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

from batchpipe.engine.ledger.events import CALL_SECONDS
from batchpipe.engine.ledger.renames import linked_with, rename_links
from batchpipe.engine.plan.plan import Plan
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.pipeline.evaluations import evaluated_pipeline, is_evaluation
from batchpipe.sql.connection import Connection
from batchpipe.sql.quoting import Sql, quote_list, sql
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
    with _newer_facts(session, resolved, since) as (beside, newer, linked):
        if newer is None or beside.execute(query("asked_since", newer=newer), since).fetchone() == (False,):
            return
        beside.execute(Sql("CREATE TABLE IF NOT EXISTS work.left_out (key_id UUID)"))
        own = quote_list(resolved.names)
        beside.execute(query("leave_out", newer=newer, own=own), since)
    raise PlanOvertakenError(tuple(linked))


def drop_overtaken(session: Session, resolved: Resolved, plan: Plan, run_id: str) -> bool:
    """Drop the rows that `plan` decides at no cost and that others have asked for, decided or reviewed since; return
    whether there are any, so that a new plan is needed.

    It must come before the first statement of a commit that reads working tables: a transaction sees them as they were
    then. Reads the ledger, `work.shared`. Writes `work.asked_since`, `work.plan`, `work.due`, and of panels
    `work.ballots`, `work.voters`, `work.votes`.
    """
    since = {"since": plan.seq, "run_id": run_id}
    with _newer_facts(session, resolved, since) as (beside, newer, _):
        if newer is None:
            return False
        beside.execute(query("fill_asked_since", newer=newer), since)
        dropped = [query("drop_overtaken_decisions"), query("drop_overtaken_followers")]
        if resolved.panels:
            dropped += [query("drop_overtaken_ballots"), query("drop_overtaken_voters"), query("drop_overtaken_votes")]
        rows = [beside.execute(each).fetchall()[0][0] for each in dropped]
        beside.execute(Sql("DROP TABLE work.asked_since"))
        return any(rows)


@contextmanager
def _newer_facts(
    session: Session, resolved: Resolved, since: Mapping[str, object]
) -> Iterator[tuple[Connection, Sql | None, Sequence[str]]]:
    """Give a cursor that may write working tables, SQL for what others have committed `since` a plan, and the names
    that renames link; no SQL where nobody has committed anything.

    A transaction writes to one database only, and sees another one as it was when it first looked.
    """
    with session.connection.cursor() as beside:
        if not session.one(query("committed_since"), since)[0]:
            yield beside, None, ()
            return
        links = rename_links(session)
        linked = linked_with(resolved.file, resolved.names, links)
        families = quote_list(linked_with(resolved.file, _families(linked), links))
        beside.execute(sql("USE {catalog}", catalog=CATALOG))
        yield beside, query("newer_facts", pipelines=quote_list(linked), families=families), linked


def leave_to_others(session: Session, resolved: Resolved, linked: Sequence[str], *, by_every_recipe: bool) -> str:
    """Drop the due requests that others have asked; return a message of what is left to them, empty where nothing is.

    Others are the pipelines that renames link to this one, evaluations, and a `try`: what these have in flight this
    pipeline leaves to them, and they leave to it what it has. What a linked pipeline has answered is not bought again.
    `linked` are names that renames link, this one's among them.
    Reads `work.due`, `work.ladder`, `work.prints`, the ledger. Writes `work.asked_elsewhere`, `work.due`.
    """
    if session.blank:
        return ""
    elsewhere = [each for each in linked if each not in resolved.names]
    families = linked_with(resolved.file, _families([*resolved.names, *elsewhere]), rename_links(session))
    parts = {"own": quote_list(resolved.names), "families": quote_list(families)}
    calls_since = {"calls_since": session.now - timedelta(seconds=CALL_SECONDS)}
    if not elsewhere and not session.one(query("is_asked_elsewhere", **parts), calls_since)[0]:
        return ""
    prints = query("every_print_of_due" if by_every_recipe else "own_prints_of_due")
    session.execute(query("asked_elsewhere", elsewhere=quote_list(elsewhere), prints=prints, **parts), calls_since)
    session.execute(query("drop_asked_elsewhere"))
    left = session.rows(query("left_elsewhere"))
    return "; ".join(
        (_waits_text if in_flight else _answered_text)(name, requests) for name, in_flight, requests in left
    )


def _families(names: Sequence[str]) -> Sequence[str]:
    """Return the pipelines that `names` are of, or evaluate, each once."""
    return list(dict.fromkeys(map(evaluated_pipeline, names)))


def _waits_text(name: str, requests: int) -> str:
    """Return the message that requests wait for what another pipeline has in flight, with the command that ends it."""
    command = f"batchpipe {'eval' if is_evaluation(name) else 'run'} {evaluated_pipeline(name)}"
    return f"{_not_sent(requests)}: the same is in flight already, and {command} takes in the answer"


def _answered_text(name: str, requests: int) -> str:
    """Return the message that requests are answered in another pipeline, with the two ways to end that."""
    ways = "remove the file of one of them, or write `renamed_from = false` in this one to pay for them again"
    return f"{_not_sent(requests)}: {name} has the answers, and a rename links it with this pipeline; {ways}"


def _not_sent(requests: int) -> str:
    return f"{requests:,} {'request is' if requests == 1 else 'requests are'} not sent"
