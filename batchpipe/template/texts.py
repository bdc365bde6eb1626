"""The literal text of templates: everything between the values, with the line that each character is from."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import jinja2
from jinja2 import nodes

from batchpipe.template.references import Reference

# The character that takes the place of a value, and the place where one branch ends and the next begins.
HOLE = "\ufffc"


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptText:
    """The literal text of the system prompt or the user message: all branches in order, with a HOLE for each value.

    `kind`: "system" or "user". `names`: the dotted names that it reads (`body`, `fields.label.enum`). `places`:
    (offset, template, line) of the beginning of each piece of text.
    """

    kind: str
    text: str
    names: frozenset[str]
    places: tuple[tuple[int, str, int], ...]

    def at(self, offset: int) -> tuple[str, int]:
        """Return the template's name and the line, from 1, of the character at `offset`."""
        index = bisect_right([start for start, _, _ in self.places], offset) - 1
        start, name, line = self.places[max(index, 0)]
        return name, line + self.text.count("\n", start, offset)


def prompt_text(environment: jinja2.Environment, sources: Mapping[str, str], kind: str, name: str) -> PromptText:
    """Return the literal text of the template `name` and of all that it includes by a constant name."""
    walk = _Walk(environment, sources)
    walk.template(name)
    return PromptText(
        kind=kind,
        text="".join(walk.texts),
        names=frozenset(walk.names),
        places=tuple(walk.places) or ((0, name, 1),),
    )


class _Walk:
    def __init__(self, environment: jinja2.Environment, sources: Mapping[str, str]) -> None:
        self.environment = environment
        self.sources = sources
        self.texts: list[str] = []
        self.names: set[str] = set()
        self.places: list[tuple[int, str, int]] = []
        self._length = 0
        self._seen: set[str] = set()

    def template(self, name: str) -> None:
        if name in self._seen or name not in self.sources:
            return
        self._seen.add(name)
        tree = self.environment.parse(self.sources[name], name)
        self.names.update(_dotted_names(tree))
        self._all(tree.body, name)

    def _add(self, text: str, name: str, line: int) -> None:
        self.places.append((self._length, name, line))
        self.texts.append(text)
        self._length += len(text)

    def _all(self, body: list[nodes.Node], name: str) -> None:
        for node in body:
            self._visit(node, name)

    def _visit(self, node: nodes.Node, name: str) -> None:
        if isinstance(node, nodes.TemplateData):
            self._add(node.data, name, node.lineno)
        elif isinstance(node, nodes.Output):
            self._all(list(node.nodes), name)
        elif isinstance(node, nodes.Const):
            self._add(str(node.value), name, node.lineno)
        elif isinstance(node, nodes.Include | nodes.Extends | nodes.Import | nodes.FromImport):
            for included in Reference.of(node).names:
                self.template(included)
        elif isinstance(node, nodes.Expr):
            self._add(HOLE, name, node.lineno)
        else:
            for body in _bodies(node):
                self._all(body, name)
                self._add(HOLE, name, node.lineno)


def _bodies(node: nodes.Node) -> Iterator[list[nodes.Node]]:
    """Yield the branches of a statement."""
    for field in ("body", "elif_", "else_"):
        body = getattr(node, field, None)
        if body:
            yield body


def _dotted_names(tree: nodes.Template) -> Iterator[str]:
    """Yield the dotted names that a template reads: `fields.label.enum`, also for `fields["label"].enum`."""
    inner: set[int] = set()
    for node in tree.find_all((nodes.Getattr, nodes.Getitem, nodes.Name)):
        if id(node) in inner:
            continue
        names: list[str] = []
        here: nodes.Node = node
        while isinstance(here, nodes.Getattr | nodes.Getitem):
            constant = here.arg.value if isinstance(here, nodes.Getitem) and isinstance(here.arg, nodes.Const) else None
            member = here.attr if isinstance(here, nodes.Getattr) else constant
            names = [member, *names] if isinstance(member, str) else []
            here = here.node
            inner.add(id(here))
        if isinstance(here, nodes.Name):
            yield ".".join([here.name, *names])
