"""The batches of this protocol: how they are made, validated, retrieved, listed and cancelled, and how they end."""

import random
import re

import orjson

from batchpipe.emulator.answering.carried import CarriedState, carried_state
from batchpipe.emulator.openai.answering import Answer, Answerer
from batchpipe.emulator.openai.errors import OpenAIError
from batchpipe.emulator.openai.files import LIFE_SECONDS, Files, checked_life
from batchpipe.emulator.openai.inputs import check_input
from batchpipe.emulator.openai.params import CHAT, RESPONSES
from batchpipe.emulator.openai.tables import BatchEnd, NewBatch, StoredBatch, Tables
from batchpipe.emulator.service.faults import CallRule, Rules
from batchpipe.emulator.service.jsontypes import JsonObject, is_object
from batchpipe.emulator.service.pieces import share_of, unordered
from batchpipe.emulator.service.wire import Request

DAY = 86_400
MOST_REQUESTS = 50_000
_KEYS = {"input_file_id", "endpoint", "completion_window", "metadata", "output_expires_after"}
_ENDPOINTS = (RESPONSES, CHAT)
_NOT_ANSWERED = {
    "batch_expired": "This request could not be executed before the completion window expired.",
    "batch_cancelled": "This request was cancelled.",
}


class Batches:
    """The batches of all projects in one store."""

    def __init__(self, tables: Tables, files: Files, answerer: Answerer, delay_seconds: float) -> None:
        self._tables = tables
        self._store = tables.store
        self._files = files
        self._answerer = answerer
        self._delay_seconds = delay_seconds

    def create(self, request: Request, workspace: str, rules: Rules, fault: CallRule | None) -> StoredBatch:
        """Make a batch of an uploaded file. Raises OpenAIError with the provider's own message."""
        order = _order(request)
        file = self._files.find(_text(order, "input_file_id"), workspace)
        if file.purpose != "batch":
            raise OpenAIError(400, "The input file must have the purpose 'batch'.", param="input_file_id")
        endpoint = _text(order, "endpoint")
        if endpoint not in _ENDPOINTS:
            raise OpenAIError(400, f"Invalid value: '{endpoint}'. Supported are: {_ENDPOINTS}.", param="endpoint")
        if _text(order, "completion_window") != "24h":
            raise OpenAIError(400, "Invalid value for 'completion_window': expected '24h'.", param="completion_window")
        checked = check_input(self._tables.path(file.id), endpoint, min(rules.max_requests, MOST_REQUESTS))
        errors = checked.errors or self._queue_errors(checked.model, checked.tokens, rules)
        name = None if fault is None else fault.fault
        if fault is not None and name == "fails_late":
            code, message = (
                fault.error_code or "invalid_request",
                fault.message or "The emulator was told to fail this.",
            )
            errors = [{"code": code, "line": fault.line, "message": message, "param": None}]
        later = fault.seconds if fault is not None and name == "landed_later" else 0.0
        return self._tables.add_batch(
            NewBatch(
                workspace=workspace,
                created_at=self._store.now() + later,
                endpoint=endpoint,
                input_file_id=file.id,
                metadata=_metadata(order),
                output_life=_output_life(order),
                requests=checked.requests,
                tokens=checked.tokens,
                model=checked.model,
                errors=errors,
                fault=name,
                fault_seconds=0.0 if fault is None else fault.seconds,
                stranger=False,
            )
        )

    def _queue_errors(self, model: str | None, tokens: int, rules: Rules) -> list[JsonObject]:
        """Return the error of a batch that does not fit into the queue of its model."""
        if rules.max_queued_tokens is None:
            return []
        waiting = self._store.query(
            "SELECT coalesce(sum(tokens), 0) FROM openai_batches "
            "WHERE ended_at IS NULL AND errors IS NULL AND model = ?",
            (model,),
        )[0][0]
        if waiting + tokens <= rules.max_queued_tokens:
            return []
        message = (
            f"Enqueued token limit reached for {model}. Limit: {rules.max_queued_tokens} enqueued tokens. "
            "Please try again once some in_progress batches have been completed."
        )
        return [{"code": "token_limit_exceeded", "line": None, "message": message, "param": None}]

    def stranger(self, count: int, workspace: str, age_seconds: float) -> str:
        """Make a batch of somebody else, and return its id."""
        name = self._store.draw(8)
        lines = [
            {
                "custom_id": f"stranger-{name}-{place}",
                "method": "POST",
                "url": RESPONSES,
                "body": {"model": "gpt-6-luna", "input": f"Somebody else's question {place}."},
            }
            for place in range(count)
        ]
        part = self._store.folder / "incoming" / f"stranger-{name}.part"
        part.write_bytes(b"".join(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE) for line in lines))
        file = self._tables.add_file(part, workspace, f"{name}.jsonl", "batch", LIFE_SECONDS)
        made = self._tables.add_batch(
            NewBatch(
                workspace=workspace,
                created_at=self._store.now() - age_seconds,
                endpoint=RESPONSES,
                input_file_id=file.id,
                metadata={},
                output_life=LIFE_SECONDS,
                requests=count,
                tokens=10 * count,
                model="gpt-6-luna",
                errors=[],
                fault=None,
                fault_seconds=0.0,
                stranger=True,
            )
        )
        return made.id

    def find(self, batch_id: str, workspace: str) -> StoredBatch:
        """Return a batch of this project. Raises OpenAIError 404 if the project cannot see it."""
        batch = self._tables.batch(batch_id)
        if batch is None or batch.workspace != workspace or batch.created_at > self._store.now():
            raise OpenAIError(404, f"No batch found with id '{batch_id}'.")
        return batch

    def retrieve(self, batch_id: str, workspace: str, rules: Rules) -> StoredBatch:
        """Return a batch, and count the call: a batch can end at the second one at the earliest."""
        batch = self.find(batch_id, workspace)
        if batch.ended_at is not None:
            return batch
        self._tables.look(batch_id)
        now = self._store.now()
        if now < batch.created_at + rules.validating_seconds:
            return batch
        if batch.errors is not None:
            return self._end(batch_id, rules)
        if rules.never_ends and batch.cancel_initiated_at is None:
            return self.find(batch_id, workspace)
        due = batch.created_at + self._delay(rules) <= now and batch.looks >= 1
        if due or batch.cancel_initiated_at is not None or batch.created_at + DAY <= now:
            return self._end(batch_id, rules)
        return self.find(batch_id, workspace)

    def cancel(self, batch_id: str, workspace: str) -> StoredBatch:
        """Begin to cancel a batch. Raises OpenAIError if the project cannot see it, or it has ended."""
        batch = self.find(batch_id, workspace)
        if batch.ended_at is not None:
            message = f"Cannot cancel a batch with status '{batch.end_state}'."
            raise OpenAIError(409, message, code="batch_not_cancellable")
        self._tables.cancel(batch_id)
        return self.find(batch_id, workspace)

    def page(
        self, request: Request, workspace: str, rules: Rules, hide_seconds: float
    ) -> tuple[list[StoredBatch], bool]:
        """Return the batches of a page, the newest first, and whether there are more.

        Batches younger than `hide_seconds` are left out. The rules may ask for another order.
        """
        text, after = request.query.get("limit", "20"), request.query.get("after")
        limit = int(text) if re.fullmatch(r"[0-9]{1,4}", text) else 0
        if not 1 <= limit <= 100:
            raise OpenAIError(400, "Invalid 'limit': expected an integer from 1 to 100.", param="limit")
        if after is not None:
            self.find(after, workspace)
        now = self._store.now()
        orders = {"newest": "created_at DESC, number DESC", "oldest": "created_at, number", "shuffled": "id"}
        where = f"workspace = ? AND created_at <= ? ORDER BY {orders[rules.list_order]}"
        found = self._tables.batches(where, (workspace, now - hide_seconds if hide_seconds else now))
        start = next((place for place, each in enumerate(found, start=1) if each.id == after), 0)
        shown = found[start : start + limit]
        overdue = [
            each for each in shown if each.ended_at is None and each.created_at + DAY <= now and not rules.never_ends
        ]
        ended = {each.id: self._end(each.id, rules) for each in overdue}
        return [ended.get(each.id, each) for each in shown], len(found) > start + limit

    def _delay(self, rules: Rules) -> float:
        delay = self._delay_seconds if rules.delay_seconds is None else rules.delay_seconds
        return max(delay, rules.validating_seconds)

    def _end(self, batch_id: str, rules: Rules) -> StoredBatch:
        with self._store.processing():
            batch = self._tables.batch(batch_id)
            assert batch is not None
            if batch.ended_at is not None:
                return batch
            now, expires_at = self._store.now(), batch.created_at + DAY
            if batch.errors is not None:
                self._record(batch_id, BatchEnd(now, "failed", 0, 0, None, None), None)
            elif batch.cancel_initiated_at is not None:
                self._work(batch, rules, rules.finished_before_cancel, "batch_cancelled", "cancelled", now)
            elif batch.created_at + self._delay(rules) > expires_at:
                self._work(batch, rules, rules.finished_before_expiry, "batch_expired", "expired", expires_at)
            else:
                self._work(batch, rules, 1.0, "batch_expired", "completed", min(now, expires_at))
            ended = self._tables.batch(batch_id)
            assert ended is not None
            return ended

    def _work(self, batch: StoredBatch, rules: Rules, finished: float, code: str, state: str, at: float) -> None:
        """Write the result files of a batch and record its end; the share `finished` of its requests is answered."""
        carried = carried_state(self._store, rules)
        output: list[bytes] = []
        errors: list[bytes] = []
        completed = failed = 0
        with self._tables.requests_path(batch.id).open("rb") as lines:
            for line in lines:
                if not line.strip():
                    continue
                request: JsonObject = orjson.loads(line)
                custom_id: str = request["custom_id"]
                answer = Answer(unanswered=code)
                if finished >= 1 or (finished > 0 and share_of(custom_id) < finished):
                    answer = self._answerer.answer(
                        request["body"], batch.endpoint, batch.id + custom_id, carried.outcomes, carried.cache,
                        batch=True, created_at=batch.created_at,
                    )  # fmt: skip
                written = _result_line(self._store.draw(32), custom_id, answer)
                if answer.unanswered is not None:
                    errors.append(written)
                elif answer.status == 200 or (answer.status == 0 and answer.body is None):
                    completed += 1
                    output.append(written)
                else:
                    failed += 1
                    errors.append(written)
        # The provider promises no order of lines. With a shuffle, a client that relies on an order fails every time.
        shuffle = random.Random(batch.requests)
        names = [
            self._keep(batch, f"{batch.id}_{kind}.jsonl", unordered(found, shuffle)) if found else None
            for kind, found in (("output", output), ("error", errors))
        ]
        self._record(batch.id, BatchEnd(at, state, completed, failed, *names), carried)

    def _keep(self, batch: StoredBatch, filename: str, lines: list[bytes]) -> str:
        part = self._store.folder / "incoming" / f"{filename}.part"
        part.write_bytes(b"".join(lines))
        return self._tables.add_file(part, batch.workspace, filename, "batch_output", batch.output_life).id

    def _record(self, batch_id: str, end: BatchEnd, carried: CarriedState | None) -> None:
        with self._store.transaction() as connection:
            connection.execute(
                "UPDATE openai_batches SET ended_at = ?, end_state = ?, completed = ?, failed = ?, output_file_id = ?, "
                "error_file_id = ? WHERE id = ?",
                (end.at, end.state, end.completed, end.failed, end.output_file_id, end.error_file_id, batch_id),
            )
            if carried is not None:
                carried.save(connection)


