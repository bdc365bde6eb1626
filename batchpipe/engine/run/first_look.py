"""What a run does before it needs its input or its pipeline's files: take in the raw folder, save what has ended.

A broken source, a doubled key or a mistake in a prompt then leave no paid results at the provider.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial

from batchpipe.common.call_pool import Pool
from batchpipe.common.errors import LockedError, ProviderError
from batchpipe.common.logs import Event, Tell
from batchpipe.common.progress import Phase
from batchpipe.engine.access.providers import PipelineProviders
from batchpipe.engine.batches.in_flight import DOWNLOADS_AT_ONCE, FAILURES
from batchpipe.engine.context import Context
from batchpipe.engine.exchange.downloads import can_be_saved, download_results
from batchpipe.engine.ledger.events import (
    WITHOUT_BATCH,
    OpenBatch,
    OpenCall,
    batches_of_families,
    every_open_batch,
    is_paused,
    open_batches,
    open_calls,
)
from batchpipe.engine.ledger.locks import pipeline_lock
from batchpipe.engine.ledger.raw_folder import RawFolder, raw_folder_of
from batchpipe.engine.ledger.renames import Link, earlier_names, rename_links, with_history
from batchpipe.engine.ledger.unknown_chunks import NOTHING_UNKNOWN, UnknownChunks
from batchpipe.engine.replay.take_in import (
    RawReplay,
    fetched_again_text,
    taken_in_text,
    unreadable,
)
from batchpipe.engine.replay.where_free import take_in_vanished
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.engine.run.options import RunOptions
from batchpipe.engine.run.run_start import read_input
from batchpipe.engine.source.snapshot import Snapshot
from batchpipe.pipeline.evaluations import evaluated_pipeline
from batchpipe.pipeline.model import PipelineFile
from batchpipe.providers import BatchState
from batchpipe.store.database import Session, Work


@dataclass(slots=True, kw_only=True)
class FirstLook:
    """Looks at what one pipeline has in flight and in its raw folders, before the run reads anything else.

    `open` are the open chunks of the pipeline and its evaluations; `states` what the provider said of them, by
    chunk id. `links` are those of renames.
    """

    context: Context
    work: Work
    file: PipelineFile
    providers: PipelineProviders
    tell: Tell
    paused: bool = False
    open: Sequence[OpenBatch] = ()
    links: Sequence[Link] = ()
    states: dict[str, BatchState] = field(default_factory=dict)
    _unknown: UnknownChunks = field(default=NOTHING_UNKNOWN, init=False)
    _taken: bool = field(default=False, init=False)
    _calls: Sequence[OpenCall] = field(default=(), init=False)
    _evaluated: dict[str, BatchState] = field(default_factory=dict, init=False)

    @property
    def names(self) -> Sequence[str]:
        """Return the pipeline's name and the older names whose history it continues."""
        return self.file.pipeline.names

    def read(self) -> None:
        """Read whether the pipeline is paused, what is open, and which raw chunks the ledger does not know."""
        with self.context.database.reading(self.work) as session:
            self._learn_links(session)
            self.paused = is_paused(session, self.names)
            self.open = batches_of_families(session, self.names)
            self._calls = open_calls(session, self.names)
            self._unknown = self._replay.unknown(session)

    def _learn_links(self, session: Session) -> None:
        """Read the links of renames, and which histories the pipeline continues by them. Reads `ledger.events`."""
        self.links = rename_links(session)
        self.file = with_history(self.file, self.links)

    def take_in(self) -> None:
        """Take in the chunks that the ledger does not know, and tell it.

        Writes the ledger. Raises GateError where a person has to decide about another database's chunks, or about
        chunks that cannot be read.
        """
        take_in_vanished(self.context, self.work, self.file, self._unknown)
        taken = self._replay.take_in(self._unknown)
        noted = bool(self.open) and self._replay.late_notes(self.open)
        for chunk_id in taken.fetched_again:
            self.tell(Event(kind="warning", level="warning", detail=fetched_again_text(chunk_id)))
        self._taken = bool(taken.chunks)
        if self._taken:
            self.tell(Event(kind="taken_in", requests=taken.requests, detail=taken_in_text(taken)))
        if self._taken or noted:
            with self.context.database.reading(self.work) as session:
                self._learn_links(session)
                self.open = batches_of_families(session, self.names)
        if taken.damaged:
            raise unreadable(self.file.pipeline.name, taken.damaged, self._raw_folder)

    def save(self) -> None:
        """Download the raw results of the batches of the pipeline and its evaluations that have ended.

        Those that are saved are left out. Nothing is recorded. What the provider refuses or does not answer is asked
        again by the run itself.
        Raises DatabaseError where the disk fails.
        """
        folder = self._raw_folder
        ours = [each for each in self.open if each.pipeline in self.names and folder.results(each.chunk_id) is None]
        with suppress(ProviderError):  # without a key the run itself ends with this error
            self.states |= save_ended(ours, self.providers, folder, self.context.machine.pool)
        with suppress(ProviderError):  # what an evaluation bought the run takes, as far as it can be saved
            evaluated = [each for each in self.open if each.pipeline not in self.names]
            self._evaluated = save_ended(evaluated, self.providers, folder, self.context.machine.pool)

    def read_input(self, run_id: str, options: RunOptions) -> tuple[Resolved, Snapshot]:
        """Take in what the ledger does not know, save what has ended, and only then read the input.

        Writes what `take_in`, `save`, `read_input` and `record` write.
        """
        self.take_in()
        self.save()
        self.context.watch(self.file.pipeline.name, Phase(name="reading"))
        with self.needed_input():
            resolved, snapshot = read_input(self.context, self.file, self.work, run_id, options, self.tell)
        self.record(resolved)
        return resolved, snapshot

    def record(self, resolved: Resolved) -> None:
        """Record the results of open chunks that the raw folder holds, where their batches are known to have ended.

        Those of evaluations are among them: the run takes what they bought.
        Writes what `Collector.collect` writes.
        """
        folder = self._raw_folder
        ended = {chunk_id: state for chunk_id, state in self._evaluated.items() if can_be_saved(state)}
        evaluated = [each for each in self.open if each.pipeline not in self.names]
        bought = ended or any(each.state in ("asking", *WITHOUT_BATCH) for each in evaluated)
        left = [*(each.chunk_id for each in self.open), *(each.chunk_id for each in self._calls)]
        saved = self._taken or any(folder.results(chunk_id) for chunk_id in left if chunk_id not in self.states)
        if not bought and not saved:
            return
        from batchpipe.engine.replay.rebuild import RawRecorder, record_evaluated

        if bought:
            record_evaluated(self.context, self.work, resolved, ended, self.providers, self.tell)
        if saved:
            RawRecorder(context=self.context, work=self.work, resolved=resolved).record()

    @contextmanager
    def needed_input(self) -> Iterator[None]:
        """Tell, where reading the input fails, what of the pipeline is in flight and what of it is saved."""
        read = False
        try:
            yield
            read = True
        finally:
            if not read and self.open:
                self.tell(Event(kind="warning", level="warning", detail=self._left()))

    def _left(self) -> str:
        """Return what is in flight although the input cannot be read."""
        folder = self._raw_folder
        saved = sum(folder.results(each.chunk_id) is not None for each in self.open)
        open_text = f"{len(self.open)} batch{'es are' if len(self.open) > 1 else ' is'} in flight"
        return f"{open_text}; the results of {saved} are saved under {folder.path}, and the next run records them"

    @property
    def _replay(self) -> RawReplay:
        return RawReplay(context=self.context, work=self.work, names=self.names)

    @property
    def _raw_folder(self) -> RawFolder:
        return raw_folder_of(self.context.database)


