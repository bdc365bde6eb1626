"""Let a person decide about chunks whose outcome the ledger does not know: adopt a batch, or give the chunks up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from batchpipe.common.errors import CredentialsError, NoProviderError, ProviderError, UsageError
from batchpipe.decide.waits import UNREADABLE_WAITS, is_overdue, lasts, life
from batchpipe.engine.access.providers import PipelineProviders
from batchpipe.engine.batches.reconcile import NEAR
from batchpipe.engine.context import Context
from batchpipe.engine.exchange.records import refusal, submitted_batch_data
from batchpipe.engine.ledger.events import OpenBatch, add_event, open_batches
from batchpipe.engine.ledger.locks import pipeline_lock
from batchpipe.engine.ledger.raw_folder import RawFolder, raw_folder_of, saving
from batchpipe.engine.waits.gone import GoneResults, record_gone
from batchpipe.engine.waits.troubles import Trouble, read_troubles
from batchpipe.engine.waits.unreachable import CHECK
from batchpipe.pipeline.model import PipelineFile
from batchpipe.providers import BatchState, NotSentError, Provider, RefusedError, UnavailableError
from batchpipe.sql.quoting import quote_list
from batchpipe.store.database import Session, Work
from batchpipe.store.queries import query

UNDECIDED = ("prepared", "held", "presumed")
LOOKS = 3
LONGEST_PAUSE_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """Describes a batch at the provider that the ledger does not know. `created_at` is naive UTC."""

    batch_id: str
    requests: int | None
    created_at: datetime | None
    ended: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class UndecidedChunks:
    """Holds the chunks of unknown outcome and the batches that may be theirs.

    `candidates` is None where the provider was not asked.
    """

    chunks: Sequence[OpenBatch]
    candidates: Sequence[Candidate] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AbandonedChunks:
    """Holds the chunks that were given up, and those that were `kept`, each with the reason."""

    chunks: Sequence[OpenBatch]
    kept: Sequence[tuple[OpenBatch, str]]

    @property
    def requests(self) -> int:
        """Return how many requests were given up."""
        return sum(each.requests for each in self.chunks)

    @property
    def max_usd(self) -> Decimal | None:
        """Return what may be paid a second time, in US dollars; None where a price is not known."""
        known = [each.max_usd for each in self.chunks if each.max_usd is not None]
        return sum(known, Decimal(0)) if len(known) == len(self.chunks) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fate:
    """Says whether a batch may still come back, and why. `young`: its results are gone earlier than they should be."""

    why: str
    alive: bool = False
    young: bool = False


_COLLECTABLE = _Fate(why="its results can be collected", alive=True)
_REFUSED = _Fate(why="the provider has refused it: the next run records that, and nothing was paid", alive=True)
_PROCESSED = _Fate(why="it is being processed", alive=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """Looks at the chunks of one pipeline, and records what a person decides about them.

    Who calls `adopt` or `abandon` holds the pipeline's lock; see `locked`.
    """

    context: Context
    file: PipelineFile
    work: Work

    @property
    def name(self) -> str:
        """Return the pipeline's name."""
        return self.file.pipeline.name

    @property
    def names(self) -> list[str]:
        """Return the pipeline's name and the older one whose history it carries."""
        return self.file.pipeline.names

    @property
    def raw_folder(self) -> RawFolder:
        """Return the raw folder, which is made where it is missing."""
        return raw_folder_of(self.context.database)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the pipeline's lock. Raises LockedError while a run holds it."""
        folder = self.context.database.make_folder("locks")
        with pipeline_lock(folder, self.name, self.context.clock()):
            yield

    def look(self) -> UndecidedChunks:
        """Return the chunks of unknown outcome; the provider is asked only where there are some.

        Raises ProviderError where the list of batches cannot be read.
        """
        chunks, known = self._undecided()
        if not chunks:
            return UndecidedChunks(chunks=(), candidates=None)
        since = min(each.prepared_at for each in chunks) - NEAR
        listed = [each for provider, _ in self._providers.groups(chunks) for each in self._listed(provider)]
        known |= {each.batch_id for each in chunks if each.batch_id is not None}
        near = [each for each in listed if each.created_at is None or each.created_at >= since]
        candidates = [_candidate(each) for each in near if each.batch_id not in known]
        return UndecidedChunks(chunks=chunks, candidates=candidates)

    def _listed(self, provider: Provider) -> Sequence[BatchState]:
        """Return the list of batches of `provider`. Raises ProviderError where it cannot be read."""
        try:
            return provider.list_batches(lambda states: False).states
        except RefusedError as error:
            raise refusal(error, provider.key_hash) from error
        except (NotSentError, UnavailableError) as error:
            hint = f"{CHECK} Then run the same command again."
            raise ProviderError(f"the list of batches cannot be read: {error}", where=self.name, hint=hint) from error

    @property
    def _providers(self) -> PipelineProviders:
        return self.context.providers_of(self.file)

    def adopt(self, batch_id: str) -> OpenBatch:
        """Take the batch for the held chunk of its size, and return the chunk.

        The custom ids decide whose batch it is when it is collected.
        Writes `ledger.events`, the raw folder. Raises UsageError where no chunk fits, ProviderError where the provider
        does not know the batch.
        """
        chunks, known = self._undecided()
        if not chunks:
            hint = f"See what there is: batchpipe status {self.name}"
            raise UsageError("nothing is held: no chunk waits for a batch", where=self.name, hint=hint)
        presumed = [each for each in chunks if each.batch_id == batch_id]
        if batch_id in known and not presumed:
            hint = f"See the batches whose owner is not known: batchpipe recover {self.name}"
            raise UsageError(f"the batch {batch_id} is known already", where=self.name, hint=hint)
        state, askable = self._poll(batch_id, presumed or chunks)
        fitting = presumed or [each for each in askable if state.total in (None, each.requests)]
        if not fitting or state.total not in (None, fitting[0].requests):
            sizes = ", ".join(f"{each.requests:,}" for each in chunks)
            what = f"the batch {batch_id} has {state.total or 0:,} requests, the held chunks have {sizes}"
            hint = f"A batch fits a chunk that has as many requests. See both: batchpipe recover {self.name}"
            raise UsageError(what, where=self.name, hint=hint)
        made_at = state.created_at or fitting[0].prepared_at
        chosen = min(fitting, key=lambda each: abs(each.prepared_at - made_at))
        self._record([(chosen, "chunk_adopted", submitted_batch_data(state))])
        return chosen

    def abandon(self) -> AbandonedChunks:
        """Give up what is held, and batches that are not found, that do not end, or whose results cannot be had: their
        rows are due again.

        A batch that the provider made was paid for: the most that it can have cost is booked, and its rows have one
        attempt less. A batch that may still come back, or about which the provider cannot be asked now, is kept, with
        the reason.
        Writes `ledger.events`, `ledger.decisions`, the raw folder.
        """
        with self.context.database.reading(self.work) as session:
            names = self._with_evaluations(session)
            found = open_batches(session, names)
            troubles = read_troubles(session, names)
        lost: list[tuple[OpenBatch, str, Mapping[str, Any]]] = []
        kept: list[tuple[OpenBatch, str]] = []
        for each in found:
            fate = self._fate(each, troubles.get(each.chunk_id, []))
            if fate.alive:
                kept.append((each, fate.why))
            else:
                data = {"why": fate.why, "batch_id": each.batch_id, "young": fate.young}
                lost.append((each, "chunk_abandoned", data))
        self._record(lost)
        return AbandonedChunks(chunks=[each for each, _, _ in lost], kept=kept)

    def _fate(self, batch: OpenBatch, troubles: Sequence[Trouble]) -> _Fate:
        """Return whether `batch` may be given up, and why."""
        if batch.state == "asking":
            return _Fate(why="it is asked in realtime, and the next run takes in its answers", alive=True)
        if batch.batch_id is None:
            return _Fate(why="its batch was not found")
        overdue = is_overdue(self.context.clock() - batch.prepared_at, life(batch.created_at, batch.expires_at))
        try:
            provider = self._providers.of(batch)
        except (NoProviderError, CredentialsError) as error:
            return _Fate(why=error.what, alive=not overdue)
        try:
            state = self._poll_patiently(provider, batch.batch_id)
        except (NotSentError, UnavailableError, RefusedError) as error:
            answers = isinstance(error, RefusedError) or not overdue
            return _Fate(why=f"the provider cannot be asked about it: {error}", alive=answers)
        if state is None:
            return _Fate(why="the provider does not find its batch")
        if state.ended is not None and state.ended.refused is not None:
            return _REFUSED
        if state.ended or state.archived or self.raw_folder.results(batch.chunk_id) is not None:
            return self._fate_of_results(batch, state, troubles)
        return _Fate(why="it has not ended, although it should have") if overdue else _PROCESSED

    def _fate_of_results(self, batch: OpenBatch, state: BatchState, troubles: Sequence[Trouble]) -> _Fate:
        """Return whether a batch that has ended may be given up: only if its results cannot be downloaded, or cannot be
        read.

        They are asked for once more. Where they come, the next run collects them.
        """
        now, wait = self.context.clock(), self.context.reconcile_wait
        if any(each.kind == "foreign" and lasts(each.looks, each.since, now, wait) for each in troubles):
            return _Fate(why="its results have only custom ids that were not sent with it")
        patience = UNREADABLE_WAITS * wait
        long = any(each.kind == "unreadable" and lasts(each.looks, each.since, now, patience) for each in troubles)
        if self.raw_folder.results(batch.chunk_id) is not None and not long:
            return _COLLECTABLE
        path = self.raw_folder.download(batch.chunk_id)
        try:
            with saving(path):
                self._providers.of(batch).collect(state.batch_id, path, what_is_there=long)
        except (NotSentError, UnavailableError, RefusedError) as error:
            limits = self._providers.known_of(batch).batch_limits
            age = (state.answered_at or now) - (state.created_at or batch.prepared_at)
            if state.archived and isinstance(error, RefusedError):
                return _Fate(why="its results are gone", young=age.total_seconds() < limits.results_seconds)
            return _Fate(why=f"its results cannot be read: {error}", alive=not long)
        return _COLLECTABLE

    def _poll_patiently(self, provider: Provider, batch_id: str) -> BatchState | None:
        """Return the state of a batch; None where the provider does not find it, when asked again as well."""
        pause = min(self.context.settings.poll_interval, LONGEST_PAUSE_SECONDS)
        for look in range(LOOKS):
            try:
                return provider.poll(batch_id)
            except RefusedError as error:
                if error.kind != "not_found":
                    raise
            if look + 1 < LOOKS:
                self.context.database.sleep(pause)
        return None

    def _poll(self, batch_id: str, chunks: Sequence[OpenBatch]) -> tuple[BatchState, Sequence[OpenBatch]]:
        """Return the state of a batch, and those of `chunks` that were sent to the provider that has it.

        Raises ProviderError where no provider of them finds it or can be asked.
        """
        refused: RefusedError | None = None
        groups = self._providers.groups(chunks)
        for provider, sent_there in groups:
            try:
                return provider.poll(batch_id), sent_there
            except RefusedError as error:
                if error.kind != "not_found" and len(groups) == 1:
                    raise refusal(error, provider.key_hash) from error
                refused = error
            except (NotSentError, UnavailableError) as error:
                hint = f"{CHECK} Then run the same command again."
                raise ProviderError(f"the provider cannot be asked: {error}", where=self.name, hint=hint) from error
        if refused is None:
            self._providers.of(chunks[0])  # raises what the settings lack
        what = f"the provider does not find the batch {batch_id}: {refused.message if refused else ''}"
        hint = f"See the batches that there are: batchpipe recover {self.name}"
        raise ProviderError(what, where=self.name, hint=hint) from refused

    def _undecided(self) -> tuple[list[OpenBatch], set[str]]:
        """Return the chunks of unknown outcome, and the ids of the batches whose owner is known.

        Reads `ledger.batches`, `ledger.events`.
        """
        with self.context.database.reading(self.work) as session:
            names = self._with_evaluations(session)
            found = [each for each in open_batches(session, names) if each.state in UNDECIDED]
            return found, {batch_id for (batch_id,) in session.rows(query("decided_batch_ids"))}

    def _with_evaluations(self, session: Session) -> list[str]:
        """Return the pipeline's names, and those under which its evaluations have open batches.

        Reads `ledger.batches`.
        """
        names = quote_list(self.names)
        return [*self.names, *(name for (name,) in session.rows(query("open_evaluations", pipelines=names)))]

    def _record(self, decisions: Sequence[tuple[OpenBatch, str, Mapping[str, Any]]]) -> None:
        """Record the decisions: (chunk, kind of event, data).

        A chunk that a killed process was sending counts as one of unknown outcome from now on. A batch that is given
        up was paid for.
        Writes `ledger.events`, `ledger.decisions`, the raw folder.
        """
        if not decisions:
            return
        database = self.context.database
        with database.writing(self.work, None) as session:
            for each, kind, data in decisions:
                if each.state == "prepared":
                    why = {"message": "the process ended before an answer was recorded"}
                    add_event(session, each.pipeline, "chunk_unknown", why, chunk_id=each.chunk_id)
                if kind == "chunk_abandoned" and each.batch_id is not None:
                    gone = GoneResults(batch=each, kind=kind, data=data, why=f"the batch was given up: {data['why']}")
                    record_gone(session, self.file.pipeline, [gone], None)
                else:
                    add_event(session, each.pipeline, kind, data, chunk_id=each.chunk_id)
            for each, kind, data in decisions:
                self.raw_folder.note(each.chunk_id, kind, data, session.now)


def held_until(batch: OpenBatch, reconcile_wait: float) -> datetime | None:
    """Return when a chunk without a batch counts as lost; None where it does not wait for that."""
    if batch.unknown_at is None or batch.state != "held":
        return None
    return batch.unknown_at + timedelta(seconds=reconcile_wait)


def _candidate(state: BatchState) -> Candidate:
    """Return what a person is shown of a batch."""
    return Candidate(
        batch_id=state.batch_id, requests=state.total, created_at=state.created_at, ended=state.ended is not None
    )
