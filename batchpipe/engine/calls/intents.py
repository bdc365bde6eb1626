"""Decide in one transaction who makes a realtime call: the same request is asked once, whoever wants its answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from batchpipe.engine.ledger.events import CALL_SECONDS, add_event
from batchpipe.engine.ledger.raw_folder import RawFolder, keep_chunks, raw_folder_of
from batchpipe.engine.ledger.renames import linked_with, rename_links
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.sql.quoting import quote_list
from batchpipe.store.database import Database, Session, Work
from batchpipe.store.queries import query

# Who asks: we do; nobody has to, since there is an answer; another process does now; a batch in flight does.
Standing = Literal["ours", "answered", "being_asked", "in_batch"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CallClaim:
    """Says who asks a request. `custom_id` is that of the request that has, or gets, the answer. `saved`: the answer is
    in the raw folder, and not recorded yet.
    """

    standing: Standing
    custom_id: str
    batch_id: str | None = None
    saved: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CallIntents:
    """Records the intents and the ends of realtime calls of one pipeline."""

    resolved: Resolved
    database: Database
    work: Work
    run_id: str

    @property
    def raw_folder(self) -> RawFolder:
        """Return the raw folder, which keeps what is needed to record the answers again."""
        return raw_folder_of(self.database)

    def claim(
        self,
        custom_id: str,
        chunk_id: str,
        same: Mapping[str, Any],
        data: Mapping[str, Any],
        add_request: Callable[[Session], None],
    ) -> CallClaim:
        """Return who asks the request; where it is ours, its intent is committed, and kept in the raw folder.

        `same` has the SQL of its `fingerprints`, its `settings` and its `part`. `data` is that of the intent's event.
        `add_request` records the request in the session that it gets; it raises where a budget has no room.
        Reads the ledger. Writes `ledger.requests`, `ledger.events`, the raw folder. Raises what `add_request` raises.
        """
        with self.database.reading(self.work) as session:
            found = self._found(session, same)
        if found is not None:
            return found
        with self.database.writing(self.work, self.run_id) as session:
            found = self._found(session, same)
            if found is not None:
                return found
            add_request(session)
            add_event(session, self.resolved.name, "call_prepared", data, run_id=self.run_id, chunk_id=chunk_id)
        with self.database.reading(self.work) as session:
            keep_chunks(session, self.raw_folder, [chunk_id], self.database.path.name)
        return CallClaim(standing="ours", custom_id=custom_id)

    def _found(self, session: Session, same: Mapping[str, Any]) -> CallClaim | None:
        """Return who has asked the same and has the answer or can still get it; None where nobody has.

        Reads the ledger.
        """
        statement = query(
            "same_request",
            families=quote_list(linked_with(self.resolved.file, self.resolved.names, rename_links(session))),
            fingerprints=same["fingerprints"],
        )
        for each in session.dictionaries(statement, {"settings": same["settings"], "part": same["part"]}):
            if each["answered"]:
                return CallClaim(standing="answered", custom_id=each["custom_id"])
            if each["in_batch"]:
                return CallClaim(standing="in_batch", custom_id=each["custom_id"], batch_id=each["batch_id"])
            if each["called_at"] is None:
                continue
            saved = self.raw_folder.results(each["chunk_id"]) is not None
            if saved or not _is_over(each["called_at"], session.now):
                return CallClaim(standing="being_asked", custom_id=each["custom_id"], saved=saved)
        return None

    def end(self, chunk_id: str, outcome: str, message: str) -> None:
        """Record the end of a call that brought no answer: `refused` and `not_sent` cost nothing, `lost` may have cost
        something.

        What a lost call can have cost is booked, as `booked` sums it up.
        Writes `ledger.events`, the raw folder.
        """
        data = {"outcome": outcome, "message": message}
        with self.database.writing(self.work, self.run_id) as session:
            add_event(session, self.resolved.name, "call_ended", data, run_id=self.run_id, chunk_id=chunk_id)
            now = session.now
        self.raw_folder.note(chunk_id, "call_ended", data, now)


def _is_over(called_at: datetime, now: datetime) -> bool:
    """Return whether nobody can wait for the answer of a call any more."""
    return now - called_at > timedelta(seconds=CALL_SECONDS)
