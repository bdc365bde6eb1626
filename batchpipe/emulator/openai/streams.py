"""A body as a stream of server-sent events."""

from collections.abc import Iterator

import orjson

from batchpipe.emulator.openai.params import RESPONSES
from batchpipe.emulator.service.jsontypes import JsonObject

_PIECE = 40


def event_stream(endpoint: str, body: JsonObject, *, with_usage: bool) -> bytes:
    """Return the body of a streamed reply."""
    if endpoint == RESPONSES:
        return b"".join(
            b"event: " + str(event["type"]).encode() + b"\ndata: " + orjson.dumps(event) + b"\n\n"
            for event in _response_events(body)
        )
    chunks = _chunks(body, with_usage=with_usage)
    return b"".join(b"data: " + orjson.dumps(chunk) + b"\n\n" for chunk in chunks) + b"data: [DONE]\n\n"


def _response_events(body: JsonObject) -> Iterator[JsonObject]:
    yield {
        "type": "response.created",
        "sequence_number": 0,
        "response": {**body, "status": "in_progress", "output": []},
    }
    number = 1
    for place, item in enumerate(body["output"]):
        for part in item.get("content") or ():
            text = str(part.get("text") or "")
            for start in range(0, len(text), _PIECE):
                yield {
                    "type": "response.output_text.delta",
                    "sequence_number": number,
                    "output_index": place,
                    "delta": text[start : start + _PIECE],
                }
                number += 1
    yield {"type": f"response.{body['status']}", "sequence_number": number, "response": body}


def _chunks(body: JsonObject, *, with_usage: bool) -> Iterator[JsonObject]:
    head = {key: body[key] for key in ("id", "created", "model", "service_tier", "system_fingerprint")}
    head["object"] = "chat.completion.chunk"
    choice: JsonObject = body["choices"][0]
    message: JsonObject = choice["message"]

    def chunk(delta: JsonObject, finish: object = None) -> JsonObject:
        return {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}

    yield chunk({"role": "assistant", "content": ""})
    for name in ("content", "refusal"):
        text = str(message.get(name) or "")
        for start in range(0, len(text), _PIECE):
            yield chunk({name: text[start : start + _PIECE]})
    for place, call in enumerate(message.get("tool_calls") or ()):
        arguments = str(call["function"]["arguments"])
        first = {**call, "index": place, "function": {"name": call["function"]["name"], "arguments": ""}}
        yield chunk({"tool_calls": [first]})
        for start in range(0, len(arguments), _PIECE):
            piece = {"index": place, "function": {"arguments": arguments[start : start + _PIECE]}}
            yield chunk({"tool_calls": [piece]})
    yield chunk({}, choice["finish_reason"])
    if with_usage:
        yield {**head, "choices": [], "usage": body["usage"]}