def record_saved_calls(context: Context, work: Work, resolved: Resolved) -> None:
    """Record the answers that a `try` has saved and not recorded since the run began: it was killed in between.

    Reads `ledger.events`. Writes what `Collector.record_answer` writes.
    """
    if resolved.file.evaluates:
        return
    with context.database.reading(work) as session:
        calls = open_calls(session, resolved.names)
    folder = raw_folder_of(context.database)
    if any(folder.results(each.chunk_id) is not None for each in calls):
        from batchpipe.engine.replay.rebuild import RawRecorder

        RawRecorder(context=context, work=work, resolved=resolved).record_calls()


def look_before_evaluation(
    context: Context, work: Work, file: PipelineFile
) -> tuple[PipelineFile, dict[str, BatchState]]:
    """Take in the pipeline's raw folders, and save the results of its evaluations' batches that have ended.

    Return the file with the histories that it continues, and what the providers said of the batches, by chunk id.
    Gold may be broken, and the results must not stay at the provider for that.
    Writes the ledger, the output table, the raw folder. Raises GateError as a run does.
    """
    from batchpipe.engine.replay.rebuild import take_in_all

    file = take_in_all(context, work, file)
    with context.database.reading(work) as session:
        left = batches_of_families(session, file.pipeline.names)
    evaluated = [each for each in left if each.pipeline not in file.pipeline.names]
    with suppress(ProviderError):  # the evaluation itself asks again, and ends with this error
        folder = raw_folder_of(context.database)
        return file, save_ended(evaluated, context.providers_of(file), folder, context.machine.pool)
    return file, {}


