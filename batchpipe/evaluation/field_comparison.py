"""Compare the value that a model gave to a field with the gold value."""

from __future__ import annotations

import json
import re
import string
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, time
from decimal import Decimal, InvalidOperation
from typing import Any, Literal

ComparisonKind = Literal["exact", "numeric", "set", "text"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldComparison:
    """How the values of a field are compared.

    `tolerance` is for `numeric`: the greatest difference of two numbers that count as equal, in the field's own unit.
    `pass_mark` is for `text`: an answer counts as right if its token F1 is at least this.
    """

    kind: ComparisonKind = "exact"
    tolerance: Decimal = Decimal(0)
    pass_mark: float = 1.0


PUNCTUATION = str.maketrans("", "", string.punctuation)
ARTICLES = re.compile(r"\b(a|an|the)\b")


def score(comparison: FieldComparison, gold: Any, answer: Any) -> float:
    """Return how well the answer agrees with the gold value: 0 or 1, or for `text` the token F1, from 0 to 1.

    `exact`: `class_name` writes both in the same way, so that 1, 1.0 and "1" are equal. `numeric`: |gold - answer| <=
    tolerance, computed with decimals. `set`: both have the same members; order and repetition do not matter, and NULL
    is the empty set. In the other kinds NULL equals only NULL.
    """
    if comparison.kind == "set":
        return float(_members(gold) == _members(answer))
    if gold is None or answer is None:
        return float(gold is None and answer is None)
    if comparison.kind == "numeric":
        return float(_near(gold, answer, comparison.tolerance))
    if comparison.kind == "text":
        return token_f1(class_name(gold), class_name(answer))
    return float(class_name(gold) == class_name(answer))


def is_correct(comparison: FieldComparison, gold: Any, answer: Any) -> bool:
    """Return whether the answer counts as right."""
    return score(comparison, gold, answer) >= (comparison.pass_mark if comparison.kind == "text" else 1)


def class_name(value: Any) -> str:
    """Return the name of the class that macro-F1 and confusions count a value under; equal values have equal names."""
    plain = _plain(value)
    return plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False, sort_keys=True)


def _plain(value: Any) -> Any:
    """Return the value in JSON's types; a whole number becomes an integer, whatever type it had."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float | Decimal):
        whole = value == value and abs(value) != float("inf") and value == int(value)
        if whole:
            return int(value)
        # A Decimal is the double that prints so, where there is one.
        near = float(value)
        return near if isinstance(value, float) or Decimal(repr(near)) == value else str(value.normalize())
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(each) for each in value]
    return str(value)


def _members(value: Any) -> frozenset[str]:
    if value is None:
        return frozenset()
    several = isinstance(value, list | tuple | set | frozenset)
    return frozenset(class_name(each) for each in (value if several else (value,)))


def _near(gold: Any, answer: Any, tolerance: Decimal) -> bool:
    first, second = _number(gold), _number(answer)
    return first is not None and second is not None and abs(first - second) <= tolerance


def _number(value: Any) -> Decimal | None:
    """Return the decimal number that the value prints as (0.1 is a tenth); None if it is no finite number."""
    if isinstance(value, bool):
        return None
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def token_f1(gold: str, answer: str) -> float:
    """Return the F1 of the words that both texts share, computed as the official script of SQuAD 2.0 does.

    Rajpurkar et al., EMNLP 2016: in lower case, without ASCII punctuation and without a, an, the. P = shared words /
    words of the answer, R = shared words / words of gold, F1 = 2 P R / (P + R). If one of them has no words: 1 if the
    other has none either, else 0.
    """
    first, second = _words(gold), _words(answer)
    if not first or not second:
        return float(first == second)
    shared = (Counter(first) & Counter(second)).total()
    return 2 * shared / (len(first) + len(second))


def _words(text: str) -> list[str]:
    return ARTICLES.sub(" ", text.lower().translate(PUNCTUATION)).split()
