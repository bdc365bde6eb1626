"""The sandbox that templates are rendered in. The same row always gives the same text."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import jinja2
from jinja2 import DictLoader, StrictUndefined, nodes
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment, SandboxedFormatter

from batchpipe.template import hints, media
from batchpipe.template.members import CALLED, MethodError, called_members, is_method, method_words
from batchpipe.template.values import FILTERS, TEXT_FILTERS, joined_texts, of_text, printed, refuse_textless, remainder

_REFUSED_GLOBALS = ("lipsum",)
_REFUSED_FILTERS = ("random",)
# The recipe under which values were printed as Python writes them: prompt versions of then stay so.
FIRST_RECIPE = 1
# The recipe under which values are printed by their canonical text.
CANONICAL_RECIPE = 2


class KeysFirst(Mapping[str, Any]):
    """A mapping whose keys win over its methods in a template: `row.items` is the column `items`, if there is one."""

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return repr(dict(self._values))


def _printed_first(value: Any) -> Any:
    """Return the value as the first recipe printed it: NULL as nothing, bytes as the text that they hold."""
    if value is None:
        return ""
    refuse_textless(value)
    return value.decode() if type(value) is bytes else value


def _json_value(value: Any) -> Any:
    """Return a value that JSON has no type for in a type that it has.

    Dates become ISO 8601 and bytes base64. A decimal becomes a number if a double holds all its digits, else a string.
    """
    if isinstance(value, Decimal):
        number = float(value)
        if value.is_finite() and Decimal(repr(number)) == value:
            return int(value) if value == value.to_integral_value() else number
        return str(value)
    if isinstance(value, date | datetime | time):
        return value.isoformat()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, UUID | timedelta):
        return str(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, jinja2.Undefined):
        return str(value)  # raises UndefinedError
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def _to_json(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, indent=indent, sort_keys=True, ensure_ascii=False, default=_json_value)


class _Template(jinja2.Template):
    environment: Environment

    def _get_default_module(self, ctx: Context | None = None) -> Any:
        """Return the module of an imported template. It is kept for all rows, unless it has a counter that
        would run on.
        """
        return self.make_module() if self.environment.fresh_modules else super()._get_default_module(ctx)


class Environment(ImmutableSandboxedEnvironment):
    """Jinja's sandbox without anything random; an undefined name is an error. `sources` are the texts by name.

    `recipe` says how values are printed: by Jinja, as the first recipe did, or by their canonical text.
    """

    template_class = _Template
    fresh_modules = False

    def __init__(self, sources: dict[str, str], recipe: int = CANONICAL_RECIPE) -> None:
        super().__init__(
            loader=DictLoader(sources),
            undefined=StrictUndefined,
            finalize=_printed_first if recipe == FIRST_RECIPE else _canonical,
            auto_reload=False,
            cache_size=-1,
        )
        self.sources = sources
        self.recipe = recipe
        self.marks = media.Marks()
        self.listed: dict[str, list[object]] = {}  # the values of the fields that a template may ask likely() of
        self.filters |= media.filters(self.marks) | hints.filters(self.listed, KeysFirst)
        for name in _REFUSED_GLOBALS:
            del self.globals[name]
        for name in _REFUSED_FILTERS:
            del self.filters[name]
        self.filters["tojson"] = _to_json
        if recipe != FIRST_RECIPE:
            self.filters |= {name: of_text(self.filters[name]) for name in TEXT_FILTERS}
            self.filters |= FILTERS | {"pprint": _pretty, _CONCATENATION: joined_texts}
            self.intercepted_binops = frozenset("%")

    def under(self, recipe: int, constants: Mapping[str, Any]) -> Environment:
        """Return an environment of the same templates and `constants` in which values are printed by `recipe`."""
        made = Environment(self.sources, recipe)
        made.globals.update(constants)
        made.listed |= self.listed
        made.fresh_modules = self.fresh_modules
        return made

    def getattr(self, obj: Any, attribute: str) -> Any:
        """Return `obj.attribute` of a template: of a mapping the key, and the method only where it is called.

        Of any other value of a row a method that is not called is undefined: it has no text.
        """
        name = attribute.removesuffix(CALLED)
        called = name != attribute
        if isinstance(obj, Mapping) and name in obj and (not called or type(obj) is KeysFirst):
            return obj[name]
        found = super().getattr(obj, name)
        return found if called or not is_method(obj, found) else self._method(obj, name)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """Return `obj[argument]` of a template; a method is no item."""
        found = super().getitem(obj, argument)
        return self._method(obj, argument) if is_method(obj, found) else found

    def _method(self, obj: Any, name: str) -> jinja2.Undefined:
        """Return what stands for the method `name` of a value of a row where it is not called."""
        if isinstance(obj, Mapping):
            return self.undefined(obj=obj, name=name)
        return self.undefined(hint=method_words(name), exc=MethodError)

    def _generate(self, source: nodes.Template, *args: Any, **named: Any) -> str:
        """Return the Python text of a template, in which members that are called are told from those that are read."""
        return super()._generate(called_members(source), *args, **named)

    def wrap_str_format(self, value: Any) -> Any:
        """Return a function for the method `format` of a text, which fills in canonical texts; None for all else."""
        wrapped = super().wrap_str_format(value)
        if wrapped is None or self.recipe == FIRST_RECIPE:
            return wrapped

        def filled_in(*args: Any, **named: Any) -> str:
            if value.__name__ == "format_map":
                named, args = dict(*args), ()
            return _Formatter(self).vformat(value.__self__, args, named)

        return filled_in

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Return what `%` gives: of a text the text with the canonical texts of the values."""
        return remainder(left, right)

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        """Parse a template; the operator `~` becomes a filter, since Jinja's own uses `str`."""
        tree = hints.with_filters(media.with_filters(super()._parse(source, name, filename)))
        return tree if self.recipe == FIRST_RECIPE else _without_concatenation(tree)


class _Formatter(SandboxedFormatter):
    """What fills values in where a template calls the method `format` of a text."""

    def convert_field(self, value: Any, conversion: Any) -> Any:
        """Return what `!r` or `!s` makes of `value`, which has to have a text."""
        if conversion:
            refuse_textless(value)
        return super().convert_field(value, conversion)

    def format_field(self, value: Any, format_spec: str) -> str:
        """Return the canonical text of `value` where nothing else is asked for."""
        return str(super().format_field(value, format_spec)) if format_spec else printed(value)


# The name of the filter that stands for `~`; no template can write it.
_CONCATENATION = "~"


def _canonical(value: Any) -> Any:
    """Return the canonical text of a value. An undefined name raises its error when it becomes text."""
    # Most values are text, and this is called for each of them.
    return value if type(value) is str or isinstance(value, (str, jinja2.Undefined)) else printed(value)


def _pretty(value: Any) -> str:
    return _to_json(value, 2)


def _without_concatenation(node: Any) -> Any:
    """Replace each `a ~ b` under `node` by a filter."""
    for field, value in node.iter_fields():
        if isinstance(value, list):
            setattr(node, field, [_replaced(each) if isinstance(each, nodes.Node) else each for each in value])
        elif isinstance(value, nodes.Node):
            setattr(node, field, _replaced(value))
    return node


def _replaced(node: nodes.Node) -> nodes.Node:
    node = _without_concatenation(node)
    if not isinstance(node, nodes.Concat):
        return node
    first, *others = node.nodes
    made = nodes.Filter(first, _CONCATENATION, others, [], None, None, lineno=node.lineno)
    assert node.environment is not None
    made.set_environment(node.environment)
    return made
