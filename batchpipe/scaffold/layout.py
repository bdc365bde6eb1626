"""TOML with comments: tomli-w writes every value, blocks set them apart and explain them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tomli_w


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A few tables under a comment. `header` is written as it stands, for `[[arrays of tables]]`."""

    table: Mapping[str, Any]
    comment: str = ""
    header: str = ""


def document(blocks: Sequence[Block]) -> str:
    """The blocks as one TOML text, an empty line between them."""
    return "\n".join(_block(each) for each in blocks)


def _block(block: Block) -> str:
    comment = "".join(f"# {line}\n" for line in block.comment.splitlines())
    header = f"{block.header}\n" if block.header else ""
    return comment + header + tomli_w.dumps(block.table, multiline_strings=True)
