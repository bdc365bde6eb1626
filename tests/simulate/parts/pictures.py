"""Pictures of rows: tiny ones, each of which says its number."""

from __future__ import annotations

import base64
import re
import struct
import zlib

BEGIN = base64.b64encode(b"\x89PNG\r\n\x1a\n\0\0").decode()[:12]
NUMBER = re.compile(rb"number (\d{6})")


def picture(number: int) -> bytes:
    """Return a PNG of one pixel whose comment is `number`."""
    header = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    parts = (
        (b"IHDR", header),
        (b"tEXt", b"Comment\0number %06d" % number),
        (b"IDAT", zlib.compress(b"\0\0")),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(_part(*part) for part in parts)


def drawn_words(number: int) -> str:
    """Return what is said of a picture beside the text of its row."""
    return f" with picture {number}"


def words_of_pictures(text: str) -> str:
    """Return what is said of the picture that a text of a request holds; no word where it holds none."""
    encoded = text.rpartition(",")[2] if text.startswith("data:") else text
    if not encoded.startswith(BEGIN):
        return ""
    found = NUMBER.search(base64.b64decode(encoded))
    return drawn_words(int(found[1])) if found else ""


def _part(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
