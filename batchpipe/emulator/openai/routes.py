"""The replies of this protocol: which call a request is, whose project it is for, and which fault is due."""

import re
from collections.abc import Callable
from dataclasses import dataclass

import orjson

from batchpipe.emulator.answering.answers import AnswerBook
from batchpipe.emulator.answering.carried import carried_state
from batchpipe.emulator.openai.answering import Answerer
from batchpipe.emulator.openai.batches import Batches
from batchpipe.emulator.openai.errors import OpenAIError, error_body
from batchpipe.emulator.openai.files import Files, file_shape
from batchpipe.emulator.openai.models import find_model, model_info, model_page
from batchpipe.emulator.openai.params import CHAT, RESPONSES
from batchpipe.emulator.openai.shapes import batch_shape
from batchpipe.emulator.openai.streams import event_stream
from batchpipe.emulator.openai.tables import StoredBatch, Tables
from batchpipe.emulator.service.damage import Wording, damage, edited, refusal, replacement
from batchpipe.emulator.service.faults import MAX_BYTES, CallRule, Rules
from batchpipe.emulator.service.jsontypes import JsonObject, is_object
from batchpipe.emulator.service.requests_log import request_log
from batchpipe.emulator.service.rulebook import Rulebook
from batchpipe.emulator.service.store import Store
from batchpipe.emulator.service.wire import Reply, Request, json_reply

ORGANIZATION = "org-emulator"
_MOST_BYTES = 200_000_000
# A gateway may have the paths below another one.
_ROUTES = tuple(
    (call, method, re.compile(rf"(?:/[a-z]+)?/v1{path}"))
    for call, method, path in (
        ("upload", "POST", "/files"),
        ("files", "GET", "/files"),
        ("results", "GET", "/files/([^/]+)/content"),
        ("file", "GET", "/files/([^/]+)"),
        ("delete", "DELETE", "/files/([^/]+)"),
        ("create", "POST", "/batches"),
        ("list", "GET", "/batches"),
        ("cancel", "POST", "/batches/([^/]+)/cancel"),
        ("retrieve", "GET", "/batches/([^/]+)"),
        ("message", "POST", "/responses"),
        ("response_cancel", "POST", "/responses/([^/]+)/cancel"),
        ("response", "GET", "/responses/([^/]+)"),
        ("response_delete", "DELETE", "/responses/([^/]+)"),
        ("message", "POST", "/chat/completions"),
        ("models", "GET", "/models(?:/([^/]+))?"),
    )
)


def _failed(line: JsonObject) -> JsonObject:
    """Return a result line that says that its request failed."""
    message = "the emulator was told to send this line twice"
    return {**line, "response": {"status_code": 500, "request_id": None, "body": error_body(500, message, None)}}


WORDING = Wording(
    error=lambda status, message, code, request_id: error_body(status, message, code),
    batches_path="/v1/batches",
    id_name="custom_id",
    failed=_failed,
)


@dataclass(frozen=True, slots=True)
class RecognizedCall:
    """A call of the API: its name, the id in its path, the project, the rules and the fault due."""

    call: str
    target: str
    workspace: str
    rules: Rules
    fault: CallRule | None


