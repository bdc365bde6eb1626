"""The batches of the service: how they are made, retrieved, listed, canceled, deleted, and how they end."""

from dataclasses import dataclass

from batchpipe.emulator.anthropic.bodies import keep_requests
from batchpipe.emulator.anthropic.processing import WorkedBatch, Worker
from batchpipe.emulator.service.errors import ApiError
from batchpipe.emulator.service.faults import Rules
from batchpipe.emulator.service.jsontypes import JsonObject
from batchpipe.emulator.service.store import Batch, Store
from batchpipe.emulator.service.times import timestamp
from batchpipe.emulator.service.wire import Request

DAY = 86_400


@dataclass(frozen=True, slots=True)
class Page:
    """The page that a list call asks for; at most one of the two ids is given."""

    limit: int
    after_id: str | None
    before_id: str | None


class Batches:
    """The batches of all workspaces in one store."""

    def __init__(self, store: Store, worker: Worker, delay_seconds: float) -> None:
        self._store = store
        self._worker = worker
        self._delay_seconds = delay_seconds

    def create(
        self,
        request: Request,
        workspace: str,
        version: str,
        rules: Rules,
        *,
        fault: str | None = None,
        appears_in: float = 0.0,
        stranger: bool = False,
    ) -> Batch:
        """Keep the body and make the batch, which is committed when this returns."""
        if request.body is None:
            raise ApiError(400, "The request body is not valid JSON: it is empty")
        batch_id = f"msgbatch_01{self._store.draw(22)}"
        kept = request.body.with_suffix(".jsonl")
        try:
            count = keep_requests(request.body, kept, rules.max_requests)
            self._store.put(kept, self._store.body_path(batch_id))
        finally:
            kept.unlink(missing_ok=True)
        betas = ",".join(part.strip() for part in request.headers.get("anthropic-beta", "").split(","))
        created_at = self._store.now() + appears_in
        with self._store.transaction() as connection:
            waiting = connection.execute(
                "SELECT coalesce(sum(requests), 0) FROM batches WHERE ended_at IS NULL AND stranger = 0"
            ).fetchone()[0]
            if rules.max_queued is not None and waiting + count > rules.max_queued:
                self._store.body_path(batch_id).unlink()
                raise ApiError(
                    429,
                    f"Too many batch requests in the processing queue: {waiting} waiting and {count} new are "
                    f"more than your limit of {rules.max_queued}.",
                )
            connection.execute(
                "INSERT INTO batches (id, workspace, created_at, requests, version, betas, fault, stranger) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (batch_id, workspace, created_at, count, version, betas, fault, int(stranger)),
            )
        made = self._store.batch(batch_id)
        assert made is not None
        return made

    def find(self, batch_id: str, workspace: str) -> Batch:
        """Return a batch of this workspace. Raises ApiError 404 if the workspace cannot see it."""
        batch = self._store.batch(batch_id)
        if (
            batch is None
            or batch.workspace != workspace
            or batch.deleted_at is not None
            or batch.created_at > self._store.now()
        ):
            raise ApiError(404, f"Message Batch with id '{batch_id}' not found")
        return batch

    def retrieve(self, batch_id: str, workspace: str, rules: Rules) -> Batch:
        """Return a batch, and count the call: a batch can end at the second one at the earliest."""
        batch = self.find(batch_id, workspace)
        if batch.ended_at is not None:
            return batch
        with self._store.transaction() as connection:
            connection.execute("UPDATE batches SET looks = looks + 1 WHERE id = ?", (batch_id,))
        now = self._store.now()
        if rules.never_ends and batch.cancel_initiated_at is None:
            return batch
        due = batch.created_at + self._delay(rules) <= now and batch.looks >= 1
        if due or batch.cancel_initiated_at is not None or _expires_at(batch) <= now:
            return self._end(batch_id, rules)
        return batch

    def page(self, workspace: str, page: Page, rules: Rules, hide_seconds: float) -> tuple[list[Batch], bool]:
        """Return the batches of a page, newest first, and whether there are more in the direction of the page.

        Batches younger than `hide_seconds` are left out. The rules may ask for another order.
        """
        now = self._store.now()
        if rules.list_order != "newest":
            return self._page_in_order(workspace, page, rules)
        where = "workspace = ? AND deleted_at IS NULL AND created_at <= ? AND (? = 0 OR created_at <= ?)"
        values: tuple[str | float, ...] = (workspace, now, hide_seconds, now - hide_seconds)
        order = "DESC"
        for cursor, sign in ((page.after_id, "<"), (page.before_id, ">")):
            if cursor is not None:
                place = self.find(cursor, workspace)
                where += f" AND (created_at, number) {sign} (?, ?)"
                values = (*values, place.created_at, place.number)
                order = "ASC" if sign == ">" else "DESC"
        where += f" ORDER BY created_at {order}, number {order}"
        found = self._store.batches(where, values, page.limit + 1)
        shown = found[: page.limit]
        if order == "ASC":
            shown.reverse()
        overdue = [
            each for each in shown if each.ended_at is None and _expires_at(each) <= now and not rules.never_ends
        ]
        ended = {batch.id: self._end(batch.id, rules) for batch in overdue}
        return [ended.get(batch.id, batch) for batch in shown], len(found) > page.limit

    def _page_in_order(self, workspace: str, page: Page, rules: Rules) -> tuple[list[Batch], bool]:
        """Return the batches of a page in the order of the rules: the oldest first, or one that looks like none."""
        order = "created_at, number" if rules.list_order == "oldest" else "id"
        where = f"workspace = ? AND deleted_at IS NULL AND created_at <= ? ORDER BY {order}"
        found = self._store.batches(where, (workspace, self._store.now()))
        place = next((n for n, batch in enumerate(found, start=1) if batch.id == page.after_id), 0)
        return found[place : place + page.limit], len(found) > place + page.limit

    def cancel(self, batch_id: str, workspace: str) -> Batch:
        """Cancel a batch and return it. Raises ApiError if the workspace cannot see it, or it cannot be canceled."""
        batch = self.find(batch_id, workspace)
        if batch.ended_at is not None:
            raise ApiError(400, f"Message Batch '{batch_id}' has already ended and cannot be canceled")
        with self._store.transaction() as connection:
            connection.execute(
                "UPDATE batches SET cancel_initiated_at = coalesce(cancel_initiated_at, ?) WHERE id = ?",
                (self._store.now(), batch_id),
            )
        return self.find(batch_id, workspace)

    def delete(self, batch_id: str, workspace: str) -> JsonObject:
        """Delete a batch and return the API's reply. Raises ApiError if it has not ended."""
        batch = self.find(batch_id, workspace)
        if batch.ended_at is None:
            raise ApiError(400, f"Message Batch '{batch_id}' cannot be deleted while it is processing; cancel it first")
        with self._store.transaction() as connection:
            connection.execute("UPDATE batches SET deleted_at = ? WHERE id = ?", (self._store.now(), batch_id))
        return {"id": batch_id, "type": "message_batch_deleted"}

    def ended(self, batch_id: str, workspace: str, rules: Rules) -> Batch:
        """Return a batch that has results. Raises ApiError 404 if it has not ended, or is archived."""
        batch = self.find(batch_id, workspace)
        if batch.ended_at is None:
            raise ApiError(404, f"Message Batch '{batch_id}' has no results yet: it has not ended")
        if self.archived(batch, rules):
            raise ApiError(404, f"The results of Message Batch '{batch_id}' are no longer available: it is archived")
        return batch

    def archived(self, batch: Batch, rules: Rules) -> bool:
        """Return whether the results of a batch are gone because it is too old."""
        return batch.created_at + rules.results_kept_seconds <= self._store.now()

    def shape(self, batch: Batch, base_url: str, rules: Rules) -> JsonObject:
        """Return a batch as the API shows it, a MessageBatch object."""
        archived, offset = self.archived(batch, rules), rules.clock_offset_seconds
        available = batch.ended_at is not None and not archived
        status = "in_progress"
        if batch.ended_at is not None:
            status = "ended"
        elif batch.cancel_initiated_at is not None:
            status = "canceling"
        return {
            "id": batch.id,
            "type": "message_batch",
            "processing_status": status,
            "request_counts": {
                "processing": batch.requests if batch.ended_at is None else 0,
                "succeeded": batch.succeeded,
                "errored": batch.errored,
                "canceled": batch.canceled,
                "expired": batch.expired,
            },
            "created_at": timestamp(batch.created_at, offset),
            "expires_at": timestamp(_expires_at(batch), offset),
            "ended_at": timestamp(batch.ended_at, offset),
            "cancel_initiated_at": timestamp(batch.cancel_initiated_at, offset),
            "archived_at": timestamp(batch.created_at + rules.results_kept_seconds, offset) if archived else None,
            "results_url": f"{base_url}/v1/messages/batches/{batch.id}/results" if available else None,
        }

    def _delay(self, rules: Rules) -> float:
        return self._delay_seconds if rules.delay_seconds is None else rules.delay_seconds

    def _end(self, batch_id: str, rules: Rules) -> Batch:
        with self._store.processing():
            batch = self._store.batch(batch_id)
            assert batch is not None
            if batch.ended_at is not None:
                return batch
            now, expires_at = self._store.now(), _expires_at(batch)
            done_at = batch.created_at + self._delay(rules)
            if batch.cancel_initiated_at is not None:
                finished, otherwise, ended_at = rules.finished_before_cancel, "canceled", now
            elif done_at > expires_at:
                finished, otherwise, ended_at = rules.finished_before_expiry, "expired", expires_at
            else:
                finished, otherwise, ended_at = 1.0, "expired", min(now, expires_at)
            worked = self._worker.work(batch, rules, finished, otherwise)
            self._record_end(batch_id, worked, ended_at)
            ended = self._store.batch(batch_id)
            assert ended is not None
            return ended

    def _record_end(self, batch_id: str, worked: WorkedBatch, ended_at: float) -> None:
        with self._store.transaction() as connection:
            connection.execute(
                "UPDATE batches SET ended_at = ?, succeeded = ?, errored = ?, canceled = ?, expired = ? WHERE id = ?",
                (ended_at, *worked.counts.by_kind.values(), batch_id),
            )
            worked.state.save(connection)


def _expires_at(batch: Batch) -> float:
    return batch.created_at + DAY
