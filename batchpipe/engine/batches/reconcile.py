"""Search for the batches of submits whose outcome is not known. Nothing is sent again before that.

Where the provider keeps a label with a batch, or names its input, that decides at once. Else the size of a batch and
the time at which it was made tell whose it may be; the custom ids of its results decide. The list is believed only
whole, from the account that the chunk was sent with, and by the provider's clock.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from batchpipe.common.errors import ProviderError
from batchpipe.decide.waits import LOOKS, UNREADABLE_WAITS, clock_offset, lasts
from batchpipe.engine.batches.submit import SUBMIT_TIMEOUT_SECONDS
from batchpipe.engine.exchange.records import is_label_of, refusal, submitted_batch_data
from batchpipe.engine.exchange.run_parts import RunParts
from batchpipe.engine.ledger.events import OpenBatch, open_batches
from batchpipe.engine.waits.accounts import Intent, NamedAccounts, read_intents, read_named_accounts
from batchpipe.engine.waits.questions import Question, ask_account, ask_presumed_gone, ask_unlisted
from batchpipe.engine.waits.troubles import TroubleBook
from batchpipe.pipeline.evaluations import evaluated_pipeline
from batchpipe.providers import BatchList, BatchState, NotSentError, Provider, RefusedError, UnavailableError
from batchpipe.store.queries import query

SKEW = timedelta(minutes=5)
# The time around a submit in which a batch of the right size is looked into before the submit's batch counts as
# missing.
NEAR = timedelta(days=1)
OUTCOMES = ("chunk_submitted", "chunk_unknown", "chunk_not_sent", "chunk_refused")
ORPHAN_STATES = ("prepared", "held")
Finding = tuple[OpenBatch, str, dict[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult:
    """Holds what a search found. `changed` says that something was recorded.

    `questions` are asked of a person, by chunk: the search cannot find out alone. `unavailable` is the provider's
    message where the list could not be read whole; `not_reached` has the errors of those to which no connection was
    made, by their base URL; `refused` those of providers that refuse to list their batches, with the chunks.
    """

    changed: bool = False
    questions: Mapping[str, Question] = field(default_factory=dict)
    unavailable: str | None = None
    not_reached: Mapping[str, NotSentError] = field(default_factory=dict)
    refused: Sequence[tuple[Sequence[OpenBatch], ProviderError]] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Orphan:
    """Describes a chunk whose submit has no known outcome. If a batch was made, it was made between `first` and `last`
    by the provider's clock (naive UTC).
    """

    chunk: OpenBatch
    intent: Intent
    first: datetime
    last: datetime
    input_id: str | None = None

    def is_named_by(self, state: BatchState) -> bool:
        """Return whether `state` bears the label of this chunk, or names its input."""
        of_input = self.input_id is not None and state.input_id == self.input_id
        return of_input or is_label_of(self.chunk.chunk_id, state.label)

    def fits(self, state: BatchState) -> bool:
        """Return whether `state` has this chunk's size, and was made while the submit may have been under way."""
        return (
            state.total == self.chunk.requests
            and state.created_at is not None
            and self.first <= state.created_at <= self.last
        )

    def may_fit(self, state: BatchState) -> bool:
        """Return whether `state` may have this chunk's size, and was made within a day of its submit."""
        near = state.created_at is None or self.first - NEAR <= state.created_at <= self.last + NEAR
        return near and state.total in (None, self.chunk.requests)

    def likeness(self, state: BatchState) -> tuple[bool, bool, bool, timedelta]:
        """Return a sort key: first batches that fit, then ended ones, whose results can be read, then the nearest in
        time.
        """
        away = NEAR if state.created_at is None else abs(state.created_at - self.first - SKEW)
        return not self.fits(state), state.total is None, not state.ended, away


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciler:
    """Searches for the batches of orphans: chunks that were to be sent, and whose submit has no recorded outcome.

    `reconcile_wait` (seconds) is how long a batch may be missing in the list before its chunk counts as lost.
    `account_url` names the account of a provider beside its key.
    """

    parts: RunParts
    reconcile_wait: float
    troubles: TroubleBook
    account_url: Callable[[Provider], str]

    @property
    def _named(self) -> str:
        """Return the name that commands know the pipeline by: for an evaluation that of the pipeline it evaluates."""
        return evaluated_pipeline(self.parts.resolved.name)

    def mark_orphans(self) -> int:
        """Record an unknown outcome for the chunks that a killed process was sending; return how many chunks are held.

        It is called once at the start of a run, which holds the pipeline's lock.
        Reads `ledger.batches`. Writes `ledger.events`.
        """
        with self.parts.reading() as session:
            found = open_batches(session, self.parts.resolved.names)
        killed = [each for each in found if each.state == "prepared"]
        if killed:
            with self.parts.writing() as session:
                for each in killed:
                    kind, data = self._left_by(each)
                    self.parts.add_event(session, kind, data, chunk_id=each.chunk_id)
        return sum(each.state in ORPHAN_STATES for each in found)

    def _left_by(self, orphan: OpenBatch) -> tuple[str, Mapping[str, Any]]:
        """Return the event that a killed process left in the raw folder about its submit, as kind and data.

        Mostly it left none: then the event says that the outcome is not known.
        """
        kept = self.parts.raw_folder.saved_chunk(orphan.chunk_id)
        known = [each for each in kept.notes if each.kind in OUTCOMES] if kept else []
        if known:
            return known[-1].kind, known[-1].data
        return "chunk_unknown", {"message": "the process ended before an answer was recorded"}

    def search(self) -> SearchResult:
        """Look for the orphans' batches in the lists of their providers, and record what was found.

        Reads `ledger.batches`, `ledger.events`. Writes `ledger.events`, the raw folder.
        """
        result = SearchResult()
        with self.parts.reading() as session:
            held = [each for each in open_batches(session, self.parts.resolved.names) if each.state == "held"]
        for provider, orphans in self.parts.providers.groups(held):
            try:
                found = self._search_at(provider, {each.chunk_id for each in orphans})
            except RefusedError as error:
                found = SearchResult(refused=[(orphans, refusal(error, provider.key_hash))])
            except NotSentError as error:
                found = SearchResult(not_reached={provider.base_url: error})
            result = SearchResult(
                changed=result.changed or found.changed,
                questions={**result.questions, **found.questions},
                unavailable=result.unavailable or found.unavailable,
                not_reached={**result.not_reached, **found.not_reached},
                refused=[*result.refused, *found.refused],
            )
        return result

    def _search_at(self, provider: Provider, wanted: Collection[str]) -> SearchResult:
        """Look for the batches of the chunks `wanted` in the list of `provider`, and record what was found.

        Reads `ledger.batches`, `ledger.events`. Writes `ledger.events`, the raw folder. Raises NotSentError and
        RefusedError of the provider.
        """
        with self.parts.reading() as session:
            found = open_batches(session, self.parts.resolved.names)
            held = [each for each in found if each.state == "held" and each.chunk_id in wanted]
            if not held:
                return SearchResult()
            decided = {batch_id for (batch_id,) in session.rows(query("decided_batch_ids"))}
            presumed = session.rows(query("presumed_batches"))
            named = read_named_accounts(session)
            intents = read_intents(session, held, named)
            inputs = dict(session.rows(query("uploaded_input"), {"chunk_ids": [each.chunk_id for each in held]}))
        asked_at = self.parts.database.clock()
        taken = {each.batch_id for each in found if each.state == "presumed"}
        labelled = provider.limits.create == "label"
        orphans = [_orphan(each, intents[each.chunk_id], None, inputs.get(each.chunk_id)) for each in held]
        try:
            listed = provider.list_batches(
                lambda states: _all_named(orphans, states) if labelled else _all_fit(orphans, states, decided | taken)
            )
        except UnavailableError as error:
            return self._unlisted(held, str(error))
        now = self.parts.database.clock()
        offset = clock_offset(asked_at, now, listed.answered_at)
        orphans = [_orphan(each, intents[each.chunk_id], offset, inputs.get(each.chunk_id)) for each in held]
        ours, questions = self._of_this_account(provider, orphans, listed, named)
        unknown = [each for each in listed.states if each.batch_id not in decided]
        open_sizes = {size for batch_id, size in presumed if batch_id not in decided}
        findings = _named_findings(ours, listed) if labelled else []
        if labelled:  # a list may leave out what tells a batch from others: then it is looked for as without labels
            adopted = {chunk.chunk_id for chunk, _, _ in findings}
            ours = [each for each in ours if each.chunk.chunk_id not in adopted]
            unknown = [each for each in unknown if each.label is None and each.input_id is None]
        findings += self._findings(ours, unknown, taken, open_sizes if listed.whole else None, now)
        self._record(findings, now)
        questions |= self._ask_about_gone(ours, unknown)
        unlisted = SearchResult()
        if not listed.whole:
            settled = {chunk.chunk_id for chunk, _, _ in findings}
            left = [each.chunk for each in ours if each.chunk.chunk_id not in settled]
            unlisted = self._unlisted(left, "it has no end, or parts that are no batches") if left else unlisted
        return SearchResult(
            changed=bool(findings),
            questions={**questions, **unlisted.questions},
            unavailable=unlisted.unavailable,
        )

    def _of_this_account(
        self, provider: Provider, orphans: Sequence[Orphan], listed: BatchList, named: NamedAccounts
    ) -> tuple[list[Orphan], dict[str, Question]]:
        """Return the orphans of the account whose list was read, and a question about each of the others.

        Writes `ledger.events`.
        """
        key = (self.account_url(provider), provider.key_hash)
        organization, workspace = listed.organization, listed.workspace
        if organization is None and workspace is None:
            organization, workspace = named.get(key, (None, None))
        present = Intent(base_url=key[0], key_hash=key[1], organization=organization, workspace=workspace)
        ours: list[Orphan] = []
        questions: dict[str, Question] = {}
        for each in orphans:
            if each.intent.is_account_of(present):
                self.troubles.relieve(each.chunk, "account")
                ours.append(each)
                continue
            question = ask_account(self._named, str(each.intent), str(present))
            self.troubles.meet(each.chunk, "account", question.what)
            questions[each.chunk.chunk_id] = question
        return ours, questions

    def _unlisted(self, held: Sequence[OpenBatch], message: str) -> SearchResult:
        """Return that the list could not be read whole; where that lasts, with a question about each of `held`.

        Writes `ledger.events`.
        """
        now, questions = self.parts.database.clock(), {}
        for each in held:
            trouble = self.troubles.meet(each, "list", message)
            if lasts(trouble.looks, trouble.since, now, UNREADABLE_WAITS * self.reconcile_wait):
                questions[each.chunk_id] = ask_unlisted(self._named, message)
        return SearchResult(questions=questions, unavailable=message)

    def _findings(
        self,
        orphans: Sequence[Orphan],
        unknown: Sequence[BatchState],
        taken: set[str | None],
        open_sizes: Collection[int] | None,
        now: datetime,
    ) -> list[Finding]:
        """Return the events to record: (chunk, kind, data) for each orphan that something was found out about.

        Each orphan presumes a batch of its own. An orphan stays held while any batch that may be its own is undecided.
        The custom ids decide when a presumed batch has ended, so that it does not matter which orphan presumes which
        batch. A batch that was made at another time, or whose size is not known, is presumed only when the wait is
        over.
        `taken` are batches that other chunks of the pipeline presume; `open_sizes` are the sizes of all presumed
        batches, None where the list was not whole, so that nothing can be missing in it.
        Writes `ledger.events`.
        """
        findings: list[Finding] = []
        for orphan in orphans:
            chunk = orphan.chunk
            assert chunk.unknown_at is not None
            candidates = [each for each in unknown if orphan.may_fit(each)]
            waited = now - chunk.unknown_at >= timedelta(seconds=self.reconcile_wait)
            free = [each for each in candidates if each.batch_id not in taken and not each.archived]
            free = [each for each in free if waited or orphan.fits(each)]
            if free:
                chosen = min(free, key=orphan.likeness)
                taken.add(chosen.batch_id)
                findings.append((chunk, "chunk_presumed", presumed_batch_data(chosen)))
                continue
            if candidates or open_sizes is None or chunk.requests in open_sizes:
                continue
            if self._is_missing(chunk, now):
                findings.append((chunk, "chunk_not_found", {"listed": len(unknown)}))
        return findings

    def _is_missing(self, chunk: OpenBatch, now: datetime) -> bool:
        """Return whether a chunk's batch was missing in the whole list often and long enough to be believed.

        Writes `ledger.events`.
        """
        assert chunk.unknown_at is not None
        self.troubles.relieve(chunk, "list")
        what = "the list of batches has none that may be the chunk's"
        looks = self.troubles.meet(chunk, "not_listed", what).looks
        return looks >= LOOKS and now - chunk.unknown_at >= timedelta(seconds=self.reconcile_wait)

    def _record(self, findings: Sequence[Finding], now: datetime) -> None:
        """Record the findings in the ledger, then in the raw folder.

        Writes `ledger.events`, the raw folder.
        """
        if findings:
            with self.parts.writing() as session:
                for chunk, kind, data in findings:
                    self.parts.add_event(session, kind, data, chunk_id=chunk.chunk_id)
            for chunk, kind, data in findings:
                self.parts.raw_folder.note(chunk.chunk_id, kind, data, now)

    def _ask_about_gone(self, orphans: Sequence[Orphan], unknown: Sequence[BatchState]) -> dict[str, Question]:
        """Return a question about each orphan whose candidates are all archived: nobody can tell whose batches these
        were.
        """
        questions: dict[str, Question] = {}
        for orphan in orphans:
            candidates = sorted((each for each in unknown if orphan.may_fit(each)), key=orphan.likeness)
            if candidates and all(each.archived for each in candidates):
                questions[orphan.chunk.chunk_id] = ask_presumed_gone(self._named, candidates[0].batch_id)
        return questions


