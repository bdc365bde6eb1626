"""The canonical text of a value in a template: what `{{ }}`, `~`, `join` and text filters make of it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, TypeAlias
from uuid import UUID

import jinja2
from jinja2.filters import do_urlencode, make_attrgetter
from jinja2.runtime import LoopContext, Macro

Filter: TypeAlias = Callable[..., Any]

# Jinja's filters whose first argument is text, whatever it is given.
TEXT_FILTERS = (
    *("capitalize", "center", "e", "escape", "forceescape", "indent", "lower", "replace", "safe", "striptags"),
    *("title", "trim", "truncate", "upper", "urlize", "wordcount", "wordwrap"),
)


class NanosecondTimestamp(datetime):
    """A timestamp with the nanoseconds that a datetime cannot hold: `text` has them."""

    text: str | None = None  # none of what is calculated from it, which has no nanoseconds

    def isoformat(self, sep: str = "T", timespec: str = "auto") -> str:
        """Return the text with nanoseconds."""
        return super().isoformat(sep, timespec) if self.text is None else self.text


class TextlessError(jinja2.TemplateRuntimeError):
    """A template prints what has no text: a function, a macro, a loop, or what a filter has not made yet.

    `hint` says what to write.
    """

    def __init__(self, what: str, hint: str) -> None:
        super().__init__(what)
        self.hint = hint


def printed(value: Any) -> str:
    """Return the canonical text of a value: NULL is nothing, a list or a struct is JSON, times are ISO 8601.

    A tuple is no value of a row, and is written as Jinja writes it.
    """
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    writer = _WRITERS.get(type(value))
    if writer is not None:
        return writer(value)
    if isinstance(value, Mapping):
        return value_json(value)
    for kind, writer in _WRITERS.items():
        if isinstance(value, kind):
            return writer(value)
    refuse_textless(value)
    return str(value)


def refuse_textless(value: Any) -> None:
    """Raise TextlessError for a value whose only text is Python's description of an object, or that holds one.

    Such a text has an address, which differs each time: the row would be bought again.
    """
    if value is None or isinstance(value, str | jinja2.Undefined | int | float | Decimal):
        return
    if isinstance(value, Mapping):
        value = value.items()
    if isinstance(value, Collection):
        if not isinstance(value, bytes | range):
            for each in value:
                refuse_textless(each)
    elif isinstance(value, Macro):
        raise TextlessError(f"the macro `{value.name}` is printed and not called", f"Write {value.name}(...).")
    elif isinstance(value, LoopContext):
        raise TextlessError("a loop has no text", "Write loop.index, loop.first or the like.")
    elif callable(value):
        raise TextlessError("a function has no text", "Write it with brackets to call it.")
    elif isinstance(value, Iterator):
        raise TextlessError("what a filter gives one by one has no text", "Add `| list` or `| join(', ')` after it.")
    elif not any("__str__" in vars(each) for each in type(value).__mro__[:-1]):
        raise TextlessError(f"{type(value).__name__} has no text", "Write the member of it that is meant.")


def value_json(value: Any) -> str:
    """Return a value as JSON. Numbers keep their digits, and what JSON has no type for is text."""
    if value is None:
        return "null"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_quoted(printed_key(key))}: {value_json(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(value_json, value)) + "]"
    if isinstance(value, bool | int) or (isinstance(value, float | Decimal) and math.isfinite(value)):
        return printed(value)
    return _quoted(printed(value))


def printed_key(key: Any) -> str:
    """Return a key of a struct or a map as text."""
    return "null" if key is None else printed(key)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _of_bool(value: bool) -> str:
    return "true" if value else "false"


def _of_time(value: datetime | time) -> str:
    """Return the time as ISO 8601, with as many digits of a second as it has."""
    text = value.isoformat()
    if not value.microsecond or (isinstance(value, NanosecondTimestamp) and value.text is not None):
        return text
    seconds, offset = text[:-6], text[-6:]
    if value.utcoffset() is None:
        return text.rstrip("0")
    return seconds.rstrip("0") + offset


def _of_decimal(value: Decimal) -> str:
    return f"{value:f}" if value.is_finite() else str(value)


def _of_bytes(value: bytes) -> str:
    """Return the text that the bytes hold. Raises UnicodeDecodeError where they are no text."""
    return value.decode()


def _of_duration(value: timedelta) -> str:
    """Return days, hours, minutes and seconds as DuckDB writes an interval."""
    days, seconds = value.days, value - timedelta(days=value.days)
    parts = [f"{days} day{'' if abs(days) == 1 else 's'}"] if days else []
    if seconds or not days:
        parts.append(_of_time((datetime.min.replace(tzinfo=UTC) + seconds).time()))
    return " ".join(parts)


_WRITERS: dict[type, Callable[[Any], str]] = {
    bool: _of_bool,
    int: str,
    float: str,
    Decimal: _of_decimal,
    datetime: _of_time,
    NanosecondTimestamp: _of_time,
    date: date.isoformat,
    time: _of_time,
    timedelta: _of_duration,
    bytes: _of_bytes,
    UUID: str,
    dict: value_json,
    list: value_json,
}


def joined_texts(*parts: Any) -> str:
    """Return the texts of `parts` one after another: what the operator `~` makes."""
    return "".join(map(printed, parts))


@jinja2.pass_environment
def join_filter(
    environment: jinja2.Environment, value: Iterable[Any], d: Any = "", attribute: str | int | None = None
) -> str:
    """Return the texts of the items of `value`, or of their `attribute`, with `d` between them."""
    items = map(make_attrgetter(environment, attribute), value) if attribute is not None else value
    return printed(d).join(map(printed, items))


def of_text(given: Filter) -> Filter:
    """Return Jinja's filter `given` for the canonical text of what it is given."""
    passed = getattr(given, "jinja_pass_arg", None)
    if passed is None:

        def plain(value: Any, *args: Any, **named: Any) -> Any:
            return given(_as_text(value), *map(_argument, args), **named)

        return plain

    def with_context(context: Any, value: Any, *args: Any, **named: Any) -> Any:
        return given(context, _as_text(value), *map(_argument, args), **named)

    with_context.jinja_pass_arg = passed  # type: ignore[attr-defined]
    return with_context


