"""Submitting a chunk: the intent and its ids are committed, the body is posted once, the outcome is recorded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from batchpipe.caching import Turn
from batchpipe.chunking import free_size
from batchpipe.engine.facts import add_event
from batchpipe.engine.forecast import DEVIATIONS_OF_90_PERCENT
from batchpipe.engine.marks import NO_MARKS, UNMARKED, Marks, facts
from batchpipe.engine.plan import Plan
from batchpipe.engine.raw import RawFolder, keep_chunk
from batchpipe.engine.resolve import Resolved
from batchpipe.engine.snapshot import InputColumn, Snapshot, texts_sql
from batchpipe.errors import ProviderError
from batchpipe.providers import (
    BatchState,
    NotSentError,
    Provider,
    RefusedError,
    UnknownOutcomeError,
)
from batchpipe.sql import quote_list, quote_literal
from batchpipe.store.database import Database, Session, Work
from batchpipe.store.queries import query

SUBMIT_TIMEOUT_SECONDS = 600.0

SendOutcome = Literal["sent", "unknown", "refused_size", "wait", "not_sent"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """What became of one chunk: `count` requests of the queue were taken; `words` are the provider's."""

    outcome: SendOutcome
    count: int
    chunk_id: str
    words: str = ""
    retry_after_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitter:
    """Sends chunks of a plan's queue. `run_id` stamps the facts."""

    resolved: Resolved
    database: Database
    work: Work
    raw: RawFolder
    provider: Callable[[], Provider]
    account_url: Callable[[Provider], str]
    run_id: str

    def send(self, plan: Plan, start: int, count: int, marks: Marks = NO_MARKS, turn: Turn = UNMARKED) -> Sent:
        """Send up to `count` requests of `work.queue` from number `start`, which were rendered with `marks`.

        Raises ProviderError for a refusal that no other chunk can escape: credit, limits, permission, key, endpoint.
        """
        provider = self.provider()
        chunk_id, count = self._commit_intent(provider, plan, start, count, marks, turn)
        self._keep_intent(chunk_id)
        body = self._body(provider, plan, unmarked=bool(marks.by_rung) and turn.step == "none")
        headers = provider.batch_headers(self.resolved.rungs[self._rung() - 1])
        try:
            state = provider.submit(body, headers=headers, timeout_seconds=SUBMIT_TIMEOUT_SECONDS)
        except UnknownOutcomeError as error:
            self._event(chunk_id, "chunk_unknown", {"message": str(error)})
            return Sent(outcome="unknown", count=count, chunk_id=chunk_id, words=str(error))
        except NotSentError as error:
            self._event(chunk_id, "chunk_not_sent", {"message": str(error)})
            return Sent(outcome="not_sent", count=count, chunk_id=chunk_id, words=str(error))
        except RefusedError as error:
            return self._refused(chunk_id, count, error)
        self._event(chunk_id, "chunk_submitted", submitted_facts(state))
        return Sent(outcome="sent", count=count, chunk_id=chunk_id)

    def fail_single(self, chunk_id: str, words: str) -> None:
        """A request that the provider refuses all alone: its rows have failed, with the provider's words."""
        with self.database.writing(self.work, self.run_id) as session:
            session.execute(
                query("fail_chunk"),
                {
                    "chunk_id": chunk_id,
                    "error": words,
                    "run_id": self.run_id,
                    "now": session.now,
                    "seq": session.seq,
                },
            )

    def _commit_intent(
        self, provider: Provider, plan: Plan, start: int, count: int, marks: Marks, turn: Turn
    ) -> tuple[str, int]:
        account = {"provider": provider.name, "base_url": self.account_url(provider)}
        with self.database.writing(self.work, self.run_id) as session:
            taken = {size for (size,) in session.rows(query("open_sizes"), account)}
            count = free_size(count, taken)
            database = session.one(query("database_id"))[0]
            chunk_id = str(session.one("SELECT uuidv7()")[0])
            self._choose(database, start, start + count)
            session.execute(
                query("insert_requests", **include_parts(self.resolved, plan.snapshot)),
                {
                    "pipeline": self.resolved.name,
                    "chunk_id": chunk_id,
                    "run_id": self.run_id,
                    "prompt_version": self.resolved.version.prompt_version,
                    "policy_hash": self.resolved.policy_hash,
                    "now": session.now,
                    "seq": session.seq,
                },
            )
            known = account | {"key_hash": provider.key_hash} | facts(self.resolved, marks, self._rung(), turn)
            self._intent(session, chunk_id, known, pilot=plan.held is not None)
        return chunk_id, count

    def _keep_intent(self, chunk_id: str) -> None:
        with self.database.reading(self.work) as session:
            keep_chunk(session, self.raw, chunk_id, self.database.path.name)

    def _choose(self, database: str, start: int, stop: int) -> None:
        """`work.chunk`, through a cursor of its own: a transaction writes to one database only."""
        cursor = self.work.connection.cursor()
        parameters = {"database": database, "pipeline": self.resolved.name, "start": start, "stop": stop}
        cursor.execute(query("chunk"), parameters)
        cursor.close()

    def _intent(self, session: Session, chunk_id: str, account: Mapping[str, Any], *, pilot: bool) -> None:
        chunk = session.dictionaries(query("chunk_facts"), {"deviations": DEVIATIONS_OF_90_PERCENT})[0]
        data = chunk | dict(account) | {"prompt_version": self.resolved.version.prompt_version, "pilot": pilot}
        add_event(session, self.resolved.name, "chunk_prepared", data, run_id=self.run_id, chunk_id=chunk_id)

    def _rung(self) -> int:
        row = self.work.connection.execute("SELECT any_value(rung) FROM work.chunk").fetchone()
        assert row is not None
        return int(row[0])

    def _body(self, provider: Provider, plan: Plan, *, unmarked: bool) -> bytes:
        rendered = f"read_parquet({quote_literal(str(plan.rendered))})"
        rows = self.work.connection.execute(query("chunk_params", rendered=rendered)).fetchall()
        if unmarked:
            rows = [(custom_id, provider.unmarked(params)) for custom_id, params in rows]
        return provider.assemble(rows)

    def _refused(self, chunk_id: str, count: int, error: RefusedError) -> Sent:
        self._event(chunk_id, "chunk_refused", {"status": error.status, "kind": error.kind, "message": error.message})
        if error.kind in ("too_large", "invalid"):
            return Sent(outcome="refused_size", count=count, chunk_id=chunk_id, words=error.message)
        if error.kind in ("rate_limit", "queue_full"):
            wait = error.retry_after_seconds
            return Sent(outcome="wait", count=count, chunk_id=chunk_id, words=error.message, retry_after_seconds=wait)
        raise refusal(error, self.provider().key_hash)

    def _event(self, chunk_id: str, kind: str, data: Mapping[str, Any]) -> None:
        """The outcome, on the disk twice: where one of the two cannot be written, the other one knows."""
        try:
            self.raw.note(chunk_id, kind, data, self.database.clock())
        finally:
            with self.database.writing(self.work, self.run_id) as session:
                add_event(session, self.resolved.name, kind, data, run_id=self.run_id, chunk_id=chunk_id)


