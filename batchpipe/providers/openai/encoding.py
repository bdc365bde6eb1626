"""Encoding of messages as request bodies, for responses and for chat completions. Shared parts are encoded once."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from io import BytesIO
from typing import Any, Literal

import orjson

from batchpipe.providers import CacheTtl, Message, RungSettings, Turn
from batchpipe.providers.openai.media import encoded
from batchpipe.providers.openai.models import find_model

Endpoint = Literal["/v1/responses", "/v1/chat/completions"]
RESPONSES: Endpoint = "/v1/responses"
CHAT: Endpoint = "/v1/chat/completions"
SCHEMA_NAME = TOOL_NAME = "answer"
_TOOL_DESCRIPTION = "Give the answer."
_JSON_ONLY = (
    "Reply with one JSON value that is valid against this JSON Schema and with nothing else: no text before "
    "or after it, no code fence.\n\n```json\n{schema}\n```"
)
# Settings that are not written into a body under their own name.
_ELSEWHERE = frozenset({"effort", "verbosity", "reasoning", "background"})
# The lifetimes of the provider's cache that stand for the shorter and the longer one.
LIFETIMES: Mapping[CacheTtl, str] = {"5m": "30m", "1h": "12h"}
_BREAKPOINT = b',"prompt_cache_breakpoint":{"mode":"explicit"}'
_EXPLICIT = b',"prompt_cache_options":{"mode":"explicit"}'
_MARKED = re.compile(
    rb',"prompt_cache_key":"[0-9a-f]{32}","prompt_cache_options":\{"mode":"explicit","ttl":"[0-9]+[mh]"\}'
)


def _tool(endpoint: Endpoint, schema: Mapping[str, Any]) -> dict[str, Any]:
    function = {"name": TOOL_NAME, "description": _TOOL_DESCRIPTION, "parameters": schema, "strict": True}
    return {"type": "function", **function} if endpoint == RESPONSES else {"type": "function", "function": function}


def _instruction(schema: Mapping[str, Any]) -> str:
    return _JSON_ONLY.replace("{schema}", orjson.dumps(schema).decode())


def visible_schema(output_format: str, sent_schema: Mapping[str, Any] | None) -> str:
    """Return the schema as the model sees it. The order of keys counts: the answer follows it."""
    if sent_schema is None or output_format == "text":
        return ""
    if output_format == "json":
        return _instruction(sent_schema)
    return orjson.dumps(_tool(RESPONSES, sent_schema) if output_format == "tool" else sent_schema).decode()


def static_body(
    endpoint: Endpoint, rung: RungSettings, *, output_format: str, sent_schema: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Return the members of a body that do not depend on the row: model, settings, schema.

    Nothing is stored at the provider beyond its batch: a response without `store` would be kept for 30 days.
    """
    body: dict[str, Any] = {"model": rung.model}
    body.update((key, value) for key, value in rung.settings.items() if key not in _ELSEWHERE)
    schema = sent_schema if output_format == "json_schema" else None
    tool = sent_schema if output_format == "tool" else None
    add = _add_responses if endpoint == RESPONSES else _add_chat
    add(body, rung.settings, schema)
    if tool is not None:
        body["tools"] = [*body.get("tools", ()), _tool(endpoint, tool)]
        chosen = {"type": "function", "name": TOOL_NAME}
        body["tool_choice"] = chosen if endpoint == RESPONSES else {"type": "function", "function": {"name": TOOL_NAME}}
        body["parallel_tool_calls"] = False
    return body


def _add_responses(body: dict[str, Any], settings: Mapping[str, Any], schema: Mapping[str, Any] | None) -> None:
    reasoning = dict(settings.get("reasoning") or {})
    if "effort" in settings:
        reasoning["effort"] = settings["effort"]
    if reasoning:
        body["reasoning"] = reasoning
    text: dict[str, Any] = {}
    if schema is not None:
        text["format"] = {"type": "json_schema", "name": SCHEMA_NAME, "schema": schema, "strict": True}
    if "verbosity" in settings:
        text["verbosity"] = settings["verbosity"]
    if text:
        body["text"] = text
    background = settings.get("background")
    if background is None:
        body["store"] = False
        return
    # A stored answer can be fetched later; the caller deletes it then.
    body |= {"background": True, "background_options": {"completion_window": background}, "store": True}


def _add_chat(body: dict[str, Any], settings: Mapping[str, Any], schema: Mapping[str, Any] | None) -> None:
    if "effort" in settings:
        body["reasoning_effort"] = settings["effort"]
    if "verbosity" in settings:
        body["verbosity"] = settings["verbosity"]
    if schema is not None:
        form = {"name": SCHEMA_NAME, "schema": schema, "strict": True}
        body["response_format"] = {"type": "json_schema", "json_schema": form}


def _text(text: str) -> bytes:
    """Return `text` as a JSON string; half of a surrogate pair, which JSON cannot hold, becomes U+FFFD."""
    try:
        return orjson.dumps(text)
    except orjson.JSONEncodeError:
        return orjson.dumps(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))


def unmarked(body: bytes) -> bytes:
    """Return `body` without our cache marks. No text can look like one, since its quotes are escaped."""
    return _MARKED.sub(_EXPLICIT, body).replace(_BREAKPOINT, b"")


