"""Record the results that the raw folder holds of open chunks. What the database lost comes back, nothing twice."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import NoReturn

from batchpipe.common.errors import CredentialsError, LockedError, ProviderError
from batchpipe.common.logs import Tell
from batchpipe.engine.access.providers import PipelineProviders
from batchpipe.engine.batches.collect import Collector
from batchpipe.engine.batches.free_decisions import record_version
from batchpipe.engine.batches.in_flight import FAILURES, look_after_batches
from batchpipe.engine.batches.recover import Recovery
from batchpipe.engine.calls.recorded import record_saved_answer
from batchpipe.engine.context import Context
from batchpipe.engine.exchange.downloads import noted_end
from batchpipe.engine.exchange.run_parts import RunParts
from batchpipe.engine.ledger.events import WITHOUT_BATCH, OpenBatch, batches_of_families, open_calls
from batchpipe.engine.ledger.locks import pipeline_lock
from batchpipe.engine.ledger.raw_folder import RawFolder, raw_folder_of
from batchpipe.engine.ledger.renames import record_rename, rename_links, with_history
from batchpipe.engine.ledger.saved_chunk import SavedChunk
from batchpipe.engine.output.output_table import ensure_output
from batchpipe.engine.replay.take_in import RawReplay, say_taken_in, unreadable
from batchpipe.engine.replay.where_free import take_in_vanished
from batchpipe.engine.resolved.panels import Panel
from batchpipe.engine.resolved.recorded_recipes import under_recorded_recipes
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.engine.resolved.rungs import ladder_of
from batchpipe.pipeline.model import PipelineFile
from batchpipe.providers import BatchState, RungSettings
from batchpipe.store.database import Session, Work
from batchpipe.store.queries import query


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
    """Take in what a pipeline's raw folders hold, and record the results; a person asked for it.

    The caller holds the pipeline's lock.
    Writes the ledger and the output table.
    """
    with recovery.context.database.reading(recovery.work) as session:
        file = with_history(recovery.file, rename_links(session))
        replay = RawReplay(context=recovery.context, work=recovery.work, names=file.pipeline.names)
        unknown = replay.unknown(session)
    taken = replay.take_in(unknown, asked=True)
    with recovery.context.database.reading(recovery.work) as session:
        file = with_history(file, rename_links(session))
        left = batches_of_families(session, file.pipeline.names)
    replay.late_notes(left)
    recorder = make_recorder(recovery.context, recovery.work, file)
    found = recorder.record(unchecked=True, leave=taken.damaged)
    found.chunks, found.others = taken.chunks, taken.others
    found.damaged = [*taken.damaged, *found.damaged]
    return found


def leave_others(recovery: Recovery) -> tuple[int, Sequence[str]]:
    """Record that another database's chunks are to be left alone, and that those which cannot be read are given up.

    Return how many there are of another database, and the ids of those that cannot be read.

    Writes `ledger.events`.
    """
    replay = RawReplay(context=recovery.context, work=recovery.work, names=recovery.names)
    with recovery.context.database.reading(recovery.work) as session:
        unknown = replay.unknown(session)
    return replay.leave(unknown), replay.give_up_unreadable(unknown)


def take_in_all(context: Context, work: Work, file: PipelineFile) -> PipelineFile:
    """Take in what a pipeline's raw folders hold and the ledger does not know, with its results, and say so. Return
    `file` as one that continues the histories that the ledger knows now.

    `try` and `eval` do so before they send anything; `run` does the same in steps. The input is looked at only where
    there are results to record. Where a run holds the pipeline's lock, it has taken them in.
    Writes the ledger and the output table. Raises GateError where a person has to decide about another database's
    chunks, or about chunks that cannot be read.
    """
    with context.database.reading(work) as session:
        file = with_history(file, rename_links(session))
        replay = RawReplay(context=context, work=work, names=file.pipeline.names)
        unknown = replay.unknown(session)
        left = batches_of_families(session, replay.names)
        calls = open_calls(session, replay.names)
    raw = RawFolder(path=context.database.folder / "raw")
    saved = [each for each in left if raw.results(each.chunk_id) is not None]
    answered = any(raw.results(each.chunk_id) is not None for each in calls)
    take_in_vanished(context, work, file, unknown)
    if not (unknown.ours or unknown.asks or unknown.damaged or saved or answered):
        return file
    try:
        with pipeline_lock(context.database.make_folder("locks"), file.pipeline.name, context.clock()):
            taken = replay.take_in(unknown)
            replay.late_notes(saved)
            with context.database.reading(work) as session:
                file = with_history(file, rename_links(session))
            make_recorder(context, work, file).record(leave=taken.damaged)
    except LockedError:
        return file
    say_taken_in(context, taken)
    if taken.damaged:
        raise unreadable(file.pipeline.name, taken.damaged, raw)
    return file


def make_recorder(context: Context, work: Work, file: PipelineFile) -> RawRecorder:
    """Resolve `file`, record its version and the link of a rename, make its output table, and return what records raw
    results.

    Writes `ledger.prompt_versions`, `ledger.policies`, `ledger.events`, the output table.
    """
    with context.source(file, {}) as source:
        resolved = context.resolve(file, source, answers=False)
    git_commit = context.git_commit()
    with context.database.writing(work, None) as session:
        run_id = session.new_id()
        resolved = under_recorded_recipes(session, resolved)
        record_version(session, resolved, run_id, git_commit)
        record_rename(session, resolved.file, run_id)
        ensure_output(session, resolved, run_id)
    return RawRecorder(context=context, work=work, resolved=resolved)


def record_evaluated(
    context: Context,
    work: Work,
    resolved: Resolved,
    ended: Mapping[str, BatchState],
    providers: PipelineProviders,
    tell: Tell,
) -> None:
    """Collect the batches of evaluations that have `ended`, by chunk id, unless an evaluation is at work on them.

    What a killed evaluation was asking in realtime is recorded too, and the batches are searched for whose submit it
    has not recorded: nobody may ask that evaluation's model again. What cannot be downloaded is left to the evaluation.
    Reads `ledger.batches`. Writes what `Collector.collect` and `BatchesInFlight.look` write.
    """
    recorder = RawRecorder(context=context, work=work, resolved=resolved, providers=providers)
    with context.database.reading(work) as session:
        left = [each for each in batches_of_families(session, resolved.names) if each.pipeline not in resolved.names]
    locks = context.database.make_folder("locks")
    searched = {each.pipeline: each for each in left if each.state in WITHOUT_BATCH}
    for name, each in searched.items():
        with suppress(LockedError, ProviderError, *FAILURES), pipeline_lock(locks, name, context.clock()):
            recorder.look_after(each, tell)
    for each in left:
        if each.pipeline in searched or (each.chunk_id not in ended and each.state != "asking"):
            continue
        with suppress(LockedError, *FAILURES), pipeline_lock(locks, each.pipeline, context.clock()):
            recorder.collect(each, ended.get(each.chunk_id))


@dataclass(frozen=True, slots=True, kw_only=True)
class RawRecorder:
    """Records the results of a pipeline's open chunks that the raw folder holds, in the order of the chunks.

    With `providers` it downloads again what came damaged; else no provider is asked.
    """

    context: Context
    work: Work
    resolved: Resolved
    providers: PipelineProviders | None = None

    def record(self, *, unchecked: bool = False, leave: Collection[str] = ()) -> Rebuilt:
        """Record the results of every open chunk whose batch is known to have ended; return the counts.

        With `unchecked` those too that were only downloaded, and those that a killed process was asking. Chunks of
        `leave` are left out: their answers cannot be read. No provider is asked.
        Reads `ledger.batches`. Writes what `Collector.collect` writes.
        """
        found = Rebuilt()
        with self.context.database.reading(self.work) as session:
            left = batches_of_families(session, self.resolved.names)
        for each in left:
            saved = self._folder.saved_chunk(each.chunk_id)
            if each.chunk_id not in leave and self._is_due(each, saved, unchecked=unchecked):
                self._collect(each, saved, found)
        self.record_calls(leave)
        with self.context.database.reading(self.work) as session:
            found.in_flight = len(batches_of_families(session, self.resolved.names))
        return found

    def look_after(self, batch: OpenBatch, tell: Tell) -> None:
        """Search once for the lost submits under the name of `batch`, an evaluation's, and collect what has ended.

        Reads and writes what `BatchesInFlight.look` does.
        """
        with self.context.database.reading(self.work) as session:
            resolved = self._under_name_of(session, batch)
        parts = self._collector(resolved, batch.run_id).parts
        look_after_batches(parts, self.context, self.context.prices(), tell, {}).look(force=True)

    def collect(self, batch: OpenBatch, state: BatchState | None) -> None:
        """Collect a batch that has just ended in this state; without one, close a chunk that was asked in realtime.

        Raises what the provider's `collect` raises, LockedError where a process still asks the chunk.
        """
        with self.context.database.reading(self.work) as session:
            resolved = self._under_name_of(session, batch)
        collector = self._collector(resolved, batch.run_id)
        if state is not None:
            collector.collect(batch, state)
            return
        from batchpipe.engine.realtime.closing import ChunkClosing
        from batchpipe.engine.realtime.journal import closing_left

        with closing_left(self._folder, batch.chunk_id):
            ChunkClosing(collector=collector).close(batch)

    def _is_due(self, batch: OpenBatch, saved: SavedChunk | None, *, unchecked: bool) -> bool:
        """Return whether the results of an open chunk are to be recorded now.

        Who asks a chunk of an evaluation in realtime may be at work: it holds another lock.
        """
        noted = saved is not None and saved.data_of("batch_ended") is not None
        if batch.state == "asking":
            return noted or (unchecked and batch.pipeline in self.resolved.names)
        return self._folder.results(batch.chunk_id) is not None and (noted or unchecked)

    def record_calls(self, leave: Collection[str] = ()) -> None:
        """Record the kept answers of realtime calls whose end is not recorded, as at the time of the call.

        Reads `ledger.events`. Writes what `Collector.record_answer` writes.
        """
        with self.context.database.reading(self.work) as session:
            calls = open_calls(session, self.resolved.names)
        for each in calls:
            path = self._folder.results(each.chunk_id)
            if path is not None and each.chunk_id not in leave:
                collector = self._collector(self.resolved, each.run_id, each.recorded_at)
                provider = collector.parts.providers.known_of(each)
                record_saved_answer(collector, each.chunk_id, path, provider, each.provider, each.model)

    @property
    def _folder(self) -> RawFolder:
        """Return the raw folder of the database."""
        return raw_folder_of(self.context.database)

    def _collect(self, batch: OpenBatch, saved: SavedChunk | None, found: Rebuilt) -> None:
        """Record the kept results of a chunk, at the time at which they came."""
        came_at = (saved.time_of("batch_ended") if saved else None) or self.context.clock()
        with self.context.database.reading(self.work) as session:
            resolved = self._under_name_of(session, batch)
        collector = self._collector(resolved, batch.run_id, came_at)
        if batch.state == "asking":
            from batchpipe.engine.realtime.closing import ChunkClosing

            asked = ChunkClosing(collector=collector).close(batch)
            if asked is None:
                return
            collected = asked
        else:
            collected = collector.collect(batch, _state(batch, saved))
        if collected.foreign:
            found.damaged.append(batch.chunk_id)
            return
        found.batches += 1
        found.accepted += collected.accepted
        found.failed += collected.failed
        found.due_again += collected.due_again

    def _collector(self, resolved: Resolved, run_id: str, came_at: datetime | None = None) -> Collector:
        """Return what records results as they came at `came_at` (naive UTC; None: now)."""
        database = self.context.database
        nobody = replace(self.context.providers_of(self.resolved.file), make=_nobody)
        parts = RunParts(
            resolved=resolved,
            database=database if came_at is None else replace(database, clock=lambda: came_at),
            work=self.work,
            raw_folder=self._folder,
            providers=self.providers or nobody,
            run_id=run_id,
        )
        return Collector(
            parts=parts,
            prices=self.context.prices(),
            poll_interval=self.context.settings.poll_interval,
            rebuilding=self.providers is None,
        )

    def _under_name_of(self, session: Session, batch: OpenBatch) -> Resolved:
        """Return the resolved pipeline; for the chunk of an evaluation, that evaluation's: one rung and no table.

        Its answers are judged by the policy that is recorded with their requests. Where a panel voted that the file no
        longer has, they are recorded, and decide no row.
        Reads `ledger.requests`.
        """
        if batch.pipeline in self.resolved.names:
            return self.resolved
        file, pipeline = self.resolved.file, self.resolved.file.pipeline
        room, voted = session.one(query("room_of_chunk"), {"chunk_id": batch.chunk_id})
        number = self._panel_of(batch) if voted else None
        changed: dict[str, object] = {"accept": None, "when": None}
        changed |= {} if number is not None else {"panel": (), "samples": 1}
        alone = pipeline.models[(number or 1) - 1].model_copy(update=changed)
        named = pipeline.model_copy(update={"name": batch.pipeline, "renamed_from": None, "models": (alone,)})
        evaluated = file.model_copy(update={"pipeline": named, "evaluates": tuple(self.resolved.names)})
        asked = batch.provider if batch.provider in self.resolved.providers.by_name else ""
        rung = replace(self.resolved.rungs[0], model=batch.model, provider=asked, max_tokens=room)
        rungs: tuple[RungSettings, ...] = (rung,)
        panels: dict[int, Panel] = {}
        if number is not None:
            ladder = ladder_of(evaluated, self.resolved.providers)
            rungs, panels = ladder.rungs, {1: replace(self.resolved.panels[number], parts=ladder.parts[1])}
        return replace(
            self.resolved,
            file=evaluated,
            rungs=rungs,
            panels=panels,
            policy_hash="",
            version=replace(self.resolved.version, prompt_version=""),
        )

    def _panel_of(self, batch: OpenBatch) -> int | None:
        """Return the number of the first rung of today whose panel asks the model of a batch; None without one."""
        rungs = self.resolved.rungs
        for number, panel in self.resolved.panels.items():
            if batch.model in {rungs[each.seat - 1].model for each in panel.parts}:
                return number
        return None


def _state(batch: OpenBatch, saved: SavedChunk | None) -> BatchState:
    """Return the state of the batch as the provider reported it, as far as it is kept."""
    ended = (saved.data_of("batch_ended") if saved else None) or {}
    return BatchState(
        batch_id=batch.batch_id or "",
        ended=noted_end(ended),
        total=batch.requests,
        counts=ended.get("counts") or {},
        created_at=batch.created_at or batch.prepared_at,
        expires_at=batch.expires_at,
        archived=False,
    )


def _nobody(name: str) -> NoReturn:
    """Raise CredentialsError: the ledger is rebuilt without a key and without asking a provider."""
    hint = "Please report this: results of the raw folder are recorded without asking a provider."
    raise CredentialsError(f"{name} was asked for while the ledger was rebuilt", hint=hint)
