"""Download of a results file: the file on disk is whole, or there is none."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

from batchpipe.common import modes
from batchpipe.common.durable import flush_folder, part_of
from batchpipe.providers import NotSentError, RefusedError, UnavailableError

if TYPE_CHECKING:
    import httpx2

# What a download asks for, and no other call.
ENCODINGS = "gzip"
_CHUNK_BYTES = 65_536
_HEAD_BYTES = 65_536
_BLANK = b" \t\r\n\x00\xef\xbb\xbf"


class BlankError(UnavailableError):
    """A file of results came whole, and has no line."""


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


class DownloadSource(NamedTuple):
    """Holds the response that a file comes from, and its size in bytes where that is known by other ways."""

    response: httpx2.Response
    size: int | None = None


def has_an_end(response: httpx2.Response) -> bool:
    """Return whether a body that breaks off is told from one that ends: by its length, its chunks or its encoding."""
    headers = response.headers
    return (
        "content-length" in headers
        or "chunked" in headers.get("transfer-encoding", "").lower()
        or headers.get("content-encoding", "").strip().lower() == "gzip"
    )


class FileSource(NamedTuple):
    """Holds how a file is asked for, and what may be made of its absence beside another file that has lines.

    `may_be_blank`: it is whole without a line. `may_be_absent`: it may be missing, or be no file of lines.
    """

    ask: Callable[[], DownloadSource]
    may_be_blank: bool = False
    may_be_absent: bool = False

    def may_lack(self, error: UnavailableError | RefusedError) -> bool:
        """Return whether the other file is enough where this one has ended in `error`. A refused key says nothing."""
        if isinstance(error, RefusedError) and error.kind == "account":
            return False
        return self.may_be_absent or (self.may_be_blank and isinstance(error, BlankError))


def save(response: httpx2.Response, path: Path) -> None:
    """Write the body of `response` to `path`, which appears only when the body is whole and on the disk.

    Raises UnavailableError for a body that is short, cut off, empty, or no JSON lines; OSError for the disk.
    """
    save_files((FileSource(lambda: DownloadSource(response)),), path)


def save_files(sources: Iterable[FileSource], path: Path) -> None:
    """Write the bodies of `sources` to `path`, one after the other, which appears only when all are whole and one of
    them has lines.

    Each is asked for when its turn has come. Raises what `save` raises, and the errors of a source.
    """
    part = part_of(path)
    passed_over: UnavailableError | RefusedError | None = None
    try:
        with open(part, "wb", opener=modes.opener) as file:
            size, last = 0, b"\n"
            for source in sources:
                try:
                    file.write(b"" if last == b"\n" else b"\n")
                    last = _append_file(source, file)
                    size = file.tell()
                except (UnavailableError, RefusedError) as error:
                    if not source.may_lack(error):
                        raise
                    file.seek(size)
                    file.truncate()
                    if passed_over is None or isinstance(passed_over, BlankError):
                        passed_over = error
            if passed_over is not None and not size:
                raise passed_over
            file.flush()
            os.fsync(file.fileno())
    except (UnavailableError, NotSentError, RefusedError):
        part.unlink(missing_ok=True)
        raise
    part.replace(path)
    flush_folder(path.parent)


def _append_file(source: FileSource, file: IO[bytes]) -> bytes:
    """Ask for one file, write its body behind what is there, and return its last byte.

    Raises the errors of the source, and UnavailableError for a body that is not whole.
    """
    import httpx2

    try:
        found = source.ask()
        try:
            return _append(found, file)
        finally:
            found.response.close()
    except (httpx2.HTTPError, httpx2.StreamError, zlib.error) as error:
        raise UnavailableError(f"the download broke off ({type(error).__name__}: {error})") from error


def _append(source: DownloadSource, file: IO[bytes]) -> bytes:
    """Write one body, and return its last byte. Raises UnavailableError for one that is not whole."""
    head, last, size = b"", b"", 0
    for chunk in _plain(source.response):
        head = head if len(head) >= _HEAD_BYTES else head + chunk
        last, size = chunk[-1:] or last, size + len(chunk)
        file.write(chunk)
    if source.size is not None and size != source.size:
        raise UnavailableError(f"the download broke off: {size} of {source.size} bytes")
    if size <= _HEAD_BYTES and not head.strip(_BLANK):
        raise BlankError("the response is empty in place of the results")
    if not _begins_as_lines(head):
        raise UnavailableError(
            "the response holds no JSON lines in place of the results; it may be the page of a proxy"
        )
    return last
