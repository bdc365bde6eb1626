"""Encoding of messages as request params. The parts that all rows share are encoded once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from io import BytesIO
from typing import Any

import orjson

from batchpipe.providers import CacheTtl, Message, RungSettings, Turn
from batchpipe.providers.anthropic.media import encoded
from batchpipe.providers.anthropic.models import model_data

SAMPLING = ("temperature", "top_p", "top_k")
TOOL_NAME = "answer"
_TOOL_DESCRIPTION = "Give the answer."
_JSON_ONLY = (
    "Reply with one JSON value that is valid against this JSON Schema and with nothing else: no text before "
    "or after it, no code fence.\n\n```json\n{schema}\n```"
)
# Settings that are not written into params under their own name.
_ELSEWHERE = frozenset({"effort", "thinking", "betas"})


def thinking_of(settings: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the table `thinking`; `thinking = "adaptive"` is short for `{ type = "adaptive" }`."""
    value = settings.get("thinking")
    if isinstance(value, str):
        return {"type": value}
    return value if isinstance(value, Mapping) else None


def long_output_from(max_output: int | None, long_output: int | None, max_tokens: int) -> bool:
    """Return whether `max_tokens` needs the beta for long output."""
    return max_output is not None and long_output is not None and max_tokens > max_output


def batch_headers(rung: RungSettings, *, long_output: bool) -> dict[str, str]:
    """Return the API version and the betas as headers; they hold for a whole batch, so that a batch cannot mix them."""
    sampling = any(key in rung.settings for key in SAMPLING)
    headers = {"anthropic-version": str(model_data()["versions"]["sampling" if sampling else "default"])}
    betas = [*rung.settings.get("betas", ())]
    if long_output and model_data()["betas"]["long_output"] not in betas:
        betas.append(model_data()["betas"]["long_output"])
    if betas:
        headers["anthropic-beta"] = ",".join(betas)
    return headers


