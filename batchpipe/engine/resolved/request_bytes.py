"""Identify the files in rendered requests, and count the bytes of a line with its files."""

from __future__ import annotations

import json

from batchpipe.decide.tokens import BYTES_PER_TOKEN
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.media.places import How, bytes_filled
from batchpipe.providers import Block, Message, RungSettings


def known_text(message: Message) -> str:
    """Return what identifies a user message that may have files: by their hashes and media types, never by a path.

    It is JSON, so that no text of a row can look like a file.
    """
    parts = message.parts or (message.user,)
    known = [each if isinstance(each, str) else [each.kind, each.type, each.identity] for each in parts]
    return json.dumps(known, ensure_ascii=False)


def request_bytes(rung: RungSettings, resolved: Resolved, message: Message, params: bytes) -> tuple[int, int]:
    """Return the bytes that stand for a request's tokens, and the bytes of its line with its files in it."""
    blocks = [each for each in message.parts if isinstance(each, Block)]
    if not blocks:
        return len(params), len(params)
    rules = resolved.rules_of(rung)
    tokens = sum(rules.media_tokens(rung, each) for each in blocks)
    sizes: list[tuple[int, How]] = []
    for each in blocks:
        if not each.url:
            sizes.append((each.bytes, "text" if each.is_text else "base64"))
    return len(params) + round(tokens * BYTES_PER_TOKEN), bytes_filled(params, sizes)
