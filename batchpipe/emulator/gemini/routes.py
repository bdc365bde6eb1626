"""The replies of this protocol: which call a request is, whose project it is for, and which fault is due."""

import re
from collections.abc import Callable
from dataclasses import dataclass

import orjson

from batchpipe.emulator.answering.answers import AnswerBook
from batchpipe.emulator.gemini.answering import Answerer
from batchpipe.emulator.gemini.batches import Batches
from batchpipe.emulator.gemini.errors import NAMES, GoogleError, error_body
from batchpipe.emulator.gemini.files import Files
from batchpipe.emulator.gemini.models import Model, find_model
from batchpipe.emulator.gemini.processing import Worker
from batchpipe.emulator.gemini.tables import Batch, Tables
from batchpipe.emulator.service.damage import Wording, damage, edited, refusal, replacement
from batchpipe.emulator.service.faults import CallRule, Rules
from batchpipe.emulator.service.jsontypes import JsonObject
from batchpipe.emulator.service.requests_log import request_log
from batchpipe.emulator.service.rulebook import Rulebook
from batchpipe.emulator.service.store import Store
from batchpipe.emulator.service.wire import Reply, Request, json_reply

_ROUTES = (
    ("upload", "POST", re.compile(r"/upload/v1beta/files")),
    ("create", "POST", re.compile(r"/v1beta/models/([^/:]+):batchGenerateContent")),
    ("message", "POST", re.compile(r"/v1beta/models/([^/:]+):(?:g|streamG)enerateContent")),
    ("list", "GET", re.compile(r"/v1beta/batches")),
    ("cancel", "POST", re.compile(r"/v1beta/(batches/[^/:]+):cancel")),
    ("retrieve", "GET", re.compile(r"/v1beta/(batches/[^/:]+)")),
    ("delete", "DELETE", re.compile(r"/v1beta/(batches/[^/:]+)")),
    ("results", "GET", re.compile(r"(?:/download)?/v1beta/(files/[^/:]+):download")),
    ("files", "GET", re.compile(r"/v1beta/files")),
    ("files", "GET", re.compile(r"/v1beta/(files/[^/:]+)")),
    ("files", "DELETE", re.compile(r"/v1beta/(files/[^/:]+)")),
)
_PATHS = re.compile(r"/(upload/|download/)?v1beta/")
_PAGE, _MOST_IN_A_PAGE = 10, 100
_PIECE = 40


def _failed(line: JsonObject) -> JsonObject:
    """Return a result line that says that its request failed."""
    return {"key": line.get("key"), "error": {"code": 13, "message": "the emulator was told to send this line twice"}}


WORDING = Wording(
    error=lambda status, message, code, request_id: error_body(status, message, code),
    batches_path="/v1beta/batches",
    id_name="key",
    failed=_failed,
)


@dataclass(frozen=True, slots=True)
class RecognizedCall:
    """A call of the API: its name, what its path names, the workspace, rules, the fault due, the server's address."""

    call: str
    target: str
    workspace: str
    rules: Rules
    fault: CallRule | None
    base_url: str

    def has(self, fault: str) -> bool:
        """Return whether this fault is due."""
        return self.fault is not None and self.fault.fault == fault