def presumed_batch_data(state: BatchState) -> dict[str, Any]:
    """Return the data of the event that a batch is taken to be ours until its custom ids decide."""
    return {"batch_id": state.batch_id, "created_at": state.created_at, "expires_at": state.expires_at}


def _orphan(chunk: OpenBatch, intent: Intent, offset_seconds: float | None, input_id: str | None) -> Orphan:
    """Return an orphan with the times between which its batch was made, by the provider's clock.

    That is from 5 minutes before the intent to 5 minutes after the end of the submit and its time-out. The offset of
    the clocks is that of the intent, else `offset_seconds`.
    """
    assert chunk.unknown_at is not None
    known = intent.clock_offset_seconds
    ahead = timedelta(seconds=(offset_seconds or 0.0) if known is None else known)
    latest = chunk.unknown_at + timedelta(seconds=SUBMIT_TIMEOUT_SECONDS) + SKEW
    first = chunk.prepared_at - SKEW + ahead
    return Orphan(chunk=chunk, intent=intent, first=first, last=latest + ahead, input_id=input_id)


def _named_findings(orphans: Sequence[Orphan], listed: BatchList) -> list[Finding]:
    """Return the events to record where a batch bears its chunk's label: the label decides at once, and alone."""
    findings: list[Finding] = []
    for orphan in orphans:
        own = next((each for each in listed.states if orphan.is_named_by(each)), None)
        if own is not None:
            findings.append((orphan.chunk, "chunk_adopted", submitted_batch_data(own)))
    return findings


def _all_named(orphans: Sequence[Orphan], states: Sequence[BatchState]) -> bool:
    """Return whether each orphan has a batch that bears its label or names its input."""
    return all(any(orphan.is_named_by(each) for each in states) for orphan in orphans)


def _all_fit(orphans: Sequence[Orphan], states: Sequence[BatchState], known: Collection[str | None]) -> bool:
    """Return whether there is a batch for each orphan that fits it, among those not `known`."""
    free = [each for each in states if each.batch_id not in known and not each.archived]
    for orphan in orphans:
        fitting = next((each for each in free if orphan.fits(each)), None)
        if fitting is None:
            return False
        free.remove(fitting)
    return True
