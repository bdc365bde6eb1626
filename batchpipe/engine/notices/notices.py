"""Tell how runs ended and which batches are stuck, each once: what was told is an event of the ledger."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from batchpipe.common.errors import BatchpipeError, DatabaseError, LockedError
from batchpipe.decide.notices import EndedRun, is_stuck, run_to_tell, what_of
from batchpipe.engine.context import Context
from batchpipe.engine.cost.estimate import Times, times_of_providers
from batchpipe.engine.ledger.events import OpenBatch, add_event, open_batches
from batchpipe.engine.ledger.locks import pipeline_lock
from batchpipe.engine.notices.deliver import deliver, require_trust
from batchpipe.project.notify import Notify
from batchpipe.sql.quoting import quote_list
from batchpipe.store.database import Session, Work
from batchpipe.store.queries import query

LOOKED_AT_RUNS = 50
LOCK = "notices"


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A pipeline that is told of: its names in the ledger, and what a call just came to that knows more than that.

    `rows` are the counts of `run --json`; `error` is what stopped the call, `begun` whether its run is in the ledger.
    """

    pipeline: str
    names: Sequence[str]
    rows: Mapping[str, int] = field(default_factory=dict)
    hint: str | None = None
    error: BatchpipeError | None = None
    begun: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One notice: what it is about, its sentence, and what a program gets. `chunk_id` is that of a stuck batch."""

    pipeline: str
    what: str
    value: Mapping[str, Any]
    run_id: str | None = None
    chunk_id: str | None = None


def tell(context: Context, pipelines: Sequence[Told], say: Callable[[str], None]) -> list[Notice]:
    """Send the notices that are due about `pipelines`, record each, and return them; nothing where `notify` is not set.

    `say` is told what could not be delivered. The emulator's runs are nobody's business. A database that is held, and
    another call that tells just now, leave it to the next call.
    Raises CredentialsError for a webhook whose variables may not be sent to it.
    Reads `ledger.events`, `ledger.batches`, `ledger.runs`. Writes `ledger.events`.
    """
    notify = context.settings.notify
    if notify is None or context.settings.emulator:
        return []
    require_trust(context)
    locks = context.database.make_folder("locks")
    with suppress(LockedError), pipeline_lock(locks, LOCK, context.clock()), closing(context.work()) as work:
        with context.database.reading(work) as session:
            due = [each for told in pipelines for each in _due(session, told, notify)]
        for each in due:
            failed = deliver(context, notify, each.value)
            for problem in failed:
                say(f"warning: the notice about {each.pipeline} could not be delivered: {problem}")
            _record(context, work, each, failed)
        return due
    return []


def _record(context: Context, work: Work, notice: Notice, failed: Sequence[str]) -> None:
    """Record a notice, whether it arrived or not: it is not sent again.

    Writes `ledger.events`.
    """
    data = {"what": notice.what, "text": notice.value["text"]}
    kind = "notify_failed" if failed else "notified"
    if failed:
        data["message"] = "; ".join(failed)
    with suppress(DatabaseError), context.database.writing(work, notice.run_id) as session:
        add_event(session, notice.pipeline, kind, data, run_id=notice.run_id, chunk_id=notice.chunk_id)


def _due(session: Session, told: Told, notify: Notify) -> Iterator[Notice]:
    """Yield the notices about one pipeline that are due and wanted."""
    pipelines = quote_list(told.names)
    known = session.dictionaries(query("told_of", pipelines=pipelines))
    found = [*_of_runs(session, told, known), *_of_batches(session, told, known)]
    yield from (each for each in found if each.what in notify.on)


def _of_runs(session: Session, told: Told, known: Sequence[Mapping[str, Any]]) -> Iterator[Notice]:
    """Yield the notice about the newest end of a run that nobody was told of."""
    of_runs = [each for each in known if each["chunk_id"] is None]
    if told.error is not None and not told.begun:
        text = f"{told.pipeline} failed: {told.error.what}"
        if told.error.code != "locked" and not (of_runs and of_runs[0]["text"] == text):
            yield _notice(told, "failed", text, session.now, status="error", gate=None)
        return
    rows = session.dictionaries(query("last_runs", pipelines=quote_list(told.names)), {"count": LOOKED_AT_RUNS})
    runs = [EndedRun(**{name: each[name] for name in EndedRun.__dataclass_fields__}) for each in rows]
    last = next((each["run_id"] for each in of_runs if each["run_id"] is not None), None)
    run = run_to_tell(runs, last)
    if run is None:
        return
    found = next(each for each in rows if each["run_id"] == run.run_id)
    text = _sentence(told, run)
    gate = run.message if run.status == "gate" else None
    more: dict[str, Any] = {"submitted": run.submitted, "results": run.results, "cost_usd": _digits(found["cost_usd"])}
    yield _notice(told, what_of(run.status), text, session.now, status=run.status, gate=gate, run_id=run.run_id, **more)


def _sentence(told: Told, run: EndedRun) -> str:
    """Return how a run ended, in one sentence."""
    if run.status == "gate":
        return f"{told.pipeline} stopped: {run.message}"
    if run.status == "error":
        return f"{told.pipeline} failed: {run.message}"
    if run.status == "failed_rows":
        failed = told.rows.get("failed")
        return f"{told.pipeline} ended, and rows failed" + (f": {failed:,}" if failed else "")
    return f"{told.pipeline} is done: {run.results:,} {'result' if run.results == 1 else 'results'}"


def _of_batches(session: Session, told: Told, known: Sequence[Mapping[str, Any]]) -> Iterator[Notice]:
    """Yield a notice about each open batch that is stuck and that nobody was told of."""
    before = {each["chunk_id"] for each in known}
    times: dict[str, Times] = {}
    for batch in open_batches(session, told.names):
        if batch.chunk_id in before:
            continue
        if batch.provider not in times:
            times[batch.provider] = times_of_providers(session, [batch.provider])
        usual = times[batch.provider]
        age = session.now - (batch.created_at or batch.submitted_at or batch.prepared_at)
        if is_stuck(
            age,
            held=batch.state == "held",
            expires_at=batch.expires_at,
            now=session.now,
            high_seconds=usual.high_seconds,
            batches=usual.batches,
        ):
            text = f"{told.pipeline}: {_stuck(batch)}, {age.total_seconds() / 3600:.1f} hours old"
            more: dict[str, Any] = {"batch_id": batch.batch_id, "requests": batch.requests, "state": batch.state}
            yield _notice(told, "stuck", text, session.now, chunk_id=batch.chunk_id, **more)


def _digits(cost_usd: Decimal | None) -> str | None:
    """Return an amount with all its digits, as log lines have it."""
    return None if cost_usd is None else f"{cost_usd:f}"


def _stuck(batch: OpenBatch) -> str:
    if batch.state == "held":
        return f"nobody knows yet whether a batch of {batch.requests:,} requests was taken"
    return f"the batch {batch.batch_id or batch.chunk_id} of {batch.requests:,} requests has not ended"


def _notice(
    told: Told,
    what: str,
    text: str,
    now: datetime,
    *,
    run_id: str | None = None,
    chunk_id: str | None = None,
    **more: Any,
) -> Notice:
    """Return a notice with what a program gets of it."""
    value = {
        "event": what,
        "pipeline": told.pipeline,
        "text": text,
        "at": f"{now:%Y-%m-%dT%H:%M:%S}Z",
        "run_id": run_id,
        "chunk_id": chunk_id,
        "rows": dict(told.rows) or None,
        "hint": told.hint,
        **more,
    }
    return Notice(pipeline=told.pipeline, what=what, value=value, run_id=run_id, chunk_id=chunk_id)
