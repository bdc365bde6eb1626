"""The answers to HTTP requests: which call a request is, whose workspace it is for, and which fault is due."""

import re
from collections.abc import Callable
from dataclasses import dataclass

import orjson

from batchpipe.emulator.anthropic.batches import Batches, Page
from batchpipe.emulator.anthropic.models import find_model, model_info, model_page
from batchpipe.emulator.anthropic.params import NEW_VERSION, OLD_VERSION, Call
from batchpipe.emulator.anthropic.processing import Worker
from batchpipe.emulator.anthropic.streams import event_stream
from batchpipe.emulator.control import Control
from batchpipe.emulator.service.damage import damage, edited, refusal, replacement
from batchpipe.emulator.service.errors import ApiError
from batchpipe.emulator.service.faults import CallRule, Rules
from batchpipe.emulator.service.jsontypes import is_object
from batchpipe.emulator.service.wire import Reply, Request, json_reply

ORGANIZATION = "0c5f7f3e-0000-4000-8000-0000000000e0"
_ROUTES = (
    ("create", "POST", re.compile(r"/v1/messages/batches")),
    ("list", "GET", re.compile(r"/v1/messages/batches")),
    ("results", "GET", re.compile(r"/v1/messages/batches/([^/]+)/results")),
    ("cancel", "POST", re.compile(r"/v1/messages/batches/([^/]+)/cancel")),
    ("retrieve", "GET", re.compile(r"/v1/messages/batches/([^/]+)")),
    ("delete", "DELETE", re.compile(r"/v1/messages/batches/([^/]+)")),
    ("message", "POST", re.compile(r"/v1/messages")),
    ("models", "GET", re.compile(r"/v1/models(?:/([^/]+))?")),
)


@dataclass(frozen=True, slots=True)
class RecognizedCall:
    """A call of the API: its name, the id in its path, the workspace and API version, the rules and the fault due."""

    call: str
    target: str
    workspace: str
    version: str
    rules: Rules
    fault: CallRule | None


class Routes:
    """The calls of one emulator; `base_url` is its own address."""

    def __init__(self, batches: Batches, worker: Worker, control: Control) -> None:
        self._batches = batches
        self._worker = worker
        self._control = control
        self.base_url = ""
        self._calls: dict[str, Callable[[Request, RecognizedCall], Reply]] = {
            "create": self._create,
            "list": self._list,
            "results": self._results,
            "cancel": lambda request, asked: self._shape(asked, cancel=True),
            "retrieve": lambda request, asked: self._shape(asked, cancel=False),
            "delete": self._delete,
            "message": self._message,
            "models": self._models,
        }

    def answer(self, request: Request) -> Reply:
        """Return the reply to a request, after writing the call to the log."""
        if request.path.startswith("/emulator/"):
            return self._control.answer(request)
        request_id = f"req_01{self._control.draw(22)}"
        try:
            reply = self._route(request, request_id)
        except ApiError as problem:
            reply = json_reply(problem.status, problem.body(request_id))
            if problem.retry_after is not None:
                reply.headers["retry-after"] = f"{problem.retry_after:g}"
        reply.headers["request-id"] = request_id
        date = self._control.date()
        if date is not None:
            reply.headers["date"] = date
        path = request.path
        if request.query:
            path += "?" + "&".join(f"{name}={value}" for name, value in request.query.items())
        self._control.record(request.method, path, reply)
        return reply

    def _route(self, request: Request, request_id: str) -> Reply:
        call, target = _recognized(request)
        rules = self._control.rules()
        fault = self._control.due_fault(call, rules)
        if fault is not None and (refused := refusal(fault, request_id)) is not None:
            return refused
        workspace = _workspace(request)
        asked = RecognizedCall(call, target, workspace, _version(request), rules, fault)
        reply = self._calls[call](request, asked)
        if rules.account_headers:
            reply.headers["anthropic-organization-id"] = ORGANIZATION
            reply.headers["anthropic-workspace-id"] = f"wrkspc_{workspace}"
        return reply if fault is None else replacement(fault, reply, request_id)

    def _create(self, request: Request, asked: RecognizedCall) -> Reply:
        if request.body is not None and request.body.stat().st_size > asked.rules.max_bytes:
            raise ApiError(413, "Request exceeds the maximum size")
        fault = asked.fault
        earlier = self._control.newest_batch() if fault is not None and fault.fault == "earlier_id" else None
        batch = self._batches.create(
            request,
            asked.workspace,
            asked.version,
            asked.rules,
            fault=None if fault is None else fault.fault,
            appears_in=fault.seconds if fault is not None and fault.fault == "landed_later" else 0.0,
        )
        shape = self._batches.shape(batch, self.base_url, asked.rules)
        return json_reply(200, shape if earlier is None else {**shape, "id": earlier})

    def _list(self, request: Request, asked: RecognizedCall) -> Reply:
        fault = asked.fault
        hide_seconds = fault.seconds if fault is not None and fault.fault == "list_lag" else 0.0
        page = _page(request)
        found, more = self._batches.page(asked.workspace, page, asked.rules, hide_seconds)
        return json_reply(
            200,
            {
                "data": [self._batches.shape(batch, self.base_url, asked.rules) for batch in found],
                "has_more": more,
                "first_id": found[0].id if found else None,
                "last_id": found[-1].id if found else None,
            },
        )

    def _shape(self, asked: RecognizedCall, *, cancel: bool) -> Reply:
        if cancel:
            batch = self._batches.cancel(asked.target, asked.workspace)
        else:
            batch = self._batches.retrieve(asked.target, asked.workspace, asked.rules)
        return json_reply(200, self._batches.shape(batch, self.base_url, asked.rules))

    def _delete(self, request: Request, asked: RecognizedCall) -> Reply:
        return json_reply(200, self._batches.delete(asked.target, asked.workspace))

    def _results(self, request: Request, asked: RecognizedCall) -> Reply:
        batch = self._batches.ended(asked.target, asked.workspace, asked.rules)
        reply = Reply(200, content_type="application/x-jsonl", file=self._control.results_path(batch.id))
        if asked.fault is not None and asked.fault.edits:
            return edited(asked.fault.edits, reply)
        return reply if asked.fault is None else damage(asked.fault.fault, reply)

    def _message(self, request: Request, asked: RecognizedCall) -> Reply:
        try:
            params: object = orjson.loads(b"" if request.body is None else request.body.read_bytes())
        except orjson.JSONDecodeError as problem:
            raise ApiError(400, f"The request body is not valid JSON: {problem}") from problem
        if not is_object(params):
            raise ApiError(400, "Input should be a valid dictionary")
        betas = frozenset(part.strip() for part in request.headers.get("anthropic-beta", "").split(","))
        call = Call(asked.version, betas - {""}, batch=False)
        answer = self._worker.single(params, call, self._control.draw(16), asked.rules)
        if answer.error is not None:
            status, kind, message = answer.error
            raise ApiError(status, message, kind=kind)
        if params.get("stream") and answer.message is not None:
            return Reply(200, event_stream(answer.message), "text/event-stream; charset=utf-8")
        return json_reply(200, answer.message)

    def _models(self, request: Request, asked: RecognizedCall) -> Reply:
        if not asked.target:
            page = _page(request)
            return json_reply(200, model_page(page.limit, page.after_id, page.before_id))
        model = find_model(asked.target)
        if model is None:
            raise ApiError(404, f"model: {asked.target}")
        return json_reply(200, model_info(model))