class GeminiService:
    """The Gemini API of one emulator."""

    name = "gemini"

    def __init__(
        self, store: Store, rulebook: Rulebook, seed: int, book: AnswerBook | None, delay_seconds: float
    ) -> None:
        self._store = store
        self._rulebook = rulebook
        self._tables = Tables(store)
        self._files = Files(self._tables)
        self._worker = Worker(store, Answerer(seed, book, self._files.attached))
        self._batches = Batches(self._tables, self._files, self._worker, delay_seconds)
        self._calls: dict[str, Callable[[Request, RecognizedCall], Reply]] = {
            "upload": self._upload,
            "create": self._create,
            "message": self._message,
            "list": self._list,
            "cancel": lambda request, asked: json_reply(200, self._batches.cancel(asked.target, asked.workspace)),
            "retrieve": self._retrieve,
            "delete": lambda request, asked: json_reply(200, self._batches.delete(asked.target, asked.workspace)),
            "results": self._results,
            "files": self._file,
        }

    def takes(self, request: Request) -> bool:
        """Return whether a path is of this protocol, whose version stands in it."""
        return _PATHS.match(request.path) is not None

    def answer(self, request: Request, base_url: str) -> Reply:
        """Return the reply to a request."""
        try:
            return self._route(request, base_url)
        except GoogleError as problem:
            return json_reply(problem.status, problem.body())

    def logged(self, *, with_requests: bool) -> dict[str, JsonObject]:
        """Return what the log says of each batch, by its name."""
        return {
            batch.name: self._batch_log(batch, with_requests=with_requests)
            for batch in self._tables.batches("true ORDER BY number")
        }

    def stranger(self, count: int, workspace: str, age_seconds: float) -> str:
        """Make a batch of `count` requests of somebody else, and return its name."""
        draw = self._store.draw(8)
        request = {"contents": [{"role": "user", "parts": [{"text": "Somebody else's question."}]}]}
        lines = [orjson.dumps({"key": f"stranger-{draw}-{place}", "request": request}) for place in range(count)]
        name = f"files/stranger-{draw}"
        body = b"\n".join(lines) + b"\n"
        self._files.keep(name, body)
        known = {"display_name": "", "mime_type": "application/jsonl", "bytes": len(body), "sha256": ""}
        known |= {"state": "ACTIVE", "source": "UPLOADED", "created_at": self._store.now()}
        self._tables.insert("files", {"name": name, "workspace": workspace, **known})
        asked = {"batch": {"displayName": "somebody else's", "inputConfig": {"fileName": name}}}
        model = find_model("gemini-3.8-flash")
        assert model is not None
        made = self._batches.create(asked, model, workspace, Rules(), appears_in=-age_seconds, stranger=True)
        return made.name

    def _batch_log(self, batch: Batch, *, with_requests: bool) -> JsonObject:
        logged = {
            **self._batches.shape(batch, Rules()),
            "workspace": batch.workspace,
            "fault": batch.fault,
            "stranger": bool(batch.stranger),
            "deleted": batch.deleted_at is not None,
            "total": batch.requests,
        }
        if with_requests:
            results, source = self._results_of(batch), self._files.path(batch.file_name)
            lines = source.read_bytes().splitlines() if source.exists() else []
            requests: list[JsonObject] = [orjson.loads(line) for line in lines if line.strip()]
            logged["requests"] = [
                request_log(
                    str(each.get("key")), each.get("request"), results.get(str(each.get("key"))), self._files.named
                )
                for each in requests
            ]
        return logged

    def _results_of(self, batch: Batch) -> dict[str, str]:
        """Return how each request ended, by key; empty where there are no results."""
        path = self._store.results_path(batch.name.partition("/")[2])
        if batch.responses_file is None or not path.exists():
            return {}
        found: list[JsonObject] = [orjson.loads(line) for line in path.read_bytes().splitlines()]
        return {str(each["key"]): "succeeded" if "response" in each else "errored" for each in found}

    def _route(self, request: Request, base_url: str) -> Reply:
        call, target = _recognized(request)
        rules = self._rulebook.rules()
        finishing = call == "upload" and "upload_id" in request.query
        fault = None if finishing else self._rulebook.due_fault(self.name, call, rules)
        if fault is not None and (refused := refusal(fault, "", WORDING)) is not None:
            return refused
        # The address of an upload's bytes is secret, so that it needs no key.
        workspace = "" if finishing else _workspace(request)
        asked = RecognizedCall(call, target, workspace, rules, fault, base_url)
        reply = self._calls[call](request, asked)
        return reply if fault is None else replacement(fault, reply, "", WORDING)

    def _upload(self, request: Request, asked: RecognizedCall) -> Reply:
        if "upload_id" in request.query:
            if request.body is not None and request.body.stat().st_size > asked.rules.max_bytes:
                raise GoogleError(413, "Request payload size exceeds the limit.")
            return self._files.finish(request)
        return self._files.start(request, asked.workspace, asked.base_url, asked.rules.max_storage_bytes)

    def _create(self, request: Request, asked: RecognizedCall) -> Reply:
        earlier = self._newest_batch() if asked.has("earlier_id") else None
        batch = self._batches.create(
            _json(request),
            _model(asked.target, "batchGenerateContent"),
            asked.workspace,
            asked.rules,
            fault=asked.fault,
            appears_in=asked.fault.seconds if asked.fault is not None and asked.has("landed_later") else 0.0,
        )
        shape = self._batches.shape(batch, asked.rules)
        return json_reply(200, shape if earlier is None else {**shape, "name": earlier})

    def _newest_batch(self) -> str | None:
        """Return the name of the batch that was made last; None where there is none."""
        return next((each.name for each in self._tables.batches("true ORDER BY number DESC", limit=1)), None)

    def _retrieve(self, request: Request, asked: RecognizedCall) -> Reply:
        batch = self._batches.retrieve(asked.target, asked.workspace, asked.rules)
        return json_reply(200, self._batches.shape(batch, asked.rules))

    def _list(self, request: Request, asked: RecognizedCall) -> Reply:
        size = request.query.get("pageSize", str(_PAGE))
        if not re.fullmatch(r"[0-9]{1,9}", size):
            raise GoogleError(400, f"Invalid value at 'page_size': {size!r}")
        hide_seconds = asked.fault.seconds if asked.fault is not None and asked.has("list_lag") else 0.0
        found, token = self._batches.page(
            asked.workspace,
            min(int(size) or _PAGE, _MOST_IN_A_PAGE),
            request.query.get("pageToken", ""),
            asked.rules,
            hide_seconds,
        )
        page: JsonObject = {"operations": [self._batches.shape(each, asked.rules) for each in found]} if found else {}
        return json_reply(200, page if token is None else {**page, "nextPageToken": token})

    def _results(self, request: Request, asked: RecognizedCall) -> Reply:
        file = self._files.find(asked.target, asked.workspace)
        if file.source != "GENERATED" or request.query.get("alt") != "media":
            raise GoogleError(400, "Only generated files can be downloaded, with alt=media.")
        reply = Reply(200, content_type="application/octet-stream", file=self._files.path(file.name))
        if asked.fault is not None and asked.fault.edits:
            return edited(asked.fault.edits, reply)
        return reply if asked.fault is None else damage(asked.fault.fault, reply, WORDING)

    def _file(self, request: Request, asked: RecognizedCall) -> Reply:
        if not asked.target:
            return json_reply(200, self._files.page(asked.workspace))
        if request.method == "DELETE":
            return json_reply(200, self._files.delete(asked.target, asked.workspace))
        return json_reply(200, self._files.shape(self._files.find(asked.target, asked.workspace)))

    def _message(self, request: Request, asked: RecognizedCall) -> Reply:
        model = _model(asked.target, "generateContent")
        answer = self._worker.single(_json(request), model, self._store.draw(16), asked.rules)
        if answer.error is not None:
            raise answer.error
        response = answer.response or {}
        if not request.path.endswith(":streamGenerateContent"):
            return json_reply(200, response)
        pieces = list(_pieces(response))
        if request.query.get("alt") != "sse":
            return json_reply(200, pieces)
        events = b"".join(b"data: " + orjson.dumps(each) + b"\r\n\r\n" for each in pieces)
        return Reply(200, events, "text/event-stream")


