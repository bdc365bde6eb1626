"""Print the unusual waits of a pipeline for its provider, and how each of them ends."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from types import MappingProxyType

from batchpipe.commands.printing.text import count, moment, money, safe
from batchpipe.common.errors import NoProviderError
from batchpipe.decide.waits import is_overdue, life
from batchpipe.engine.ledger.events import OpenBatch
from batchpipe.engine.waits.troubles import Trouble, read_troubles
from batchpipe.pipeline.evaluations import evaluated_pipeline
from batchpipe.sql.quoting import quote_list
from batchpipe.store.database import Session
from batchpipe.store.queries import query

WORDS: Mapping[str, str] = {
    "not_found": "the provider does not find the batch",
    "gone": "the provider says that it no longer has the results",
    "unreadable": "the results cannot be read",
    "foreign": "the results have only custom ids that were not sent with the batch",
    "unanswered": "the provider does not answer",
    "not_listed": "the list of batches has none that may be the chunk's",
    "list": "the list of batches cannot be read whole",
    "account": "the list of batches is that of another account",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Describes one wait: since when, and what the provider said. Times are naive UTC.

    `chunk_id` and `batch_id` are None for what concerns no chunk. `until` is when the wait ends, where that is known.
    `give_up` says that `recover --abandon` is a way out. `fix` is what to write so that the wait ends.
    """

    chunk_id: str | None
    batch_id: str | None
    what: str
    message: str
    since: datetime
    until: datetime | None = None
    give_up: bool = False
    fix: str | None = None


def read_waits(
    session: Session,
    names: Sequence[str],
    batches: Sequence[OpenBatch],
    unaskable: Mapping[str, NoProviderError] = MappingProxyType({}),
) -> list[Wait]:
    """Return what the pipelines called `names` wait for. `batches` are their open chunks, of which nobody can be asked
    about those that are `unaskable`.

    Reads `ledger.events`.
    """
    troubles = read_troubles(session, names) if batches else {}
    found = [_of_trouble(batch, each) for batch in batches for each in troubles.get(batch.chunk_id, [])]
    found += [_unaskable(each, unaskable[each.chunk_id]) for each in batches if each.chunk_id in unaskable]
    found += [_overdue(batch) for batch in batches if _is_overdue(batch, session.now)]
    for recorded_at, message, seconds in session.rows(query("asked_to_wait", pipelines=quote_list(names))):
        until = recorded_at + timedelta(seconds=seconds or 0.0)
        what = "the provider asked to wait"
        found.append(Wait(chunk_id=None, batch_id=None, what=what, message=message, since=recorded_at, until=until))
    return found


def read_booked(session: Session, names: Sequence[str]) -> Decimal:
    """Return the most that batches can have cost whose results are gone, in US dollars.

    Reads `ledger.events`, `ledger.batches`.
    """
    booked: Decimal = session.one(query("total_booked", booked=query("booked"), pipelines=quote_list(names)))[0]
    return booked


def wait_lines(waits: Sequence[Wait], name: str, suggest: Callable[[str], str]) -> list[str]:
    """Return a line for each wait, the command that gives up what does not come back, and what to write."""
    lines = [_line(each) for each in waits]
    family = evaluated_pipeline(name)
    if any(each.give_up for each in waits):
        lines.append(f"  To give up what does not come back: {suggest(f'recover {family} --abandon')}")
    for fix in dict.fromkeys(each.fix for each in waits if each.fix):
        lines += [f"  {safe(each)}" for each in fix.splitlines()]
    return lines


def spent_text(cost: Decimal | None, unpriced: int, booked: Decimal) -> str:
    """Return what was spent, with what is not known of it."""
    parts = [money(cost)]
    if unpriced:
        parts.append(f"{count(unpriced, 'result')} of unknown cost")
    if booked:
        parts.append(f"at most {money(booked)} for batches whose results are gone")
    return ", and ".join(parts)


def _of_trouble(batch: OpenBatch, trouble: Trouble) -> Wait:
    return Wait(
        chunk_id=batch.chunk_id,
        batch_id=batch.batch_id,
        what=WORDS.get(trouble.kind, trouble.kind),
        message=trouble.message if trouble.message != WORDS.get(trouble.kind) else "",
        since=trouble.since,
        give_up=trouble.kind != "not_listed",
    )


def _unaskable(batch: OpenBatch, error: NoProviderError) -> Wait:
    return Wait(
        chunk_id=batch.chunk_id,
        batch_id=batch.batch_id,
        what="no provider of the settings has the address that it was sent to",
        message=f"{batch.base_url}, protocol {batch.protocol}",
        since=batch.prepared_at,
        fix=error.hint,
    )


def _is_overdue(batch: OpenBatch, now: datetime) -> bool:
    lives = life(batch.created_at, batch.expires_at)
    return batch.batch_id is not None and is_overdue(now - batch.prepared_at, lives)


def _overdue(batch: OpenBatch) -> Wait:
    since = batch.prepared_at + life(batch.created_at, batch.expires_at)
    what = "the batch should have ended, and was not seen to"
    return Wait(chunk_id=batch.chunk_id, batch_id=batch.batch_id, what=what, message="", since=since, give_up=True)


def _line(wait: Wait) -> str:
    of = f"{safe(wait.batch_id)}: " if wait.batch_id else f"chunk {wait.chunk_id}: " if wait.chunk_id else ""
    until = f" until {moment(wait.until)}" if wait.until else f" since {moment(wait.since)}"
    return f"  {of}{wait.what}{until}" + (f" ({safe(wait.message)})" if wait.message else "")
