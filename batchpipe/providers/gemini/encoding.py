"""Encoding of messages as requests of `generateContent`. The parts that all rows share are encoded once.

Params begin with the name of the model, which the protocol has in the path of a call and not in the request: a line of
a batch is written without it, and a realtime call takes it from there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from io import BytesIO
from typing import Any

import orjson

from batchpipe.providers import Message, RungSettings, Turn
from batchpipe.providers.gemini.media import encoded

TOOL_NAME = "answer"
_TOOL_DESCRIPTION = "Give the answer."
_JSON_ONLY = (
    "Reply with one JSON value that is valid against this JSON Schema and with nothing else: no text before "
    "or after it, no code fence.\n\n```json\n{schema}\n```"
)
# The settings that are members of `generationConfig`, by their names there.
GENERATION = {
    "temperature": "temperature",
    "top_p": "topP",
    "top_k": "topK",
    "stop_sequences": "stopSequences",
    "seed": "seed",
    "presence_penalty": "presencePenalty",
    "frequency_penalty": "frequencyPenalty",
    "media_resolution": "mediaResolution",
}
SAMPLING = ("temperature", "top_p", "top_k")
_MODEL = re.compile(rb'\{"model":("(?:[^"\\]|\\.)*"),')
_RESOLUTION = "MEDIA_RESOLUTION_"


class NoModelError(ValueError):
    """Params do not begin with the name of a model."""


def _instruction(schema: Mapping[str, Any]) -> str:
    return _JSON_ONLY.replace("{schema}", orjson.dumps(schema).decode())


def _function(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": TOOL_NAME, "description": _TOOL_DESCRIPTION, "parametersJsonSchema": schema}


def visible_schema(output_format: str, sent_schema: Mapping[str, Any] | None) -> str:
    """Return the schema as the model sees it. The order of keys counts: the answer follows it."""
    if sent_schema is None or output_format == "text":
        return ""
    if output_format == "json":
        return _instruction(sent_schema)
    shown = _function(sent_schema) if output_format == "tool" else sent_schema
    return orjson.dumps(shown).decode()


def thinking_config(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the member `thinkingConfig`; empty where the settings leave thinking to the model."""
    config: dict[str, Any] = {}
    if "effort" in settings:
        config["thinkingLevel"] = str(settings["effort"]).upper()
    if "thinking_budget" in settings:
        config["thinkingBudget"] = settings["thinking_budget"]
    return config


def generation_config(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the members of `generationConfig` that the settings of a rung ask for."""
    config: dict[str, Any] = {}
    for key, name in GENERATION.items():
        if key in settings:
            config[name] = settings[key]
    if isinstance(config.get("mediaResolution"), str):
        config["mediaResolution"] = _RESOLUTION + config["mediaResolution"].upper().removeprefix(_RESOLUTION)
    if thinking := thinking_config(settings):
        config["thinkingConfig"] = thinking
    return config


def static_params(
    rung: RungSettings, *, output_format: str, sent_schema: Mapping[str, Any] | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what does not depend on the row: the members of the request, and those of its `generationConfig`."""
    config = generation_config(rung.settings)
    request: dict[str, Any] = {}
    if "safety_settings" in rung.settings:
        request["safetySettings"] = rung.settings["safety_settings"]
    if "service_tier" in rung.settings:
        request["serviceTier"] = rung.settings["service_tier"]
    if sent_schema is not None and output_format == "json_schema":
        config["responseMimeType"] = "application/json"
        config["responseJsonSchema"] = sent_schema
    if sent_schema is not None and output_format == "tool":
        request["tools"] = [{"functionDeclarations": [_function(sent_schema)]}]
        request["toolConfig"] = {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": [TOOL_NAME]}}
    return request, config


def _text(text: str) -> bytes:
    """Return `text` as a JSON string; half of a surrogate pair, which JSON cannot hold, becomes U+FFFD."""
    try:
        return orjson.dumps(text)
    except orjson.JSONEncodeError:
        return orjson.dumps(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))


def _parts(texts: Iterable[bytes]) -> bytes:
    return b'[{"text":' + b'},{"text":'.join(texts) + b"}]"


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
        turns: Sequence[Turn] = (),
    ) -> None:
        request, config = static_params(rung, output_format=output_format, sent_schema=sent_schema)
        self._head = b'{"model":' + _text(rung.model) + b"," + _members(request)
        self._config = b'"generationConfig":{' + _members(config) + b'"maxOutputTokens":'
        self._turns = b"".join(
            b'{"role":"user","parts":%s},{"role":"model","parts":%s},'
            % (_parts((_text(each.user),)), _parts((_text(each.assistant),)))
            for each in turns
        )
        self._instruction: bytes | None = None
        if output_format == "json" and sent_schema is not None:
            self._instruction = _text(_instruction(sent_schema))
        self._system: str | None = None
        self._system_member = self._encode_system(None)

    def __call__(self, message: Message, *, max_tokens: int) -> bytes:
        if message.system != self._system:
            self._system_member = self._encode_system(message.system)
            self._system = message.system
        texts = [_text(message.user)] if message.feedback is None else [_text(message.user), _text(message.feedback)]
        return b'%s%s%d},%s"contents":[%s{"role":"user","parts":%s}]}' % (
            self._head,
            self._config,
            max_tokens,
            self._system_member,
            self._turns,
            self._mixed(message) if message.parts else _parts(texts),
        )

    def _mixed(self, message: Message) -> bytes:
        """Return the parts of a message with blocks."""
        parts = [*message.parts, *([message.feedback] if message.feedback is not None else [])]
        written = (b'{"text":' + _text(each) + b"}" if isinstance(each, str) else encoded(each) for each in parts)
        return b"[" + b",".join(written) + b"]"

    def _encode_system(self, system: str | None) -> bytes:
        """Return the member `systemInstruction`. A blank prompt is left out."""
        text = _text(system) if system is not None and system.strip() else None
        texts = [each for each in (text, self._instruction) if each is not None]
        return b'"systemInstruction":{"parts":' + _parts(texts) + b"}," if texts else b""


def _members(values: Mapping[str, Any]) -> bytes:
    """Return the members of a JSON object, each with a comma after it."""
    return orjson.dumps(values)[1:-1] + b"," if values else b""


def split_model(params: bytes) -> tuple[str, bytes]:
    """Return the name of the model that params begin with, and the request without it.

    Raises NoModelError where they begin with none.
    """
    found = _MODEL.match(params)
    if found is None:
        raise NoModelError("the params do not begin with the name of a model")
    return str(orjson.loads(found[1])), b"{" + params[found.end() :]


def assemble(requests: Iterable[tuple[str, bytes]]) -> bytes:
    """Return the lines of a batch. Keys have only characters that need no escape in JSON."""
    # The body is written line by line, so that no request is in memory twice: it may be a gigabyte.
    body = BytesIO()
    for key, params in requests:
        body.write(b'{"key":"%s","request":%s}\n' % (key.encode(), split_model(params)[1]))
    return body.getvalue()
