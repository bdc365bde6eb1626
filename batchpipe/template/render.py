"""Rendering of templates in a sandbox, in which the same row always gives the same text."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from types import TracebackType
from typing import Any
from uuid import UUID

import jinja2
from jinja2 import DictLoader, StrictUndefined
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from batchpipe.common.errors import TemplateError
from batchpipe.providers import Message
from batchpipe.template.head import static_head
from batchpipe.template.names import ROW, Usage
from batchpipe.template.texts import PromptText, prompt_text

_REFUSED_GLOBALS = ("lipsum",)
_REFUSED_FILTERS = ("random",)
_ROW_ERRORS = (
    jinja2.TemplateError,
    ArithmeticError,
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    RecursionError,
)


class Members(Mapping[str, Any]):
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


def _finalized(value: Any) -> Any:
    """Return the value as it is rendered: NULL as nothing, bytes as the text that they hold."""
    if value is None:
        return ""
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
    """Jinja's sandbox without anything random; an undefined name is an error. `sources` are the texts by name."""

    template_class = _Template
    fresh_modules = False

    def __init__(self, sources: dict[str, str]) -> None:
        super().__init__(
            loader=DictLoader(sources),
            undefined=StrictUndefined,
            finalize=_finalized,
            auto_reload=False,
            cache_size=-1,
        )
        for name in _REFUSED_GLOBALS:
            del self.globals[name]
        for name in _REFUSED_FILTERS:
            del self.filters[name]
        self.filters["tojson"] = _to_json

    def getattr(self, obj: Any, attribute: str) -> Any:
        """Return `obj.attribute` of a template; of `Members` the key wins over the method."""
        if type(obj) is Members and attribute in obj:
            return obj[attribute]
        return super().getattr(obj, attribute)


@dataclass(frozen=True, slots=True)
class Place:
    """The origin of a template's text: the file, or the place of the key that holds it inline."""

    shown: str
    inline: bool

    def at(self, line: int) -> str:
        """Return the place of a line for a message."""
        return f"{self.shown} line {line}" if self.inline else f"{self.shown}:{line}"


class Templates:
    """The compiled templates of one pipeline.

    `columns`: the input columns that they use. `sources`: (name, text) of every template and of what it includes,
    sorted. `names_used`: the vars and queries that they use. `static_system`: the system prompt, if it is the same for
    every row. `static_head`: the text that every user message begins with; "" if the system prompt differs by row.
    """

    def __init__(
        self,
        environment: Environment,
        *,
        user: str,
        system: str | None,
        usage: Usage,
        columns: frozenset[str],
        sources: tuple[tuple[str, str], ...],
        places: Mapping[str, Place],
        system_is_static: bool,
    ) -> None:
        self.columns = columns
        self.sources = sources
        self.names_used = frozenset(usage.constants)
        self.system_is_static = system_is_static
        self._environment = environment
        self._globals: dict[str, Any] = dict(environment.globals)
        self._places = places
        self._contexts: dict[str | None, Context] = {}
        self._user = environment.get_template(user)
        self._system = environment.get_template(system) if system is not None else None
        self._with_row = usage.row or usage.dynamic
        self.static_system: str | None = None
        if system_is_static and self._system is not None:
            self.static_system = self._render(self._system, self._globals)
        self.static_head = self._head(dict(sources).get(user, ""))

    def render(self, row: Mapping[str, Any]) -> Message:
        """Return the message of one row, which has at least `columns`.

        Raises TemplateError, with the template's line, if the row cannot be rendered.
        """
        names = {**self._globals, **row}
        if self._with_row:
            names[ROW] = Members(row)
        user = self._render(self._user, names)
        if self.system_is_static or self._system is None:
            return Message(system=self.static_system, user=user)
        return Message(system=self._render(self._system, names), user=user)

    def prompt_texts(self) -> tuple[PromptText, ...]:
        """Return the text of the system prompt and of the user message, without the values of a row."""
        named = (("system", self._system), ("user", self._user))
        sources = dict(self.sources)
        return tuple(
            prompt_text(self._environment, sources, kind, template.name or "")
            for kind, template in named
            if template is not None
        )

    def place(self, name: str, line: int) -> str:
        """Return the place of a template's line for a message."""
        return self._places[name].at(line)

    def _head(self, source: str) -> str:
        """Return the text that every user message begins with; "" if the system prompt before it differs by row."""
        if self._system is not None and not self.system_is_static:
            return ""
        tree = static_head(self._environment, source, self._globals.keys() - self.columns)
        if tree is None:
            return ""
        try:
            return "".join(self._environment.from_string(tree).generate(self._globals))
        except _ROW_ERRORS:
            return ""

    def _render(self, template: jinja2.Template, names: dict[str, Any]) -> str:
        # To make a context takes as long as to render a short template, so that one which rendering left as it was is
        # used again with other names.
        context = self._contexts.pop(template.name, None)
        if context is None:
            context = Context(self._environment, names, template.name, template.blocks)
        else:
            context.parent = names
        try:
            text = "".join(template.root_render_func(context))
        except _ROW_ERRORS as error:
            raise self._failure(error, template.name or "") from error
        if not (context.vars or context.exported_vars or context.blocks):
            self._contexts[template.name] = context
        return text

    def _failure(self, error: Exception, name: str) -> TemplateError:
        line = 0
        if isinstance(error, jinja2.TemplateSyntaxError):
            name, line = error.name or name, error.lineno
        else:
            for template, number in _template_frames(error.__traceback__):
                name, line = template.name or name, number
        if isinstance(error, jinja2.UndefinedError):
            hint = "Test for it with `is defined`, give a `default(...)`, or correct the input query."
        elif isinstance(error, SecurityError):
            hint = "A template is not allowed to do this; compute it in the input query."
        else:
            hint = "It does not work for the values of this row: guard it with `if`, or correct the input query."
        reason = f"cannot be rendered: {error}" if str(error) else f"raises {type(error).__name__}"
        return TemplateError(f"the template {reason}", where=self._places[name].at(line), hint=hint)


def _template_frames(traceback: TracebackType | None) -> Iterator[tuple[jinja2.Template, int]]:
    """Yield the templates on the stack of an error, the outermost first, with the line in each of them."""
    while traceback is not None:
        template = traceback.tb_frame.f_globals.get("__jinja_template__")
        if template is not None:
            yield template, template.get_corresponding_lineno(traceback.tb_lineno)
        traceback = traceback.tb_next
