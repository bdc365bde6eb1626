"""Submit chunks: intents and ids are committed, each body is posted once, the outcomes are recorded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal, NamedTuple

from batchpipe.common import telemetry
from batchpipe.common.errors import ProviderError
from batchpipe.engine.batches.next_chunks import UPLOADS_AT_ONCE, NextChunk
from batchpipe.engine.cost.forecast import DEVIATIONS_OF_90_PERCENT
from batchpipe.engine.exchange.bodies import chunk_requests
from batchpipe.engine.exchange.file_uploads import name_files
from batchpipe.engine.exchange.records import fail_single, refusal, refusal_data, submitted_batch_data
from batchpipe.engine.exchange.run_parts import RunParts
from batchpipe.engine.exchange.sent_to import SentTo, sent_to
from batchpipe.engine.exchange.uploads import Post, upload_inputs
from batchpipe.engine.ledger.raw_folder import keep_chunks
from batchpipe.engine.plan.cache_marks import CacheMarks, cache_event_data
from batchpipe.engine.plan.overtaken import PlanOvertakenError, refuse_overtaken
from batchpipe.engine.plan.plan import Plan
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.engine.source.request_files import ChangedFileError
from batchpipe.engine.source.snapshot import Snapshot, names_sql, recorded_texts_sql, texts_sql
from batchpipe.engine.votes.slots import slots
from batchpipe.providers import (
    Account,
    BatchState,
    NotSentError,
    Provider,
    RefusedError,
    UnknownOutcomeError,
)
from batchpipe.sql.quoting import Sql
from batchpipe.store.database import Session
from batchpipe.store.queries import query

SUBMIT_TIMEOUT_SECONDS = 600.0
# An intent that is older when its POST would begin is not posted: others may have asked for the same meanwhile.
INTENT_SECONDS = 60.0

Failure = UnknownOutcomeError | NotSentError | RefusedError
FAILURES: tuple[type[Failure], ...] = (UnknownOutcomeError, NotSentError, RefusedError)
ChooseChunks = Callable[[Session, Collection[int]], Sequence[NextChunk]]

ChunkOutcome = Literal["sent", "unknown", "refused_size", "wait", "storage_full", "not_sent", "too_late", "stopped"]


class TooLateError(NotSentError):
    """The POST would begin so long after its intent that it was left out, as after a sleep of the machine."""


@dataclass(slots=True, kw_only=True)
class IntentAge:
    """Measures how old an intent is. A machine that sleeps stops one clock or the other, so that both are asked."""

    clock: Callable[[], datetime]
    monotonic: Callable[[], float]
    _moment: datetime = field(init=False)
    _counted: float = field(init=False)

    def begin(self) -> None:
        """Take this moment as that of the intent."""
        self._moment, self._counted = self.clock(), self.monotonic()

    @property
    def seconds(self) -> float:
        """Return the seconds since the intent, by the clock that has gone further."""
        return max((self.clock() - self._moment).total_seconds(), self.monotonic() - self._counted)


@dataclass(frozen=True, slots=True, kw_only=True)
class SentChunk:
    """Holds what became of one chunk: `count` requests of `work.to_send` from number `start` on.

    `message` is the provider's. `stop` is a refusal that no other chunk can escape: credit, limits, permission, key,
    endpoint.
    """

    outcome: ChunkOutcome
    start: int
    count: int
    chunk_id: str
    message: str = ""
    retry_after_seconds: float | None = None
    stop: ProviderError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitOutcome:
    """Holds the event that is recorded of one chunk's submit, and what it means for the due requests."""

    kind: str
    data: Mapping[str, Any]
    sent: SentChunk


