"""Read where pipelines stand: rows by state, open chunks, orders, runs, and what is spent."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from batchpipe.commands.call.call import Call, load_each
from batchpipe.commands.printing.raw import unknown_object
from batchpipe.commands.status.local_rung import LocalModelStatus, read_local_models
from batchpipe.commands.status.states import Named, awaited_room, rows_by_state
from batchpipe.commands.status.upstream import Awaited, read_awaited
from batchpipe.commands.status.waits import Wait, read_booked, read_waits
from batchpipe.common.errors import PipelineError
from batchpipe.common.given import as_utf_8
from batchpipe.engine.context import Context
from batchpipe.engine.ledger.events import OpenBatch, batches_of_families, is_paused
from batchpipe.engine.ledger.raw_folder import RawFolder, RawSize, open_results
from batchpipe.engine.ledger.renames import rename_links, with_history
from batchpipe.engine.ledger.unknown_chunks import RawLog
from batchpipe.engine.replay.take_in import raw_log
from batchpipe.engine.replay.where_free import vanished
from batchpipe.engine.upstream.completeness import Completenesses
from batchpipe.pipeline.files import FOLDER, pipeline_files
from batchpipe.sql.quoting import Sql, quote_list
from batchpipe.store.database import Session
from batchpipe.store.queries import query

LAST_RUNS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenChunk:
    """An open chunk. `held_until`: when a chunk of unknown outcome counts as lost. Times are naive UTC.

    `answered` counts the answers so far of a chunk that is asked in realtime; None for a batch.
    """

    chunk_id: str
    batch_id: str | None
    state: str
    rung: int
    provider: str
    model: str
    requests: int
    max_usd: Decimal | None
    prepared_at: datetime
    submitted_at: datetime | None
    expires_at: datetime | None
    age_seconds: float
    expires_in_seconds: float | None
    held_until: datetime | None
    answered: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenOrder:
    """An open order: what a person asked for that is not done yet. `selection` is the `--where` of the order."""

    number: int
    kind: str
    argument: str
    selection: str | None
    recorded_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A call of `run`. `status` is "open" until its end is recorded. `results` and the money are what it collected."""

    run_id: str
    started_at: datetime
    ended_at: datetime | None
    status: str
    message: str | None
    submitted: int
    results: int
    cost_usd: Decimal | None
    realtime_usd: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """The state of one pipeline. `rows` counts keys by state; `review` is part of `accepted`.

    `booked_usd` is the most that batches can have cost whose results are gone. `raw`: the number of result files, and
    the bytes of all files that are kept of their chunks. `holder` names the process that holds the pipeline's lock.
    `waits` says which requests wait for room in which budget, `troubles` what else is waited for. `to_take_in` says
    what a run takes in from the raw folder. `evaluations` are the open chunks of the pipeline's evaluations and of
    their judges, `evaluations_usd` is what their answers have cost; neither is in the other numbers.
    `waits_for` names the pipelines that it reads and that are not complete, `upstream` says why.
    `local` are the versions of the local model.
    """

    pipeline: str
    paused: bool
    rows: Mapping[str, int]
    batches: Sequence[OpenChunk]
    evaluations: Sequence[OpenChunk]
    orders: Sequence[OpenOrder]
    runs: Sequence[Run]
    cost_usd: Decimal | None
    evaluations_usd: Decimal | None
    booked_usd: Decimal
    unpriced: int
    raw: Mapping[str, int]
    holder: str | None
    to_take_in: Mapping[str, Any]
    troubles: Sequence[Wait]
    waits: str | None = None
    waits_for: Sequence[str] = ()
    upstream: Sequence[Awaited] = ()
    local: Sequence[LocalModelStatus] = ()


def chosen(call: Call, arguments: Sequence[str]) -> tuple[list[Named], bool]:
    """Return the pipelines that `arguments` name (all without any), and whether one was named by file or name.

    A file that cannot be read is named by its stem, and a warning says what is wrong with it.
    """
    if not arguments and not pipeline_files(call.root / FOLDER):
        return [], False
    selection = call.select(arguments, all=not arguments)
    files, problems = load_each(selection, call.root)
    by_path = {file.path: file for file in files}
    named: dict[str, Named] = {}
    for path in selection.paths:
        if path in by_path:
            name, names = by_path[path].pipeline.name, tuple(by_path[path].pipeline.names)
        else:
            first = problems[path][0]
            call.warn(f"warning: {first.where}: {first.what}")
            name = as_utf_8(path.stem)
            names = (name,)
        named.setdefault(name, Named(name=name, names=names, file=by_path.get(path)))
    return list(named.values()), selection.single


def with_links(session: Session, named: Sequence[Named]) -> list[Named]:
    """Return `named` as pipelines that continue every history which recorded links lead back to."""
    links = rename_links(session)
    files = [with_history(each.file, links) if each.file is not None else None for each in named]
    return [
        Named(name=each.name, names=tuple(file.pipeline.names) if file is not None else each.names, file=file)
        for each, file in zip(named, files, strict=True)
    ]


