"""The answer to one request of `generateContent`: a response, or an error."""

from dataclasses import dataclass
from functools import lru_cache
from hashlib import md5
from typing import Any

import orjson

from batchpipe.emulator.answering.answers import AnswerBook
from batchpipe.emulator.answering.outcomes import Outcomes, break_schema
from batchpipe.emulator.answering.promptcache import NO_CACHE, CacheUse, PromptCache
from batchpipe.emulator.answering.prompts import prompt_schema
from batchpipe.emulator.answering.values import Draw, MakeValue, compile_schema
from batchpipe.emulator.gemini.errors import QUOTA, GoogleError
from batchpipe.emulator.gemini.models import Model, names_of
from batchpipe.emulator.gemini.requests import AnswerPlan, Attached, make_plan
from batchpipe.emulator.service.faults import RequestRule
from batchpipe.emulator.service.jsontypes import JsonObject, is_object

_phrase = compile_schema({"type": "string"})
_MISSING = "(missing)"
# How long the cache keeps the beginning of a prompt; the service states no number.
_CACHE_SECONDS = 300
_ERRORS = {
    "errored_invalid": GoogleError(400, "Request contains an invalid argument."),
    "errored_credit": GoogleError(
        429, "Your prepayment credits are depleted. Please go to AI Studio to manage your project and billing."
    ),
    "errored_overloaded": GoogleError(503, "The model is overloaded. Please try again later."),
    "errored_api": GoogleError(500, "An internal error has occurred. Please retry."),
    "errored_rate_limit": GoogleError(429, QUOTA),
    "errored_permission": GoogleError(403, "The caller does not have permission"),
    "expired": GoogleError(504, "The request was not processed before the batch expired."),
    "canceled": GoogleError(499, "The batch was cancelled."),
    "context_window": GoogleError(400, "The input token count exceeds the maximum number of tokens allowed (1048576)."),
}
_ONLY_IN_BATCHES = ("expired", "canceled", "unknown_type")


@dataclass(frozen=True, slots=True)
class Answer:
    """The end of one request: a `response`, or an `error`, or neither for a line that is not of the protocol."""

    response: JsonObject | None = None
    error: GoogleError | None = None


@dataclass(slots=True)
class _Draft:
    """An answer before it is written as a response: a JSON `value` with its text, or a `text` alone.

    `tokens` is the number of tokens of the candidate, if it does not follow from the text.
    """

    value: Any
    text: str
    finish_reason: str = "STOP"
    tokens: int | None = None
    empty: bool = False
    blocked: bool = False


class Answerer:
    """The maker of answers. The same seed, model and content always give the same answer."""

    def __init__(self, seed: int, book: AnswerBook | None, attached: Attached = lambda address: None) -> None:
        self._seed = str(seed).encode()
        self._book = book
        self._attached = attached
        self._make = lru_cache(maxsize=200)(_compile_text)

    def answer(
        self, request: object, model: Model, unique: str, outcomes: Outcomes, cache: PromptCache, *, batch: bool
    ) -> Answer:
        """Return the answer to a request. `unique` is a text that no other request has, for the response's id."""
        try:
            plan = make_plan(request, model, self._attached)
        except GoogleError as problem:
            return Answer(error=problem)
        rule = outcomes.choose(names_of(model), plan.texts)
        outcome = None if rule is None else rule.outcome
        if outcome in _ERRORS and (batch or outcome not in _ONLY_IN_BATCHES):
            return Answer(error=_ERRORS[outcome])
        if outcome == "unknown_type" and batch:
            return Answer()
        content = orjson.dumps((model.id, plan.system, plan.texts.other, plan.texts.last))
        draw = Draw(int.from_bytes(md5(self._seed + content).digest()[:8]))
        draft = self._draft(plan, draw, rule)
        if outcome is not None:
            _apply(outcome, draft, plan)
        _fit(draft, plan)
        thinking = min(draw.below(48), plan.max_tokens - (draft.tokens or 0)) if plan.thinks else 0
        response = _response(plan, draft, unique, outcome)
        use = _cache_use(cache, plan, draw)
        tier = "priority" if outcome == "not_batch_tier" else None if batch else plan.tier
        response["usageMetadata"] = _usage(plan, draft, 0 if draft.blocked else max(0, thinking), use, tier)
        return Answer(_changed(response, rule))

    def _draft(self, plan: AnswerPlan, draw: Draw, rule: RequestRule | None) -> _Draft:
        given: Any = None
        if rule is not None and rule.outcome == "output":
            given = rule.output
        elif self._book is not None and (line := self._book.find(names_of(plan.model), plan.texts)) is not None:
            given = line.output
        broken = None if rule is None else rule.outcome
        if given is not None:
            value = break_schema(broken, given, plan.schema)
            if isinstance(value, str):
                return _Draft({"text": value}, value)
            return _Draft(value, orjson.dumps(value).decode())
        schema = plan.schema if plan.schema is not None else prompt_schema(plan.texts)
        if schema is None:
            return _Draft(
                None, f"The {_phrase(draw)} concerns the {_phrase(draw)}; it needs {1 + draw.below(9)} steps."
            )
        value = break_schema(broken, self._make(orjson.dumps(schema))(draw), schema)
        return _Draft(value, orjson.dumps(value).decode())


