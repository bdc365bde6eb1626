"""Read from a template's tree: the templates it includes, the names it exports, the names it tests for."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from jinja2 import nodes

from batchpipe.common.likeness import nearest


@dataclass(frozen=True, slots=True)
class Reference:
    """The templates that an include, import or extends names; `dynamic` if a name is known only when it is rendered."""

    names: tuple[str, ...]
    dynamic: bool
    optional: bool
    line: int

    @classmethod
    def of(cls, node: nodes.Include | nodes.Import | nodes.FromImport | nodes.Extends) -> Reference:
        """Return the reference that a statement makes."""
        names: list[str] = []
        dynamic = False
        waiting: list[nodes.Expr | None] = [node.template]
        while waiting:
            expression = waiting.pop(0)
            if isinstance(expression, nodes.Const) and isinstance(expression.value, str):
                names.append(expression.value)
            elif isinstance(expression, nodes.Const) and isinstance(expression.value, tuple | list):
                names.extend(str(each) for each in expression.value)
            elif isinstance(expression, nodes.Tuple | nodes.List):
                waiting.extend(expression.items)
            elif isinstance(expression, nodes.CondExpr):
                waiting.extend((expression.expr1, expression.expr2))
            else:
                dynamic = True
        several = len(names) > 1 and not isinstance(node.template, nodes.CondExpr)
        optional = several or (isinstance(node, nodes.Include) and node.ignore_missing)
        return cls(tuple(names), dynamic, optional, node.lineno)


def exports(tree: nodes.Template) -> frozenset[str]:
    """Return the names that a template has for a template that imports it: its top-level macros, variables, imports."""
    found: set[str] = set()
    waiting: list[nodes.Node] = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, nodes.Macro):
            found.add(node.name)
        elif isinstance(node, nodes.Assign | nodes.AssignBlock):
            found.update(_stored(node.target))
        elif isinstance(node, nodes.Import):
            found.add(node.target)
        elif isinstance(node, nodes.FromImport):
            found.update(aliases(node))
        elif isinstance(node, nodes.If):
            waiting.extend((*node.body, *node.elif_, *node.else_))
    return frozenset(found)


def _stored(target: nodes.Node) -> Iterator[str]:
    if isinstance(target, nodes.Name):
        yield target.name
    for name in target.find_all(nodes.Name):
        yield name.name


def aliases(node: nodes.FromImport) -> list[str]:
    """Return the names under which `from ... import` makes its names known."""
    return [each[1] if isinstance(each, tuple) else each for each in node.names]


def tested_names(tree: nodes.Template) -> frozenset[str]:
    """Return the names that may be missing, because the template tests for them: `x is defined`, `x | default(...)`."""
    asked: list[nodes.Node | None] = [
        test.node for test in tree.find_all(nodes.Test) if test.name in ("defined", "undefined")
    ]
    asked.extend(each.node for each in tree.find_all(nodes.Filter) if each.name in ("default", "d"))
    found = set()
    for node in asked:
        if isinstance(node, nodes.Name):
            found.add(node.name)
        elif isinstance(node, nodes.Getattr) and isinstance(node.node, nodes.Name):
            found.add(f"{node.node.name}.{node.attr}")
    return frozenset(found)


def listing(names: Collection[str]) -> str:
    """Return a hint that lists the first 20 of `names`."""
    shown = ", ".join(sorted(names)[:20]) + (", ..." if len(names) > 20 else "")
    return f"There are: {shown}." if shown else "There are none yet: write it, or correct the name."


def near(name: str, known: Collection[str] | Mapping[str, object], otherwise: str = "") -> str:
    """Return a hint: the name of `known` nearest to `name`, else `otherwise`, else the list of `known`."""
    found = nearest(name, sorted(known))
    return f"Did you mean `{found}`?" if found else otherwise or listing(known)
