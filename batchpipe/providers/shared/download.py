"""Download of a results file: the file on disk is whole, or there is none."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from batchpipe.common import modes
from batchpipe.common.durable import flush_folder
from batchpipe.providers import UnavailableError

if TYPE_CHECKING:
    import httpx2

ENCODINGS = "gzip"
_CHUNK_BYTES = 65_536
_HEAD_BYTES = 65_536
_BLANK = b" \t\r\n\x00\xef\xbb\xbf"


def _gunzip(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the plain bytes of a gzip stream of one or more members.

    Raises UnavailableError for a stream that is cut off.
    """
    decoder = zlib.decompressobj(wbits=31)
    fresh = True
    for chunk in chunks:
        data = chunk
        while data:
            if decoder.eof:
                decoder, fresh = zlib.decompressobj(wbits=31), True
            fresh = False
            yield decoder.decompress(data)
            data = decoder.unused_data
    if not fresh and not decoder.eof:
        raise UnavailableError("the results ended in the middle of their gzip stream")


def _plain(response: httpx2.Response) -> Iterator[bytes]:
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    chunks = response.iter_raw(_CHUNK_BYTES)
    if encoding == "gzip":
        return _gunzip(chunks)
    if encoding in ("identity", ""):
        return chunks
    raise UnavailableError(f"the results came in the encoding `{encoding}`, which was not asked for")


def _begins_as_lines(head: bytes) -> bool:
    """Return whether a file that begins so may have JSON lines: its first line may be damaged."""
    return head.lstrip(_BLANK).startswith(b"{") or any(line.lstrip(_BLANK)[:2] == b'{"' for line in head.split(b"\n"))


def save(response: httpx2.Response, path: Path) -> None:
    """Write the body of `response` to `path`, which appears only when the body is whole and on the disk.

    Raises UnavailableError for a body that is short, cut off, empty, or no JSON lines; OSError for the disk.
    """
    import httpx2

    part = path.with_name(path.name + ".part")
    head = b""
    try:
        with open(part, "wb", opener=modes.opener) as file:
            for chunk in _plain(response):
                head = head if len(head) >= _HEAD_BYTES else head + chunk
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
    except (httpx2.HTTPError, httpx2.StreamError, zlib.error) as error:
        part.unlink(missing_ok=True)
        raise UnavailableError(f"the download broke off ({type(error).__name__}: {error})") from error
    except UnavailableError:
        part.unlink(missing_ok=True)
        raise
    if not _begins_as_lines(head):
        part.unlink(missing_ok=True)
        what = "the response holds no JSON lines in place of the results; it is empty, or the page of a proxy"
        raise UnavailableError(what)
    part.replace(path)
    flush_folder(path.parent)
