"""Replacement of `${NAME}` from the environment, at the moment of use; everywhere else the text keeps `${NAME}`."""

from __future__ import annotations

import re
from collections.abc import Mapping

from batchpipe.common.errors import UsageError
from batchpipe.common.given import is_utf_8
from batchpipe.common.secrets import remember

_VARIABLE = re.compile(r"\$\{([^}]*)\}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def names_with_a_quote(text: str, environment: Mapping[str, str]) -> list[str]:
    """Return the `${NAME}` of `text` whose values have a single quote that is not doubled, which ends a text in SQL."""
    names = dict.fromkeys(found[0] for found in _VARIABLE.finditer(text))
    return [each for each in names if "'" in environment.get(each[2:-1], "").replace("''", "")]


def expand_variables(text: str, environment: Mapping[str, str], where: str) -> str:
    """Return `text` with each `${NAME}` replaced. Raises UsageError at `where` for a variable that is not
    set, and for a value that is not UTF-8 text."""

    def value(found: re.Match[str]) -> str:
        name = found[1]
        if not _NAME.fullmatch(name):
            hint = "Write ${NAME} with letters, digits and _."
            raise UsageError(f"${{{name}}} is not the name of a variable", where=where, hint=hint)
        if name not in environment:
            hint = f"Set it: export {name}=..., then run the same command again."
            raise UsageError(f"the environment variable {name} is not set", where=where, hint=hint)
        remember(environment[name], found[0])
        if not is_utf_8(environment[name]):
            hint = f"Set it anew: export {name}=..., then run the same command again."
            raise UsageError(f"the environment variable {name} is not UTF-8 text", where=where, hint=hint)
        return environment[name]

    return _VARIABLE.sub(value, text)
