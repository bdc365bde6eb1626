"""The emulator's own endpoints under /emulator/: clock, faults, log, stranger. They need no key.

`POST /emulator/stranger` makes a batch of somebody else in the same workspace.
"""

from email.utils import formatdate
from hashlib import md5
from pathlib import Path

import orjson

from batchpipe.emulator.anthropic.batches import Batches, timestamp
from batchpipe.emulator.anthropic.params import NEW_VERSION
from batchpipe.emulator.service.errors import EmulatorError, error_envelope
from batchpipe.emulator.service.faults import CallRule, Rules, parse_rules
from batchpipe.emulator.service.jsontypes import JsonObject, is_integer, is_number, is_object
from batchpipe.emulator.service.store import Batch, Store
from batchpipe.emulator.service.wire import Reply, Request, json_reply


class Control:
    """The rules in force, the log, and the endpoints that change and read them."""

    def __init__(self, store: Store, batches: Batches) -> None:
        self._store = store
        self._batches = batches
        self._rules = Rules()

    def rules(self) -> Rules:
        """Return the rules in force, which any process may have set."""
        text = self._store.setting("rules")
        if text is None:
            return self._rules if not self._rules.key else Rules()
        if md5(text.encode()).hexdigest() != self._rules.key:
            self._rules = parse_rules(text.encode(), "faults")
        return self._rules

    def use_rules(self, text: bytes, *, keep_counts: bool) -> None:
        """Put rules in force and reset their counts. With `keep_counts` rules that are in force already keep theirs."""
        known = self._store.setting("rules")
        if keep_counts and known is not None and known.encode() == text:
            return
        with self._store.transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO settings VALUES ('rules', ?)", (text.decode(),))
            connection.execute("DELETE FROM counters")

    def due_fault(self, call: str, rules: Rules) -> CallRule | None:
        """Return the first rule that is due for this call. Every rule for this kind of call counts it."""
        due: CallRule | None = None
        places = [place for place, rule in enumerate(rules.calls) if rule.call == call]
        if not places:
            return None
        with self._store.transaction() as connection:
            for place in places:
                name = f"call:{place}"
                row = connection.execute("SELECT seen FROM counters WHERE name = ?", (name,)).fetchone()
                seen = int(row[0]) if row else 0
                rule = rules.calls[place]
                if rule.after <= seen < rule.after + rule.times and due is not None:
                    continue
                connection.execute("INSERT OR REPLACE INTO counters VALUES (?, ?)", (name, seen + 1))
                if rule.after <= seen < rule.after + rule.times:
                    due = rule
        return due

    def draw(self, digits: int) -> str:
        """Return a new name of `digits` hexadecimal digits."""
        return self._store.draw(digits)

    def date(self) -> str | None:
        """Return the header `date` of a reply that is made now; None where replies are to have none."""
        rules = self.rules()
        return formatdate(self._store.now() + rules.clock_offset_seconds, usegmt=True) if rules.date_header else None

    def newest_batch(self) -> str | None:
        """Return the id of the batch that was made last; None where there is none."""
        return next((batch.id for batch in self._store.batches("true ORDER BY number DESC", limit=1)), None)

    def record(self, method: str, path: str, reply: Reply) -> None:
        """Write a call to the log."""
        self._store.record_call(method, path, reply.status, reply.fault)

    def results_path(self, batch_id: str) -> Path:
        """Return the path of a batch's results file."""
        return self._store.results_path(batch_id)

    def answer(self, request: Request) -> Reply:
        """Return the reply to a control request; for a wrong request a 400 that says what is wrong."""
        try:
            return json_reply(200, self._answer(request))
        except EmulatorError as problem:
            return json_reply(400, error_envelope("invalid_request_error", str(problem), ""))

    def _answer(self, request: Request) -> JsonObject:
        text = b"" if request.body is None else request.body.read_bytes()
        if (request.method, request.path) == ("GET", "/emulator/log"):
            return self._log(with_requests=request.query.get("requests", "1") != "0")
        if (request.method, request.path) == ("POST", "/emulator/faults"):
            parse_rules(text or b"{}", "faults")
            self.use_rules(text or b"{}", keep_counts=False)
            return {"ok": True}
        if (request.method, request.path) == ("POST", "/emulator/clock"):
            seconds = _object(text).get("advance_seconds")
            if not is_number(seconds):
                raise EmulatorError("advance_seconds: expected a number")
            self._store.advance(seconds)
            return {"now": timestamp(self._store.now())}
        if (request.method, request.path) == ("POST", "/emulator/stranger"):
            return self._stranger(_object(text))
        raise EmulatorError(f"{request.method} {request.path}: there is no such control endpoint")

    def _stranger(self, asked: JsonObject) -> JsonObject:
        count, workspace, age = asked.get("requests"), asked.get("workspace", "default"), asked.get("age_seconds", 0)
        if not is_integer(count) or count < 1 or not isinstance(workspace, str) or not is_number(age):
            raise EmulatorError('expected {"requests": a whole number above 0, "workspace": a string, "age_seconds"}')
        name = self._store.draw(8)
        requests = [
            {
                "custom_id": f"stranger-{name}-{place}",
                "params": {
                    "model": "claude-haiku-4-5",
                    "max_tokens": 64,
                    "messages": [{"role": "user", "content": f"Somebody else's question {place}."}],
                },
            }
            for place in range(count)
        ]
        body = self._store.folder / "incoming" / f"stranger-{name}.part"
        body.write_bytes(orjson.dumps({"requests": requests}))
        try:
            made = self._batches.create(
                Request("POST", "", {}, {}, body),
                workspace,
                NEW_VERSION,
                Rules(),
                appears_in=-age,
                stranger=True,
            )
        finally:
            body.unlink()
        return {"id": made.id}

    def _log(self, *, with_requests: bool) -> JsonObject:
        calls = self._store.query("SELECT at, method, path, status, fault FROM calls ORDER BY number")
        return {
            "now": timestamp(self._store.now()),
            "calls": [
                {"at": timestamp(at), "method": method, "path": path, "status": status, "fault": fault}
                for at, method, path, status, fault in calls
            ],
            "batches": {
                batch.id: self._batch_log(batch, with_requests=with_requests)
                for batch in self._store.batches("true ORDER BY number")
            },
        }

    def _batch_log(self, batch: Batch, *, with_requests: bool) -> JsonObject:
        logged = {
            **self._batches.shape(batch, "", Rules()),
            "workspace": batch.workspace,
            "fault": batch.fault,
            "stranger": bool(batch.stranger),
            "deleted": batch.deleted_at is not None,
            "total": batch.requests,
        }
        if with_requests:
            results = self._results_of(batch)
            with self._store.body_path(batch.id).open("rb") as body:
                logged["requests"] = [_request_log(orjson.loads(line), results) for line in body]
        return logged

    def _results_of(self, batch: Batch) -> dict[str, str]:
        """Return how each request ended, by custom id; empty before the batch has ended."""
        if batch.ended_at is None:
            return {}
        with self._store.results_path(batch.id).open("rb") as lines:
            found = [orjson.loads(line) for line in lines]
        return {line["custom_id"]: line["result"]["type"] for line in found}


def _object(text: bytes) -> JsonObject:
    try:
        found: object = orjson.loads(text or b"{}")
    except orjson.JSONDecodeError as problem:
        raise EmulatorError(f"not JSON: {problem}") from problem
    if not is_object(found):
        raise EmulatorError("expected an object")
    return found


def _request_log(request: JsonObject, results: dict[str, str]) -> JsonObject:
    canonical = orjson.dumps(request["params"], option=orjson.OPT_SORT_KEYS)
    custom_id = request["custom_id"]
    return {
        "custom_id": custom_id,
        "params_md5": md5(canonical).hexdigest(),
        "result": results.get(custom_id),
    }
