"""Files of one JSON object a line, read in pieces; the order of results; the share of requests that end well."""

import random
from hashlib import md5
from pathlib import Path

PIECE_BYTES = 1_000_000


def line_pieces(path: Path) -> list[tuple[int, int]]:
    """Return (offset, length) of pieces of a file; each has whole lines, about a megabyte or a thousand of them."""
    pieces: list[tuple[int, int]] = []
    start = length = lines = 0
    with path.open("rb") as file:
        for line in file:
            length += len(line)
            lines += 1
            if length >= PIECE_BYTES or lines >= 1000:
                pieces.append((start, length))
                start, length, lines = start + length, 0, 0
    if length:
        pieces.append((start, length))
    return pieces


def share_of(custom_id: str) -> float:
    """Return a number from 0 to 1 that follows from the id: requests below a share are those that belong to it."""
    return int.from_bytes(md5(custom_id.encode()).digest()[:4]) / 0x100000000


def unordered(lines: list[bytes], shuffle: random.Random) -> list[bytes]:
    """Return lines in another order than that of the requests, which no provider promises to keep."""
    before = list(lines)
    shuffle.shuffle(lines)
    if lines == before:
        lines.reverse()
    return lines
