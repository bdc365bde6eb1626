"""Names for parsed JSON, and the checks that tell a type checker what a value is."""

from typing import Any, TypeGuard

JsonObject = dict[str, Any]


def words(text: str) -> frozenset[str]:
    """The words of a text: a set of names that is pleasant to read in source."""
    return frozenset(text.split())


def is_object(value: object) -> TypeGuard[JsonObject]:
    """Whether a parsed JSON value is an object (whose keys are strings)."""
    return isinstance(value, dict)


def is_list(value: object) -> TypeGuard[list[Any]]:
    """Whether a parsed JSON value is an array."""
    return isinstance(value, list)


def is_integer(value: object) -> TypeGuard[int]:
    """Whether a parsed JSON value is a whole number; `true` is not one."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: object) -> TypeGuard[float]:
    """Whether a parsed JSON value is a number; `true` is not one."""
    return isinstance(value, int | float) and not isinstance(value, bool)