class BodyEncoder:
    """The encoder of the messages of one rung. It remembers the last system prompt, so that each thread needs
    its own.

    Models whose cache writes are paid for are always told what to cache: the prefix that is marked, or nothing. Others
    cache by themselves, at no cost.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        rung: RungSettings,
        *,
        output_format: str,
        sent_schema: Mapping[str, Any] | None,
        cache: CacheTtl | None = None,
        head: str = "",
        turns: Sequence[Turn] = (),
    ) -> None:
        static = orjson.dumps(static_body(endpoint, rung, output_format=output_format, sent_schema=sent_schema))
        limit, self._messages, kind = b"max_output_tokens", b"input", b"input_text"
        if endpoint == CHAT:
            # Servers of other vendors know only the older name of the limit.
            limit = b"max_completion_tokens" if find_model(rung.usual_name).name else b"max_tokens"
            self._messages, kind = b"messages", b"text"
        self._block = b'{"type":"' + kind + b'","text":'
        self._static, self._limit = static[:-1], b',"' + limit + b'":'
        self._instruction = _instruction(sent_schema) if output_format == "json" and sent_schema is not None else None
        self._writes_cost = find_model(rung.usual_name).paid_writes
        self._cache = cache if self._writes_cost else None
        # Chat completions have only the shorter lifetime.
        self._long_lived = endpoint == RESPONSES
        mark = _BREAKPOINT if self._cache else b""
        # The mark is at the end of the longest text that all requests begin with: what is before it needs none.
        self._head_of_user = head if self._cache else ""
        self._marked_head = b"[" + self._block + _text(head) + mark + b"},"
        self._turns = self._encode_turns(turns, b"" if self._head_of_user else mark)
        self._mark = b"" if self._head_of_user or turns else mark
        self._system: str | None = None
        self._system_message, self._options = self._encode_system(None)

    def __call__(self, message: Message, *, max_tokens: int) -> bytes:
        if message.system != self._system:
            self._system_message, self._options = self._encode_system(message.system)
            self._system = message.system
        return b'%s%s%d%s,"%s":[%s%s{"role":"user","content":%s}]}' % (
            self._static,
            self._limit,
            max_tokens,
            self._options,
            self._messages,
            self._system_message,
            self._turns,
            self._content(message),
        )

    def _content(self, message: Message) -> bytes:
        if message.parts:
            return self._parts(message)
        user, feedback = message.user, message.feedback
        head = self._head_of_user
        rest = user[len(head) :]
        if head and rest.strip() and user.startswith(head):
            texts = [_text(rest)] if feedback is None else [_text(rest), _text(feedback)]
            return self._marked_head + self._blocks(texts)[1:]
        if feedback is None:
            return _text(user)
        return self._blocks((_text(user), _text(feedback)))

    def _parts(self, message: Message) -> bytes:
        """Return the content of a message with blocks."""
        parts, head, written = [*message.parts], self._head_of_user, b"["
        first, chat = parts[0], self._messages == b"messages"
        if head and isinstance(first, str) and first.startswith(head):
            parts[0] = first[len(head) :]
            written = self._marked_head
        parts += [message.feedback] if message.feedback is not None else []
        blocks = (
            self._block + _text(each) if isinstance(each, str) else encoded(each, chat=chat) for each in parts if each
        )
        return written + b"},".join(blocks) + b"}]"

    def _blocks(self, texts: Iterable[bytes], mark: bytes = b"") -> bytes:
        """Return parts of a message; `mark` is added to the last one, and everything up to it is cached."""
        return b"[" + b"},".join(self._block + text for text in texts) + mark + b"}]"

    def _encode_turns(self, turns: Sequence[Turn], mark: bytes) -> bytes:
        """Return the messages of `turns`, each with a comma after it; `mark` is added to the last one."""
        kind = b"text" if self._messages == b"messages" else b"output_text"
        written = b""
        for place, turn in enumerate(turns, start=1):
            answer = _text(turn.assistant)
            if mark and place == len(turns):
                answer = b'[{"type":"' + kind + b'","text":' + answer + mark + b"}]"
            written += b'{"role":"user","content":%s},{"role":"assistant","content":%s},' % (_text(turn.user), answer)
        return written

    def _encode_system(self, system: str | None) -> tuple[bytes, bytes]:
        """Return the system message with the comma after it, and the member that says what is cached."""
        texts = [each for each in (system, self._instruction) if each is not None and each.strip()]
        options = _EXPLICIT if self._writes_cost else b""
        if self._cache is not None:
            prefix = "\n".join([*texts, self._head_of_user]).encode("utf-8", "replace")
            key = sha256(self._static + prefix + self._turns).hexdigest()[:32]
            ttl = LIFETIMES[self._cache] if self._long_lived else LIFETIMES["5m"]
            options = f',"prompt_cache_key":"{key}","prompt_cache_options":{{"mode":"explicit","ttl":"{ttl}"}}'.encode()
        if not texts:
            return b"", options
        plain = len(texts) == 1 and not self._mark
        content = _text(texts[0]) if plain else self._blocks(map(_text, texts), self._mark)
        return b'{"role":"system","content":' + content + b"},", options


def assemble(endpoint: Endpoint, requests: Iterable[tuple[str, bytes]]) -> bytes:
    """Return the input file of a batch. Custom ids have only characters that need no escape in JSON."""
    # The body is written piece by piece, so that no request is in memory twice: it may be two hundred megabytes.
    body = BytesIO()
    url = endpoint.encode()
    for custom_id, params in requests:
        body.write(b'{"custom_id":"%s","method":"POST","url":"%s","body":%s}\n' % (custom_id.encode(), url, params))
    return body.getvalue()
