"""The hashes that name prompts, schemas and requests: pure functions.

`RECIPE` numbers the way they are made. The number is hashed with the value, so that two recipes never agree by chance.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

RECIPE = 1


def canonical(value: Any) -> bytes:
    """Return `value` as JSON with sorted keys; what JSON has no type for (dates, decimals) becomes text."""
    return orjson.dumps(value, default=str, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)


def digest(value: Any) -> str:
    """Return the md5 of the recipe's number and `value` in canonical JSON, as a decimal number in text."""
    return str(int.from_bytes(_md5(canonical([RECIPE, value])).digest()))


def fingerprinter(output_format: str, visible_schema: Any) -> Callable[[str | None, str], str]:
    """Return a function that makes the fingerprint (hex) of a request from its system prompt and user message.

    The function remembers the state after the last system prompt, which many rows share; make one per thread.
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
    """Return the hash of a prompt: its template sources (name, text), variables, and rows of queries."""
    return digest(["prompt", [list(each) for each in sources], variables, queries])


def schema_hash(output_format: str, full_schema: Any) -> str:
    """Return the hash of an output schema as the user wrote it, before it is reduced for the provider."""
    return digest(["schema", output_format, full_schema])


def _md5(data: bytes) -> Any:
    return hashlib.md5(data, usedforsecurity=False)