class AskingChunk(NamedTuple):
    """A chunk whose intent to ask it by realtime calls is committed."""

    chunk_id: str
    chunk: NextChunk
    sent_to: SentTo


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitter:
    """Sends chunks of a plan's due requests.

    `account_url` names the account of a provider beside its key; `account` asks the provider for what it says of it.
    """

    parts: RunParts
    account_url: Callable[[Provider], str]
    account: Callable[[Provider], Account]

    def send(
        self, plan: Plan, choose: ChooseChunks, cache_marks: CacheMarks, rungs: Collection[int]
    ) -> list[SentChunk]:
        """Send the chunks that `choose` returns, side by side, and return what became of each.

        `choose` is called with the session that commits the chunks, and with the sizes that they may not have; chunks
        of other rungs than `rungs` are left for later. The requests were rendered with `cache_marks`.
        Reads `work.to_send`, `work.due`, `work.shared`, `work.sends`, `work.ladder`.
        Writes `work.chunk`, and drops it; `ledger.requests`, `ledger.events`, the raw folder. Raises AllRefusedError
        where a provider refuses to list its batches: then no lost batch could be found again.
        """
        accounts = sent_to(self.parts, plan.estimate, rungs, self.account, self.account_url)
        age = IntentAge(clock=self.parts.database.clock, monotonic=self.parts.monotonic)
        chunks, open_ids = self._commit_intents(accounts, plan, choose, cache_marks, age)
        if not chunks:
            return []
        with self.parts.reading() as session:
            keep_chunks(session, self.parts.raw_folder, list(chunks), self.parts.database.path.name)
        files = name_files(self.parts, plan.snapshot, {each: accounts[chunk.rung] for each, chunk in chunks.items()})
        posts: dict[str, Post] = {}
        for chunk_id, chunk in chunks.items():
            names = files.names.get(chunk_id, {})
            with suppress(ChangedFileError):
                if chunk_id not in files.failed:
                    posts[chunk_id] = self._post(accounts[chunk.rung], plan, chunk_id, chunk, cache_marks, names)
        made = dict(zip(posts, self._make_batches(plan, posts, age), strict=True)) if posts else {}
        self.parts.work.connection.execute(Sql("DROP TABLE work.chunk"))
        left = files.failed | made
        changed = TooLateError("a file has changed since the plan")
        answers = [left.get(chunk_id, changed) for chunk_id in chunks]
        outcomes = [
            self._outcome(chunk_id, chunk, answer, accounts[chunk.rung].provider)
            for (chunk_id, chunk), answer in zip(chunks.items(), _named_once(answers, open_ids), strict=True)
        ]
        self._record(outcomes)
        return [each.sent for each in outcomes]

    def _make_batches(self, plan: Plan, posts: Mapping[str, Post], age: IntentAge) -> list[BatchState | Failure]:
        """Upload the bodies where the protocol wants it, and make a batch of each; return the answers in their order.

        Writes `ledger.events`, the raw folder.
        """
        uploaded = upload_inputs(self.parts, posts)
        late = self._commit_uploads(plan, uploaded.inputs, age) if uploaded.inputs else None
        failed: Mapping[str, Failure] = dict.fromkeys(posts, late) if late is not None else uploaded.failed
        sent = [chunk_id for chunk_id in posts if chunk_id not in failed]
        calls = [self._create(posts[each], uploaded.inputs.get(each), age) for each in sent]
        answers = dict(zip(sent, self.parts.pool(calls, UPLOADS_AT_ONCE, FAILURES), strict=True)) if calls else {}
        return [failed[each] if each in failed else answers[each] for each in posts]

    def _commit_uploads(self, plan: Plan, inputs: Mapping[str, str], age: IntentAge) -> TooLateError | None:
        """Commit what the batches will name, before they are made. An upload may take long: the intent begins anew.

        Return why no batch is made, where somebody else has asked for the same meanwhile.
        Reads `work.chunk`. Writes `ledger.events`, the raw folder.
        """
        with self.parts.writing() as session:
            age.begin()
            for chunk_id, input_id in inputs.items():
                self.parts.add_event(session, "chunk_uploaded", {"input_id": input_id}, chunk_id=chunk_id)
            try:
                refuse_overtaken(session, self.parts.resolved, plan, self.parts.run_id)
                overtaken = None
            except PlanOvertakenError:
                overtaken = TooLateError("somebody else has asked for the same while it was uploaded")
            now = session.now
        for chunk_id, input_id in inputs.items():
            self.parts.raw_folder.note(chunk_id, "chunk_uploaded", {"input_id": input_id}, now)
        return overtaken

    def fail_single(self, chunk_id: str, message: str) -> None:
        """Record that the rows of a request failed that the provider refuses alone, with the provider's message.

        Writes `ledger.decisions`.
        """
        with self.parts.writing() as session:
            fail_single(session, chunk_id, message, self.parts.run_id)

    def commit_asking(
        self, plan: Plan, choose: ChooseChunks, cache_marks: CacheMarks, rungs: Collection[int], age: IntentAge
    ) -> AskingChunk | None:
        """Commit the requests of a chunk that is asked by realtime calls; None where the limits allow none any more.

        The provider is not asked for its account, since no batch is ever searched for.
        Reads and writes what `_commit_intents` does, and raises the same.
        """
        accounts = sent_to(self.parts, plan.estimate, rungs, lambda provider: Account(), self.account_url)
        mode = {"mode": "realtime"}
        chunks, _ = self._commit_intents(accounts, plan, choose, cache_marks, age, mode)
        found = next(iter(chunks.items()), None)
        return None if found is None else AskingChunk(*found, accounts[found[1].rung])

    def _commit_intents(
        self,
        accounts: Mapping[int, SentTo],
        plan: Plan,
        choose: ChooseChunks,
        cache_marks: CacheMarks,
        age: IntentAge,
        mode: dict[str, Any] | None = None,
    ) -> tuple[dict[str, NextChunk], set[str | None]]:
        """Commit the requests of the chosen chunks before anything is sent; return the chunks by their ids, and the ids
        of the account's open batches.

        The ids rise in the order of the chunks. There is no chunk where the limits allow none any more. `mode` is
        recorded with them, where it is not that of batches.
        Reads `work.to_send`, `work.due`, `work.shared`, `work.sends`, `work.ladder`.
        Writes `work.chunk`, `ledger.requests`, `ledger.events`. Raises PlanOvertakenError where somebody else has asked
        for the same since the plan.
        """
        resolved = self.parts.resolved
        urls = sorted({each.url for each in accounts.values()})
        with self.parts.writing() as session:
            age.begin()
            open_now = session.rows(query("open_sizes"), {"base_urls": urls})
            blind = any(each.provider.limits.create == "blind" for each in accounts.values())
            sizes = {size for size, _ in open_now} if blind else set()
            chosen = [each for each in choose(session, sizes) if each.rung in accounts]
            if not chosen:
                return {}, set()
            drawn = sorted(session.new_id() for _ in chosen)
            chunks = dict(zip(drawn, chosen, strict=True))
            self._fill_chunk(session.one(query("database_id"))[0], chunks)
            refuse_overtaken(session, self.parts.resolved, plan, self.parts.run_id)
            session.execute(
                query(
                    "insert_requests", **include_parts(resolved, plan.snapshot), **slots(resolved, "insert_requests")
                ),
                {
                    "pipeline": resolved.name,
                    "run_id": self.parts.run_id,
                    "prompt_version": resolved.version.prompt_version,
                    "policy_hash": resolved.policy_hash,
                    "now": session.now,
                    "seq": session.seq,
                },
            )
            for chunk_id in chunks if mode is not None else ():
                self.parts.raw_folder.open_journal(chunk_id)
            known = (mode or {}) | {"local_model": plan.hints} if plan.hints is not None else (mode or {})
            known |= {"prompt_version": resolved.version.prompt_version, "pilot": plan.held is not None}
            for data in session.dictionaries(query("chunk_event_data"), {"deviations": DEVIATIONS_OF_90_PERCENT}):
                chunk_id = data.pop("chunk_id")
                data["rung"] = resolved.rung_of(data["rung"])
                caching = cache_event_data(resolved, cache_marks, chunks[chunk_id].rung, chunks[chunk_id].caching)
                reserve = chunks[chunk_id].reserve_usd
                held = {} if reserve is None else {"reserve_usd": str(reserve)}
                sent_to = accounts[chunks[chunk_id].rung].data
                self.parts.add_event(
                    session, "chunk_prepared", data | known | sent_to | caching | held, chunk_id=chunk_id
                )
        return chunks, {batch_id for _, batch_id in open_now}

    def _fill_chunk(self, database: str, chunks: Mapping[str, NextChunk]) -> None:
        """Fill `work.chunk` with the rows of the chosen chunks, through a cursor of its own.

        A transaction writes to one database only, and that is the ledger's at this moment.
        Reads `work.to_send`, `work.due`, `work.shared`, `work.sends`. Writes `work.chunk`.
        """
        with self.parts.work.connection.cursor() as cursor:
            parameters = {
                "database": database,
                "pipeline": self.parts.resolved.name,
                "chunk_ids": list(chunks),
                "starts": [each.start for each in chunks.values()],
                "stops": [each.start + each.count for each in chunks.values()],
            }
            cursor.execute(query("chunk", **slots(self.parts.resolved, "chunk")), parameters)
            cursor.execute(query("add_followers", **slots(self.parts.resolved, "add_followers")))

    def _post(
        self, sent_to: SentTo, plan: Plan, chunk_id: str, chunk: NextChunk, marks: CacheMarks, names: Mapping[str, str]
    ) -> Post:
        """Return what is sent of a chunk; its body is put together here."""
        unmarked = bool(marks.by_rung) and chunk.caching.step == "none"
        requests = chunk_requests(
            self.parts, sent_to.provider, plan.rendered, plan.snapshot, chunk_id, names, unmarked=unmarked
        )
        shipment = sent_to.shipment(self.parts.resolved.rungs[chunk.rung - 1], chunk_id, chunk.count)
        return Post(body=sent_to.provider.assemble(requests), provider=sent_to.provider, shipment=shipment)

    def _create(self, post: Post, input_id: str | None, age: IntentAge) -> Callable[[], BatchState]:
        """Return the call that makes the batch of a chunk."""

        def call() -> BatchState:
            """Post the body; return the batch that the provider made of it."""
            if age.seconds > INTENT_SECONDS:
                raise TooLateError(f"more than {INTENT_SECONDS:.0f} s have passed since it was prepared")
            with telemetry.span("submit", self.parts.resolved.name, requests=post.shipment.count):
                return post.provider.submit(
                    post.body, post.shipment, input_id=input_id, timeout_seconds=SUBMIT_TIMEOUT_SECONDS
                )

        return call

    def _outcome(
        self, chunk_id: str, chunk: NextChunk, answer: BatchState | Failure, provider: Provider
    ) -> SubmitOutcome:
        """Return what is recorded of the provider's answer to a chunk, and what it means."""
        sent = SentChunk(outcome="sent", start=chunk.start, count=chunk.count, chunk_id=chunk_id)
        if isinstance(answer, BatchState):
            return SubmitOutcome(kind="chunk_submitted", data=submitted_batch_data(answer), sent=sent)
        if isinstance(answer, RefusedError):
            data = refusal_data(answer)
            return SubmitOutcome(kind="chunk_refused", data=data, sent=self._refused(sent, answer, provider))
        message = str(answer)
        data = {"message": message}
        if isinstance(answer, UnknownOutcomeError):
            return SubmitOutcome(
                kind="chunk_unknown", data=data, sent=replace(sent, outcome="unknown", message=message)
            )
        outcome: ChunkOutcome = "too_late" if isinstance(answer, TooLateError) else "not_sent"
        return SubmitOutcome(kind="chunk_not_sent", data=data, sent=replace(sent, outcome=outcome, message=message))

    def _refused(self, sent: SentChunk, error: RefusedError, provider: Provider) -> SentChunk:
        """Return what a refusal means: make chunks smaller, wait, or stop."""
        if error.kind in ("too_large", "invalid"):
            return replace(sent, outcome="refused_size", message=error.message)
        if error.kind in ("rate_limit", "queue_full"):
            wait = error.retry_after_seconds
            return replace(sent, outcome="wait", message=error.message, retry_after_seconds=wait)
        if error.kind == "storage_full":
            return replace(sent, outcome="storage_full", message=error.message)
        return replace(sent, outcome="stopped", stop=refusal(error, provider.key_hash))

    def _record(self, outcomes: Sequence[SubmitOutcome]) -> None:
        """Record the outcomes twice, in the raw folder and in the database.

        Where one of the two cannot be written, the other one has them.
        """
        with ExitStack() as stack:
            stack.callback(self._add_events, outcomes)
            for each in reversed(outcomes):
                stack.callback(
                    self.parts.raw_folder.note, each.sent.chunk_id, each.kind, each.data, self.parts.database.clock()
                )

    def _add_events(self, outcomes: Sequence[SubmitOutcome]) -> None:
        """Record the outcomes in one transaction.

        Writes `ledger.events`.
        """
        with self.parts.writing() as session:
            for each in outcomes:
                self.parts.add_event(session, each.kind, each.data, chunk_id=each.sent.chunk_id)


def _named_once(answers: Sequence[BatchState | Failure], open_ids: set[str | None]) -> list[BatchState | Failure]:
    """Return `answers`, with an unknown outcome for each batch whose id another answer or another open batch has."""
    times = Counter(each.batch_id for each in answers if isinstance(each, BatchState))
    return [
        UnknownOutcomeError(f"the provider named {each.batch_id}, which is the batch of another submit too")
        if isinstance(each, BatchState) and (times[each.batch_id] > 1 or each.batch_id in open_ids)
        else each
        for each in answers
    ]


def include_parts(resolved: Resolved, snapshot: Snapshot) -> dict[str, Sql]:
    """Return the SQL of what is kept of a row with its request, over the snapshot `s`."""
    return {
        "snapshot": snapshot.relation,
        "values": texts_sql(resolved.hash_columns),
        "include": recorded_texts_sql(resolved.include_columns),
        "include_names": names_sql(resolved.include_columns),
    }
