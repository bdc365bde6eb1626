"""The SQL that makes a typed value of a text in an answer: exactly what the text says, or NULL."""

from __future__ import annotations

from collections.abc import Iterable

from batchpipe.sql.quoting import quote_literal
from batchpipe.sql.types import INTEGERS, TIMESTAMPS

_DAY = r"\d{4,6}-\d\d-\d\d"
_CLOCK = r"\d\d:\d\d(:\d\d(\.\d+)?)?"
_NAIVE = rf"\s*{_DAY}([ T]{_CLOCK})?\s*"
_WITH_OFFSET = rf"\s*{_DAY}[ T]{_CLOCK}\s*(Z|[+-]\d\d(:?\d\d)?)\s*"
_UTC = r"\s*(Z|UTC|[+-]00(:?00)?)?\s*"
_MIDNIGHT = rf".*[ T]00?:00?(:00?(\.0*)?)?{_UTC}"
_TIME_OF_DAY = rf"\s*\d\d?:\d\d?(:\d\d?(\.\d*)?)?{_UTC}"
# How many digits of a second a type holds.
_SECOND_DIGITS = {"TIMESTAMP_S": 0, "TIMESTAMP_MS": 3, "TIMESTAMP_NS": 9}
_MICROSECONDS = 6
# What each type of a time takes, in words that a model is shown.
_TAKEN = {
    "DATE": "no time of day",
    "TIME": "no date, no offset, 6 digits of a second",
    "TIMESTAMP_S": "whole seconds",
    "TIMESTAMP_MS": "3 digits of a second",
    "TIMESTAMP": "6 digits of a second",
    "TIMESTAMP_NS": "9 digits of a second",
    "TIMESTAMPTZ": "6 digits of a second",
    "INTERVAL": "6 digits of a second",
}
TIMES = frozenset(_TAKEN)
_FRACTION = "[.][0-9]*[1-9][0-9]*$"
# 16 digits or more, moved by an exponent: where the point comes to stand is more than a double tells.
_MOVED = "[0-9.]{16}[eE]"


def bounds_of_times(types: Iterable[str]) -> str:
    """Return in words which times the types take, in brackets; "" where none of them is one of a time."""
    found = [f"{each} takes {_TAKEN[each]}" for each in dict.fromkeys(types) if each in _TAKEN]
    return f" ({'; '.join(found)})" if found else ""


def scalar_sql(name: str, text: str) -> str:
    """Return the SQL of `text` (SQL) as a value of DuckDB's type `name`.

    It is NULL where the text is none, or where a cast would leave something of it out: a part of a time, an offset,
    digits of a second or of an integer. DECIMAL rounds to its scale, DOUBLE and FLOAT are the nearest value.
    """
    if name == "VARCHAR":
        return text
    if name in INTEGERS:
        return _integer(name, text)
    if name in TIMESTAMPS:
        return _held(name, text, _utc(name, text))
    if name in ("TIMESTAMPTZ", "INTERVAL"):
        return _held(name, text, f"TRY_CAST({text} AS {name})")
    if name == "DATE":
        midnight = f"regexp_full_match(upper({text}), {quote_literal(_MIDNIGHT)})"
        return f"CASE WHEN NOT contains({text}, ':') OR {midnight} THEN TRY_CAST({text} AS DATE) END"
    if name == "TIME":
        is_time = f"regexp_full_match(upper({text}), {quote_literal(_TIME_OF_DAY)})"
        return _held(name, text, f"CASE WHEN {is_time} THEN TRY_CAST({text} AS TIME) END")
    if name == "FLOAT":  # a cast makes infinity of what is too large
        return f"CASE WHEN isfinite(TRY_CAST({text} AS FLOAT)) THEN TRY_CAST({text} AS FLOAT) END"
    if name == "DOUBLE":
        too_large = f"isinf(TRY_CAST({text} AS DOUBLE)) AND regexp_matches({text}, '[0-9]')"
        return f"CASE WHEN NOT ({too_large}) THEN TRY_CAST({text} AS DOUBLE) END"
    return f"TRY_CAST({text} AS {name})"


def _integer(name: str, text: str) -> str:
    """Return the SQL of an integer.

    The comparison refuses '5.7', which a cast rounds to 6, and '0x10', which a cast takes for 16. Of a fraction with
    more digits than a double holds it would see too few.
    """
    number = f"TRY_CAST({text} AS DOUBLE)"
    fraction = f"(contains({text}, '.') AND regexp_matches({text}, {quote_literal(_FRACTION)}))"
    moved = f"(length({text}) > 16 AND regexp_matches({text}, {quote_literal(_MOVED)}))"
    is_whole = f"{number} = trunc({number}) AND NOT {fraction} AND NOT {moved}"
    return f"CASE WHEN {is_whole} THEN TRY_CAST({text} AS {name}) END"


def _held(name: str, text: str, value: str) -> str:
    """Return the SQL of the time `value` of `text`, NULL where a second has more digits than the type holds."""
    digits = _SECOND_DIGITS.get(name, _MICROSECONDS)
    lost = quote_literal(rf"\.\d{{{digits}}}\d*[1-9]")
    return f"CASE WHEN NOT regexp_matches({text}, {lost}) THEN {value} END"


def _utc(name: str, text: str) -> str:
    """Return the SQL of a moment in UTC. A mere cast to a TIMESTAMP drops the offset; one to TIMESTAMPTZ uses the
    session's time zone.
    """
    upper = f"upper({text})"
    if name == "TIMESTAMP_NS":
        # The digits of the second are put behind the moment without them: TIMESTAMPTZ holds six.
        whole = f"make_timestamp(epoch_us(TRY_CAST(regexp_replace({upper}, '\\.[0-9]+', '') AS TIMESTAMPTZ)))"
        with_offset = f"CAST({whole} AS VARCHAR) || regexp_extract({upper}, '\\.[0-9]+')"
    else:
        with_offset = f"make_timestamp(epoch_us(TRY_CAST({upper} AS TIMESTAMPTZ)))"
    return (
        f"CASE WHEN regexp_full_match({upper}, {quote_literal(_WITH_OFFSET)}) THEN TRY_CAST({with_offset} AS {name}) "
        f"WHEN regexp_full_match({upper}, {quote_literal(_NAIVE)}) THEN TRY_CAST({upper} AS {name}) END"
    )
