"""Append events to the ledger, and read which batches are open, what was spent and which reviews are valid."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from batchpipe.common.given import as_utf_8
from batchpipe.common.secrets import redacted
from batchpipe.pipeline.evaluations import evaluated_pipeline
from batchpipe.sql.quoting import Sql, quote_list
from batchpipe.store.database import Session
from batchpipe.store.queries import query

EVERY_KEY = Sql("")
WITHOUT_BATCH = ("prepared", "held", "presumed")  # nobody knows for certain which batch such a chunk has
# The time-out of a realtime call, and a minute: after that nobody waits for its answer any more.
CALL_SECONDS = 660.0


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenBatch:
    """A chunk that is not closed yet, with its batch id where the id is known. Times are naive UTC."""

    chunk_id: str
    pipeline: str
    run_id: str
    batch_id: str | None
    state: str
    requests: int
    model: str
    rung: int
    prepared_at: datetime
    unknown_at: datetime | None
    submitted_at: datetime | None
    created_at: datetime | None
    expires_at: datetime | None
    missing_since: datetime | None
    max_usd: Decimal | None
    key_hash: str
    workspace: str | None
    base_url: str
    provider: str
    protocol: str
    endpoint: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """The open batches and requests, and what they can cost.

    `batches` counts this pipeline's open batches, `requests` the open requests of every pipeline. `max_usd` is the most
    that the open batches of this pipeline and its evaluations can cost; `max_usd_of_run` is the part that this run
    sent. `reserved_usd` and `reserved_usd_of_run` are what was reserved for them. `expected_usd` is the sum of the
    costs that were expected when the batches were prepared. `bounded` counts all chunks, open or not, that reserved
    less than the most that they can cost.
    """

    batches: int
    requests: int
    max_usd: Decimal
    max_usd_of_run: Decimal
    expected_usd: Decimal
    reserved_usd: Decimal
    reserved_usd_of_run: Decimal
    bounded: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """US dollars recorded for a pipeline: ever, by this run, since the UTC day began, since the UTC month began.

    A result counts for the day on which it is recorded, because only then its cost is known. Until then the most that
    its batch can cost is held back from the budget of each day on which the batch is open.
    """

    ever: Decimal
    by_run: Decimal
    today: Decimal
    this_month: Decimal


NO_USD = Decimal("0E-15")  # a sum of nothing, as the ledger has it
NOTHING_SPENT = Spent(ever=NO_USD, by_run=NO_USD, today=NO_USD, this_month=NO_USD)
# The id of no run: what is only looked at belongs to none.
NO_RUN = "00000000-0000-0000-0000-000000000000"
NO_LOAD = Load(
    batches=0,
    requests=0,
    max_usd=NO_USD,
    max_usd_of_run=NO_USD,
    expected_usd=NO_USD,
    reserved_usd=NO_USD,
    reserved_usd_of_run=NO_USD,
    bounded=0,
)


def add_event(
    session: Session,
    pipeline: str,
    kind: str,
    data: Mapping[str, Any],
    *,
    run_id: str | None = None,
    chunk_id: str | None = None,
) -> None:
    """Append one event. Values that JSON has no type for are written as text.

    Writes `ledger.events`.
    """
    values = {
        "pipeline": pipeline,
        "run_id": run_id,
        "chunk_id": chunk_id,
        "kind": kind,
        "data": json.dumps(_without_secrets(data), default=str),
        "now": session.now,
        "seq": session.seq,
    }
    session.execute(query("insert_event"), values)


def _without_secrets(value: Any) -> Any:
    """Return `value` with the values of `${NAME}` and of keys taken out of its sentences, and as UTF-8 text, which JSON
    needs.

    A text without a space is a name or an id, which other statements compare.
    """
    if isinstance(value, Mapping):
        return {name: _without_secrets(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_without_secrets(each) for each in value]
    if not isinstance(value, str):
        return value
    return as_utf_8(redacted(value) if " " in value else value)


def _families(names: Sequence[str]) -> Sql:
    """Return the pipelines' names without the part that evaluations add: a budget covers the evaluations too."""
    return quote_list([evaluated_pipeline(each) for each in names])


def standing_reviews(session: Session, names: Sequence[str], among: Sql = EVERY_KEY) -> Sql:
    """Return SQL for the reviews that are valid for the present answers, one row per key.

    `among` (`AND key_id IN (...)`) limits the keys. Where nobody has reviewed a row, as in most pipelines, the SQL
    looks nothing up.
    Reads `ledger.reviews`.
    """
    pipelines = quote_list(names)
    if not session.one(query("any_reviews", pipelines=pipelines))[0]:
        return query("no_reviews")
    return query("reviewed_values", pipelines=pipelines, among=among, not_withdrawn=not_withdrawn(names))


def not_withdrawn(names: Sequence[str]) -> Sql:
    """Return SQL for whether the review `h` of `ledger.reviews` was not taken back, and is not a withdrawal itself."""
    return query("not_withdrawn", pipelines=quote_list(names))


