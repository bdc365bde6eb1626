"""Places of files in encoded requests: a request is kept without its pictures, which are put in when it is sent.

A place is a JSON object. No text of a row can look like one, since its quotes are escaped in a request.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

# How the bytes of a file are written: as base64 after some prefix, or as the text that they are.
How = Literal["base64", "text"]
PLACE = rb'\{"batchpipe:file":\["([^"\\]*)","([0-9a-f]{64})","(base64|text)"\]\}'
_PLACE = re.compile(PLACE)
_PLACE_BYTES = len(b'{"batchpipe:file":["","","base64"]}') + 64
# The most bytes that a byte of a text takes in JSON.
_ESCAPED = 2


def place(sha256: str, prefix: str = "", how: How = "base64") -> bytes:
    """Return the place of the file with this hash."""
    return b'{"batchpipe:file":["%s","%s","%s"]}' % (prefix.encode(), sha256.encode(), how.encode())


def hashes(params: bytes) -> list[str]:
    """Return the hashes of the files that a request has places for."""
    return [found[2].decode() for found in _PLACE.finditer(params)]


def named(
    params: bytes,
    pattern: re.Pattern[bytes],
    names: Mapping[str, str],
    write: Callable[[re.Match[bytes], bytes], bytes],
) -> bytes:
    """Return a request that calls files by the names of their uploads, by hash, and has no place for them.

    `pattern` is what the protocol writes before a `PLACE`, and that place, whose hash is the group before the last;
    `write` returns what takes their place, of the match and the name as JSON.
    """

    def found(match: re.Match[bytes]) -> bytes:
        name = names.get(match[pattern.groups - 1].decode())
        return match[0] if name is None else write(match, json.dumps(name).encode())

    return pattern.sub(found, params)


def filled(params: bytes, read: Callable[[str], bytes]) -> bytes:
    """Return a request with its files in it; `read` returns the bytes of a hash."""
    pieces: list[bytes] = []
    end = 0
    for found in _PLACE.finditer(params):
        pieces.append(params[end : found.start()])
        data = read(found[2].decode())
        if found[3] == b"text":
            pieces.append(json.dumps(data.decode("utf-8", "replace"), ensure_ascii=False).encode())
        else:
            pieces += (b'"', found[1], b64encode(data), b'"')
        end = found.end()
    pieces.append(params[end:])
    return b"".join(pieces)


def bytes_filled(params: bytes, sizes: Sequence[tuple[int, How]]) -> int:
    """Return the bytes of a request with its files in it, which have `sizes`; of texts the most."""
    added = sum(size * _ESCAPED if how == "text" else (size + 2) // 3 * 4 + 2 for size, how in sizes)
    return len(params) - len(sizes) * _PLACE_BYTES + added
