"""Pictures and documents as parts of a content: how they are written, what is taken, how many tokens they are."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import orjson

from batchpipe.media.places import PLACE, named, place
from batchpipe.providers import Block, MediaLimits

# https://ai.google.dev/gemini-api/docs/image-understanding and .../document-processing.
LIMITS = MediaLimits(
    images=("image/png", "image/jpeg", "image/webp", "image/heic"),
    files=("application/pdf", "text/", "application/json"),
    image_bytes=15_000_000,
    file_bytes=50_000_000,
    blocks=3_600,
    uploads=("image/", "application/pdf"),
    upload_seconds=2 * 86_400,
)
_WITH_BYTES = re.compile(rb'"inlineData":\{"mimeType":"([a-z0-9/+.-]+)","data":' + PLACE)
# Up to version 2.5: 258 tokens for a small picture, else for each tile of 768 pixels, and for a page.
_TILED = re.compile(r"(models/)?gemini-(1|2)")
_TILE_TOKENS, _SMALL, _TILE = 258, 384, 768
# The size to which larger pictures are scaled down; one at an address, whose size is not known, may have it.
_FIT = 3_072
# From version 3 on by `media_resolution` (https://ai.google.dev/gemini-api/docs/media-resolution).
_BY_RESOLUTION = {"low": (280, 280), "medium": (560, 560), "high": (1_120, 1_120)}
_USUAL = (1_120, 560)


def tokens(model: str, settings: Mapping[str, Any], block: Block) -> int:
    """Return about how many tokens a part is."""
    document = block.type == "application/pdf" or block.kind == "pdf"
    if not document and not block.type.startswith("image/") and block.kind != "image":
        return block.bytes // 4
    count = max(block.pages, 1) if document else 1
    if not _TILED.match(model):
        word = str(settings.get("media_resolution", "")).lower().removeprefix("media_resolution_")
        return count * _BY_RESOLUTION.get(word, _USUAL)[document]
    width, height = block.width or _FIT, block.height or _FIT
    if document or max(width, height) <= _SMALL:
        return count * _TILE_TOKENS
    return _TILE_TOKENS * math.ceil(width / _TILE) * math.ceil(height / _TILE)


def encoded(block: Block) -> bytes:
    """Return the part, with a place for its bytes."""
    kind = block.type or ("application/pdf" if block.kind == "pdf" else "image/jpeg")
    if block.url:
        return b'{"fileData":{"mimeType":"%s","fileUri":%s}}' % (kind.encode(), orjson.dumps(block.url))
    return b'{"inlineData":{"mimeType":"%s","data":%s}}' % (kind.encode(), place(block.identity))


def naming_uploads(params: bytes, names: Mapping[str, str]) -> bytes:
    """Return a request that names uploads by their addresses, in the place of the bytes of these hashes."""
    return named(
        params, _WITH_BYTES, names, lambda match, name: b'"fileData":{"mimeType":"%s","fileUri":%s' % (match[1], name)
    )
