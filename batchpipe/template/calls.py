"""Replace the calls in templates that only batchpipe knows: each becomes a filter with a name that no template can
write.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from jinja2 import nodes


def own_names(tree: nodes.Template) -> frozenset[str]:
    """Return the names that a template gives a meaning of its own: what it sets, defines or imports."""
    own = {each.name for each in tree.find_all(nodes.Name) if each.ctx != "load"}
    own |= {each.name for each in tree.find_all(nodes.Macro)}
    for found in tree.find_all(nodes.FromImport):
        own |= {each[1] if isinstance(each, tuple) else each for each in found.names}
    return frozenset(own | {each.target for each in tree.find_all(nodes.Import)})


def replace_calls(node: Any, filter_for: Callable[[nodes.Call], nodes.Node | None]) -> Any:
    """Replace each call below `node`, the inner ones first, by what `filter_for` returns; None leaves it as it is."""
    for name, value in node.iter_fields():
        if isinstance(value, list):
            setattr(node, name, [_replaced(each, filter_for) for each in value])
        else:
            setattr(node, name, _replaced(value, filter_for))
    return node


def _replaced(value: Any, filter_for: Callable[[nodes.Call], nodes.Node | None]) -> Any:
    if not isinstance(value, nodes.Node):
        return value
    replace_calls(value, filter_for)
    made = filter_for(value) if isinstance(value, nodes.Call) else None
    return value if made is None else made


def as_filter(
    call: nodes.Call, name: str, subject: str | None, args: Sequence[nodes.Expr], kwargs: Sequence[nodes.Keyword] = ()
) -> nodes.Filter:
    """Return the filter `name` over the constant `subject` that stands for `call`."""
    made = nodes.Filter(
        nodes.Const(subject, lineno=call.lineno), name, [*args], [*kwargs], None, None, lineno=call.lineno
    )
    assert call.environment is not None
    made.set_environment(call.environment)
    return made
