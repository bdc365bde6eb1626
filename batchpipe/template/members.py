"""Members of values in templates: `order.items` is the key of a mapping, `order.items()` its method."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import jinja2
from jinja2 import nodes

# What the name of a member ends with where it is called; no template can write it.
CALLED = "()"
# The values that a row can have, and those of [prompt.vars] and [prompt.queries].
_VALUES = (str, int, float, Decimal, date, time, timedelta, UUID, bytes, list, tuple, Mapping)


class MethodError(jinja2.UndefinedError):
    """A template reads a method of a value and does not call it."""


def called_members(tree: nodes.Template) -> nodes.Template:
    """Mark the members that are called in `tree`."""
    for call in tree.find_all(nodes.Call):
        if isinstance(call.node, nodes.Getattr) and not call.node.attr.endswith(CALLED):
            call.node.attr += CALLED
    return tree


def is_method(owner: Any, member: Any) -> bool:
    """Return whether `member` is a method of the value `owner` of a row."""
    return callable(member) and isinstance(owner, _VALUES) and not isinstance(member, jinja2.Undefined)


def method_words(name: str) -> str:
    """Return what is said of the method `name` where it is not called."""
    return f"`{name}` is a function of this value, and no text"
