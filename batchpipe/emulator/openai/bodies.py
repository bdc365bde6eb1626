"""Bodies of answers: a response or a chat completion, with its usage."""

from dataclasses import dataclass
from hashlib import md5
from typing import Any

from batchpipe.emulator.answering.promptcache import CacheUse
from batchpipe.emulator.openai.models import resolved_name
from batchpipe.emulator.openai.params import RESPONSES, AnswerPlan
from batchpipe.emulator.service.jsontypes import JsonObject

_REFUSAL = "I'm sorry, but I cannot help with that."


@dataclass(slots=True)
class Draft:
    """An answer before it is written: its text, its tokens, why it is incomplete, and the outcome of a rule."""

    text: str
    thinking: int = 0
    output: int = 0
    incomplete: str | None = None
    outcome: str | None = None


@dataclass(frozen=True, slots=True)
class MadeAnswer:
    """Everything that a body is written from."""

    plan: AnswerPlan
    draft: Draft
    input_tokens: int
    use: CacheUse
    unique: str
    created_at: float

    def name(self, prefix: str) -> str:
        """Return an id that begins with `prefix`."""
        return f"{prefix}_{md5((prefix + self.unique).encode()).hexdigest()}"


def body_of(made: MadeAnswer, *, batch: bool) -> JsonObject:
    """Return the body of the reply."""
    return _response(made, batch=batch) if made.plan.endpoint == RESPONSES else _completion(made, batch=batch)


def _tier(made: MadeAnswer, *, batch: bool) -> str:
    return "default" if batch else made.plan.service_tier


def _response(made: MadeAnswer, *, batch: bool) -> JsonObject:
    plan, draft = made.plan, made.draft
    failed = draft.outcome == "failed_body"
    status = "failed" if failed else "incomplete" if draft.incomplete else "completed"
    form: JsonObject = {"type": "text"}
    return {
        "id": made.name("resp"),
        "object": "response",
        "created_at": int(made.created_at),
        "status": status,
        "background": False,
        "error": {"code": "server_error", "message": "The model had an error."} if failed else None,
        "incomplete_details": {"reason": draft.incomplete} if draft.incomplete else None,
        "instructions": None,
        "max_output_tokens": plan.max_tokens,
        "model": resolved_name(plan.model),
        "output": [] if failed else _items(made),
        "parallel_tool_calls": plan.tool is None,
        "previous_response_id": None,
        "reasoning": {"effort": plan.effort, "summary": None},
        "service_tier": _tier(made, batch=batch),
        "store": False,
        "temperature": 1.0,
        "text": {"format": form, "verbosity": "medium"},
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": None if failed else _response_usage(made),
        "user": None,
        "metadata": {},
    }


def _items(made: MadeAnswer) -> list[JsonObject]:
    draft = made.draft
    items: list[JsonObject] = []
    if draft.thinking:
        items.append({"id": made.name("rs"), "type": "reasoning", "summary": []})
    if draft.outcome == "unknown_type":
        return [*items, {"id": made.name("x"), "type": "weird_item"}]
    if draft.outcome == "empty_content" or (draft.incomplete and not draft.text):
        return items
    if draft.outcome == "refused":
        return [*items, _message(made, [{"type": "refusal", "refusal": _REFUSAL}])]
    if made.plan.tool is not None:
        call = {"id": made.name("fc"), "call_id": made.name("call"), "type": "function_call"}
        return [*items, {**call, "name": made.plan.tool, "arguments": draft.text, "status": "completed"}]
    if draft.outcome == "commentary":
        first = _message(made, [_part("I look at the request first.")], phase="commentary")
        return [*items, first, _message(made, [_part(draft.text)], phase="final_answer")]
    half = len(draft.text) // 2
    texts = [draft.text[:half], draft.text[half:]] if draft.outcome == "split_text" else [draft.text]
    return [*items, _message(made, [_part(text) for text in texts])]


def _part(text: str) -> JsonObject:
    return {"type": "output_text", "annotations": [], "logprobs": [], "text": text}


def _message(made: MadeAnswer, content: list[JsonObject], **more: Any) -> JsonObject:
    state = "incomplete" if made.draft.incomplete else "completed"
    return {
        "id": made.name("msg"), "type": "message", "status": state, "content": content, "role": "assistant", **more
    }  # fmt: skip


def _response_usage(made: MadeAnswer) -> JsonObject:
    use, draft = made.use, made.draft
    details: JsonObject = {"cached_tokens": use.read, "cache_write_tokens": use.written}
    if use.written:
        long = made.plan.cache_ttl == "12h"
        details["cache_write_tokens_details"] = {
            "ttl_30m_tokens": 0 if long else use.written,
            "ttl_12h_tokens": use.written if long else 0,
        }
    return {
        "input_tokens": made.input_tokens,
        "input_tokens_details": details,
        "output_tokens": draft.output,
        "output_tokens_details": {"reasoning_tokens": draft.thinking},
        "total_tokens": made.input_tokens + draft.output,
    }


_REASONS = {"max_output_tokens": "length", "content_filter": "content_filter", "max_messages": "length"}


def _completion(made: MadeAnswer, *, batch: bool) -> JsonObject:
    plan, draft, use = made.plan, made.draft, made.use
    message: JsonObject = {"role": "assistant", "content": draft.text, "refusal": None, "annotations": []}
    reason = _REASONS[draft.incomplete] if draft.incomplete else "stop"
    if draft.outcome == "refused":
        message |= {"content": None, "refusal": _REFUSAL}
    elif draft.outcome == "empty_content":
        message["content"] = None
    elif draft.outcome == "unknown_type":
        reason = "weird_reason"
    elif plan.tool is not None:
        function = {"name": plan.tool, "arguments": draft.text}
        message |= {
            "content": None,
            "tool_calls": [{"id": made.name("call"), "type": "function", "function": function}],
        }
    return {
        "id": made.name("chatcmpl").replace("_", "-"),
        "object": "chat.completion",
        "created": int(made.created_at),
        "model": resolved_name(plan.model),
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": reason}],
        "usage": {
            "prompt_tokens": made.input_tokens,
            "completion_tokens": draft.output,
            "total_tokens": made.input_tokens + draft.output,
            "prompt_tokens_details": {"cached_tokens": use.read, "cache_write_tokens": use.written, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": draft.thinking, "audio_tokens": 0},
        },
        "service_tier": _tier(made, batch=batch),
        "system_fingerprint": None,
    }
