"""Rebuild the ledger from the raw folder: what the database lost comes back through the collector, nothing twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import NoReturn

from batchpipe.common.errors import InternalError
from batchpipe.engine.batches.collect import Collector
from batchpipe.engine.batches.free_decisions import record_version
from batchpipe.engine.batches.recover import Recovery
from batchpipe.engine.batches.run_parts import RunParts
from batchpipe.engine.ledger.events import OpenBatch, add_event, open_batches
from batchpipe.engine.ledger.raw_folder import Note, RawFolder, SavedChunk, restore_requests
from batchpipe.engine.output.output_table import ensure_output
from batchpipe.engine.resolved.recorded_recipes import under_recorded_recipes
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.providers import BatchState
from batchpipe.sql.quoting import quote_list
from batchpipe.store.database import Database, Session, Work
from batchpipe.store.queries import query

SUBMITTED = ("chunk_submitted", "chunk_adopted")
# Of rows that were kept before recipes were recorded.
OLDEST_RECIPE = 1


@dataclass(slots=True, kw_only=True)
class Rebuilt:
    """Counts what came back.

    `in_flight` are batches that are still open. `others` are chunks of other databases in the folder, `damaged` those
    that cannot be read.
    """

    chunks: int = 0
    batches: int = 0
    accepted: int = 0
    failed: int = 0
    due_again: int = 0
    in_flight: int = 0
    others: int = 0
    damaged: list[str] = field(default_factory=list)


def rebuild(recovery: Recovery) -> Rebuilt:
    """Bring back the requests, events, results, decisions and the output table of a pipeline.

    The caller holds the pipeline's lock.
    Writes the ledger and the output table.
    """
    context, work = recovery.context, recovery.work
    with context.source(recovery.file, {}) as source:
        resolved = context.resolve(recovery.file, source)
    rebuilder = Rebuilder(
        recovery=recovery,
        resolved=resolved,
        raw_folder=recovery.raw_folder,
        database=context.database,
        work=work,
    )
    return rebuilder.rebuild()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuilder:
    """Goes through the chunks of one pipeline in the order in which they were prepared."""

    recovery: Recovery
    resolved: Resolved
    raw_folder: RawFolder
    database: Database
    work: Work
    found: Rebuilt = field(default_factory=Rebuilt)

    def rebuild(self) -> Rebuilt:
        """Bring back every chunk that can be read, and collect its results; return the counts."""
        chunks = self._readable(self._ours())
        self._prepare(chunks)
        for saved in chunks:
            self._restore(saved)
            self._collect(saved.chunk_id, saved)
        with self.database.reading(self.work) as session:
            left = open_batches(session, self.resolved.names)
        for batch in left:
            self._collect(batch.chunk_id, None)
        with self.database.reading(self.work) as session:
            self.found.in_flight = len(open_batches(session, self.resolved.names))
        return self.found

    def _ours(self) -> list[SavedChunk]:
        """Return the chunks of this pipeline and this database.

        Databases in one folder share the raw folder. What belongs to others is counted.
        """
        with self.database.reading(self.work) as session:
            (own,) = session.one(query("database_id"))
        mine = [each for each in self.raw_folder.saved_chunks() if each.pipeline in self.resolved.names]
        ours = [each for each in mine if own == each.database or self.database.path.name == each.file]
        self.found.others = len(mine) - len(ours)
        return ours

    def _readable(self, chunks: Sequence[SavedChunk]) -> list[SavedChunk]:
        """Return the chunks whose requests are kept; the others are counted as damaged."""
        good = [each for each in chunks if self.raw_folder.requests(each.chunk_id).is_file()]
        self.found.damaged += [each.chunk_id for each in chunks if each not in good]
        return good

    def _prepare(self, chunks: Sequence[SavedChunk]) -> None:
        """Bring back versions and policies as they were recorded, and the output table.

        The number of the next commit is raised above the newest one of the raw folder.
        Writes `ledger.commits`, `ledger.prompt_versions`, `ledger.policies`, the output table.
        """
        names = quote_list(self.resolved.names)
        with self.database.writing(self.work, None) as session:
            newest = max((self._newest_commit(session, each) for each in chunks), default=0)
            if newest > session.seq:
                session.execute(query("raise_commit"), {"seq": newest, "now": session.now})
            for each in chunks:
                stamp = {"seq": session.seq}
                version = {"recipe": OLDEST_RECIPE, **each.version}
                session.execute(query("restore_version", pipelines=names), version | stamp)
                policy = {"recipe": OLDEST_RECIPE, "key_types": None, **each.policy}
                policy |= stamp | {"now": policy.pop("recorded_at")}
                session.execute(query("insert_policy", pipelines=names), policy)
            run_id = session.new_id()
            resolved = under_recorded_recipes(session, self.resolved)
            record_version(session, resolved, run_id, self.recovery.context.git_commit())
            ensure_output(session, self.resolved, run_id)

    def _newest_commit(self, session: Session, saved: SavedChunk) -> int:
        """Return the newest commit that the kept requests of a chunk name."""
        path = str(self.raw_folder.requests(saved.chunk_id))
        return int(session.one(query("newest_commit_of_requests"), {"path": path})[0] or 0)

    def _restore(self, saved: SavedChunk) -> None:
        """Bring back the requests and the events of a chunk, where they are missing.

        Writes `ledger.requests`, `ledger.events`.
        """
        chunk = {"chunk_id": saved.chunk_id}
        with self.database.reading(self.work) as session:
            known, collected = session.one(query("chunk_is_known"), chunk)
            kinds = {kind for kind, _, _ in session.rows(query("chunk_events"), chunk)}
            runs = {run_id for (run_id,) in session.rows(query("known_runs"))}
        notes = [] if collected else [each for each in _notes(saved) if each.kind not in kinds]
        if known and not notes:
            return
        with self.database.writing(self.work, saved.run_id) as session:
            if saved.run_id not in runs:
                ended = [Note(kind="run_ended", data={"status": "restored"}, recorded_at=saved.notes[-1].recorded_at)]
                begun = [Note(kind="run_started", data={}, recorded_at=saved.notes[0].recorded_at)]
                self._append(session, saved, [*begun, *ended], None)
            if not known:
                restore_requests(session, self.raw_folder.requests(saved.chunk_id))
                self.found.chunks += 1
            self._append(session, saved, notes, saved.chunk_id)

    def _append(self, session: Session, saved: SavedChunk, notes: Sequence[Note], chunk_id: str | None) -> None:
        """Record `notes` as events at the times at which they were noted.

        Writes `ledger.events`.
        """
        for note in notes:
            at = replace(session, now=note.recorded_at)
            add_event(at, saved.pipeline, note.kind, note.data, run_id=saved.run_id, chunk_id=chunk_id)

    def _collect(self, chunk_id: str, saved: SavedChunk | None) -> None:
        """Record the kept results of a chunk that is open, at the time at which they came.

        Reads the ledger. Writes what `Collector.collect` writes.
        """
        if self.raw_folder.results(chunk_id) is None:
            return
        with self.database.reading(self.work) as session:
            open_now = open_batches(session, self.resolved.names)
            identity = session.dictionaries(query("chunk_identity"), {"chunk_id": chunk_id})
        batch = next((each for each in open_now if each.chunk_id == chunk_id), None)
        if batch is None or not identity:
            return
        came_at = (saved.time_of("batch_ended") if saved else None) or self.database.clock()
        parts = RunParts(
            resolved=self.resolved,
            database=replace(self.database, clock=lambda: came_at),
            work=self.work,
            raw_folder=self.raw_folder,
            provider=_nobody,
            run_id=identity[0]["run_id"],
        )
        collector = Collector(
            parts=parts,
            prices=self.recovery.context.prices(),
            poll_interval=self.recovery.context.settings.poll_interval,
            rebuilding=True,
        )
        collected = collector.collect(batch, _state(batch, saved))
        if collected.foreign:
            self.found.damaged.append(chunk_id)
            return
        self.found.batches += 1
        self.found.accepted += collected.accepted
        self.found.failed += collected.failed
        self.found.due_again += collected.due_again


def _notes(saved: SavedChunk) -> list[Note]:
    """Return the events to bring back. The collector records the end of a batch itself."""
    notes = [each for each in saved.notes if each.kind != "batch_ended"]
    ended = saved.data_of("batch_ended")
    moment = saved.time_of("batch_ended")
    if ended is not None and moment is not None and saved.data_of(*SUBMITTED) is None:
        notes.append(Note(kind="chunk_adopted", data={"batch_id": ended["batch_id"]}, recorded_at=moment))
    return notes


def _state(batch: OpenBatch, saved: SavedChunk | None) -> BatchState:
    """Return the state of the batch as the provider reported it, as far as it is kept."""
    ended = (saved.data_of("batch_ended") if saved else None) or {}
    return BatchState(
        batch_id=batch.batch_id or "",
        ended=True,
        total=batch.requests,
        counts=ended.get("counts") or {},
        created_at=batch.created_at or batch.prepared_at,
        expires_at=batch.expires_at,
        ended_at=_moment(ended.get("ended_at")),
        archived=False,
    )


def _moment(text: str | None) -> datetime | None:
    """Return the time that `text` names in ISO 8601; None for None."""
    return datetime.fromisoformat(text) if text else None


def _nobody() -> NoReturn:
    """Raise InternalError: the ledger is rebuilt without asking a provider."""
    hint = "Please report this: `recover --from-raw` asks no provider."
    raise InternalError("a provider was asked for while the ledger was rebuilt", hint=hint)
