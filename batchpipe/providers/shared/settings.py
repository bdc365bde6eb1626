"""Check the settings of a rung by the lists of its protocol: unknown keys, keys that cannot be set, bad values."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from batchpipe.common.likeness import nearest
from batchpipe.providers import RuleProblem

# Tells whether a value is one that a setting takes.
Test: TypeAlias = Callable[[Any], bool]
# Keys of a rung that are no settings of its provider; a misspelled setting may mean one of them.
OTHER_KEYS = ("max_tokens", "accept", "when", "model")


def model_hint(model: str, listed: Sequence[str]) -> str:
    """Return the model that may be meant by a wrong name, `local` among them; else all that are `listed`."""
    near = nearest(model, (*listed, "local"))
    return f"Did you mean `{near}`?" if near else f"Models are: {', '.join(listed)}."


def setting_problems(
    settings: Mapping[str, Any],
    known: Mapping[str, tuple[Test, str]],
    refused: Mapping[str, str],
    usual: Callable[[str], str] = str,
) -> Iterator[RuleProblem]:
    """Yield what is wrong with the keys and values of a rung's settings.

    `known` has for each setting the test of its value, and a description of a right value. `refused` has the keys that
    a rung cannot set, and what to write instead. `usual` returns the usual spelling of a key.
    """
    for key, value in settings.items():
        plain = usual(key)
        if plain in refused:
            yield RuleProblem(key=key, what=f"`{key}` cannot be set on a rung", hint=sentence(refused[plain]))
        elif key not in known:
            near = nearest(plain, [*known, *OTHER_KEYS])
            hint = f"Did you mean `{near}`?" if near else f"Settings are: {', '.join(known)}."
            yield RuleProblem(key=key, what=f"there is no setting `{key}`", hint=hint)
        elif not known[key][0](value):
            yield RuleProblem(key=key, what=f"`{key}` cannot be {value!r}", hint=sentence(f"write {known[key][1]}"))


def is_number(low: float, high: float) -> Test:
    """Return the test for a number from `low` to `high`."""
    return lambda value: isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high


def is_whole(low: int | None = None, high: int | None = None) -> Test:
    """Return the test for a whole number from `low` to `high`; None is no bound."""
    return lambda value: (
        isinstance(value, int)
        and not isinstance(value, bool)
        and (low is None or low <= value)
        and (high is None or value <= high)
    )


def is_texts(most: int | None = None) -> Test:
    """Return the test for a list of texts that are not blank, `most` of them at most."""
    return lambda value: (
        isinstance(value, list | tuple)
        and (most is None or len(value) <= most)
        and all(isinstance(each, str) and each.strip() for each in value)
    )


def is_server_tools(*own: str) -> Test:
    """Return the test for tools that the provider runs. `own` are the types of tools that a user runs.

    A call of a user's own tool would end without an answer.
    """
    return lambda value: (
        isinstance(value, list | tuple)
        and all(isinstance(each, Mapping) and each.get("type") not in (None, *own) for each in value)
    )


def sentence(text: str) -> str:
    """Return `text` as a sentence: with a capital letter and a full stop."""
    return re.sub(r"^.", lambda first: first.group().upper(), text) + "."
