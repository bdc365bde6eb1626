"""Lines of results as DuckDB can read them: what a strict reader of JSON refuses is read, and no digit is lost.

A strict reader refuses raw control characters, halves of surrogate pairs and bytes that are no UTF-8. The last two
become U+FFFD, the Unicode character for what cannot be read.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import orjson

DAMAGED = "batchpipe_damaged"  # the key of a written line that holds the text of a line which is no JSON

_SURROGATE = re.compile("[\ud800-\udfff]")
_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")
_BYTE_ORDER_MARK = "\ufeff"
# A raw line break inside a text breaks its line in two or more. So many pieces are put together again at most.
_MOST_PIECES = 1_000
_MOST_DIGITS = 300
_BLANK = " \t\r\n\x00" + _BYTE_ORDER_MARK
_BLANKS = re.compile(f"[{_BLANK}]*")


def mended_lines(
    lines: Iterable[bytes], change: Callable[[dict[str, Any]], dict[str, Any]] | None = None
) -> Iterator[bytes]:
    """Yield `lines` of results as DuckDB can read them, each with its line break.

    A line that cannot be read comes as an object that has its text under `DAMAGED`. `change` is what a protocol does to
    each line; a number in it is a text that is written as it was (`written`).
    """
    pieces: list[str] = []
    for raw in lines:
        if not pieces and change is None and _is_strict(raw):
            yield raw.strip() + b"\n"
            continue
        text = raw.decode("utf-8", "replace").rstrip("\n")
        if not text.strip(_BLANK) and not pieces:
            continue
        found = _objects(text)
        if found is None and pieces:
            found, pieces = _objects("\n".join([*pieces, text])), [*pieces, text]
            if found is None and len(pieces) < _MOST_PIECES:
                continue
            if found is None:
                yield from map(_damaged, pieces)
            pieces = []
        elif found is None:
            pieces = [text]
            continue
        elif pieces:
            yield from map(_damaged, pieces)
            pieces = []
        for each in found or ():
            try:
                yield written(each if change is None else change(each))
            except RecursionError:
                yield raw.strip() + b"\n" if _is_strict(raw) else _damaged(text)
    yield from map(_damaged, pieces)


def _is_strict(raw: bytes) -> bool:
    """Return whether a strict reader of JSON takes the line for an object."""
    try:
        return isinstance(orjson.loads(raw), dict)
    except orjson.JSONDecodeError:
        return False


def _objects(text: str) -> list[dict[str, Any]] | None:
    """Return the JSON objects that `text` is, one after the other; None where it is anything else."""
    decoder = _decoder()
    found: list[dict[str, Any]] = []
    place = _after_blanks(text, 0)
    while place < len(text):
        try:
            each, place = decoder.raw_decode(text, place)
        except (ValueError, RecursionError):
            return None
        if not isinstance(each, dict):
            return None
        found.append(each)
        place = _after_blanks(text, place)
    return found or None


def _after_blanks(text: str, place: int) -> int:
    """Return the place of the first character from `place` on that is not blank."""
    found = _BLANKS.match(text, place)
    return found.end() if found is not None else place


def read_object(text: str, *, exact: bool) -> dict[str, Any] | None:
    """Return the JSON object that `text` is, as tolerantly as the lines of a file are read; None where it is none.

    With `exact` each number is `Verbatim`. So is one that Python does not read, because it has too many digits.
    """
    if not exact:
        try:
            value = json.loads(text.strip(_BLANK), strict=False)
        except (ValueError, RecursionError):
            pass
        else:
            return value if isinstance(value, dict) else None
    found = read_objects(text)
    return found[0] if len(found) == 1 else None


def read_objects(text: str) -> list[dict[str, Any]]:
    """Return the JSON objects that `text` has, one after the other or in a list; none where it is anything else.

    Each number is `Verbatim`.
    """
    rest = text.strip(_BLANK)
    if not rest.startswith("["):
        return _objects(rest) or []
    try:
        found = _decoder().decode(rest)
    except (ValueError, RecursionError):
        return []
    return [each for each in found if isinstance(each, dict)]


def read_value(text: str) -> Any:
    """Return the JSON value that `text` is, as tolerantly as the lines of a file are read. A number that none of ours
    can be is null. Raises ValueError for what is no JSON, or so deep that it cannot be read.
    """
    try:
        return json.loads(
            text.strip(_BLANK), strict=False, parse_int=_whole, parse_float=_finite, parse_constant=_no_number
        )
    except RecursionError as error:
        raise ValueError("the JSON is too deep") from error


def _whole(digits: str) -> int | None:
    return int(digits) if len(digits) <= _MOST_DIGITS else None


def _finite(text: str) -> float | None:
    found = float(text)
    return found if math.isfinite(found) else None


class Verbatim(str):
    """A piece of JSON, as a number, that is written as it came."""

    __slots__ = ()


def _decoder() -> json.JSONDecoder:
    """Return a reader of JSON that keeps numbers as they came."""
    return json.JSONDecoder(strict=False, parse_float=Verbatim, parse_int=Verbatim, parse_constant=_no_number)


def _no_number(word: str) -> None:
    """Return null for NaN and Infinity, which are no JSON."""


def _damaged(text: str) -> bytes:
    """Return a line that holds `text`, which is no JSON."""
    return written({"custom_id": None, DAMAGED: text})


def written(value: Any) -> bytes:
    """Return `value` as a line of JSON, with its numbers as they were."""
    parts: list[str] = []
    _write(value, parts.append)
    whole = _PAIR.sub(_joined, "".join(parts))
    return (_SURROGATE.sub("\ufffd", whole) + "\n").encode()


def _joined(pair: re.Match[str]) -> str:
    """Return the character that both halves of a pair are."""
    return pair[0].encode("utf-16", "surrogatepass").decode("utf-16")


def _write(value: Any, write: Callable[[str], object]) -> None:
    """Write the parts of a value, which may be nested more deeply than functions may call themselves."""
    left = [value]
    while left:
        match left.pop():
            case Verbatim() as text:
                write(str(text))
            case dict() as members if members:
                left.append(Verbatim("}"))
                for place, (name, each) in reversed(list(enumerate(members.items()))):
                    left += (each, Verbatim(("," if place else "{") + json.dumps(name, ensure_ascii=False) + ":"))
            case list() as elements if elements:
                left.append(Verbatim("]"))
                for place, each in reversed(list(enumerate(elements))):
                    left += (each, Verbatim("," if place else "["))
            case other:
                write(json.dumps(other, ensure_ascii=False))
