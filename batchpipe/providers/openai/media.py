"""Pictures and documents as parts of a message: how they are written, what is taken, how many tokens they are."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import replace

import orjson

from batchpipe.media.places import PLACE, named, place
from batchpipe.providers import Block, MediaLimits

# https://platform.openai.com/docs/guides/images-vision and .../pdf-files. Files of a request have 50 MB together.
LIMITS = MediaLimits(
    images=("image/png", "image/jpeg", "image/gif", "image/webp"),
    files=("application/pdf", "text/", "application/json"),
    image_bytes=20_000_000,
    file_bytes=50_000_000,
    blocks=500,
    uploads=("image/", "application/pdf"),
    upload_seconds=3 * 86_400,
)
# Chat completions take pictures as data or by their addresses only.
CHAT_LIMITS = replace(LIMITS, uploads=("application/pdf",), document_addresses=False)
# The bytes of a file that an upload may be named for.
_WITH_BYTES = re.compile(rb'(?:"image_url"|"filename":"document\.(?:pdf|txt)","file_data"):' + PLACE)
# Models that count tiles of 512 pixels, with the tokens of a picture and of each tile; all others count patches.
_TILES = (
    (re.compile(r"gpt-5(\.1)?($|-20|-chat|-pro)"), 70, 140),
    (re.compile(r"gpt-4o($|-20)|gpt-4\.1($|-20)"), 85, 170),
)
_FIT, _SHORT_SIDE, _TILE = 2_048, 768, 512
_PATCH, _MOST_PATCHES = 32, 1_536
# Tokens of a patch: models that are not listed have the last factor.
_FACTORS = ((re.compile(r".*-nano"), 2.46), (re.compile(r".*-mini"), 1.62), (re.compile(r""), 1.2))
_PAGE_TEXT = 1_000


def tokens(model: str, block: Block) -> int:
    """Return about how many tokens a part is; of a page of a PDF its text and its picture."""
    if block.type == "application/pdf" or block.kind == "pdf":
        return max(block.pages, 1) * (_PAGE_TEXT + _of_image(model, 1_536, 1_024))
    if not block.type.startswith("image/") and block.kind != "image":
        return block.bytes // 4
    if not block.width:  # at an address: in no other shape has a picture more tiles or patches
        return _of_image(model, _FIT, _SHORT_SIDE)
    return _of_image(model, block.width, block.height)


def _of_image(model: str, width: int, height: int) -> int:
    for pattern, base, each in _TILES:
        if pattern.match(model):
            scale = min(1.0, _FIT / max(width, height))
            scale = min(scale, _SHORT_SIDE / min(width, height))
            return base + each * math.ceil(width * scale / _TILE) * math.ceil(height * scale / _TILE)
    factor = next(each for pattern, each in _FACTORS if pattern.match(model))
    patches = math.ceil(width / _PATCH) * math.ceil(height / _PATCH)
    return math.ceil(min(patches, _MOST_PATCHES) * factor)


def encoded(block: Block, *, chat: bool) -> bytes:
    """Return the part of a message, with a place for its bytes."""
    data = orjson.dumps(block.url) if block.url else place(block.identity, f"data:{block.type};base64,")
    if block.kind == "image" or block.type.startswith("image/"):
        return (
            b'{"type":"image_url","image_url":{"url":%s}' % data
            if chat
            else (b'{"type":"input_image","detail":"auto","image_url":%s' % data)
        )
    name = b'"filename":"document.pdf",' if block.type == "application/pdf" else b'"filename":"document.txt",'
    if chat:
        return b'{"type":"file","file":{%s"file_data":%s}' % (name, data)
    if block.url:
        return b'{"type":"input_file","file_url":%s' % data
    return b'{"type":"input_file",%s"file_data":%s' % (name, data)


def naming_uploads(params: bytes, names: Mapping[str, str]) -> bytes:
    """Return a request that names uploads by their ids, in the place of the bytes of these hashes."""
    return named(params, _WITH_BYTES, names, lambda match, name: b'"file_id":' + name)