def _as_text(value: Any) -> str:
    """Return the canonical text of a value. Raises UndefinedError for an undefined name."""
    return str(value) if isinstance(value, jinja2.Undefined) else printed(value)


def _argument(value: Any) -> Any:
    """Return an argument of a text filter: numbers, texts and flags as they are, anything else as its text."""
    return value if value is None or isinstance(value, str | int | float | jinja2.Undefined) else printed(value)


def remainder(left: Any, right: Any) -> Any:
    """Return `left % right`: of a text the text with the canonical texts of `right` filled in."""
    if not isinstance(left, str):
        return left % right
    if isinstance(right, tuple):
        return left % tuple(map(_filled_in, right))
    if isinstance(right, Mapping):
        return left % {name: _filled_in(each) for name, each in right.items()}
    return left % _filled_in(right)


def format_filter(value: Any, *args: Any, **named: Any) -> str:
    """Return the text `value` with `args` filled in, as `%` does."""
    return str(remainder(printed(value), named or args))


def _filled_in(value: Any) -> Any:
    """Return what `%` fills in: a number, so that `%.2f` works, or the canonical text of anything else."""
    return value if isinstance(value, int | float | Decimal) and not isinstance(value, bool) else printed(value)


def urlencode_filter(value: Any) -> str:
    """Return the canonical text of `value` for an address; of a mapping or of pairs a query string."""
    return do_urlencode(value if isinstance(value, Mapping | list | tuple) else printed(value))


# Filters that are written anew.
FILTERS: dict[str, Filter] = {
    "string": _as_text,
    "join": join_filter,
    "format": format_filter,
    "urlencode": urlencode_filter,
}
