"""Read rows as Python values for templates: typed, so that `amount > 5` and `at.year` work, and without loss."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from math import isfinite
from typing import Any, TypeAlias

from batchpipe.engine.source.snapshot import InputColumn, canonical_text
from batchpipe.sql.canonical import INTEGERS, NANOSECONDS_WITH_ZONE, TIME_WITH_ZONE, TIMESTAMPS, WITH_ZONE, survives
from batchpipe.sql.quoting import Sql, sql
from batchpipe.sql.recorded import value_of_text
from batchpipe.sql.type_tree import TypeTree, type_tree
from batchpipe.template.environment import CANONICAL_RECIPE, FIRST_RECIPE
from batchpipe.template.values import NanosecondTimestamp, printed_key

# Turns a value of DuckDB that is not NULL into the value that templates get.
Conversion: TypeAlias = Callable[[Any], Any]

# Python has no value that holds all of these: templates get the text that DuckDB writes.
_AS_TEXT = frozenset(("INTERVAL", "BIT", "ENUM", "UNION", "VARIANT", "GEOMETRY", "TUPLE", "TIME_NS"))
_TIMES = TIMESTAMPS | {WITH_ZONE, NANOSECONDS_WITH_ZONE, "DATE", "TIME", "TIME_NS", TIME_WITH_ZONE}
_PLAIN = INTEGERS - {"BIGNUM"} | {"VARCHAR", "BOOLEAN", "UUID", "BLOB", "DECIMAL"}
_MOST_MICROSECOND_DIGITS = 6
# A whole DOUBLE up to this bound is an int, as its canonical text is: 10.0 is written `10`.
_WHOLE_BELOW = 1e38


@dataclass(frozen=True, slots=True)
class RowValues:
    """How the values of some columns are read for templates.

    `select`: SQL for each column over the snapshot `s`. `conversions`: by the column's place, what is made of it.
    """

    names: tuple[str, ...]
    select: tuple[Sql, ...]
    conversions: tuple[tuple[int, Conversion], ...]

    def row(self, values: Sequence[Any]) -> dict[str, Any]:
        """Return the values that templates get, by column, out of those that DuckDB gave."""
        found = dict(zip(self.names, values, strict=True))
        for place, conversion in self.conversions:
            value = values[place]
            if value is not None:
                found[self.names[place]] = conversion(value)
        return found


def row_values(columns: Sequence[InputColumn], recipe: int) -> RowValues:
    """Return how the values of `columns` are read for templates that print by `recipe`."""
    names = tuple(each.name for each in columns)
    if recipe == FIRST_RECIPE:
        return RowValues(names, tuple(map(_first_value, columns)), ())
    ways = [_way(each) for each in columns]
    conversions = ((place, conversion) for place, (_, conversion) in enumerate(ways) if conversion is not None)
    return RowValues(names, tuple(select for select, _ in ways), tuple(conversions))


def _first_value(column: InputColumn) -> Sql:
    """Return SQL for a column's value as the first recipe read it: a time with a zone as naive UTC."""
    if column.type == WITH_ZONE:
        return sql("CAST(s.{stored} AS TIMESTAMP)", stored=column.stored)
    return sql("s.{stored}", stored=column.stored)


def _way(column: InputColumn) -> tuple[Sql, Conversion | None]:
    """Return SQL for a column's value, over the snapshot `s`, and what is made of it."""
    tree, stored = type_tree(column.type), sql("s.{stored}", stored=column.stored)
    if column.as_text and (tree.word in _AS_TEXT or not survives(tree)):
        return stored, None
    if tree.children and survives(tree):
        return _nested(value_of_text(stored, column.type) if column.as_text else stored, tree)
    if tree.name in _TIMES:
        return canonical_text(stored, column.type, CANONICAL_RECIPE), _conversion(tree)
    if tree.name == "FLOAT":  # by its shortest form: as a double it would have digits that nobody wrote
        return sql("CAST(CAST({stored} AS VARCHAR) AS DOUBLE)", stored=stored), _whole
    if column.as_text:
        return stored, int if tree.name in INTEGERS else None
    return stored, _conversion(tree) if tree.name != "JSON" and survives(tree) else None


def _nested(value: Sql, tree: TypeTree) -> tuple[Sql, Conversion | None]:
    """Return SQL for a list, a struct or a map, with text where Python's own values would lose something."""
    carried = tree.changed(_carried)
    if carried == tree:
        return value, _conversion(tree)
    value = sql("CAST({value} AS {type})", value=value, type=carried.sql)
    doubles = carried.changed(lambda each: TypeTree("DOUBLE") if each.name == _FLOAT_TEXT else each)
    if doubles != carried:
        value = sql("CAST({value} AS {type})", value=value, type=doubles.sql)
    return value, _conversion(tree)