def _result_line(name: str, custom_id: str, answer: Answer) -> bytes:
    line: JsonObject = {"id": f"batch_req_{name}", "custom_id": custom_id, "response": None, "error": None}
    if answer.unanswered is not None:
        line["error"] = {"code": answer.unanswered, "message": _NOT_ANSWERED[answer.unanswered]}
    else:
        line["response"] = {"status_code": answer.status, "request_id": f"req_{name}", "body": answer.body}
    return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)


def _order(request: Request) -> JsonObject:
    try:
        order: object = orjson.loads(b"" if request.body is None else request.body.read_bytes())
    except orjson.JSONDecodeError as problem:
        raise OpenAIError(400, "We could not parse the JSON body of your request.") from problem
    if not is_object(order):
        raise OpenAIError(400, "We could not parse the JSON body of your request: expected an object.")
    for name in order:
        if name not in _KEYS:
            raise OpenAIError(400, f"Unknown parameter: '{name}'.", param=name, code="unknown_parameter")
    return order


def _text(order: JsonObject, name: str) -> str:
    value = order.get(name)
    if not isinstance(value, str):
        message = f"Missing required parameter: '{name}'."
        raise OpenAIError(400, message, param=name, code="missing_required_parameter")
    return value


def _metadata(order: JsonObject) -> JsonObject:
    metadata = order.get("metadata") or {}
    if not is_object(metadata) or len(metadata) > 16:
        raise OpenAIError(400, "Invalid 'metadata': at most 16 pairs.", param="metadata")
    for key, value in metadata.items():
        if len(key) > 64 or not isinstance(value, str) or len(value) > 512:
            raise OpenAIError(
                400, "Invalid 'metadata': keys have at most 64, values at most 512 characters.", param="metadata"
            )
    return metadata


def _output_life(order: JsonObject) -> float:
    asked = order.get("output_expires_after")
    if asked is None:
        return LIFE_SECONDS
    if not is_object(asked) or asked.get("anchor") != "created_at":
        raise OpenAIError(400, "Invalid value for 'output_expires_after'.", param="output_expires_after")
    return checked_life(asked.get("seconds"))
