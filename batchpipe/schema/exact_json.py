"""JSON whose numbers keep every digit that was written.

A double holds 15 digits of any number, and 17 say which double it is. A number of more digits is a Decimal here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import orjson

# What a double may not hold: 16 digits or more, a point among them or not.
LONG_NUMBER = r"[0-9][0-9.]{15}"
_LONG_NUMBER = re.compile(LONG_NUMBER)
# No column holds a number of more digits, and to calculate with it would take long.
_MOST_DIGITS = 400
_INT64, _UINT64 = -(2**63), 2**64


def loads(text: str, *, strict: bool = True, parse_constant: Callable[[str], Any] | None = None) -> Any:
    """Return the value of a JSON text. Raises ValueError, or RecursionError where it is nested too deeply.

    If not `strict`, texts may hold raw control characters.
    """
    return json.loads(text, strict=strict, parse_float=_fraction, parse_int=_whole, parse_constant=parse_constant)


def dumps(value: Any) -> str:
    """Return `value` as JSON text, without blanks. Raises orjson.JSONEncodeError where it is nested too deeply."""
    return orjson.dumps(value, default=_written).decode()


def has_long_number(text: str) -> bool:
    """Return whether `text` may hold a number that a double cannot."""
    return _LONG_NUMBER.search(text) is not None


def _fraction(text: str) -> float | Decimal:
    number = Decimal(text)
    usual = not has_long_number(text) or len(text) > _MOST_DIGITS or abs(number.adjusted()) > _MOST_DIGITS
    return float(text) if usual else number


def _whole(text: str) -> int | float | Decimal:
    if len(text) > _MOST_DIGITS:
        return float(text)
    number = int(text)
    # What orjson writes. jsonschema_rs takes a whole Decimal for an integer.
    return number if _INT64 <= number < _UINT64 else Decimal(number)


def _written(number: Any) -> Any:
    """Return a Decimal as JSON: a whole one as an integer, any other with all of its digits."""
    if not isinstance(number, Decimal):
        raise TypeError(type(number).__name__)
    whole, _, rest = f"{number:f}".partition(".")
    return orjson.Fragment(f"{whole}.{rest}" if rest.strip("0") else whole)