def _recognized(request: Request) -> tuple[str, str]:
    for call, method, pattern in _ROUTES:
        found = pattern.fullmatch(request.path)
        if found is not None and method == request.method:
            return call, (found[1] or "") if found.lastindex else ""
    raise GoogleError(404, "Not Found")


def _workspace(request: Request) -> str:
    """Return the project of the key: the text after its '@', else "default". Raises GoogleError without a good key."""
    key = request.headers.get("x-goog-api-key", "") or request.query.get("key", "")
    if not key:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        key = token.strip() if scheme.lower() == "bearer" else ""
    if not key:
        message = "Method doesn't allow unregistered callers (callers without established identity)."
        raise GoogleError(403, message)
    if key.startswith("invalid"):
        reason = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}
        raise GoogleError(400, "API key not valid. Please pass a valid API key.", name=NAMES[400], details=[reason])
    return key.partition("@")[2] or "default"


def _model(name: str, method: str) -> Model:
    model = find_model(name)
    if model is None:
        raise GoogleError(
            404,
            f"models/{name} is not found for API version v1beta, or is not supported for {method}. Call ListModels to "
            "see the list of available models and their supported methods.",
        )
    return model


def _json(request: Request) -> object:
    try:
        found: object = orjson.loads(b"" if request.body is None else request.body.read_bytes())
    except orjson.JSONDecodeError as problem:
        raise GoogleError(400, f"Invalid JSON payload received. {problem}") from problem
    return found


def _pieces(response: JsonObject) -> list[JsonObject]:
    """Return a response as the pieces of a stream: the text bit by bit, the reason to finish and the counts last."""
    candidates: list[JsonObject] = response.get("candidates", [])
    if not candidates:
        return [response]
    known = {name: value for name, value in response.items() if name not in ("candidates", "usageMetadata")}
    (candidate,) = candidates
    parts: list[JsonObject] = candidate["content"].get("parts", [])
    shown: list[JsonObject] = []
    for part in parts:
        text = part.get("text")
        bits = (
            [part] if text is None else [{**part, "text": text[at : at + _PIECE]} for at in range(0, len(text), _PIECE)]
        )
        shown += bits or [part]
    pieces: list[JsonObject] = [
        {"candidates": [{"content": {"role": "model", "parts": [part]}, "index": 0}], **known} for part in shown
    ]
    end = {name: value for name, value in candidate.items() if name != "content"}
    last = {"candidates": [{"content": {"role": "model", "parts": [{"text": ""}]}, **end}]}
    return [*pieces, {**last, "usageMetadata": response["usageMetadata"], **known}]
