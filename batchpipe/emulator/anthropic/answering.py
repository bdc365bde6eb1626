"""The answer to one request, made from its `params`: a message or an error."""

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
from batchpipe.emulator.answering.values import Draw, MakeValue, compile_schema
from batchpipe.emulator.anthropic.messages import read_texts
from batchpipe.emulator.anthropic.models import Model, names_of
from batchpipe.emulator.anthropic.params import AnswerPlan, Call, ParamsError, make_plan
from batchpipe.emulator.service.faults import RequestRule
from batchpipe.emulator.service.jsontypes import JsonObject, is_object

_PLANS_KEPT = 500
_phrase = compile_schema({"type": "string"})
_TEXT_KEYS = ("messages", "system")
ERRORS = {
    "errored_invalid": (
        400,
        "invalid_request_error",
        "messages.0.content: the emulator was told to refuse this",
    ),
    "errored_credit": (
        400,
        "invalid_request_error",
        "Your credit balance is too low to access the Anthropic API. "
        "Please go to Plans & Billing to upgrade or purchase credits.",
    ),
    "errored_overloaded": (529, "overloaded_error", "Overloaded"),
    "errored_api": (500, "api_error", "Internal server error"),
    "errored_rate_limit": (429, "rate_limit_error", "Number of request tokens has exceeded your rate limit"),
    "errored_permission": (
        403,
        "permission_error",
        "Your API key does not have permission to use the specified resource",
    ),
}
MISSING = "(missing)"
_CACHE_SECONDS = {"5m": 300, "1h": 3600}
_UNANSWERED = ("expired", "canceled", "unknown_type")


@dataclass(frozen=True, slots=True)
class Answer:
    """The end of one request: `kind` is succeeded, errored, expired, canceled or unknown.

    `message` is given if it succeeded, `error` (status, type, message) if it errored.
    """

    kind: str
    message: JsonObject | None = None
    error: tuple[int, str, str] | None = None


@dataclass(slots=True)
class _Draft:
    """An answer before it is written as a message: a JSON `value` with its text, or a `text` alone.

    `tokens` is the number of output tokens, if it does not follow from the text. `empty`: the message has no content.
    """

    value: Any
    text: str
    is_json: bool
    stop_reason: str = "end_turn"
    stop_sequence: str | None = None
    tokens: int | None = None
    empty: bool = False


