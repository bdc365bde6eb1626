"""The replies of this protocol: which call a request is, whose workspace it is for, and which fault is due."""

import re
from collections.abc import Callable
from dataclasses import dataclass

import orjson

from batchpipe.emulator.answering.answers import AnswerBook
from batchpipe.emulator.anthropic.answering import Answerer
from batchpipe.emulator.anthropic.batches import Batches, Page
from batchpipe.emulator.anthropic.models import find_model, model_info, model_page
from batchpipe.emulator.anthropic.params import NEW_VERSION, OLD_VERSION, Call
from batchpipe.emulator.anthropic.processing import Worker
from batchpipe.emulator.anthropic.streams import event_stream
from batchpipe.emulator.service.damage import Wording, damage, edited, refusal, replacement
from batchpipe.emulator.service.errors import ApiError, error_envelope
from batchpipe.emulator.service.faults import CallRule, Rules
from batchpipe.emulator.service.jsontypes import JsonObject, is_object
from batchpipe.emulator.service.requests_log import request_log
from batchpipe.emulator.service.rulebook import Rulebook
from batchpipe.emulator.service.store import Batch, Store
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


def _failed(line: JsonObject) -> JsonObject:
    """Return a result line that says that its request failed."""
    message = "the emulator was told to send this line twice"
    return {
        **line,
        "result": {"type": "errored", "error": {**error_envelope("api_error", message, ""), "request_id": None}},
    }


WORDING = Wording(
    error=lambda status, message, code, request_id: ApiError(status, message, error_code=code).body(request_id),
    batches_path="/v1/messages/batches",
    id_name="custom_id",
    failed=_failed,
)


@dataclass(frozen=True, slots=True)
class RecognizedCall:
    """A call of the API: its name, the id in its path, the workspace and API version, the rules, the fault due, and the
    address of the server.
    """

    call: str
    target: str
    workspace: str
    version: str
    rules: Rules
    fault: CallRule | None
    base_url: str


