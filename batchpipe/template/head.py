"""The beginning of a template that is the same for every row: everything before the first value of a row."""

from __future__ import annotations

from collections.abc import Collection

import jinja2
from jinja2 import nodes

from batchpipe.template import hints
from batchpipe.template.media import FILTERS

_ELSEWHERE = (nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends, nodes.Block, nodes.Macro)
# Statements that read no other template and define nothing for later.
_PLAIN = (nodes.For, nodes.If, nodes.With, nodes.FilterBlock, nodes.ExprStmt)


def static_head(environment: jinja2.Environment, source: str, constants: Collection[str]) -> nodes.Template | None:
    """Return the statements of `source` before the first that reads more than `constants`; None if there are none."""
    tree = environment.parse(source)
    found: list[nodes.Node] = []
    for node in tree.body:
        if isinstance(node, nodes.Output):
            texts = node.nodes
            count = next((place for place, each in enumerate(texts) if not _is_static(each, constants)), len(texts))
            if count:
                found.append(nodes.Output(texts[:count], lineno=node.lineno))
            if count == len(texts):
                continue
        elif isinstance(node, _PLAIN) and _is_static(node, constants):
            found.append(node)
            continue
        break
    if not found:
        return None
    made = nodes.Template(found, lineno=1)
    made.set_environment(environment)
    return made


def _is_static(node: nodes.Node, constants: Collection[str]) -> bool:
    """Return whether a node reads only `constants` and names that it sets itself."""
    if any(isinstance(each, _ELSEWHERE) for each in node.find_all(nodes.Node)):
        return False
    filters = [*node.find_all(nodes.Filter), *([node] if isinstance(node, nodes.Filter) else [])]
    if any(each.name in FILTERS or each.name in hints.FILTERS for each in filters):
        return False
    names = [*node.find_all(nodes.Name), *([node] if isinstance(node, nodes.Name) else [])]
    read = {each.name for each in names if each.ctx == "load"}
    own = {each.name for each in names if each.ctx != "load"}
    if isinstance(node, nodes.For) or node.find(nodes.For):
        own.add("loop")
    return read - own <= set(constants)