def has_open(session: Session) -> bool:
    """Return whether a chunk of any pipeline, or a call of `try`, may have no recorded end. Reads `ledger.events`.

    What a reading session finds out, later ones at the same commit know.
    """
    if session.blank or not session.reads:
        return not session.blank
    seq, found = session.work.known_open
    if seq != session.seq:
        found = bool(session.one(query("any_open"))[0])
        session.work.known_open = (session.seq, found)
    return found


def open_batches(session: Session, names: Sequence[str]) -> list[OpenBatch]:
    """Return the open chunks of the pipelines called `names`, oldest first.

    Reads `ledger.batches`.
    """
    if not has_open(session):
        return []
    rows = session.dictionaries(query("open_batches", pipelines=quote_list(names)))
    return [_open_batch(row) for row in rows]


def batches_of_families(session: Session, names: Sequence[str]) -> list[OpenBatch]:
    """Return the open chunks of the pipelines called `names` and of their evaluations, oldest first.

    Reads `ledger.batches`.
    """
    if not has_open(session):
        return []
    rows = session.dictionaries(query("open_of_families", families=_families(names)))
    return [_open_batch(row) for row in rows]


def is_paused(session: Session, names: Sequence[str]) -> bool:
    """Return whether `batchpipe cancel` paused the pipeline that has, or had, `names`: a rename ends no pause.

    Reads `ledger.events`.
    """
    return not session.blank and bool(session.one(query("paused", pipelines=quote_list(names)))[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenCall:
    """A realtime call without a recorded end. It has no batch."""

    pipeline: str
    chunk_id: str
    run_id: str
    model: str
    key_hash: str
    base_url: str
    provider: str
    protocol: str
    endpoint: str | None
    recorded_at: datetime
    batch_id: str | None = None


def open_calls(session: Session, names: Sequence[str]) -> list[OpenCall]:
    """Return the calls of the pipelines called `names` and of their evaluations whose end is not recorded.

    Reads `ledger.events`.
    """
    if not has_open(session):
        return []
    rows = session.dictionaries(query("calls_of_families", families=_families(names)))
    return [OpenCall(**each) for each in rows]


def call_is_ended(session: Session, chunk_id: str) -> bool:
    """Return whether the end of a call is recorded. Reads `ledger.events`."""
    return bool(session.one(query("call_is_ended"), {"chunk_id": chunk_id})[0])


def every_open_batch(session: Session) -> list[OpenBatch]:
    """Return the open chunks of all pipelines, oldest first.

    Reads `ledger.batches`.
    """
    if not has_open(session):
        return []
    return [_open_batch(row) for row in session.dictionaries(query("every_open"))]


def batches_with(
    session: Session, statement: Sql, parameters: Mapping[str, Any] | None = None
) -> list[tuple[OpenBatch, dict[str, Any]]]:
    """Return the chunks that `statement` selects of `ledger.batches`, each with all columns of its row."""
    return [(_open_batch(row), row) for row in session.dictionaries(statement, parameters)]


def _open_batch(row: dict[str, Any]) -> OpenBatch:
    values: dict[str, Any] = {name: row[name] for name in OpenBatch.__dataclass_fields__}
    return OpenBatch(**values | {name: str(row[name]) for name in ("chunk_id", "run_id")})


def open_load(session: Session, names: Sequence[str], run_id: str) -> Load:
    """Return the open batches and requests of the pipelines called `names`, and what the batches can cost.

    Reads the ledger.
    """
    if session.blank:
        return NO_LOAD
    return _load(session, quote_list(names), _families(names), run_id)


def load_of_all(session: Session, run_id: str) -> Load:
    """Return the open batches and requests of all pipelines, and what the batches can cost. Reads the ledger."""
    return _load(session, query("every_pipeline"), query("every_family"), run_id)


def _load(session: Session, pipelines: Sql, families: Sql, run_id: str) -> Load:
    if not has_open(session):
        return replace(NO_LOAD, bounded=session.one(query("bounded_chunks", families=families))[0])
    statement = query("open_load", pipelines=pipelines, families=families)
    return Load(**session.dictionaries(statement, {"run_id": run_id})[0])


def spent(session: Session, names: Sequence[str], run_id: str) -> Spent:
    """Return what the pipelines called `names` and their evaluations have spent so far.

    Reads the ledger.
    """
    if not session.knows(names):
        return NOTHING_SPENT
    return _spent(session, _families(names), run_id)


def spent_by_all(session: Session, run_id: str) -> Spent:
    """Return what all pipelines have spent so far, those too whose files are gone. Reads the ledger."""
    return _spent(session, query("every_family"), run_id)


def _spent(session: Session, families: Sql, run_id: str) -> Spent:
    day = session.now.replace(hour=0, minute=0, second=0, microsecond=0)
    parameters = {"run_id": run_id, "day": day, "month": day.replace(day=1)}
    row = session.one(query("spent", families=families, booked=query("booked")), parameters)
    return Spent(ever=row[0], by_run=row[1], today=row[2], this_month=row[3])