class AnthropicService:
    """The Messages and Message Batches API of one emulator."""

    name = "anthropic"

    def __init__(
        self, store: Store, rulebook: Rulebook, seed: int, book: AnswerBook | None, delay_seconds: float
    ) -> None:
        self._store = store
        self._rulebook = rulebook
        self._worker = Worker(store, Answerer(seed, book))
        self._batches = Batches(store, self._worker, delay_seconds)
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

    def takes(self, request: Request) -> bool:
        """Return whether a path is of this protocol; the list of models is told by the header of the API version."""
        if request.path.startswith("/v1/models"):
            return "anthropic-version" in request.headers or "x-api-key" in request.headers
        return request.path.startswith("/v1/messages")

    def answer(self, request: Request, base_url: str) -> Reply:
        """Return the reply to a request."""
        request_id = f"req_01{self._store.draw(22)}"
        try:
            reply = self._route(request, request_id, base_url)
        except ApiError as problem:
            reply = json_reply(problem.status, problem.body(request_id))
            if problem.retry_after is not None:
                reply.headers["retry-after"] = f"{problem.retry_after:g}"
        reply.headers["request-id"] = request_id
        return reply

    def logged(self, *, with_requests: bool) -> dict[str, JsonObject]:
        """Return what the log says of each batch, by its id."""
        return {
            batch.id: self._batch_log(batch, with_requests=with_requests)
            for batch in self._store.batches("true ORDER BY number")
        }

    def stranger(self, count: int, workspace: str, age_seconds: float) -> str:
        """Make a batch of `count` requests of somebody else, and return its id."""
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
        request = Request("POST", "", {}, {}, body)
        try:
            made = self._batches.create(
                request, workspace, NEW_VERSION, Rules(), appears_in=-age_seconds, stranger=True
            )
        finally:
            body.unlink()
        return made.id

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
                requests = [orjson.loads(line) for line in body]
            logged["requests"] = [
                request_log(each["custom_id"], each["params"], results.get(each["custom_id"])) for each in requests
            ]
        return logged

    def _results_of(self, batch: Batch) -> dict[str, str]:
        """Return how each request ended, by custom id; empty before the batch has ended."""
        if batch.ended_at is None:
            return {}
        with self._store.results_path(batch.id).open("rb") as lines:
            found = [orjson.loads(line) for line in lines]
        return {line["custom_id"]: line["result"]["type"] for line in found}

    def _route(self, request: Request, request_id: str, base_url: str) -> Reply:
        call, target = _recognized(request)
        rules = self._rulebook.rules()
        fault = self._rulebook.due_fault(self.name, call, rules)
        if fault is not None and (refused := refusal(fault, request_id, WORDING)) is not None:
            return refused
        workspace = _workspace(request)
        asked = RecognizedCall(call, target, workspace, _version(request), rules, fault, base_url)
        reply = self._calls[call](request, asked)
        if rules.account_headers:
            reply.headers["anthropic-organization-id"] = ORGANIZATION
            reply.headers["anthropic-workspace-id"] = f"wrkspc_{workspace}"
        return reply if fault is None else replacement(fault, reply, request_id, WORDING)

    def _create(self, request: Request, asked: RecognizedCall) -> Reply:
        if request.body is not None and request.body.stat().st_size > asked.rules.max_bytes:
            raise ApiError(413, "Request exceeds the maximum size")
        fault = asked.fault
        earlier = self._newest_batch() if fault is not None and fault.fault == "earlier_id" else None
        batch = self._batches.create(
            request,
            asked.workspace,
            asked.version,
            asked.rules,
            fault=None if fault is None else fault.fault,
            appears_in=fault.seconds if fault is not None and fault.fault == "landed_later" else 0.0,
        )
        shape = self._batches.shape(batch, asked.base_url, asked.rules)
        return json_reply(200, shape if earlier is None else {**shape, "id": earlier})

    def _newest_batch(self) -> str | None:
        """Return the id of the batch that was made last; None where there is none."""
        return next((batch.id for batch in self._store.batches("true ORDER BY number DESC", limit=1)), None)

    def _list(self, request: Request, asked: RecognizedCall) -> Reply:
        fault = asked.fault
        hide_seconds = fault.seconds if fault is not None and fault.fault == "list_lag" else 0.0
        page = _page(request)
        found, more = self._batches.page(asked.workspace, page, asked.rules, hide_seconds)
        return json_reply(
            200,
            {
                "data": [self._batches.shape(batch, asked.base_url, asked.rules) for batch in found],
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
        return json_reply(200, self._batches.shape(batch, asked.base_url, asked.rules))

    def _delete(self, request: Request, asked: RecognizedCall) -> Reply:
        return json_reply(200, self._batches.delete(asked.target, asked.workspace))

    def _results(self, request: Request, asked: RecognizedCall) -> Reply:
        batch = self._batches.ended(asked.target, asked.workspace, asked.rules)
        reply = Reply(200, content_type="application/x-jsonl", file=self._store.results_path(batch.id))
        if asked.fault is not None and asked.fault.edits:
            return edited(asked.fault.edits, reply)
        return reply if asked.fault is None else damage(asked.fault.fault, reply, WORDING)

    def _message(self, request: Request, asked: RecognizedCall) -> Reply:
        try:
            params: object = orjson.loads(b"" if request.body is None else request.body.read_bytes())
        except orjson.JSONDecodeError as problem:
            raise ApiError(400, f"The request body is not valid JSON: {problem}") from problem
        if not is_object(params):
            raise ApiError(400, "Input should be a valid dictionary")
        betas = frozenset(part.strip() for part in request.headers.get("anthropic-beta", "").split(","))
        call = Call(asked.version, betas - {""}, batch=False)
        answer = self._worker.single(params, call, self._store.draw(16), asked.rules)
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
