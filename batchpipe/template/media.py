"""Files in a user template: `{{ image(column) }}`, `{{ pdf(column) }}`, `{{ file(column, media_type) }}`.

A call stands for a block of the message. While a template is rendered it is a mark that holds a number drawn anew for
each process, so that no value of a row can look like one.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.runtime import Context

from batchpipe.media.content import Content, content_name, read_line
from batchpipe.providers import Block, BlockKind
from batchpipe.template.calls import as_filter, own_names, replace_calls

KINDS: tuple[BlockKind, ...] = ("image", "pdf", "file")
# The name of the filter that a call becomes; no template can write it.
FILTERS: Mapping[str, BlockKind] = {f"{kind}()": kind for kind in KINDS}


class MediaError(jinja2.TemplateRuntimeError):
    """A block cannot be made of a row's value, or its mark was changed."""


class UnsendableError(MediaError):
    """A file of the row cannot be sent; the message says why."""


@dataclass(slots=True)
class Marks:
    """The blocks of one rendering, by the numbers in their marks."""

    secret: str = field(default_factory=lambda: secrets.token_hex(16))
    blocks: list[Block] = field(default_factory=list)

    def mark(self, block: Block) -> str:
        """Return the mark of a block."""
        self.blocks.append(block)
        return f"\x02{self.secret}:{len(self.blocks) - 1}\x03"

    def take(self, text: str) -> tuple[str | Block, ...]:
        """Return the texts and blocks of a rendered text in their order, and forget the blocks.

        Raises MediaError where a mark is not there any more, as after a filter that changed it.
        """
        blocks, self.blocks = self.blocks, []
        pieces = re.split(f"\x02{self.secret}:([0-9]+)\x03", text)
        if {int(each) for each in pieces[1::2]} != set(range(len(blocks))):
            raise MediaError("image(), pdf() and file() stand alone in {{ }}: no filter changes what they give")
        found: list[str | Block] = []
        for place, piece in enumerate(pieces):
            if place % 2:
                found.append(blocks[int(piece)])
            elif piece.strip():
                found.append(piece)
        return tuple(found)


@dataclass(frozen=True, slots=True)
class MediaUse:
    """A column whose values are files: what they are, and the column that tells versions of an address apart."""

    kind: BlockKind
    column: str
    version: str | None = None


def with_filters(tree: nodes.Template) -> nodes.Template:
    """Replace each call of image(), pdf() and file() by a filter of the column's name.

    A template that gives one of these names a meaning of its own keeps it.
    """
    wanted = frozenset(KINDS) - own_names(tree)
    return replace_calls(tree, partial(_filter, wanted)) if wanted else tree


def _filter(wanted: frozenset[str], node: nodes.Call) -> nodes.Node | None:
    """Return the filter that a call of one of the `wanted` names becomes; None for another call."""
    if not (isinstance(node.node, nodes.Name) and node.node.name in wanted):
        return None
    kind = node.node.name
    column = _column(node.args[0]) if node.args else None
    kwargs = {each.key for each in node.kwargs}
    most = 2 if kind == "file" else 1
    if column is None or len(node.args) > most or node.dyn_args or node.dyn_kwargs or kwargs - _NAMED[kind]:
        shown = "file(COLUMN, TYPE)" if kind == "file" else f"{kind}(COLUMN)"
        raise jinja2.TemplateSyntaxError(
            f"{kind}() takes the name of an input column: {shown}; select a computed path in the input query",
            node.lineno,
        )
    if kind == "file" and len(node.args) < 2 and "media_type" not in kwargs:
        what = "file() takes a column and a media type: file(COLUMN, 'text/plain')"
        raise jinja2.TemplateSyntaxError(what, node.lineno)
    return as_filter(node, f"{kind}()", column, node.args[1:], node.kwargs)


_NAMED: Mapping[str, set[str]] = {"image": {"version"}, "pdf": {"version"}, "file": {"media_type"}}


def _column(node: nodes.Node) -> str | None:
    """Return the column that an argument names: `photo`, `row.photo` or `row["a photo"]`."""
    if isinstance(node, nodes.Name):
        return node.name
    member = node.attr if isinstance(node, nodes.Getattr) else None
    if isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Const):
        member = node.arg.value
    owner = node.node if isinstance(node, nodes.Getattr | nodes.Getitem) else None
    of_row = isinstance(owner, nodes.Name) and owner.name == "row"
    return member if of_row and isinstance(member, str) else None


def use_of(node: nodes.Filter) -> MediaUse:
    """Return what a call of image(), pdf() or file() says of its column."""
    assert isinstance(node.node, nodes.Const)
    version = next((each.value for each in node.kwargs if each.key == "version"), None)
    return MediaUse(FILTERS[node.name], node.node.value, _column(version) if version is not None else None)


def filters(marks: Marks) -> dict[str, Any]:
    """Return the filters that calls become; the blocks that they make stand in `marks`."""

    def made(kind: BlockKind) -> Any:
        @jinja2.pass_context
        def block(context: Context, column: str, media_type: str = "", version: Any = None) -> str:
            lines = context.resolve_or_missing(content_name(column))
            value = context.resolve_or_missing(column)
            if not isinstance(lines, str):
                return ""
            return "".join(marks.mark(each) for each in _blocks(kind, lines, value, media_type))

        return block

    return {name: made(kind) for name, kind in FILTERS.items()}


def _blocks(kind: BlockKind, lines: str, value: Any, media_type: str) -> Iterator[Block]:
    """Yield a block for each content of a value."""
    shown = value if isinstance(value, list) else [value]
    for place, line in enumerate(lines.split("\n")):
        if not line:
            continue
        content = read_line(line)
        name = shown[place] if place < len(shown) and isinstance(shown[place], str) else ""
        if content.problem:
            raise UnsendableError(content.problem)
        yield _block(kind, content, name, media_type)


def _block(kind: BlockKind, content: Content, name: str, media_type: str) -> Block:
    told = content.type if content.type != "application/octet-stream" else ""
    return Block(
        kind=kind,
        type=told or media_type,
        identity=content.address or content.sha256,
        url=name if content.address else "",
        bytes=content.bytes,
        width=content.width,
        height=content.height,
        pages=content.pages,
        name=name,
    )


def shown_text(parts: tuple[str | Block, ...]) -> str:
    """Return a message as a person reads it: a block is shown by its file and its hash."""
    return "".join(each if isinstance(each, str) else f"[{each.shown}]" for each in parts)
