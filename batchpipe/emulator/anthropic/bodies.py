"""The body of a create call. It is checked on arrival and kept as one line of JSON per request."""

import mmap
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from batchpipe.emulator.service.errors import ApiError
from batchpipe.emulator.service.jsontypes import is_list, is_object
from batchpipe.emulator.service.pieces import PIECE_BYTES

_HEAD = re.compile(rb'\s*\{\s*"requests"\s*:\s*\[')
_TAIL = re.compile(rb"\]\s*\}\s*\Z")
# Within a JSON string the quotes would be escaped, so that this text is always between two objects of a list.
_BETWEEN = re.compile(rb'\}(\s*,\s*)\{\s*"custom_id"\s*:')
_CUSTOM_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")


def keep_requests(body: Path, kept: Path, max_requests: int) -> int:
    """Check a body, write its requests to `kept` line by line, and return their number.

    Raises ApiError 400 with the provider's own message.
    """
    try:
        return _keep(_pieces(body), kept, max_requests)
    except _NotInPiecesError:
        return _keep(iter([_whole(body)]), kept, max_requests)


class _NotInPiecesError(Exception):
    """The body has to be parsed as a whole: it has another layout, or an error whose place has to be named."""


def _whole(body: Path) -> list[Any]:
    try:
        found: object = orjson.loads(body.read_bytes())
    except orjson.JSONDecodeError as problem:
        raise ApiError(400, f"The request body is not valid JSON: {problem}") from problem
    if not is_object(found):
        raise ApiError(400, "Input should be a valid dictionary")
    if "requests" not in found:
        raise ApiError(400, "requests: Field required")
    for name in found:
        if name != "requests":
            raise ApiError(400, f"{name}: Extra inputs are not permitted")
    requests = found["requests"]
    if not is_list(requests):
        raise ApiError(400, "requests: Input should be a valid list")
    return requests


def _pieces(body: Path) -> Iterator[list[Any]]:
    if body.stat().st_size < PIECE_BYTES:
        raise _NotInPiecesError
    with body.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
        head, tail = _HEAD.match(text), _TAIL.search(text, len(text) - 64)
        if head is None or tail is None:
            raise _NotInPiecesError
        start = head.end()
        for between in _BETWEEN.finditer(text, start):
            if between.start(1) - start >= PIECE_BYTES:
                yield _parsed(text[start : between.start(1)])
                start = between.end(1)
        yield _parsed(text[start : tail.start()])


def _parsed(piece: bytes) -> list[Any]:
    try:
        return list[Any](orjson.loads(b"[" + piece + b"]"))
    except orjson.JSONDecodeError as problem:
        raise _NotInPiecesError from problem


def _keep(pieces: Iterator[list[Any]], kept: Path, max_requests: int) -> int:
    seen: set[str] = set()
    count = 0
    with kept.open("wb") as file:
        for piece in pieces:
            for request in piece:
                _check(count, request, seen)
                count += 1
            if count > max_requests:
                raise ApiError(
                    400,
                    f"requests: List should have at most {max_requests} items after validation, not {count}",
                )
            file.writelines([orjson.dumps(request, option=orjson.OPT_APPEND_NEWLINE) for request in piece])
    if not count:
        raise ApiError(400, "requests: List should have at least 1 item after validation, not 0")
    return count


def _check(place: int, request: object, seen: set[str]) -> None:
    here = f"requests.{place}"
    if not is_object(request):
        raise ApiError(400, f"{here}: Input should be a valid dictionary")
    custom_id = request.get("custom_id")
    if not isinstance(custom_id, str):
        message = "Input should be a valid string" if "custom_id" in request else "Field required"
        raise ApiError(400, f"{here}.custom_id: {message}")
    if not _CUSTOM_ID.fullmatch(custom_id):
        raise ApiError(400, f"{here}.custom_id: String should match pattern '^[a-zA-Z0-9_-]{{1,64}}$'")
    if custom_id in seen:
        raise ApiError(400, f"{here}.custom_id: custom_id must be unique within a batch, found '{custom_id}' twice")
    seen.add(custom_id)
    if not is_object(request.get("params")):
        message = "Input should be a valid dictionary" if "params" in request else "Field required"
        raise ApiError(400, f"{here}.params: {message}")
    if len(request) != 2:
        extra = next(name for name in request if name not in ("custom_id", "params"))
        raise ApiError(400, f"{here}.{extra}: Extra inputs are not permitted")