class OpenAIService:
    """The Files, Batches, Responses and Chat Completions API of one emulator."""

    name = "openai"

    def __init__(
        self, store: Store, rulebook: Rulebook, seed: int, book: AnswerBook | None, delay_seconds: float
    ) -> None:
        self._store = store
        self._rulebook = rulebook
        self._tables = Tables(store)
        self._files = Files(self._tables)
        self._answerer = Answerer(seed, book, self._files.attached)
        self._batches = Batches(self._tables, self._files, self._answerer, delay_seconds)
        self._delay_seconds = delay_seconds
        self._calls: dict[str, Callable[[Request, RecognizedCall], Reply]] = {
            "upload": self._upload,
            "files": lambda request, asked: json_reply(200, self._files.page(request, asked.workspace)),
            "file": lambda request, asked: json_reply(200, file_shape(self._files.find(asked.target, asked.workspace))),
            "results": self._results,
            "delete": lambda request, asked: json_reply(200, self._files.delete(asked.target, asked.workspace)),
            "create": self._create,
            "list": self._list,
            "cancel": lambda request, asked: self._shown(self._batches.cancel(asked.target, asked.workspace), asked),
            "retrieve": lambda request, asked: self._shown(
                self._batches.retrieve(asked.target, asked.workspace, asked.rules), asked
            ),
            "message": self._message,
            "response": self._response,
            "response_cancel": self._response,
            "response_delete": self._response,
            "models": self._models,
        }

    def takes(self, request: Request) -> bool:
        """Return whether a path is of this protocol; the list of models is told by the header of the key."""
        if "anthropic-version" in request.headers or "x-goog-api-key" in request.headers:
            return False
        return any(pattern.fullmatch(request.path) for _, _, pattern in _ROUTES)

    def answer(self, request: Request, base_url: str) -> Reply:
        """Return the reply to a request."""
        request_id = f"req_{self._store.draw(32)}"
        try:
            reply = self._route(request, request_id)
        except OpenAIError as problem:
            reply = json_reply(problem.status, problem.body())
        reply.headers["x-request-id"] = request_id
        return reply

    def logged(self, *, with_requests: bool) -> dict[str, JsonObject]:
        """Return what the log says of each batch, by its id."""
        return {
            batch.id: self._batch_log(batch, with_requests=with_requests)
            for batch in self._tables.batches("true ORDER BY number")
        }

    def stranger(self, count: int, workspace: str, age_seconds: float) -> str:
        """Make a batch of `count` requests of somebody else, and return its id."""
        return self._batches.stranger(count, workspace, age_seconds)

    def _batch_log(self, batch: StoredBatch, *, with_requests: bool) -> JsonObject:
        logged = {
            **batch_shape(batch, Rules(), self._store.now()),
            "workspace": batch.workspace,
            "fault": batch.fault,
            "stranger": bool(batch.stranger),
            "deleted": False,
            "total": batch.requests,
        }
        if with_requests:
            results = self._results_of(batch)
            with self._tables.requests_path(batch.id).open("rb") as lines:
                requests = [orjson.loads(line) for line in lines if line.strip()] if batch.errors is None else []
            logged["requests"] = [
                request_log(each["custom_id"], each["body"], results.get(each["custom_id"]), self._files.logged)
                for each in requests
            ]
        return logged

    def _results_of(self, batch: StoredBatch) -> dict[str, str]:
        """Return how each request ended, by custom id; empty before the batch has ended."""
        found: dict[str, str] = {}
        for name in (batch.output_file_id, batch.error_file_id):
            if name is None or not self._tables.path(name).exists():
                continue
            for line in self._tables.path(name).read_bytes().splitlines():
                each = orjson.loads(line)
                answered = each["response"] is not None
                kind = "succeeded" if answered and each["response"]["status_code"] == 200 else "errored"
                code = "" if answered else str(each["error"]["code"])
                found[each["custom_id"]] = {"batch_expired": "expired", "batch_cancelled": "canceled"}.get(code, kind)
        return found

    def _route(self, request: Request, request_id: str) -> Reply:
        call, target = _recognized(request)
        rules = self._rulebook.rules()
        fault = self._rulebook.due_fault(self.name, call, rules)
        if fault is not None and (refused := refusal(fault, request_id, WORDING)) is not None:
            return refused
        workspace = _workspace(request)
        reply = self._calls[call](request, RecognizedCall(call, target, workspace, rules, fault))
        if rules.account_headers:
            reply.headers["openai-organization"] = ORGANIZATION
            reply.headers["openai-project"] = f"proj_{workspace}"
        return reply if fault is None else replacement(fault, reply, request_id, WORDING)

    def _upload(self, request: Request, asked: RecognizedCall) -> Reply:
        most = min(asked.rules.max_bytes, _MOST_BYTES) if asked.rules.max_bytes != MAX_BYTES else _MOST_BYTES
        return json_reply(
            200, file_shape(self._files.upload(request, asked.workspace, most, asked.rules.max_storage_bytes))
        )

    def _results(self, request: Request, asked: RecognizedCall) -> Reply:
        path = self._files.content(asked.target, asked.workspace)
        reply = Reply(200, content_type="application/octet-stream", file=path)
        if asked.fault is not None and asked.fault.edits:
            return edited(asked.fault.edits, reply)
        return reply if asked.fault is None else damage(asked.fault.fault, reply, WORDING)

    def _create(self, request: Request, asked: RecognizedCall) -> Reply:
        earlier = next(iter(self._tables.batches("true ORDER BY number DESC", limit=1)), None)
        batch = self._batches.create(request, asked.workspace, asked.rules, asked.fault)
        shape = batch_shape(batch, asked.rules, self._store.now())
        if asked.fault is not None and asked.fault.fault == "earlier_id" and earlier is not None:
            shape["id"] = earlier.id
        return json_reply(200, shape)

    def _list(self, request: Request, asked: RecognizedCall) -> Reply:
        fault = asked.fault
        hide_seconds = fault.seconds if fault is not None and fault.fault == "list_lag" else 0.0
        found, more = self._batches.page(request, asked.workspace, asked.rules, hide_seconds)
        return json_reply(
            200,
            {
                "object": "list",
                "data": [batch_shape(batch, asked.rules, self._store.now()) for batch in found],
                "first_id": found[0].id if found else None,
                "last_id": found[-1].id if found else None,
                "has_more": more,
            },
        )

    def _shown(self, batch: StoredBatch, asked: RecognizedCall) -> Reply:
        return json_reply(200, batch_shape(batch, asked.rules, self._store.now()))

    def _message(self, request: Request, asked: RecognizedCall) -> Reply:
        endpoint = RESPONSES if request.path.endswith("/responses") else CHAT
        try:
            body: object = orjson.loads(b"" if request.body is None else request.body.read_bytes())
        except orjson.JSONDecodeError as problem:
            raise OpenAIError(400, "We could not parse the JSON body of your request.") from problem
        if not is_object(body):
            raise OpenAIError(400, "We could not parse the JSON body of your request: expected an object.")
        with self._store.processing():
            state = carried_state(self._store, asked.rules)
            answer = self._answerer.answer(
                body,
                endpoint,
                self._store.draw(16),
                state.outcomes,
                state.cache,
                batch=False,
                created_at=self._store.now(),
            )
            with self._store.transaction() as connection:
                state.save(connection)
        if answer.status != 200 or answer.body is None:
            return json_reply(answer.status, answer.body)
        return self._answered(body, endpoint, answer.body, asked)

    def _answered(self, body: JsonObject, endpoint: str, made: JsonObject, asked: RecognizedCall) -> Reply:
        shown = made
        if endpoint == RESPONSES and body.get("store", True):
            in_background = bool(body.get("background"))
            delay = asked.rules.delay_seconds if asked.rules.delay_seconds is not None else self._delay_seconds
            self._tables.add_response(asked.workspace, made, self._store.now() + (delay if in_background else 0))
            if in_background:
                shown = {**made, "background": True, "status": "queued", "output": [], "usage": None}
        reply = json_reply(200, shown)
        if body.get("stream"):
            options = body.get("stream_options") or {}
            stream = event_stream(endpoint, shown, with_usage=bool(options.get("include_usage")))
            reply = Reply(200, stream, "text/event-stream; charset=utf-8")
        for kind, limit in (("requests", 10_000), ("tokens", 2_000_000)):
            reply.headers[f"x-ratelimit-limit-{kind}"] = str(limit)
            reply.headers[f"x-ratelimit-remaining-{kind}"] = str(limit - 1)
            reply.headers[f"x-ratelimit-reset-{kind}"] = "6ms"
        return reply

    def _response(self, request: Request, asked: RecognizedCall) -> Reply:
        found = self._tables.response(asked.target, asked.workspace)
        if found is None:
            raise OpenAIError(404, f"Response with id '{asked.target}' not found.")
        body, ready_at, cancelled = found
        if asked.call == "response_delete":
            self._tables.change_response(asked.target, delete=True)
            return json_reply(200, {"id": asked.target, "object": "response", "deleted": True})
        if asked.call == "response_cancel":
            self._tables.change_response(asked.target, delete=False)
            cancelled = True
        if cancelled or self._store.now() < ready_at:
            status = "cancelled" if cancelled else "in_progress"
            body |= {"status": status, "output": [], "usage": None}
        return json_reply(200, body)

    def _models(self, request: Request, asked: RecognizedCall) -> Reply:
        if not asked.target:
            return json_reply(200, model_page())
        model = find_model(asked.target)
        if model is None:
            raise OpenAIError(404, f"The model '{asked.target}' does not exist", code="model_not_found", param="model")
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
        raise OpenAIError(405, f"Not allowed to {request.method} on {request.path}.")
    raise OpenAIError(404, f"Invalid URL ({request.method} {request.path})")


def _workspace(request: Request) -> str:
    """Return the project of the key: the text after its '@', else "default".

    Raises OpenAIError for a missing key, or one that begins with "invalid".
    """
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    key = token.strip() if scheme.lower() == "bearer" else request.headers.get("api-key", "")
    key = key or request.headers.get("x-api-key", "")
    if not key:
        raise OpenAIError(401, "You didn't provide an API key.")
    if key.startswith("invalid"):
        raise OpenAIError(401, "Incorrect API key provided.")
    return key.partition("@")[2] or "default"
