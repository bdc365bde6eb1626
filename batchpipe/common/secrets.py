"""Take the values of `${NAME}` and of keys out of every text that leaves the process.

A value is remembered at the moment it is used. From then on errors, logs, spans and events show `${NAME}` in its place.
"""

from __future__ import annotations

import json
import re
from urllib.parse import quote, quote_plus

# A shorter value, and one that is a short word, is taken out only where it stands as a word of its own: else it would
# be found in half of all words.
SHORTEST_PART = 4
# From this length on a value is taken out within words too, and in any case of its letters, because servers' names come
# back in lower case.
SHORTEST_FOLDED = 8

_shown: dict[str, str] = {}
_patterns: list[tuple[re.Pattern[str], str]] = []


def remember(value: str, shown: str) -> None:
    """Let `redacted` replace `value` by `shown` from now on, also where it is quoted, encoded or in lines."""
    if not value.strip() or _shown.get(value) == shown:
        return
    _shown[value] = shown
    forms = {form: name for known, name in _shown.items() for form in _forms(known)}
    # The longest value first, because one value may be a part of another.
    _patterns[:] = [(_pattern(form), forms[form]) for form in sorted(forms, key=len, reverse=True)]


def forget() -> None:
    """Forget all values. A command begins so; one process may run several."""
    _shown.clear()
    _patterns.clear()


def redacted(text: str) -> str:
    """Return `text` with each remembered value replaced."""
    for pattern, shown in _patterns:
        text = pattern.sub(lambda _, shown=shown: shown, text)  # type: ignore[misc]
    return text


def _forms(value: str) -> set[str]:
    """Return the forms in which `value` may stand in a text: in SQL, JSON, a URL or a Python literal, or one line."""
    lines = [each.strip() for each in value.splitlines() if len(each.strip()) >= SHORTEST_PART]
    # A value may have been written for a place between quotes, and comes back without what escaped them.
    plain = {value, value.strip(), *lines, value.replace("''", "'"), re.sub(r"\\(.)", r"\1", value)}
    encoded = {
        form
        for each in plain
        for form in (
            each.replace("'", "''"),
            each.replace('"', '""'),
            json.dumps(each)[1:-1],
            json.dumps(each, ensure_ascii=False)[1:-1],
            quote(each, safe="", errors="surrogateescape"),
            quote(each, errors="surrogateescape"),
            quote_plus(each, errors="surrogateescape"),
            repr(each)[1:-1],
        )
    }
    return {value} | {form for form in plain | encoded if len(form) >= SHORTEST_PART}


def _pattern(form: str) -> re.Pattern[str]:
    if len(form) < SHORTEST_PART or (len(form) < SHORTEST_FOLDED and form.isalnum()):
        return re.compile(rf"(?<![^\W_]){re.escape(form)}(?![^\W_])")
    return re.compile(re.escape(form), re.IGNORECASE if len(form) >= SHORTEST_FOLDED else 0)
