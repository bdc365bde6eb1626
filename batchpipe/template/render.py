"""Rendering of templates, row by row."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import jinja2
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context

from batchpipe.common.errors import TemplateError
from batchpipe.common.likeness import nearest
from batchpipe.providers import Block, Message, Turn
from batchpipe.template.environment import Environment, KeysFirst
from batchpipe.template.head import static_head
from batchpipe.template.hints import SAID, HintUse, RowHints, StandIns
from batchpipe.template.media import MediaError, UnsendableError, shown_text
from batchpipe.template.members import MethodError
from batchpipe.template.names import ROW, Usage
from batchpipe.template.texts import PromptText, prompt_text
from batchpipe.template.turns import turns_text
from batchpipe.template.values import TextlessError

_ROW_ERRORS = (
    jinja2.TemplateError,
    ArithmeticError,
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    RecursionError,
)
# How Jinja names an object of a row in its errors: by its class in Python.
_NO_MEMBER = re.compile(r"has no attribute '(\w+)'")
# What templates read of `fields.NAME`.
_FIELD_MEMBERS = ("enum", "description", "type", "fields", "items", "likely", "minimum", "maximum", "pattern", "format")
_INNER_NAME = re.compile(r"'(?:dict|batchpipe\.[\w.]+) object'")


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

    `columns`: the input columns that they use; of those that they send as files, `media`, `texts` has only what is
    read as text too. `hints`: what they ask the local model for. `sources`: (name, text) of every template and of what
    it includes, sorted. `names_used`: the vars and queries that they use. `static_system`: the system prompt, if it is
    the same for every row. `turns`: what stands between it and the user message. `static_head`: the text that every
    user message begins with; "" if the system prompt differs by row.
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
        constants: Mapping[str, Any],
        turns: tuple[Turn, ...] = (),
    ) -> None:
        self.columns = columns
        self.sources = sources
        self.turns = turns
        self.names_used = frozenset(usage.constants)
        self.media = tuple(usage.media)
        self.hints: tuple[HintUse, ...] = tuple(usage.hints)
        self.texts = columns if not usage.media or usage.all_columns else frozenset(usage.columns)
        self.system_is_static = system_is_static
        self._environment = environment
        self._constants = constants
        self._usage = usage
        self._names = {"user": user, "system": system}
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

    def under(self, recipe: int) -> Templates:
        """Return the same templates, which print values by `recipe`."""
        if recipe == self._environment.recipe:
            return self
        return Templates(
            self._environment.under(recipe, self._constants),
            user=self._names["user"] or "",
            system=self._names["system"],
            usage=self._usage,
            columns=self.columns,
            sources=self.sources,
            places=self._places,
            system_is_static=self.system_is_static,
            constants=self._constants,
            turns=self.turns,
        )

    def identity(self, row: Mapping[str, Any]) -> Message:
        """Return the message that identifies a request of one row: what the local model says has no part in it."""
        return self.render(row, StandIns()) if self.hints else self.render(row)

    def render(self, row: Mapping[str, Any], hints: RowHints | StandIns | None = None) -> Message:
        """Return the message of one row, which has at least `columns`; without `hints` no local model says anything.

        Raises TemplateError, with the template's line, if the row cannot be rendered.
        """
        names = {**self._globals, **row}
        if hints is not None:
            names[SAID] = hints
        if self.media:
            self._environment.marks.blocks.clear()  # of a row that did not render
        if self._with_row:
            names[ROW] = KeysFirst(row)
        user = self._render(self._user, names)
        if self.media:
            return self._with_blocks(user, names)
        if self.system_is_static or self._system is None:
            return Message(system=self.static_system, user=user)
        return Message(system=self._render(self._system, names), user=user)

    def listed(self, field: str) -> list[object]:
        """Return the values of a field that likely() may be asked of."""
        return self._environment.listed[field]

    @property
    def turns_text(self) -> str:
        """Return the turns as a person reads them."""
        return turns_text(self.turns)

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

    def _with_blocks(self, user: str, names: dict[str, Any]) -> Message:
        """Return the message of a row whose template has files."""
        marks, name = self._environment.marks, self._user.name or ""
        try:
            parts = marks.take(user)
        except MediaError as error:
            raise self._failure(error, name) from error
        static = self.system_is_static or self._system is None
        system = self.static_system if static or self._system is None else self._render(self._system, names)
        if not any(isinstance(each, Block) for each in parts):
            return Message(system=system, user=user)
        return Message(system=system, user=shown_text(parts), parts=parts)

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
        if isinstance(error, UnsendableError):
            hint = "A run leaves this row out and goes on with the others: correct the file, or what names it."
            return TemplateError(str(error), where=self._places[name].at(max(line, 1)), hint=hint)
        if isinstance(error, MediaError):
            hint = "Write {{ image(COLUMN) }} with no filter around it."
        elif isinstance(error, TextlessError):
            hint = error.hint
        elif isinstance(error, MethodError):
            hint = "Write brackets after it to call it. If a field is meant, correct its name."
        elif isinstance(error, jinja2.UndefinedError):
            hint = _missing_hint(str(error))
        elif isinstance(error, SecurityError):
            hint = "A template is not allowed to do this; compute it in the input query."
        else:
            hint = "It does not work for the values of this row: guard it with `if`, or correct the input query."
        said = _INNER_NAME.sub("an object", str(error))
        reason = f"cannot be rendered: {said}" if said else f"raises {type(error).__name__}"
        return TemplateError(f"the template {reason}", where=self._places[name].at(max(line, 1)), hint=hint)


def _missing_hint(said: str) -> str:
    """Return what to write for a member that an object does not have."""
    member = _NO_MEMBER.search(said)
    meant = nearest(member[1], _FIELD_MEMBERS) if member else None
    guess = f"Did you mean `{meant}`? If not: " if meant and member and meant != member[1] else ""
    hint = "Test for it with `is defined`, give a `default(...)`, or correct the input query."
    return guess + (hint[0].lower() + hint[1:] if guess else hint)


def _template_frames(traceback: TracebackType | None) -> Iterator[tuple[jinja2.Template, int]]:
    """Yield the templates on the stack of an error, the outermost first, with the line in each of them."""
    while traceback is not None:
        template = traceback.tb_frame.f_globals.get("__jinja_template__")
        if template is not None:
            yield template, template.get_corresponding_lineno(traceback.tb_lineno)
        traceback = traceback.tb_next
