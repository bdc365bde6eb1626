"""TOML with comments: tomli-w writes the values, and blocks put a comment above and an empty line between them."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tomli_w


@dataclass(frozen=True, slots=True, kw_only=True)
class TomlBlock:
    """Some tables with a comment above. `header` is written as it is, for `[[arrays of tables]]`."""

    table: Mapping[str, Any]
    comment: str = ""
    header: str = ""


def document(blocks: Sequence[TomlBlock]) -> str:
    """Return the blocks as one TOML text, with an empty line between them."""
    return "\n".join(_block(each) for each in blocks)


def _block(block: TomlBlock) -> str:
    comment = "".join(f"# {line}\n" for line in block.comment.splitlines())
    header = f"{block.header}\n" if block.header else ""
    return comment + header + _plain_quotes(tomli_w.dumps(block.table, multiline_strings=True))


def _plain_quotes(text: str) -> str:
    """Return the TOML with the quotes in strings of several lines as a person writes them, where it means the same."""
    pieces = text.split('"""')
    pieces[1::2] = [piece.replace('\\"', '"') for piece in pieces[1::2]]
    plain = '"""'.join(pieces)
    try:
        same = tomllib.loads(plain) == tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        same = False
    return plain if same else text
