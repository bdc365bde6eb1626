"""The identities of prompts, schemas, policies and requests: pure functions.

An identity is the md5 of canonical bytes, written as a UUID. A recipe defines the canonical bytes. Its number is hashed
with them, and is recorded beside the hash. A new recipe makes no row due: a hash is compared with another one that is
made by the same recipe.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias
from uuid import UUID

import orjson

from batchpipe.sql.canonical import canonical_sql

# A function from the system prompt (None: there is none) and the user message to the fingerprint, as hex digits.
Fingerprint: TypeAlias = Callable[[str | None, str], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One way to make identities.

    `number`: also says how templates print values. `text`: from SQL for a value, its DuckDB type, and whether the value
    is given as the text that DuckDB writes for it, to SQL for its canonical text in keys and input hashes.
    `fingerprinter`: from the output format and the schema that the model sees to the fingerprint of a request.
    """

    number: int
    text: Callable[[str, str, bool], str]
    fingerprinter: Callable[[str, Any], Fingerprint]


def canonical(value: Any) -> bytes:
    """Return `value` as JSON with sorted keys; what JSON does not know (dates, decimals, bytes) as text."""
    return orjson.dumps(value, default=str, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)


def digest(value: Any, recipe: int = 1) -> str:
    """Return the identity of `value`: md5 over its canonical JSON and the recipe's number."""
    return str(UUID(bytes=_md5(canonical([recipe, value])).digest()))


def as_number(identity: str) -> str:
    """Return `identity` as a decimal number, the form in which it is hashed as a part of another identity."""
    return str(UUID(identity).int)


def of_number(number: int | str) -> str:
    """Return the identity that schema version 1 of the database wrote as the decimal `number`."""
    return str(UUID(int=int(number)))


def prompt_hash(
    sources: Sequence[tuple[str, str]], variables: Mapping[str, Any], queries: Mapping[str, Any], recipe: int = 1
) -> str:
    """Return the identity of a prompt: its templates, constants and the rows of its queries."""
    return digest(["prompt", [list(each) for each in sources], variables, queries], recipe)


def schema_hash(output_format: str, full_schema: Any, recipe: int = 1) -> str:
    """Return the identity of the schema that answers are validated against, and of the output format."""
    return digest(["schema", output_format, full_schema], recipe)


def version_hash(prompt: str, schema: str, recipe: int = 1) -> str:
    """Return the identity of a prompt version: of its prompt and its schema."""
    return digest(["version", as_number(prompt), as_number(schema)], recipe)


def visible_hash(prompt: str, output_format: str, visible_schema: Any, recipe: int = 1) -> str:
    """Return the identity of what the model can see of a prompt version."""
    return digest(["visible", as_number(prompt), output_format, visible_schema], recipe)


def policy_hash(schema: str, policy: Mapping[str, Any], recipe: int = 1) -> str:
    """Return the identity of a policy: the rules that an answer is checked by, and the columns of the input hash."""
    return digest(["policy", as_number(schema), policy], recipe)


def judge_hash(schema: str, output: Any, checks: Any, recipe: int = 1) -> str:
    """Return the identity of the rules that make an answer valid: schema, output and checks."""
    return digest(["judge", as_number(schema), output, checks], recipe)


def fingerprinter(output_format: str, visible_schema: Any, recipe: int = 1) -> Fingerprint:
    """Return a function from (system, user) to the hex fingerprint of the request as the model sees it.

    The function remembers the last system prompt, which is the same for many rows: use one function in each thread.
    """
    start = _md5(canonical([recipe, output_format, visible_schema]))

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


def text_of_cast(value: str, kind: str, as_text: bool) -> str:
    """Return SQL for the text that DuckDB itself writes for `value`, whatever its type `kind` is."""
    return f"CAST({value} AS VARCHAR)"


def _md5(data: bytes) -> Any:
    return hashlib.md5(data, usedforsecurity=False)


# The recipes by number. A new recipe is a new entry; an entry stays as long as rows that it made may be stored.
# Both recipes have one fingerprint of one message: what differs is how a value is written in it.
RECIPES: dict[int, Recipe] = {
    1: Recipe(number=1, text=text_of_cast, fingerprinter=fingerprinter),
    2: Recipe(number=2, text=canonical_sql, fingerprinter=fingerprinter),
}


def other_recipes(number: int) -> list[int]:
    """Return the numbers of all recipes but that one."""
    return [each for each in RECIPES if each != number]


def newest_recipe() -> Recipe:
    """Return the recipe of what is recorded for the first time."""
    return RECIPES[max(RECIPES)]
