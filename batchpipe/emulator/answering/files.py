"""Pictures and documents in a request: decoded and looked at, as the services do before a model sees them."""

import re
from base64 import b64decode, b64encode
from binascii import Error
from dataclasses import dataclass
from hashlib import sha256

_BEGINNINGS = {
    "image/png": rb"\x89PNG\r\n\x1a\n",
    "image/jpeg": rb"\xff\xd8\xff",
    "image/gif": rb"GIF8[79]a",
    "image/webp": rb"RIFF....WEBP",
    "image/heic": rb"....ftyp",
    "application/pdf": rb"%PDF-",
}
_DATA_URL = re.compile(r"data:([^;,]*);base64,")
# Base64 of some length in a string of JSON, with what a data URL has before it.
_BASE64 = re.compile(rb'"(?:data:[a-z0-9/+.-]*;base64,)?([A-Za-z0-9+/]{100,}={0,2})"')
_PAGE = re.compile(rb"/Type\s*/Page(?![A-Za-z])")


@dataclass(frozen=True, slots=True)
class File:
    """A file of a request. `encoded` is the length of its base64, `width` and `height` are in pixels."""

    media_type: str
    sha256: str
    size: int
    encoded: int
    width: int = 0
    height: int = 0
    pages: int = 0

    @property
    def text(self) -> str:
        """Return what stands for the file in the texts of the request, so that rules and answers can name it."""
        return f"[{self.media_type} sha256 {self.sha256}]"

    @property
    def is_image(self) -> bool:
        """Return whether the file is a picture."""
        return self.media_type.startswith("image/")


def read_file(encoded: object, media_type: str) -> File | None:
    """Return the file that `encoded` holds as base64; None where it does not, or is no file of this type."""
    if not isinstance(encoded, str):
        return None
    try:
        data = b64decode(encoded, validate=True)
    except (Error, ValueError):
        return None
    beginning = _BEGINNINGS.get(media_type)
    if not data or (beginning is not None and not re.match(beginning, data, re.DOTALL)):
        return None
    width, height = _size(data) if media_type.startswith("image/") else (0, 0)
    pages = len(_PAGE.findall(data)) if media_type == "application/pdf" else 0
    return File(media_type, sha256(data).hexdigest(), len(data), len(encoded), width, height, pages)


def read_bytes(data: bytes) -> File | None:
    """Return the file that was uploaded as `data`; None where it is of no known type."""
    kinds = (kind for kind, beginning in _BEGINNINGS.items() if re.match(beginning, data, re.DOTALL))
    kind = next(kinds, None)
    return None if kind is None else read_file(b64encode(data).decode(), kind)


def read_data_url(url: object) -> File | None:
    """Return the file in a data URL; None where there is none."""
    found = _DATA_URL.match(url) if isinstance(url, str) else None
    return read_file(str(url)[found.end() :], found[1]) if found is not None else None


def _size(data: bytes) -> tuple[int, int]:
    if data.startswith(b"\x89PNG"):
        return int.from_bytes(data[16:20]), int.from_bytes(data[20:24])
    if data.startswith(b"GIF8"):
        return int.from_bytes(data[6:8], "little"), int.from_bytes(data[8:10], "little")
    return 1_024, 1_024


def line_tokens(line: bytes, *, image_tokens: int, page_tokens: int) -> int:
    """Return about how many tokens a line of a batch's input has: its files count as pictures and pages, not as bytes.

    A file whose base64 begins like that of a PDF is taken to have one page.
    """
    files: list[bytes] = _BASE64.findall(line)
    pages = sum(each.startswith(b"JVBERi") for each in files)
    text = len(line) - sum(map(len, files))
    return text // 4 + (len(files) - pages) * image_tokens + pages * page_tokens
