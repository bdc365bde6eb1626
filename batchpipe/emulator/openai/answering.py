"""The answer to one request: the status and the body of the reply."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from hashlib import md5
from typing import Any

import orjson

from batchpipe.emulator.answering.answers import AnswerBook
from batchpipe.emulator.answering.files import File
from batchpipe.emulator.answering.outcomes import Outcomes, break_schema
from batchpipe.emulator.answering.promptcache import NO_CACHE, CacheUse, PromptCache
from batchpipe.emulator.answering.prompts import prompt_schema
from batchpipe.emulator.answering.texts import Texts
from batchpipe.emulator.answering.values import Draw, compile_schema
from batchpipe.emulator.openai.bodies import Draft, MadeAnswer, body_of
from batchpipe.emulator.openai.errors import OpenAIError, error_body
from batchpipe.emulator.openai.models import CACHED_FROM_TOKENS, Model, names_of
from batchpipe.emulator.openai.params import AnswerPlan, make_plan, read_texts
from batchpipe.emulator.service.faults import RequestRule
from batchpipe.emulator.service.jsontypes import JsonObject, is_list, is_object

_CACHE_SECONDS = {"30m": 1_800, "12h": 43_200}
_CACHE_STEP = 128
_phrase = compile_schema({"type": "string"})
MISSING = "(missing)"
# Each outcome that is an error: its status, its message, its code.
ERRORS = {
    "errored_invalid": (400, "Invalid value for 'input': the emulator was told to refuse this.", "invalid_value"),
    "errored_credit": (
        429,
        "You exceeded your current quota, please check your plan and billing details.",
        "insufficient_quota",
    ),
    "errored_overloaded": (503, "The engine is currently overloaded, please try again later.", "overloaded"),
    "errored_api": (500, "The server had an error while processing your request.", "server_error"),
    "errored_rate_limit": (429, "Rate limit reached for requests.", "rate_limit_exceeded"),
    "errored_permission": (403, "You do not have access to this resource.", "permission_error"),
    "context_window": (
        400,
        "This model's maximum context length is exceeded. Please reduce the length of the input.",
        "context_length_exceeded",
    ),
}
_UNANSWERED = {"expired": "batch_expired", "canceled": "batch_cancelled"}


@dataclass(frozen=True, slots=True)
class Answer:
    """The end of one request: the status and body of the reply, or the `unanswered` code of a line without one."""

    status: int = 0
    body: JsonObject | None = None
    unanswered: str | None = None


class Answerer:
    """The maker of answers. The same seed, model and content always give the same answer.

    `attached` returns the content of a file that a request names.
    """

    def __init__(
        self, seed: int, book: AnswerBook | None, attached: Callable[[object], bytes | None] = lambda file_id: None
    ) -> None:
        self._seed = str(seed).encode()
        self._book = book
        self._attached = attached
        self._make = lru_cache(maxsize=200)(_compile)

    def answer(
        self,
        body: JsonObject,
        endpoint: str,
        unique: str,
        outcomes: Outcomes,
        cache: PromptCache,
        *,
        batch: bool,
        created_at: float,
    ) -> Answer:
        """Return the answer to a request. `unique` is a text that no other request has, for the ids in the body."""
        try:
            plan = make_plan(body, endpoint, batch=batch)
            texts = read_texts(body, plan, self._attached)
            content = orjson.dumps((plan.model.id, texts.last, texts.other))
            tokens = 8 + plan.hidden_tokens + len(content) // 4 + sum(map(_file_tokens, texts.files))
            if tokens > plan.model.context_tokens:
                status, message, code = ERRORS["context_window"]
                raise OpenAIError(status, message, code=code)
        except OpenAIError as problem:
            return Answer(problem.status, problem.body())
        rule = outcomes.choose(names_of(plan.model), texts)
        outcome = None if rule is None else rule.outcome
        if outcome in ERRORS:
            return Answer(ERRORS[outcome][0], error_body(*ERRORS[outcome]))
        if outcome in _UNANSWERED and batch:
            return Answer(unanswered=_UNANSWERED[outcome])
        if outcome == "status_0" and batch:
            return Answer(0, None)
        draw = Draw(int.from_bytes(md5(self._seed + content).digest()[:8]))
        draft = self._draft(plan, texts, draw, rule)
        draft.outcome = outcome
        draft.thinking = 0 if plan.effort == "none" else 1 + draw.below(64)
        _fit(draft, plan)
        made = MadeAnswer(plan, draft, tokens, _cache_use(cache, plan.model, texts, tokens, draw), unique, created_at)
        shown = body_of(made, batch=batch)
        if rule is not None and rule.message is not None:
            shown = {name: value for name, value in {**shown, **rule.message}.items() if value != MISSING}
        return Answer(200, shown)

    def _draft(self, plan: AnswerPlan, texts: Texts, draw: Draw, rule: RequestRule | None) -> Draft:
        given: Any = None
        if rule is not None and rule.outcome == "output":
            given = rule.output
        elif self._book is not None and (line := self._book.find(names_of(plan.model), texts)) is not None:
            given = line.output
        broken = None if rule is None else rule.outcome
        if isinstance(given, str):
            return Draft(given)
        schema = plan.schema if plan.schema is not None else prompt_schema(texts)
        if given is None and schema is None:
            return Draft(f"The {_phrase(draw)} concerns the {_phrase(draw)}; it needs {1 + draw.below(9)} steps.")
        value = self._make(orjson.dumps(schema))(draw) if given is None else _with_nulls(given, plan.schema)
        value = break_schema(broken, value, schema)
        text = orjson.dumps(value).decode()
        return Draft(text.rstrip("}]") + ', "' if broken == "invalid_json" else text)


def _file_tokens(file: File) -> int:
    """Return the tokens of a picture, 1.2 for each patch of 32 pixels, or of the pages of a document."""
    if not file.is_image:
        return max(file.pages, 1) * 2_800
    patches = -(-file.width // 32) * -(-file.height // 32)
    return int(min(patches, 1_536) * 1.2) + 1


def _compile(text: bytes) -> Any:
    return compile_schema(orjson.loads(text))


def _with_nulls(value: Any, schema: JsonObject | None) -> Any:
    """Return a given answer as a strict schema makes the model write it: what is missing is null where it may be."""
    properties = None if schema is None else schema.get("properties")
    if not is_object(value) or not is_object(properties):
        return value
    absent = {name: None for name, each in properties.items() if name not in value and _may_be_null(each)}
    return {**value, **absent}


def _may_be_null(schema: object) -> bool:
    if not is_object(schema):
        return False
    kinds = schema.get("type")
    if kinds == "null" or (is_list(kinds) and "null" in kinds):
        return True
    branches = schema.get("anyOf")
    return is_list(branches) and any(map(_may_be_null, branches))


def _fit(draft: Draft, plan: AnswerPlan) -> None:
    """End the text where the limit is reached; what the model thinks counts first."""
    if draft.outcome == "truncated":
        draft.text, draft.output = draft.text[: len(draft.text) // 2], plan.max_tokens
        draft.incomplete = "max_output_tokens"
        return
    if draft.outcome == "refused_midway":
        draft.text, draft.incomplete = draft.text[: len(draft.text) // 2], "content_filter"
    if draft.outcome == "pause_turn":
        draft.text, draft.incomplete = draft.text[: len(draft.text) // 2], "max_messages"
    draft.thinking = min(draft.thinking, plan.max_tokens)
    wanted = 1 + len(draft.text) // 4
    draft.output = draft.thinking + wanted
    if draft.output > plan.max_tokens:
        draft.text = draft.text[: (plan.max_tokens - draft.thinking) * 4]
        draft.output, draft.incomplete = plan.max_tokens, "max_output_tokens"


def _cache_use(cache: PromptCache, model: Model, texts: Texts, total: int, draw: Draw) -> CacheUse:
    """Return the cached tokens of a request of `total` input tokens; a short prefix is not cached.

    Where writes are free the service does not tell them, and counts what it read in steps of 128 tokens.
    """
    tokens = min(len(texts.cached.encode()) // 4, total - 1)
    if texts.cache_ttl is None or tokens < CACHED_FROM_TOKENS or model.foreign:
        return NO_CACHE
    use = cache.use(model.id, texts.cached, _CACHE_SECONDS[texts.cache_ttl], tokens, draw)
    return use if model.paid_writes else CacheUse(read=use.read // _CACHE_STEP * _CACHE_STEP)