def _file_tokens(file: File) -> int:
    """Return the tokens of a picture, one for 750 pixels and at most 1,600, or of the pages of a document."""
    if not file.is_image:
        return max(file.pages, 1) * 2_000
    scale = min(1.0, 1_568 / max(file.width, file.height, 1))
    return min(1_600, -int(-file.width * file.height * scale * scale // 750))


class Answerer:
    """The maker of answers. The same seed, model and content always give the same answer."""

    def __init__(self, seed: int, book: AnswerBook | None) -> None:
        self._seed = str(seed).encode()
        self._book = book
        self._plans: dict[tuple[Call, bytes], AnswerPlan | ParamsError] = {}
        self._makes: dict[tuple[Call, bytes], MakeValue] = {}
        self._make_from_text = lru_cache(maxsize=200)(_compile_text)

    def answer(self, params: JsonObject, call: Call, unique: str, outcomes: Outcomes, cache: PromptCache) -> Answer:
        """Return the answer to a request. `unique` is a text that no other request has, for the message's id."""
        shape = {name: value for name, value in params.items() if name not in _TEXT_KEYS}
        if "messages" in params:
            shape["messages"] = None
        try:
            key = (call, orjson.dumps(shape))
            plan = self._plan(key, params)
            texts = read_texts(params, plan)
            content = orjson.dumps((plan.model.id, params.get("system"), params["messages"]))
            size = len(content) - sum(each.encoded for each in texts.files)
            tokens = 8 + plan.hidden_tokens + int(size * plan.model.token_factor) // 4
            tokens += sum(map(_file_tokens, texts.files))
            tokens = min(tokens, len(content) + len(key[1]) + 200)
            _check_context(plan, tokens)
        except ParamsError as problem:
            status = 404 if problem.kind == "not_found_error" else 400
            return Answer("errored", error=(status, problem.kind, problem.message))
        rule = outcomes.choose(names_of(plan.model), texts)
        outcome = None if rule is None else rule.outcome
        if outcome in ERRORS:
            return Answer("errored", error=ERRORS[outcome])
        if outcome in _UNANSWERED and call.batch:
            return Answer("unknown" if outcome == "unknown_type" else outcome)
        draw = Draw(int.from_bytes(md5(self._seed + content).digest()[:8]))
        draft = self._draft(key, plan, texts, draw, rule)
        if outcome is not None:
            _apply(outcome, draft, plan)
        output_tokens = min(plan.max_tokens, plan.model.context_tokens - tokens)
        _fit(draft, plan, output_tokens)
        use = _cache_use(cache, plan.model, texts, tokens, draw)
        thinking = (
            0 if plan.thinking is None or draft.empty else min(draw.below(48), output_tokens - (draft.tokens or 0))
        )
        message = _message(plan, draft, unique, outcome)
        _add_thinking(message, plan, thinking)
        tier = "batch" if call.batch and outcome != "not_batch_tier" else "standard"
        message["usage"] = _usage(
            plan, tokens, (draft.tokens or 0) + max(0, thinking), thinking, use, texts.cache_ttl, tier
        )
        return Answer("succeeded", message=_changed(message, rule))

    def _plan(self, key: tuple[Call, bytes], params: JsonObject) -> AnswerPlan:
        plan = self._plans.get(key)
        if plan is None:
            try:
                plan = make_plan(params, key[0], len(key[1]))
            except ParamsError as problem:
                plan = problem
            if len(self._plans) >= _PLANS_KEPT:
                self._plans.clear()
                self._makes.clear()
            self._plans[key] = plan
        if isinstance(plan, ParamsError):
            raise ParamsError(plan.message, plan.kind)
        return plan

    def _draft(
        self, key: tuple[Call, bytes], plan: AnswerPlan, texts: Texts, draw: Draw, rule: RequestRule | None
    ) -> _Draft:
        given: Any = None
        if rule is not None and rule.outcome == "output":
            given = rule.output
        elif self._book is not None and (line := self._book.find(names_of(plan.model), texts)) is not None:
            given = line.output
        broken = None if rule is None else rule.outcome
        if given is not None:
            return _given(break_schema(broken, given, plan.schema), plan.tool is not None)
        schema = plan.schema if plan.schema is not None else prompt_schema(texts)
        if schema is None:
            return _Draft(None, _sentence(draw), False)
        value = break_schema(broken, self._make(key, plan, schema)(draw), schema)
        return _Draft(value, orjson.dumps(value).decode(), True)

    def _make(self, key: tuple[Call, bytes], plan: AnswerPlan, schema: JsonObject) -> MakeValue:
        if plan.schema is None:
            return self._make_from_text(orjson.dumps(schema))
        make = self._makes.get(key)
        if make is None:
            make = self._makes[key] = compile_schema(schema)
        return make


def _cache_use(cache: PromptCache, model: Model, texts: Texts, total: int, draw: Draw) -> CacheUse:
    """Return the cached tokens of a request of `total` input tokens; a prefix that is too short is not cached."""
    if texts.cache_ttl is None:
        return NO_CACHE
    tokens = min(int(len(texts.cached.encode()) * model.token_factor) // 4, total - 1)
    if tokens < model.cached_from_tokens:
        return NO_CACHE
    return cache.use(model.id, texts.cached, _CACHE_SECONDS[texts.cache_ttl], tokens, draw)


def _compile_text(text: bytes) -> MakeValue:
    return compile_schema(orjson.loads(text))


def _given(output: Any, for_tool: bool) -> _Draft:
    if isinstance(output, str):
        if not for_tool:
            return _Draft(None, output, False)
        return _Draft({"text": output}, output, True)
    return _Draft(output, orjson.dumps(output).decode(), True)


def _sentence(draw: Draw) -> str:
    return f"The {_phrase(draw)} concerns the {_phrase(draw)}; it needs {1 + draw.below(9)} steps."


def _check_context(plan: AnswerPlan, tokens: int) -> None:
    limit = plan.model.context_tokens
    if tokens > limit:
        raise ParamsError(f"prompt is too long: {tokens} tokens > {limit} maximum")


def _apply(outcome: str, draft: _Draft, plan: AnswerPlan) -> None:
    half = draft.text[: max(1, len(draft.text) // 2)]
    if outcome == "refused":
        draft.stop_reason, draft.empty, draft.tokens = "refusal", True, 1
    elif outcome == "refused_midway":
        draft.stop_reason, draft.text, draft.value = "refusal", half, {}
    elif outcome == "truncated":
        draft.stop_reason, draft.text, draft.value, draft.tokens = "max_tokens", half, {}, plan.max_tokens
    elif outcome == "context_window":
        draft.stop_reason, draft.text, draft.value = "model_context_window_exceeded", half, {}
    elif outcome == "pause_turn":
        draft.stop_reason, draft.text, draft.value = "pause_turn", half, {}
    elif outcome == "invalid_json":
        draft.text, draft.value = draft.text.rstrip("}]") + ', "', {}
    elif outcome == "empty_content":
        draft.empty, draft.tokens = True, 1


def _fit(draft: _Draft, plan: AnswerPlan, output_tokens: int) -> None:
    """End the text at a stop sequence, or after `output_tokens`."""
    if not draft.empty and plan.tool is None:
        for stop in plan.stop_sequences:
            place = draft.text.find(stop)
            if place >= 0 and draft.stop_reason == "end_turn":
                draft.text, draft.stop_reason, draft.stop_sequence = draft.text[:place], "stop_sequence", stop
    if draft.tokens is not None:
        return
    draft.tokens = 1 + int(len(draft.text) * plan.model.token_factor) // 4
    if draft.tokens > output_tokens:
        draft.tokens = max(1, output_tokens)
        draft.text = draft.text[: int(output_tokens * 4 / plan.model.token_factor)]
        draft.value = {}
        draft.stop_reason = "max_tokens" if output_tokens == plan.max_tokens else "model_context_window_exceeded"


def _message(plan: AnswerPlan, draft: _Draft, unique: str, outcome: str | None) -> JsonObject:
    stop_reason = draft.stop_reason
    content: list[JsonObject] = []
    identity = md5(unique.encode()).hexdigest()
    if draft.empty:
        pass
    elif plan.tool is not None:
        value = draft.value if is_object(draft.value) else {}
        content = [{"type": "tool_use", "id": f"toolu_01{identity[:22]}", "name": plan.tool, "input": value}]
        stop_reason = "tool_use" if stop_reason == "end_turn" else stop_reason
    elif outcome == "split_text":
        half = len(draft.text) // 2
        content = [{"type": "text", "text": part} for part in (draft.text[:half], draft.text[half:])]
    else:
        content = [{"type": "text", "text": draft.text}]
    details = None
    if stop_reason == "refusal":
        details = {
            "type": "refusal",
            "category": "general_harms",
            "explanation": "This request was declined.",
        }
    return {
        "id": f"msg_01{identity[:22]}",
        "type": "message",
        "role": "assistant",
        "model": plan.model.id,
        "content": content,
        "stop_reason": stop_reason,
        "stop_sequence": draft.stop_sequence,
        "stop_details": details,
        "container": None,
    }


def _changed(message: JsonObject, rule: RequestRule | None) -> JsonObject:
    """Return the message with the fields that the rule sets or takes away."""
    if rule is None or rule.message is None:
        return message
    return {name: value for name, value in {**message, **rule.message}.items() if value != MISSING}


def _add_thinking(message: JsonObject, plan: AnswerPlan, tokens: int) -> None:
    if tokens <= 0 or not message["content"]:
        return
    shown = "" if plan.thinking == "default" else "The request is short; I will answer it directly."
    block = {"type": "thinking", "thinking": shown, "signature": f"RW11{message['id'][4:]}"}
    message["content"].insert(0, block)


def _usage(
    plan: AnswerPlan, tokens: int, output: int, thinking: int, use: CacheUse, ttl: str | None, tier: str
) -> JsonObject:
    return {
        "input_tokens": tokens - use.read - use.written,
        "cache_creation_input_tokens": use.written,
        "cache_read_input_tokens": use.read,
        "cache_creation": {
            "ephemeral_5m_input_tokens": use.written if ttl == "5m" else 0,
            "ephemeral_1h_input_tokens": use.written if ttl == "1h" else 0,
        },
        "output_tokens": output,
        "output_tokens_details": {"thinking_tokens": max(0, thinking)},
        "server_tool_use": None,
        "service_tier": tier,
        "inference_geo": plan.inference_geo or ("global" if plan.model.takes_inference_geo else "not_available"),
        "speed": None if tier == "batch" else "standard",
    }
