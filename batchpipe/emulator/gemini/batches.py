"""The batches of the service as operations: how they are made, looked at, listed, canceled, and how they end."""

import base64
from hashlib import sha256
from typing import Any

import orjson

from batchpipe.emulator.answering.files import line_tokens
from batchpipe.emulator.gemini.errors import CODES, GoogleError, quota_error
from batchpipe.emulator.gemini.files import Files
from batchpipe.emulator.gemini.models import Model
from batchpipe.emulator.gemini.processing import BadLineError, WorkedBatch, Worker
from batchpipe.emulator.gemini.tables import Batch, Tables
from batchpipe.emulator.service.faults import CallRule, Rules
from batchpipe.emulator.service.jsontypes import JsonObject, is_object
from batchpipe.emulator.service.times import timestamp

LIFE_SECONDS = 48 * 3_600.0
MOST_BATCHES = 100
_TYPE = "type.googleapis.com/google.ai.generativelanguage.v1main.GenerateContentBatch"
_DONE = ("SUCCEEDED", "PARTIALLY_SUCCEEDED", "FAILED", "CANCELLED", "EXPIRED")


class Batches:
    """The batches of all workspaces in one store."""

    def __init__(self, tables: Tables, files: Files, worker: Worker, delay_seconds: float) -> None:
        self._tables = tables
        self._store = tables.store
        self._files = files
        self._worker = worker
        self._delay_seconds = delay_seconds

    def create(
        self,
        asked: object,
        model: Model,
        workspace: str,
        rules: Rules,
        *,
        fault: CallRule | None = None,
        appears_in: float = 0.0,
        stranger: bool = False,
    ) -> Batch:
        """Make a batch of an uploaded file, which is committed when this returns. Its lines are read later."""
        label, file_name = _asked(asked)
        self._files.find(file_name, workspace)
        with self._files.path(file_name).open("rb") as body:
            counts = [line_tokens(line, image_tokens=1_120, page_tokens=560) for line in body if line.strip()]
        requests, tokens = len(counts), sum(counts)
        self._check_queue(model, tokens, rules)
        name = f"batches/{self._store.draw(24)}"
        data = None if fault is None else orjson.dumps(_fault_data(fault)).decode()
        self._tables.insert(
            "batches",
            {
                "name": name,
                "workspace": workspace,
                "model": model.id,
                "display_name": label,
                "file_name": file_name,
                "created_at": self._store.now() + appears_in,
                "requests": requests,
                "tokens": tokens,
                "fault": None if fault is None else fault.fault,
                "fault_data": data,
                "stranger": int(stranger),
                "state": "PENDING",
            },
        )
        made = self._tables.batch(name)
        assert made is not None
        return made

    def _check_queue(self, model: Model, tokens: int, rules: Rules) -> None:
        """Raise GoogleError 429 where too many batches, or too many tokens of this model, are waiting."""
        waiting = self._tables.batches("ended_at IS NULL AND stranger = 0 AND deleted_at IS NULL")
        most = MOST_BATCHES if rules.max_batches is None else rules.max_batches
        if len(waiting) >= most:
            raise quota_error("BatchJobsConcurrentPerProject")
        queued = sum(each.tokens for each in waiting if each.model == model.id)
        if rules.max_queued_tokens is not None and queued + tokens > rules.max_queued_tokens:
            raise quota_error("BatchEnqueuedTokensPerModelPerProject")

    def find(self, name: str, workspace: str) -> Batch:
        """Return a batch of this workspace. Raises GoogleError 404 if the workspace cannot see it."""
        batch = self._tables.batch(name)
        if (
            batch is None
            or batch.workspace != workspace
            or batch.deleted_at is not None
            or batch.created_at > self._store.now()
        ):
            raise GoogleError(404, "Requested entity was not found.")
        return batch

    def retrieve(self, name: str, workspace: str, rules: Rules) -> Batch:
        """Return a batch, and count the call: a batch can end at the second one at the earliest."""
        batch = self.find(name, workspace)
        if batch.ended_at is not None:
            return batch
        self._tables.change("batches", name, {"looks": batch.looks + 1})
        now = self._store.now()
        if rules.never_ends and batch.cancel_at is None:
            return batch
        delay = self._delay_seconds if rules.delay_seconds is None else rules.delay_seconds
        due = batch.created_at + delay <= now and batch.looks >= 1
        if due or batch.cancel_at is not None or batch.created_at + LIFE_SECONDS <= now:
            return self._end(name, rules, delay)
        self._tables.change("batches", name, {"state": "RUNNING"})
        return self.find(name, workspace)

    def page(
        self, workspace: str, size: int, token: str, rules: Rules, hide_seconds: float
    ) -> tuple[list[Batch], str | None]:
        """Return the batches of a page, without those younger than `hide_seconds`, and the token of the next page."""
        now = self._store.now()
        order = {"newest": "created_at DESC, number DESC", "oldest": "created_at, number"}.get(rules.list_order, "name")
        where = "workspace = ? AND deleted_at IS NULL AND created_at <= ? AND (? = 0 OR created_at <= ?)"
        found = self._tables.batches(f"{where} ORDER BY {order}", (workspace, now, hide_seconds, now - hide_seconds))
        start = int(token) if token.isdigit() else 0
        more = len(found) > start + size
        return found[start : start + size], str(start + size) if more else None

    def cancel(self, name: str, workspace: str) -> JsonObject:
        """Cancel a batch; one that has ended stays as it is."""
        batch = self.find(name, workspace)
        if batch.ended_at is None and batch.cancel_at is None:
            self._tables.change("batches", name, {"cancel_at": self._store.now()})
        return {}

    def delete(self, name: str, workspace: str) -> JsonObject:
        """Delete a batch that has ended."""
        if self.find(name, workspace).ended_at is None:
            raise GoogleError(400, "The batch is running. Cancel it first.", name="FAILED_PRECONDITION")
        self._tables.change("batches", name, {"deleted_at": self._store.now()})
        return {}

    def shape(self, batch: Batch, rules: Rules) -> JsonObject:
        """Return a batch as the service shows it, an operation. A count is a text, and one of 0 is left out."""
        offset, state = rules.clock_offset_seconds, batch.state
        data = orjson.loads(batch.fault_data or "{}")
        file = batch.responses_file
        if batch.fault == "output_late" and self._store.now() < (batch.ended_at or 0) + data["seconds"]:
            file = None
        stats = {
            "requestCount": batch.requests,
            "successfulRequestCount": batch.succeeded,
            "failedRequestCount": batch.failed,
            "pendingRequestCount": batch.requests if state in ("PENDING", "RUNNING") else 0,
        }
        if batch.fault == "counts_lie":
            stats |= {"successfulRequestCount": batch.requests, "failedRequestCount": 0}
        output = {"responsesFile": file} if file is not None else {}
        metadata: JsonObject = {
            "@type": _TYPE,
            "name": batch.name,
            "model": f"models/{batch.model}",
            "displayName": batch.display_name,
            "inputConfig": {"fileName": batch.file_name},
            "createTime": timestamp(batch.created_at, offset),
            "updateTime": timestamp(batch.ended_at or batch.created_at, offset),
            **({"endTime": timestamp(batch.ended_at, offset)} if batch.ended_at is not None else {}),
            "batchStats": {name: str(count) for name, count in stats.items() if count},
            "state": f"BATCH_STATE_{state}",
            **({"output": output} if output else {}),
        }
        shape: JsonObject = {"name": batch.name, "metadata": metadata}
        if state in _DONE:
            shape["done"] = True
        if batch.error_code is not None:
            shape["error"] = {"code": batch.error_code, "message": batch.error_message}
        elif output:
            shape["response"] = {"@type": f"{_TYPE}Output", **output}
        return shape

    def _end(self, name: str, rules: Rules, delay: float) -> Batch:
        with self._store.processing():
            batch = self._tables.batch(name)
            assert batch is not None
            if batch.ended_at is not None:
                return batch
            now, expires_at = self._store.now(), batch.created_at + LIFE_SECONDS
            done_at = batch.created_at + delay
            if batch.fault == "fails_late":
                self._record_failure(batch, orjson.loads(batch.fault_data or "{}"))
            elif batch.cancel_at is not None:
                self._work(batch, rules, rules.finished_before_cancel, "CANCELLED", now)
            elif done_at > expires_at:
                self._work(batch, rules, rules.finished_before_expiry, "EXPIRED", expires_at)
            elif batch.fault == "partial":
                self._work(batch, rules, 0.5, "PARTIALLY_SUCCEEDED", min(now, expires_at))
            else:
                self._work(batch, rules, 1.0, "SUCCEEDED", min(now, expires_at))
            ended = self._tables.batch(name)
            assert ended is not None
            return ended

    def _work(self, batch: Batch, rules: Rules, finished: float, state: str, ended_at: float) -> None:
        """Answer a share of the requests and record the end. Without an answer there is no file of results."""
        target = self._store.results_path(batch.name.partition("/")[2])
        worked = None
        if finished > 0 and self._tables.file(batch.file_name) is None:
            self._record_failure(batch, {"error_code": "NOT_FOUND", "message": "The input file was not found."})
            return
        if finished > 0:
            try:
                worked = self._worker.work(batch, self._files.path(batch.file_name), target, rules, finished)
            except BadLineError as problem:
                self._record_failure(batch, {"error_code": "INVALID_ARGUMENT", "message": str(problem)})
                return
        answered = worked is not None and worked.succeeded + worked.failed > 0
        if not answered and state == "PARTIALLY_SUCCEEDED":
            self._record_failure(batch, {"error_code": "UNAVAILABLE", "message": "No request was answered."})
            return
        file = self._output(batch, target.read_bytes()) if answered else None
        self._record(batch, state, ended_at, worked, file)

    def _output(self, batch: Batch, body: bytes) -> str:
        """Keep the results as a file of the service, and return its name, which is longer than 40 characters."""
        name = f"files/batch-{self._store.draw(40)}"
        self._files.keep(name, body)
        self._tables.insert(
            "files",
            {
                "name": name,
                "workspace": batch.workspace,
                "display_name": "",
                "mime_type": "application/jsonl",
                "bytes": len(body),
                "sha256": base64.b64encode(sha256(body).hexdigest().encode()).decode(),
                "state": "ACTIVE",
                "source": "GENERATED",
                "created_at": self._store.now(),
            },
        )
        return name

    def _record(self, batch: Batch, state: str, ended_at: float, worked: WorkedBatch | None, file: str | None) -> None:
        succeeded, failed = (worked.succeeded, worked.failed) if worked is not None else (0, 0)
        with self._store.transaction() as connection:
            connection.execute(
                "UPDATE gemini_batches SET ended_at = ?, state = ?, succeeded = ?, failed = ?, responses_file = ? "
                "WHERE name = ?",
                (ended_at, state, succeeded, failed, file, batch.name),
            )
            if worked is not None:
                worked.state.save(connection)

    def _record_failure(self, batch: Batch, data: JsonObject) -> None:
        """Record that a batch failed as a whole, with a name or number of google.rpc.Code."""
        code: Any = data.get("error_code") or "INVALID_ARGUMENT"
        self._tables.change(
            "batches",
            batch.name,
            {
                "ended_at": self._store.now(),
                "state": "FAILED",
                "error_code": CODES.get(code) or (int(code) if str(code).isdigit() else 2),
                "error_message": data.get("message") or f"The emulator was told to fail this batch: {code}",
            },
        )