def with_ledger(session: Session, named: Sequence[Named]) -> list[Named]:
    """Return `named`, and the pipelines that only the ledger knows."""
    covered = {name for each in named for name in each.names}
    others = [name for (name,) in session.rows(query("known_pipelines")) if name not in covered]
    return [*named, *(Named(name=name, names=(name,)) for name in others)]


def read_statuses(context: Context, named: Sequence[Named], *, everything: bool) -> list[Status]:
    """Return the status of each pipeline, read in one session. `everything` adds those that only the ledger knows."""
    database = context.database
    work = context.work()
    try:
        for each in named:  # who reads whom may be looked up in the database, which no session may have open then
            with suppress(PipelineError):
                context.chain.ordered([each.file] if each.file is not None else [])
        with database.reading(work) as session:
            named = with_links(session, named)
            chosen_ones = with_ledger(session, named) if everything else named
            raw = RawFolder(path=database.folder / "raw").sizes()
            others = Completenesses(session=session, chain=context.chain)
            log = raw_log(context).listed(session)
            return [_read(session, each, context, raw, others, log) for each in chosen_ones]
    finally:
        work.close()


def last_runs(session: Session, named: Named, number: int) -> list[Run]:
    """Return the newest `number` runs, newest first.

    Reads `ledger.events`, `ledger.results`.
    """
    statement = query("last_runs", pipelines=quote_list(named.names))
    return [Run(**each) for each in session.dictionaries(statement, {"count": number})]


def _read(
    session: Session,
    named: Named,
    context: Context,
    raw: Mapping[str, RawSize],
    others: Completenesses,
    log: RawLog,
) -> Status:
    pipelines = quote_list(named.names)
    unknown = log.unknown(session, named.names)
    kept = [raw[name] for (name,) in session.rows(query("chunk_ids", pipelines=pipelines)) if name in raw]
    cost, unpriced = session.one(query("total_cost", pipelines=pipelines))
    of_family = batches_of_families(session, named.names)
    open_now = [each for each in of_family if each.pipeline in named.names]
    evaluating = [each for each in of_family if each.pipeline not in named.names]
    awaited = read_awaited(others, named.file)
    asked = context.providers_without_file()
    waiting = sorted({*named.names, *(each.pipeline for each in evaluating)})
    return Status(
        pipeline=named.name,
        paused=is_paused(session, named.names),
        rows=rows_by_state(session, named),
        batches=[_chunk(each, session.now, context) for each in open_now],
        evaluations=[_chunk(each, session.now, context) for each in evaluating],
        orders=_orders(session, pipelines),
        runs=last_runs(session, named, LAST_RUNS),
        cost_usd=cost,
        evaluations_usd=session.one(query("evaluations_cost", pipelines=pipelines))[0],
        booked_usd=read_booked(session, named.names),
        unpriced=unpriced,
        raw={"files": sum(each.results for each in kept), "bytes": sum(each.bytes for each in kept)},
        waits=awaited_room(session, pipelines),
        waits_for=[each.pipeline for each in awaited if each.wait != "circle"],
        upstream=awaited,
        holder=_holder(context.database.folder / "locks" / f"{named.name}.holder.json"),
        to_take_in=unknown_object(unknown, vanished(named.file, unknown) if named.file is not None else ()),
        local=read_local_models(session, named.file),
        troubles=read_waits(
            session, waiting, of_family, {} if context.settings.emulator else asked.unaskable(of_family)
        ),
    )


def _orders(session: Session, pipelines: Sql) -> list[OpenOrder]:
    rows = session.dictionaries(query("open_orders", pipelines=pipelines))
    return [OpenOrder(**{name: row[name] for name in OpenOrder.__dataclass_fields__}) for row in rows]


def _answered(batch: OpenBatch, context: Context) -> int | None:
    """Return how many answers the results of a chunk hold that is asked in realtime; None for a batch, and where they
    cannot be read.
    """
    if batch.state != "asking":
        return None
    path = RawFolder(path=context.database.folder / "raw").results(batch.chunk_id)
    if path is None:
        return 0
    try:
        with open_results(path) as file:
            return file.read().count(b"\n")
    except OSError:
        return None


def _chunk(batch: OpenBatch, now: datetime, context: Context) -> OpenChunk:
    begun = batch.created_at or batch.submitted_at or batch.prepared_at
    left = (batch.expires_at - now).total_seconds() if batch.expires_at else None
    wait = timedelta(seconds=context.reconcile_wait)
    held = batch.unknown_at + wait if batch.unknown_at and batch.state == "held" else None
    return OpenChunk(
        chunk_id=batch.chunk_id,
        batch_id=batch.batch_id,
        state=batch.state,
        rung=batch.rung,
        provider=batch.provider,
        model=batch.model,
        requests=batch.requests,
        max_usd=batch.max_usd,
        prepared_at=batch.prepared_at,
        submitted_at=batch.submitted_at,
        expires_at=batch.expires_at,
        age_seconds=(now - begun).total_seconds(),
        expires_in_seconds=left,
        held_until=held,
        answered=_answered(batch, context),
    )


def _holder(path: Path) -> str | None:
    try:
        holding = json.loads(path.read_text("utf-8"))
        return f"process {holding['process']}, since {holding['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return None
