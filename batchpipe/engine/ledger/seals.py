"""Checksums of the raw folder's files: a flipped bit may leave a file that can be read, and says something else.

The checksums are CRC-32 (ISO 3309, RFC 1952 section 8). A compressed file of results ends with one for each line, in a
skippable frame of zstd (RFC 8878, section 3.1.2), which every reader of zstd passes over. A chunk's JSON file ends with
that of its own text, and has that of the file of requests. Files of before have none, and are believed.
"""

from __future__ import annotations

import os
import struct
from array import array
from pathlib import Path
from zlib import crc32

SKIPPABLE = 0x184D2A5B  # the magic number of a frame that readers pass over
FRAME = struct.Struct("<II")  # the magic number, and how many bytes follow
END = struct.Struct("<IQ8s")  # the checksum of the checksums, their number, and the mark
MARK = b"bp-lines"
SUM_BYTES = 4
OF_TEXT = ', "text_crc32": "'
BLOCK_BYTES = 1 << 20


class LineSums:
    """The checksums of the lines of a file that is given in blocks."""

    def __init__(self) -> None:
        self._sums = array("I")
        self._begun = b""

    def add(self, block: bytes) -> None:
        """Take in the next block of the file."""
        *lines, self._begun = (self._begun + block).split(b"\n")
        self._sums.extend(map(crc32, lines))

    def all(self) -> array[int]:
        """Return the checksum of each line; of a line without an end too, which is the last."""
        return self._sums + array("I", [crc32(self._begun)] if self._begun else [])


def seal(path: Path, sums: array[int]) -> None:
    """Append the checksums of its lines to a compressed file."""
    content = _bytes(sums)
    end = END.pack(crc32(content), len(sums), MARK)
    with path.open("ab") as file:
        file.write(FRAME.pack(SKIPPABLE, len(content) + len(end)) + content + end)


def sealed(path: Path) -> array[int] | None:
    """Return the checksums at the end of a compressed file; None where there are none that can be read."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        if size < END.size:
            return None
        file.seek(size - END.size)
        checked, number, mark = END.unpack(file.read())
        begins = size - END.size - SUM_BYTES * number
        if mark != MARK or begins < 0:
            return None
        file.seek(begins)
        content = file.read(SUM_BYTES * number)
    return _sums(content) if crc32(content) == checked else None


def file_sum(path: Path) -> str:
    """Return the checksum of a file, in hexadecimal digits."""
    found = 0
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            found = crc32(block, found)
    return f"{found:08x}"


def with_sum(text: str) -> str:
    """Return the text of a JSON object with its checksum as the last member."""
    return f'{text[:-1]}{OF_TEXT}{_text_sum(text[:-1])}"}}'


def without_sum(text: str) -> str:
    """Return the text of a JSON object without its checksum. Raises ValueError where it is not what was written."""
    before, found, end = text.rpartition(OF_TEXT)
    if not found:
        return text
    if end.rstrip() != f'{_text_sum(before)}"}}':
        raise ValueError("the text is not what was written")
    return before + "}"


def _text_sum(text: str) -> str:
    return f"{crc32(text.encode('utf-8', 'surrogatepass')):08x}"


def _bytes(sums: array[int]) -> bytes:
    return struct.pack(f"<{len(sums)}I", *sums)


def _sums(content: bytes) -> array[int]:
    return array("I", struct.unpack(f"<{len(content) // SUM_BYTES}I", content))
