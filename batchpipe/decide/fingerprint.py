"""Identities: the recipes of every hash, pure and versioned.

A changed recipe is a visible reason to look again, so its number is part of what is hashed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

RECIPE = 1


def canonical(value: Any) -> bytes:
    """`value` as JSON with sorted keys; what JSON does not know (dates, decimals, bytes) as text."""
    return orjson.dumps(value, default=str, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)


def digest(value: Any) -> str:
    """A 128-bit number for `value`, as decimal text: md5 over its canonical JSON and the recipe's number."""
    return str(int.from_bytes(_md5(canonical([RECIPE, value])).digest()))


def fingerprinter(output_format: str, visible_schema: Any) -> Callable[[str | None, str], str]:
    """A function from (system, user) to the hex fingerprint of the request as the model sees it.

    It remembers the last system prompt, which is the same for many rows: one per thread.
    """
    start = _md5(canonical([RECIPE, output_format, visible_schema]))

    def begun(system: str | None) -> Any:
        state = start.copy()
        state.update(b"\x00" if system is None else b"\x01%d:" % len(system) + system.encode())
        return state

    known, after_system = None, begun(None)

    def fingerprint(system: str | None, user: str) -> str:
        nonlocal known, after_system
        if system != known:
            known, after_system = system, begun(system)
        state = after_system.copy()
        state.update(user.encode())
        return str(state.hexdigest())

    return fingerprint


def prompt_hash(sources: Sequence[tuple[str, str]], variables: Mapping[str, Any], queries: Mapping[str, Any]) -> str:
    return digest(["prompt", [list(each) for each in sources], variables, queries])


def schema_hash(output_format: str, full_schema: Any) -> str:
    return digest(["schema", output_format, full_schema])


def _md5(data: bytes) -> Any:
    return hashlib.md5(data, usedforsecurity=False)
