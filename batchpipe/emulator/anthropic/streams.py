"""A message as a stream of server-sent events."""

from collections.abc import Iterator

import orjson

from batchpipe.emulator.service.jsontypes import JsonObject

_PIECE = 40


def event_stream(message: JsonObject) -> bytes:
    """Return the body of a streamed reply with `message`."""
    return b"".join(
        b"event: " + str(event["type"]).encode() + b"\ndata: " + orjson.dumps(event) + b"\n\n"
        for event in _events(message)
    )


def _events(message: JsonObject) -> Iterator[JsonObject]:
    usage: JsonObject = message["usage"]
    begun = {**message, "content": [], "stop_reason": None, "stop_sequence": None}
    yield {"type": "message_start", "message": {**begun, "usage": {**usage, "output_tokens": 1}}}
    yield {"type": "ping"}
    blocks: list[JsonObject] = message["content"]
    for index, block in enumerate(blocks):
        empty, deltas = _parts(block)
        yield {"type": "content_block_start", "index": index, "content_block": empty}
        for delta in deltas:
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    ends = {name: message.get(name) for name in ("stop_reason", "stop_sequence", "stop_details") if name in message}
    yield {"type": "message_delta", "delta": ends, "usage": {"output_tokens": usage["output_tokens"]}}
    yield {"type": "message_stop"}


def _parts(block: JsonObject) -> tuple[JsonObject, list[JsonObject]]:
    """Return the block as it begins, and the deltas that make it whole."""
    if block["type"] == "text":
        return {**block, "text": ""}, [{"type": "text_delta", "text": each} for each in _pieces(str(block["text"]))]
    if block["type"] == "thinking":
        thought = [{"type": "thinking_delta", "thinking": each} for each in _pieces(str(block["thinking"]))]
        signed = {"type": "signature_delta", "signature": block.get("signature", "")}
        return {**block, "thinking": "", "signature": ""}, [*thought, signed]
    if block["type"] == "tool_use":
        given = orjson.dumps(block["input"]).decode()
        return {**block, "input": {}}, [{"type": "input_json_delta", "partial_json": each} for each in _pieces(given)]
    return block, []


def _pieces(text: str) -> list[str]:
    return [text[start : start + _PIECE] for start in range(0, len(text), _PIECE)]