def _tool(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": TOOL_NAME, "description": _TOOL_DESCRIPTION, "input_schema": schema, "strict": True}


def _instruction(schema: Mapping[str, Any]) -> str:
    return _JSON_ONLY.replace("{schema}", orjson.dumps(schema).decode())


def visible_schema(output_format: str, sent_schema: Mapping[str, Any] | None) -> str:
    """Return the schema as the model sees it. The order of keys counts: the answer follows it."""
    if sent_schema is None or output_format == "text":
        return ""
    if output_format == "json":
        return _instruction(sent_schema)
    shown = _tool(sent_schema) if output_format == "tool" else sent_schema
    return orjson.dumps(shown).decode()


def static_params(rung: RungSettings, *, output_format: str, sent_schema: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the params that do not depend on the row: model, settings, schema."""
    settings = rung.settings
    params: dict[str, Any] = {"model": rung.model}
    params.update((key, value) for key, value in settings.items() if key not in _ELSEWHERE)
    thinking = thinking_of(settings)
    if thinking is not None:
        params["thinking"] = thinking
    output_config: dict[str, Any] = {}
    if "effort" in settings:
        output_config["effort"] = settings["effort"]
    if sent_schema is not None and output_format == "json_schema":
        output_config["format"] = {"type": "json_schema", "schema": sent_schema}
    if output_config:
        params["output_config"] = output_config
    if sent_schema is not None and output_format == "tool":
        params["tools"] = [_tool(sent_schema)]
        params["tool_choice"] = {"type": "tool", "name": TOOL_NAME}
    return params


def _text(text: str) -> bytes:
    """Return `text` as a JSON string; half of a surrogate pair, which JSON cannot hold, becomes U+FFFD."""
    try:
        return orjson.dumps(text)
    except orjson.JSONEncodeError:
        return orjson.dumps(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))


def _mark(cache: CacheTtl) -> bytes:
    return b',"cache_control":{"type":"ephemeral","ttl":"%s"}' % cache.encode()


def unmarked(params: bytes) -> bytes:
    """Return `params` without our cache marks. No text can look like one, since its quotes are escaped."""
    return params.replace(_mark("1h"), b"").replace(_mark("5m"), b"")


def _blocks(texts: Iterable[bytes], mark: bytes = b"") -> bytes:
    """Return text blocks; `mark` is added to the last one, and everything up to it is cached."""
    blocks = [b'{"type":"text","text":' + text for text in texts]
    return b"[" + b"},".join(blocks) + mark + b"}]"


def _turns(turns: Sequence[Turn], mark: bytes) -> bytes:
    """Return the messages of `turns`, each with a comma after it; `mark` is added to the last one."""
    written = b""
    for place, turn in enumerate(turns, start=1):
        answer = _text(turn.assistant)
        if mark and place == len(turns):
            answer = _blocks((answer,), mark)
        written += b'{"role":"user","content":%s},{"role":"assistant","content":%s},' % (_text(turn.user), answer)
    return written


class ParamsEncoder:
    """The encoder of the messages of one rung. It remembers the last system prompt, so that each thread needs
    its own.
    """

    def __init__(
        self,
        rung: RungSettings,
        *,
        output_format: str,
        sent_schema: Mapping[str, Any] | None,
        cache: CacheTtl | None = None,
        head: str = "",
        turns: Sequence[Turn] = (),
    ) -> None:
        static = orjson.dumps(static_params(rung, output_format=output_format, sent_schema=sent_schema))
        self._head = static[:-1] + b',"max_tokens":'
        self._instruction: bytes | None = None
        if output_format == "json" and sent_schema is not None:
            self._instruction = _text(_instruction(sent_schema))
        mark = _mark(cache) if cache else b""
        # The mark is at the end of the longest text that all requests begin with: what is before it needs none.
        self._head_of_user = head if cache else ""
        self._messages = _turns(turns, b"" if self._head_of_user else mark)
        self._marked_head = b'[{"type":"text","text":' + _text(head) + mark + b"}," if self._head_of_user else b""
        self._mark = b"" if self._head_of_user or turns else mark
        self._system: str | None = None
        self._system_member = self._encode_system(None)

    def __call__(self, message: Message, *, max_tokens: int) -> bytes:
        if message.system != self._system:
            self._system_member = self._encode_system(message.system)
            self._system = message.system
        content = self._content(message)
        return b'%s%d%s,"messages":[%s{"role":"user","content":%s}]}' % (
            self._head,
            max_tokens,
            self._system_member,
            self._messages,
            content,
        )

    def _content(self, message: Message) -> bytes:
        if message.parts:
            return self._parts(message)
        user, feedback = message.user, message.feedback
        head = self._head_of_user
        rest = user[len(head) :]
        # The API refuses blank texts.
        if head and rest.strip() and user.startswith(head):
            texts = [_text(rest)] if feedback is None else [_text(rest), _text(feedback)]
            return self._marked_head + _blocks(texts)[1:]
        if feedback is None:
            return _text(user)
        return _blocks((_text(user), _text(feedback)))

    def _parts(self, message: Message) -> bytes:
        """Return the content of a message with blocks. The API refuses blank texts: there are none among the parts."""
        parts, head, written = [*message.parts], self._head_of_user, b"["
        first = parts[0]
        if head and isinstance(first, str) and first.startswith(head):
            parts[0] = first[len(head) :]
            written = self._marked_head
        parts += [message.feedback] if message.feedback is not None else []
        blocks = (
            b'{"type":"text","text":' + _text(each) if isinstance(each, str) else encoded(each)
            for each in parts
            if each
        )
        return written + b"},".join(blocks) + b"}]"

    def _encode_system(self, system: str | None) -> bytes:
        """Return the member `system`. A blank prompt is left out: the API refuses empty text."""
        text = _text(system) if system is not None and system.strip() else None
        texts = [each for each in (text, self._instruction) if each is not None]
        if not texts:
            return b""
        plain = len(texts) == 1 and not self._mark and self._instruction is None
        return b',"system":' + (texts[0] if plain else _blocks(texts, self._mark))


def assemble(requests: Iterable[tuple[str, bytes]]) -> bytes:
    """Return the body of a batch. Custom ids have only characters that need no escape in JSON."""
    # The body is written piece by piece, so that no request is in memory twice: it may be a quarter of a gigabyte.
    body = BytesIO()
    body.write(b'{"requests":[')
    separator = b""
    for custom_id, params in requests:
        body.write(b'%s{"custom_id":"%s","params":%s}' % (separator, custom_id.encode(), params))
        separator = b","
    body.write(b"]}")
    return body.getvalue()
