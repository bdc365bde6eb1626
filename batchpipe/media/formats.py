"""File formats told by their content: the media type of a picture or a document, its size in pixels, its pages."""

from __future__ import annotations

import re

PDF = "application/pdf"
IMAGES = ("image/png", "image/jpeg", "image/gif", "image/webp", "image/heic")
# How many bytes of a file tell its type.
HEAD_BYTES = 32
_HEIC_BRANDS = (b"heic", b"heix", b"mif1", b"msf1")
# Beginnings of files as hex digits; `_` stands for any digit.
BEGINNINGS = (
    ("image/png", "89504E470D0A1A0A"),
    ("image/jpeg", "FFD8FF"),
    ("image/gif", "47494638"),
    ("image/webp", "52494646________57454250"),
    (PDF, "255044462D"),
    *(("image/heic", "________66747970" + brand.hex().upper()) for brand in _HEIC_BRANDS),
)
_PATTERNS = tuple((kind, re.compile(digits.replace("_", "."))) for kind, digits in BEGINNINGS)
_PAGE = re.compile(rb"/Type\s*/Page(?![A-Za-z])")
_COUNT = re.compile(rb"/Count\s+(\d{1,6})")
# Segments of a JPEG that say how large it is; C4, C8 and CC are tables.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def type_of(head: bytes) -> str | None:
    """Return the media type of a file that begins with `head`; None where it is none of the known ones."""
    digits = head[:HEAD_BYTES].hex().upper()
    return next((kind for kind, pattern in _PATTERNS if pattern.match(digits)), None)


def size_of(kind: str, data: bytes) -> tuple[int, int]:
    """Return the width and the height of a picture in pixels; (0, 0) where the bytes do not say."""
    if kind == "image/png" and len(data) >= 24:
        return int.from_bytes(data[16:20]), int.from_bytes(data[20:24])
    if kind == "image/gif" and len(data) >= 10:
        return int.from_bytes(data[6:8], "little"), int.from_bytes(data[8:10], "little")
    if kind == "image/webp" and len(data) >= 30:
        return _webp_size(data)
    return _jpeg_size(data) if kind == "image/jpeg" else (0, 0)


def _webp_size(data: bytes) -> tuple[int, int]:
    form = data[12:16]
    if form == b"VP8X":
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    if form == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if form == b"VP8 ":
        return int.from_bytes(data[26:28], "little") & 0x3FFF, int.from_bytes(data[28:30], "little") & 0x3FFF
    return 0, 0


def _jpeg_size(data: bytes) -> tuple[int, int]:
    place = 2
    while place + 9 <= len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if marker in _FRAMES:
            return int.from_bytes(data[place + 7 : place + 9]), int.from_bytes(data[place + 5 : place + 7])
        if marker == 0xFF:
            place += 1
        else:
            place += 2 + int.from_bytes(data[place + 2 : place + 4])
    return 0, 0


def pages_of(data: bytes) -> int:
    """Return the pages of a PDF; 0 where it does not say so in plain bytes."""
    pages = len(_PAGE.findall(data))
    return pages or max((int(each) for each in _COUNT.findall(data)), default=0)