def _fault_data(fault: CallRule) -> JsonObject:
    message = fault.message
    if fault.line is not None:
        message = f"{message or 'The request is not valid'} (line {fault.line})"
    return {"seconds": fault.seconds, "error_code": fault.error_code, "message": message}


def _asked(asked: object) -> tuple[str, str]:
    """Return the display name and the input file that a create asks for."""
    batch = asked.get("batch") if is_object(asked) and set(asked) == {"batch"} else None
    if not is_object(batch):
        raise GoogleError(400, 'Invalid JSON payload received: expected {"batch": {...}}.')
    known = {"displayName", "display_name", "inputConfig", "input_config", "priority", "model", "webhookConfig"}
    for name in batch:
        if name not in known:
            message = f"Invalid JSON payload received. Unknown name \"{name}\" at 'batch': Cannot find field."
            raise GoogleError(400, message)
    label = batch.get("displayName", batch.get("display_name"))
    config = batch.get("inputConfig", batch.get("input_config"))
    if not isinstance(label, str) or not label:
        raise GoogleError(400, "* BatchGenerateContentRequest.batch.display_name: must be specified")
    file_name = config.get("fileName", config.get("file_name")) if is_object(config) else None
    if not isinstance(file_name, str):
        raise GoogleError(400, "The emulator takes batches of a file: batch.input_config.file_name must be specified")
    return label, file_name
