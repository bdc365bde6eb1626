"""Find the name that was most likely meant by a misspelt one, for hints."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

LIKENESS = 0.6  # least likeness of a name that a hint suggests, from 0 to 1
_SHORTEST_WORD = 3  # letters of the beginning or of a word of a name
_SWAPPED = 0.95  # likeness of a name of which two letters are swapped
_LONGEST = 200  # letters that are compared one by one


def nearest(name: str, names: Iterable[str], likeness: float = LIKENESS) -> str | None:
    """Return the one of `names` that `name` is probably a misspelling of; None where none is near.

    Case, spaces, hyphens and underscores do not count. Of names that are equally near the first one is returned.
    """
    found = nearest_names(name, names, 1, likeness)
    return found[0] if found else None


def nearest_names(name: str, names: Iterable[str], most: int, likeness: float = LIKENESS) -> list[str]:
    """Return at most `most` of `names` that are near `name`, the nearest first.

    Near is a name that is alike, that is one slip away (`kye` for `key`), that begins with `name`, or has it as a word.
    """
    typed = _folded(name)
    matcher = difflib.SequenceMatcher(b=typed)
    near = []
    for position, known in enumerate(dict.fromkeys(names)):
        folded = _folded(known)
        matcher.set_seq1(folded)
        begins = len(typed) >= _SHORTEST_WORD and (folded.startswith(typed) or typed in _words(known))
        least = min(likeness, LIKENESS)
        # No measure of likeness is above these two, which are fast.
        if not begins and (matcher.real_quick_ratio() < least or matcher.quick_ratio() < least):
            continue
        longest = max(len(typed), len(folded), 1)
        slips = edit_distance(typed, folded) if longest <= _LONGEST else _LONGEST
        swapped = slips == 1 and sorted(typed) == sorted(folded)
        alike = max(matcher.ratio(), 1 - slips / longest, _SWAPPED if swapped else 0)
        if begins or alike >= likeness or (slips == 1 and longest >= _SHORTEST_WORD):
            near.append((-alike, slips, len(folded) != len(typed), position, known))
    return [known for *_, known in sorted(near)[:most]]


def edit_distance(one: str, other: str) -> int:
    """Return how many letters are inserted, left out, replaced or swapped with their neighbour between two texts.

    This is the restricted Damerau-Levenshtein distance (optimal string alignment).
    """
    before: list[int] = []
    above = list(range(len(other) + 1))
    for row, letter in enumerate(one, 1):
        present = [row]
        for column, across in enumerate(other, 1):
            cost = min(above[column] + 1, present[-1] + 1, above[column - 1] + (letter != across))
            swapped = row > 1 and column > 1 and letter == other[column - 2] and one[row - 2] == across
            present.append(min(cost, before[column - 2] + 1) if swapped else cost)
        before, above = above, present
    return above[-1]


def _folded(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "").replace(" ", "")


def _words(name: str) -> list[str]:
    return re.split(r"[\W_]+", name.lower())