def _recognized(request: Request) -> tuple[str, str]:
    other_method = False
    for call, method, pattern in _ROUTES:
        found = pattern.fullmatch(request.path)
        if found is not None:
            if method == request.method:
                return call, (found[1] or "") if found.lastindex else ""
            other_method = True
    if other_method:
        raise ApiError(405, "Method Not Allowed")
    raise ApiError(404, "Not found")


def _workspace(request: Request) -> str:
    """Return the workspace of the key: the text after its '@', else "default".

    Raises ApiError for a missing key, one that begins with "invalid", or a header that names another workspace.
    """
    key = request.headers.get("x-api-key", "")
    kind = "x-api-key"
    if not key:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        key = token.strip() if scheme.lower() == "bearer" else ""
        kind = "bearer token"
    if not key:
        raise ApiError(401, "x-api-key header is required")
    if key.startswith("invalid"):
        raise ApiError(401, f"invalid {kind}")
    workspace = key.partition("@")[2] or "default"
    asked_for = request.headers.get("anthropic-workspace-id", "")
    if asked_for and asked_for != f"wrkspc_{workspace}":
        raise ApiError(403, f"This API key does not have access to the workspace {asked_for}")
    return workspace


def _version(request: Request) -> str:
    version = request.headers.get("anthropic-version", "")
    if not version:
        raise ApiError(400, "anthropic-version: header is required")
    if version not in (OLD_VERSION, NEW_VERSION):
        raise ApiError(400, f'anthropic-version: "{version}" is not a valid version')
    return version


def _page(request: Request) -> Page:
    text = request.query.get("limit", "20")
    limit = int(text) if re.fullmatch(r"[0-9]{1,9}", text) else 0
    if not 1 <= limit <= 1000:
        raise ApiError(400, "limit: Input should be greater than or equal to 1 and less than or equal to 1000")
    after_id, before_id = request.query.get("after_id"), request.query.get("before_id")
    if after_id and before_id:
        raise ApiError(400, "after_id and before_id: only one may be given")
    return Page(limit, after_id, before_id)
