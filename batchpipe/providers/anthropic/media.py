"""Pictures and documents as blocks of a message: how they are written, what is taken, how many tokens they are."""

from __future__ import annotations

import math
import re

import orjson

from batchpipe.media.places import place
from batchpipe.providers import Block, MediaLimits

# https://docs.claude.com/en/docs/build-with-claude/vision and .../pdf-support. An image has 5 MB at most, and a request
# with documents 32 MB.
LIMITS = MediaLimits(
    images=("image/png", "image/jpeg", "image/gif", "image/webp"),
    files=("application/pdf", "text/plain"),
    image_bytes=5_000_000,
    file_bytes=22_000_000,
    blocks=100,
)
_TOKEN_PIXELS = 750
# The long edge to which a picture is scaled down, and the most tokens that it then has.
_USUAL, _LARGE = (1_568, 1_600), (2_576, 4_784)
_USUAL_MODELS = re.compile(r"claude-(haiku-4|sonnet-4|opus-4-[0156]|opus-4$|opus-4@|3)")
# A page is sent as its text, 1,500 to 3,000 tokens, and as a picture.
_PAGE_TEXT = 2_000


def tokens(model: str, block: Block) -> int:
    """Return about how many tokens a block is: a token for each 750 pixels of the scaled picture."""
    edge, most = _USUAL if _USUAL_MODELS.match(model) else _LARGE
    if block.type == "application/pdf" or block.kind == "pdf":
        return max(block.pages, 1) * (_PAGE_TEXT + _USUAL[1])
    if not block.type.startswith("image/") and block.kind != "image":
        return block.bytes // 4
    if not block.width:
        return most
    scale = min(1.0, edge / max(block.width, block.height))
    return min(math.ceil(block.width * scale * block.height * scale / _TOKEN_PIXELS), most)


def encoded(block: Block) -> bytes:
    """Return the block as the protocol has it, with a place for its bytes."""
    kind = b"image" if block.kind == "image" or block.type.startswith("image/") else b"document"
    if block.url:
        return b'{"type":"%s","source":{"type":"url","url":%s}' % (kind, orjson.dumps(block.url))
    if block.is_text:
        data = place(block.identity, how="text")
        return b'{"type":"document","source":{"type":"text","media_type":"text/plain","data":%s}' % data
    data = place(block.identity)
    return b'{"type":"%s","source":{"type":"base64","media_type":"%s","data":%s}' % (kind, block.type.encode(), data)
