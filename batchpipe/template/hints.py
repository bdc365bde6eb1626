"""What the local model says of a row, in templates: `{{ fields.label.likely(10) }}` and `{{ near(5) }}`.

A call becomes a filter of a name that no template can write. What it gives is found in the context of the row. It is
not part of a request's identity. For the identity a template is rendered with stand-ins, which name the call and its
argument.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.runtime import Context

from batchpipe.template.calls import as_filter, own_names, replace_calls

LIKELY, NEAR = "likely()", "near()"
FILTERS = (LIKELY, NEAR)
# The name in the context under which a row's hints stand; no template can write it.
SAID = "hints()"
MOST = 100
INNER = "likely() takes a field of the answer itself: fields.label.likely(10), and no field within an object or a list"
WORDS = {
    LIKELY: "likely() takes how many values, as a number: fields.label.likely(10)",
    NEAR: "near() takes how many rows, as a number: near(5)",
}


@dataclass(frozen=True, slots=True)
class HintUse:
    """A call in a template: the `field` of likely(), None for near(), and how many values or rows it asks for."""

    field: str | None
    count: int

    @property
    def shown(self) -> str:
        """Return the call as a person writes it."""
        return f"near({self.count})" if self.field is None else f"fields.{self.field}.likely({self.count})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """An answered row as templates see it: `text` is what the local model reads of it, `answer` its values by field."""

    text: str
    answer: Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class RowHints:
    """What the local model says of one row: the likeliest values by field, and the nearest answered rows."""

    likely: Mapping[str, Sequence[object]]
    near: Sequence[Example]


@dataclass(frozen=True, slots=True)
class StandIns:
    """In the place of hints: each call gives its own name, so that a request's identity has its argument alone."""


def listed_values(fields: Mapping[str, Any]) -> dict[str, list[object]]:
    """Return the values of each field whose values are listed, without null; `fields` are what templates see."""
    return {name: values for name, each in fields.items() if (values := _values_of(each)) is not None}


def _values_of(field: Any) -> list[object] | None:
    if not isinstance(field, Mapping):
        return None
    if "const" in field:
        return [field["const"]]
    if "enum" in field:
        return [each for each in field["enum"] if each is not None]
    kinds = field.get("type")
    kinds = {kinds} if isinstance(kinds, str) else {*(kinds or ())}
    return [False, True] if kinds - {"null"} == {"boolean"} else None


def with_filters(tree: nodes.Template) -> nodes.Template:
    """Replace each call of `fields.NAME.likely(N)` and `near(N)` by a filter.

    A template that gives `fields` or `near` a meaning of its own keeps it. Raises TemplateSyntaxError for a call whose
    argument is not one number, for `fields.NAME.likely` without brackets, and for a field within a field.
    """
    wanted = frozenset({"fields", "near"} - own_names(tree))
    changed = replace_calls(tree, partial(_hint, wanted)) if wanted else tree
    for each in changed.find_all(nodes.Getattr) if "fields" in wanted else ():
        if each.attr == "likely" and _member_of_fields(each.node) is not None:
            raise jinja2.TemplateSyntaxError(f"{WORDS[LIKELY]}; from 1 to {MOST}", each.lineno)
        if each.attr == "likely" and _is_below_a_field(each.node):
            raise jinja2.TemplateSyntaxError(INNER, each.lineno)
    return changed


def _is_below_a_field(node: nodes.Node) -> bool:
    """Return whether a node is something within a field: `fields.x.fields.y`."""
    while isinstance(node, nodes.Getattr | nodes.Getitem):
        node = node.node
        if _member_of_fields(node) is not None:
            return True
    return False


def _hint(wanted: frozenset[str], call: nodes.Call) -> nodes.Node | None:
    """Return the filter that a call of near() or likely() becomes; None for another call."""
    called = call.node
    if isinstance(called, nodes.Name) and called.name == "near" and "near" in wanted:
        return _filter(call, NEAR, None)
    if isinstance(called, nodes.Getattr) and called.attr == "likely" and "fields" in wanted:
        field = _member_of_fields(called.node)
        if field is not None:
            return _filter(call, LIKELY, field)
    return None


def _member_of_fields(node: nodes.Node) -> str | None:
    """Return the field that `fields.x` or `fields["x"]` names."""
    member = node.attr if isinstance(node, nodes.Getattr) else None
    if isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Const):
        member = node.arg.value
    owner = node.node if isinstance(node, nodes.Getattr | nodes.Getitem) else None
    return member if isinstance(owner, nodes.Name) and owner.name == "fields" and isinstance(member, str) else None


def _filter(call: nodes.Call, name: str, field: str | None) -> nodes.Node:
    given = call.args[0] if len(call.args) == 1 else None
    plain = not (call.kwargs or call.dyn_args or call.dyn_kwargs)
    number = given.value if isinstance(given, nodes.Const) and plain else None
    if type(number) is not int or not 1 <= number <= MOST:
        raise jinja2.TemplateSyntaxError(f"{WORDS[name]}; from 1 to {MOST}", call.lineno)
    return as_filter(call, name, field, [nodes.Const(number, lineno=call.lineno)])


def use_of(node: nodes.Filter) -> HintUse:
    """Return what a call of likely() or near() asks for."""
    assert isinstance(node.node, nodes.Const)
    assert isinstance(node.args[0], nodes.Const)
    return HintUse(node.node.value, node.args[0].value)


def filters(values: Mapping[str, Sequence[object]], members: Any) -> dict[str, Any]:
    """Return the filters that calls become. `values` has the values of each field that may be asked for, for rows of
    which no model says anything; `members` makes of a mapping what templates see.
    """

    @jinja2.pass_context
    def likely(context: Context, field: str, count: int) -> list[object]:
        said = context.resolve_or_missing(SAID)
        if isinstance(said, StandIns):
            return [HintUse(field, count).shown]
        if isinstance(said, RowHints) and field in said.likely:
            return list(said.likely[field])[:count]
        return list(values.get(field, ()))

    @jinja2.pass_context
    def near(context: Context, _: None, count: int) -> list[Any]:
        said = context.resolve_or_missing(SAID)
        if isinstance(said, StandIns):
            name = HintUse(None, count).shown
            return [members({"text": name, "answer": members(dict.fromkeys(values, name))})]
        found = said.near[:count] if isinstance(said, RowHints) else ()
        return [members({"text": each.text, "answer": members(each.answer)}) for each in found]

    return {LIKELY: likely, NEAR: near}
