"""Names for parsed JSON, and the checks that tell a type checker what a value is."""

from typing import Any, TypeGuard

JsonObject = dict[str, Any]


def word_set(text: str) -> frozenset[str]:
    """Return the set of words in a text; a long set of names is easier to read in this form."""
    return frozenset(text.split())


def is_object(value: object) -> TypeGuard[JsonObject]:
    """Return whether a parsed JSON value is an object."""
    return isinstance(value, dict)


def is_list(value: object) -> TypeGuard[list[Any]]:
    """Return whether a parsed JSON value is an array."""
    return isinstance(value, list)


def is_integer(value: object) -> TypeGuard[int]:
    """Return whether a parsed JSON value is a whole number; `true` is not one."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: object) -> TypeGuard[float]:
    """Return whether a parsed JSON value is a number; `true` is not one."""
    return isinstance(value, int | float) and not isinstance(value, bool)