# The type in which a FLOAT is carried before it becomes a double.
_FLOAT_TEXT = "VARCHAR "


def _carried(tree: TypeTree) -> TypeTree:
    """Return the type in which a single value inside a list, a struct or a map is given to Python."""
    if tree.name == "FLOAT":
        return TypeTree(_FLOAT_TEXT)
    return tree if tree.word in _PLAIN or tree.name in ("DOUBLE", "JSON") else TypeTree("VARCHAR")


def _conversion(tree: TypeTree) -> Conversion | None:
    """Return what is made of a value of this type; None where it stays as DuckDB gives it."""
    if tree.name in ("LIST", "ARRAY"):
        return _of_list(_conversion(tree.item))
    if tree.name == "STRUCT":
        return _of_struct({name: found for name, each in tree.children if (found := _conversion(each)) is not None})
    if tree.name == "MAP":
        (_, key), (_, value) = tree.children
        return _of_map(_conversion(key), _conversion(value), in_lists=bool(key.children))
    return _SINGLE.get(tree.name)


def _of_list(item: Conversion | None) -> Conversion:
    if item is None:
        return list
    return lambda values: [None if each is None else item(each) for each in values]


def _of_struct(fields: Mapping[str, Conversion]) -> Conversion | None:
    if not fields:
        return None

    def made(values: Mapping[str, Any]) -> dict[str, Any]:
        found = dict(values)
        for name, conversion in fields.items():
            if found[name] is not None:
                found[name] = conversion(found[name])
        return found

    return made


def _of_map(key: Conversion | None, value: Conversion | None, *, in_lists: bool) -> Conversion:
    """Return what is made of a map. Keys that Python cannot hash are given `in_lists`: one of keys, one of values."""

    def made(values: Mapping[Any, Any]) -> dict[Any, Any]:
        pairs: Iterable[tuple[Any, Any]] = values.items()
        if in_lists:
            pairs = zip(values["key"], values["value"], strict=True)
        found = {}
        for given, each in pairs:
            name = key(given) if key is not None else given
            if isinstance(name, list | tuple | dict):
                name = printed_key(name)
            found[name] = value(each) if value is not None and each is not None else each
        return found

    return made


def _whole(value: float) -> float | int:
    """Return a whole number as an int: its text is the same in every numeric type."""
    return int(value) if abs(value) < _WHOLE_BELOW and value.is_integer() else value


def _of_timestamp(text: str) -> datetime | str:
    """Return a timestamp; `infinity` and years that Python does not know stay text."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return text
    return found if found.tzinfo is None else found.astimezone(UTC)


def _of_nanoseconds(text: str) -> datetime | str:
    if len(text.partition(".")[2].partition("+")[0]) <= _MOST_MICROSECOND_DIGITS:
        return _of_timestamp(text)
    made = NanosecondTimestamp.fromisoformat(text)
    made.text = text.replace(" ", "T")
    return made


def _of_date(text: str) -> date | str:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return text


def _of_time(text: str) -> time | str:
    """Return a time of day; `24:00:00` and nanoseconds stay text."""
    fraction = text.partition(".")[2].partition("+")[0].partition("-")[0]
    try:
        return time.fromisoformat(text) if len(fraction) <= _MOST_MICROSECOND_DIGITS else text
    except ValueError:
        return text


def _json(text: str) -> Any:
    """Return the value of a JSON text, with all digits of its numbers."""
    return json.loads(text, parse_float=_fraction)


def _fraction(text: str) -> float | Decimal:
    """Return a number of JSON as a Decimal where a double does not hold its digits."""
    number = float(text)
    if number == 0 or not isfinite(number) or Decimal(repr(number)) == (exact := Decimal(text)):
        return number
    return exact


_SINGLE: dict[str, Conversion] = {
    "DOUBLE": _whole,
    "FLOAT": _whole,
    "DATE": _of_date,
    "TIME": _of_time,
    "TIME_NS": _of_time,
    TIME_WITH_ZONE: _of_time,
    **dict.fromkeys(TIMESTAMPS - {"TIMESTAMP_NS"}, _of_timestamp),
    "TIMESTAMP_NS": _of_nanoseconds,
    NANOSECONDS_WITH_ZONE: _of_nanoseconds,
    WITH_ZONE: _of_timestamp,
    "BIGNUM": int,
    "JSON": _json,
}