def submitted_facts(state: BatchState) -> dict[str, Any]:
    """What is recorded of a batch once its id is known."""
    return {
        "batch_id": state.batch_id,
        "created_at": state.created_at,
        "expires_at": state.expires_at,
        "organization": state.organization,
        "workspace": state.workspace,
        "request_id": state.request_id,
    }


def refusal(error: RefusedError, key_hash: str) -> ProviderError:
    """A refusal that stops the run, with the provider's words and the next step."""
    hints = {
        "account": f"Mend the account or the key (key {key_hash}), then run the same command again: nothing is lost.",
        "no_batch_endpoint": "This base URL has no batch endpoint: set another `base_url`.",
        "not_found": "Check `base_url` and the workspace of the key.",
    }
    hint = hints.get(error.kind, "Run the same command again; nothing is lost.")
    return ProviderError(f"the provider refuses ({error.status}): {error.message}", where="provider", hint=hint)


def include_parts(resolved: Resolved, snapshot: Snapshot) -> dict[str, str]:
    """The SQL of what is kept of a row with its request, over the snapshot `s`."""
    return {
        "snapshot": snapshot.relation,
        "values": texts_sql(resolved.hash_columns),
        "include": texts_sql(resolved.include_columns),
        "include_names": _names(resolved.include_columns),
    }


def _names(columns: Sequence[InputColumn]) -> str:
    return f"[{quote_list(each.name for each in columns)}]::VARCHAR[]"
