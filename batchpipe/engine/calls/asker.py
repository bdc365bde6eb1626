"""Ask a request by a realtime call, unless somebody else has asked the same: then its answer is waited for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from batchpipe.common.errors import ProviderError
from batchpipe.common.held_room import HeldRoom
from batchpipe.engine.batches.free_decisions import record_version
from batchpipe.engine.batches.submit import INTENT_SECONDS, IntentAge, include_parts
from batchpipe.engine.calls.intents import CallClaim, CallIntents
from batchpipe.engine.calls.try_request import TriedRequest, most_usd, refuse_over_budget
from batchpipe.engine.context import Context
from batchpipe.engine.cost.ladder import settings_text
from batchpipe.engine.ledger.events import CALL_SECONDS
from batchpipe.engine.ledger.raw_folder import held_room
from batchpipe.engine.ledger.renames import record_rename
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.engine.source.snapshot import Snapshot, input_hash_sql
from batchpipe.store.database import Session
from batchpipe.store.queries import query

WAIT_SECONDS = 0.25  # between two looks for the answer of a call of another process
TOO_LATE = 3
ROOM_OF_ANSWERS = 16  # how many answers of the usual length find room where the one that comes is long


@dataclass(frozen=True, slots=True, kw_only=True)
class Asker:
    """Asks requests of one pipeline. `call` makes the call of a request and returns the seconds that it took.

    `asked` has by the custom ids of requests those that get the answer, and the batch that brings it.
    """

    context: Context
    resolved: Resolved
    snapshot: Snapshot
    intents: CallIntents
    git_commit: str | None
    call: Callable[[TriedRequest, HeldRoom], float]
    asked: dict[str, tuple[str, str | None]] = field(default_factory=dict)

    def _claim(self, request: TriedRequest) -> CallClaim:
        """Return who asks a request; where it is ours, its intent is committed.

        Writes `ledger.prompt_versions`, `ledger.policies`, `ledger.requests`, `ledger.events`, the raw folder.
        Raises GateError where the call does not fit a budget.
        """
        context, resolved = self.context, self.resolved
        most = most_usd(context, resolved, request)

        def add_request(session: Session) -> None:
            """Record the prompt version, the link of a rename, and the request."""
            refuse_over_budget(session, context, resolved, [request], self.intents.run_id)
            record_version(session, resolved, self.intents.run_id, self.git_commit)
            record_rename(session, resolved.file, self.intents.run_id)
            session.execute(
                query(
                    "insert_try",
                    input_hash=input_hash_sql(resolved.hash_columns, resolved.policy_recipe),
                    **include_parts(resolved, self.snapshot),
                ),
                self._request_values(session, request),
            )

        known = resolved.provider_of(request.settings)
        provider = context.providers_of(resolved.file).named(known.name)
        further = {} if known.endpoint is None else {"endpoint": known.endpoint}
        further |= {} if request.local_model is None else {"local_model": request.local_model}
        return self.intents.claim(
            request.custom_id,
            str(request.chunk_id),
            {"fingerprints": request.fingerprints, "settings": settings_text(request.settings), "part": request.part},
            {
                "requests": 1,
                "custom_id": request.custom_id,
                "model": request.settings.model,
                "rung": request.rung,
                "max_usd": None if most is None else f"{most:f}",
                "provider": known.name,
                "protocol": known.protocol,
                **further,
                "base_url": context.account_url(provider),
                "key_hash": provider.key_hash,
            },
            add_request,
        )

    def _request_values(self, session: Session, request: TriedRequest) -> dict[str, Any]:
        """Return the values of the statement that records a request."""
        return {
            "pipeline": self.resolved.name,
            "custom_id": request.custom_id,
            "chunk_id": request.chunk_id,
            "run_id": self.intents.run_id,
            "prompt_version": self.resolved.version.prompt_version,
            "policy_hash": self.resolved.policy_hash,
            "fingerprint": request.fingerprint,
            "rung": request.rung,
            "part": request.part,
            "provider": self.resolved.provider_of(request.settings).name,
            "model": request.settings.model,
            "settings": settings_text(request.settings),
            "max_tokens": request.settings.max_tokens,
            "bytes": len(request.params),
            "key": request.key,
            "now": session.now,
            "seq": session.seq,
        }

    def ask(self, request: TriedRequest) -> tuple[TriedRequest, float, str | None]:
        """Ask a request that has no answer, or wait for the answer of who asks it now.

        A request that asks the same as an earlier one shares its outcome.
        Return the request as it was answered, the seconds of our own call, and the batch that it is in flight with.
        Raises ProviderError where the provider refuses or does not answer, GateError for a budget, DatabaseError where
        the disk has no room for the answer: nothing is asked then.
        """
        custom_id, shared_batch_id = self.asked.get(request.custom_id, (request.custom_id, None))
        with held_room(self.intents.raw_folder.path, ROOM_OF_ANSWERS) as room:
            found, seconds, batch_id = self._ask(replace(request, custom_id=custom_id), room)
        self.asked[request.custom_id] = found.custom_id, batch_id or shared_batch_id
        return found, seconds, batch_id or shared_batch_id

    def _ask(self, request: TriedRequest, room: HeldRoom) -> tuple[TriedRequest, float, str | None]:
        """Ask a request, or wait for its answer; see `ask`."""
        machine = self.context.machine
        until = machine.monotonic() + CALL_SECONDS
        late = 0
        while request.chunk_id is not None:
            age = IntentAge(clock=self.context.clock, monotonic=machine.monotonic)
            age.begin()
            claim = self._claim(request)
            if claim.standing == "answered":
                return replace(request, custom_id=claim.custom_id, chunk_id=None), 0.0, None
            if claim.standing == "in_batch":
                return request, 0.0, claim.batch_id or "whose outcome is not known"
            if claim.standing == "ours" and (age.seconds <= INTENT_SECONDS or late >= TOO_LATE):
                return request, self.call(request, room), None
            if claim.standing == "ours":
                late += 1
                self.intents.end(str(request.chunk_id), "not_sent", "more than a minute passed after its intent")
                request = self._renewed(request)
            elif machine.monotonic() > until:
                what = "another process asks this row, and has had no answer for a long time"
                if claim.saved:
                    what = "the answer to this row is saved, and the run that is at work has not recorded it yet"
                raise ProviderError(what, where=request.key, hint="Run the same command again.")
            else:
                machine.sleep(WAIT_SECONDS)
        return request, 0.0, None

    def _renewed(self, request: TriedRequest) -> TriedRequest:
        """Return `request` under new ids."""
        with self.context.database.reading(self.intents.work) as session:
            chunk_id = session.new_id()
        database = request.custom_id.partition("-")[0]
        return replace(request, custom_id=f"{database}-{chunk_id.replace('-', '')}", chunk_id=chunk_id)
