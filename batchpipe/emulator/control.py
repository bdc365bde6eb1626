"""The emulator's own endpoints under /emulator/: clock, faults, log, stranger. They need no key.

`POST /emulator/stranger` makes a batch of somebody else in the same workspace.
"""

from collections.abc import Sequence

import orjson

from batchpipe.emulator.service.errors import EmulatorError, error_envelope
from batchpipe.emulator.service.faults import parse_rules
from batchpipe.emulator.service.jsontypes import JsonObject, is_integer, is_number, is_object
from batchpipe.emulator.service.protocol import ProtocolService
from batchpipe.emulator.service.rulebook import Rulebook
from batchpipe.emulator.service.store import Store
from batchpipe.emulator.service.times import timestamp
from batchpipe.emulator.service.wire import Reply, Request, json_reply


class Control:
    """The endpoints that read the log, and that change the rules and the clock."""

    def __init__(self, store: Store, rulebook: Rulebook, protocols: Sequence[ProtocolService]) -> None:
        self._store = store
        self._rulebook = rulebook
        self._protocols = {each.name: each for each in protocols}

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
            self._rulebook.use_rules(text or b"{}", keep_counts=False)
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
        protocol = self._protocols.get(str(asked.get("protocol", "anthropic")))
        if protocol is None:
            raise EmulatorError(f"protocol: expected one of {', '.join(sorted(self._protocols))}")
        return {"id": protocol.stranger(count, workspace, age)}

    def _log(self, *, with_requests: bool) -> JsonObject:
        calls = self._store.query("SELECT at, method, path, status, fault FROM calls ORDER BY number")
        return {
            "now": timestamp(self._store.now()),
            "calls": [
                {"at": timestamp(at), "method": method, "path": path, "status": status, "fault": fault}
                for at, method, path, status, fault in calls
            ],
            "batches": {
                name: logged
                for protocol in self._protocols.values()
                for name, logged in protocol.logged(with_requests=with_requests).items()
            },
        }


def _object(text: bytes) -> JsonObject:
    try:
        found: object = orjson.loads(text or b"{}")
    except orjson.JSONDecodeError as problem:
        raise EmulatorError(f"not JSON: {problem}") from problem
    if not is_object(found):
        raise EmulatorError("expected an object")
    return found