def take_in_evaluations(
    context: Context, work: Work, resolved: Resolved, seen: Mapping[str, BatchState], tell: Tell
) -> None:
    """Record what earlier evaluations of a pipeline have bought: this one may not ask the same models.

    `seen` is what `look_before_evaluation` returned of the batches. Writes what `record_evaluated` writes.
    """
    with context.database.reading(work) as session:
        left = batches_of_families(session, resolved.names)
    if any(each.pipeline not in resolved.names for each in left):
        from batchpipe.engine.replay.rebuild import record_evaluated

        ended = {chunk_id: state for chunk_id, state in seen.items() if can_be_saved(state)}
        record_evaluated(context, work, resolved, ended, context.providers_of(resolved.file), tell)


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOpen:
    """What is open of a pipeline that cannot run now: its batches, and how many have their results saved."""

    pipeline: str
    batches: int
    saved: int


def save_while_waiting(
    context: Context, file: PipelineFile, providers: PipelineProviders, tell: Tell
) -> Sequence[OpenBatch]:
    """Save the results of the pipeline's own batches that have ended, and return what is open.

    Its input cannot be read yet: the next run that reads it records them.
    Reads `ledger.batches`. Writes the raw folder.
    """
    if not context.database.path.exists():
        return ()
    with closing(context.work()) as work:
        with context.database.reading(work) as session:
            left = open_batches(session, file.pipeline.names)
        if left:
            with pipeline_lock(context.database.make_folder("locks"), file.pipeline.name, context.clock()):
                first = FirstLook(context=context, work=work, file=file, providers=providers, tell=tell)
                first.read()
                first.save()
        return left


def save_without_files(
    context: Context, work: Work, wanted: Collection[str] | None, known: Collection[str]
) -> list[LeftOpen]:
    """Save the results of ended batches of pipelines that have no file that can be read; return what is open of each.

    `wanted` are the pipelines that may be meant, None for all; those of `known` have a file, as has what these were
    called before. Nothing is recorded.
    Reads `ledger.batches`. Writes the raw folder.
    """
    if not context.database.path.exists():
        return []
    with context.database.reading(work) as session:
        links = rename_links(session)
        owned = earlier_names(list(known), links)
        left = [each for each in every_open_batch(session) if evaluated_pipeline(each.pipeline) not in owned]
    meant = None if wanted is None else set(earlier_names(list(wanted), links))
    by_name: dict[str, list[OpenBatch]] = {}
    for each in left:
        name = evaluated_pipeline(each.pipeline)
        if meant is None or name in meant:
            by_name.setdefault(name, []).append(each)
    folder = RawFolder(path=context.database.folder / "raw")
    for name, batches in by_name.items():
        with suppress(ProviderError, LockedError):  # what it is, and that it is not saved, is told all the same
            _save_of(context, name, batches, folder)
    return [
        LeftOpen(
            pipeline=name,
            batches=len(batches),
            saved=sum(folder.results(each.chunk_id) is not None for each in batches),
        )
        for name, batches in sorted(by_name.items())
    ]


def _save_of(context: Context, name: str, batches: Sequence[OpenBatch], folder: RawFolder) -> None:
    """Save the results of the ended batches of one pipeline, under its lock. The emulator's need no saving."""
    if context.settings.emulator:
        return
    with pipeline_lock(context.database.make_folder("locks"), name, context.clock()):
        missing = [each for each in batches if not folder.results(each.chunk_id)]
        save_ended(missing, context.providers_without_file(), folder, context.machine.pool)


def save_ended(
    batches: Sequence[OpenBatch], providers: PipelineProviders, folder: RawFolder, pool: Pool
) -> dict[str, BatchState]:
    """Download the raw results of those of `batches` that have ended and that have none in the raw folder yet.

    Return the states of all by chunk id.
    Batches that their provider does not answer for, or that no provider can be asked about, are left out. `pool` makes
    the calls. Raises DatabaseError where the disk fails.
    """
    asked = [
        (batch, provider)
        for provider, theirs in providers.groups(each for each in batches if each.batch_id is not None)
        for batch in theirs
    ]
    if not asked:
        return {}
    calls = [partial(provider.poll, str(batch.batch_id)) for batch, provider in asked]
    answers = zip(asked, pool(calls, DOWNLOADS_AT_ONCE, FAILURES), strict=True)
    states = [(batch, provider, state) for (batch, provider), state in answers if isinstance(state, BatchState)]
    downloads = [
        partial(download_results, batch, state, provider, folder)
        for batch, provider, state in states
        if can_be_saved(state) and folder.results(batch.chunk_id) is None
    ]
    pool(downloads, DOWNLOADS_AT_ONCE, FAILURES)
    return {batch.chunk_id: state for batch, _, state in states}