def _compile_text(text: bytes) -> MakeValue:
    return compile_schema(orjson.loads(text))


def _apply(outcome: str, draft: _Draft, plan: AnswerPlan) -> None:
    half = draft.text[: max(1, len(draft.text) // 2)]
    if outcome == "refused":
        draft.blocked, draft.empty, draft.tokens = True, True, 0
    elif outcome == "refused_midway":
        draft.finish_reason, draft.text, draft.value = "SAFETY", half, {}
    elif outcome == "truncated":
        draft.finish_reason, draft.text, draft.value, draft.tokens = "MAX_TOKENS", half, {}, plan.max_tokens
    elif outcome == "pause_turn":
        draft.finish_reason, draft.text, draft.value = "CONTINUATION", half, {}
    elif outcome == "invalid_json":
        draft.text, draft.value = draft.text.rstrip("}]") + ', "', {}
    elif outcome == "empty_content":
        draft.empty, draft.tokens = True, 0


def _fit(draft: _Draft, plan: AnswerPlan) -> None:
    """End the text at a stop sequence, or after the most tokens."""
    if plan.function is None:
        for stop in plan.stop_sequences:
            draft.text = draft.text.partition(stop)[0]
    if draft.tokens is not None:
        return
    draft.tokens = 1 + len(draft.text) // 4
    if draft.tokens > plan.max_tokens:
        draft.tokens, draft.finish_reason, draft.value = plan.max_tokens, "MAX_TOKENS", {}
        draft.text = draft.text[: plan.max_tokens * 4]


def _response(plan: AnswerPlan, draft: _Draft, unique: str, outcome: str | None) -> JsonObject:
    known = {"modelVersion": plan.model.id, "responseId": md5(unique.encode()).hexdigest()[:22]}
    if draft.blocked:
        return {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, **known}
    parts: list[JsonObject] = [{"text": draft.text}]
    if draft.empty:
        parts = []
    elif plan.function is not None and draft.finish_reason == "STOP":
        value = draft.value if is_object(draft.value) else {}
        parts = [{"functionCall": {"name": plan.function, "args": value}}]
    elif outcome == "split_text":
        half = len(draft.text) // 2
        parts = [{"text": draft.text[:half]}, {"text": draft.text[half:]}]
    if plan.thinks and parts:
        parts[-1]["thoughtSignature"] = "RW11" + md5(draft.text.encode()).hexdigest()
    candidate: JsonObject = {"content": {"role": "model", **({"parts": parts} if parts else {})}, "index": 0}
    candidate["finishReason"] = draft.finish_reason
    if draft.finish_reason == "CONTINUATION":
        candidate["continuationToken"] = md5(unique.encode()).hexdigest()
    return {"candidates": [candidate], **known}


def _cache_use(cache: PromptCache, plan: AnswerPlan, draw: Draw) -> CacheUse:
    """Return what the cache that works by itself holds of the system instruction."""
    tokens = min(len(plan.system) // 4, plan.tokens - 1)
    if tokens < plan.model.cached_from_tokens:
        return NO_CACHE
    return cache.use(plan.model.id, plan.system, _CACHE_SECONDS, tokens, draw)


def _usage(plan: AnswerPlan, draft: _Draft, thinking: int, use: CacheUse, tier: str | None) -> JsonObject:
    """Return the counts of a response. A count of 0 is left out, as protocol buffers do."""
    candidates = draft.tokens or 0
    counts = {
        "promptTokenCount": plan.tokens,
        "cachedContentTokenCount": use.read,
        "candidatesTokenCount": candidates,
        "thoughtsTokenCount": thinking,
        "totalTokenCount": plan.tokens + candidates + thinking,
    }
    usage: JsonObject = {name: count for name, count in counts.items() if count}
    usage["promptTokensDetails"] = [{"modality": "TEXT", "tokenCount": plan.tokens}]
    return usage if tier is None else {**usage, "serviceTier": tier}


def _changed(response: JsonObject, rule: RequestRule | None) -> JsonObject:
    """Return the response with the members that the rule sets or takes away."""
    if rule is None or rule.message is None:
        return response
    return {name: value for name, value in {**response, **rule.message}.items() if value != _MISSING}
