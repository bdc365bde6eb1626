"""One answer's value held against the gold value."""

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
class Comparison:
    """How a field is compared.

    `tolerance` is for `numeric`: the greatest difference that still counts as equal, in the field's own unit.
    `pass_mark` is for `text`: the token F1 from which an answer counts as right.
    """

    kind: ComparisonKind = "exact"
    tolerance: Decimal = Decimal(0)
    pass_mark: float = 1.0


PUNCTUATION = str.maketrans("", "", string.punctuation)
ARTICLES = re.compile(r"\b(a|an|the)\b")


def score(comparison: Comparison, gold: Any, answer: Any) -> float:
    """How well the answer agrees with gold, from 0 to 1; between them only for `text`, whose score is the token F1.

    `exact`: equal as `class_name` spells them, so that 1, 1.0 and "1" are equal. `numeric`: |gold - answer| <=
    tolerance, in decimal digits. `set`: the same members, whatever their order and number; NULL is the empty set.
    NULL equals NULL alone.
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


def is_correct(comparison: Comparison, gold: Any, answer: Any) -> bool:
    """Whether the answer counts as right."""
    return score(comparison, gold, answer) >= (comparison.pass_mark if comparison.kind == "text" else 1)


def class_name(value: Any) -> str:
    """A value as the class that macro-F1 and confusions count it under; equal values have equal names."""
    plain = _plain(value)
    return plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False, sort_keys=True)


def _plain(value: Any) -> Any:
    """The value in JSON's types; a whole number has no decimal point, whatever type it came in."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float | Decimal):
        whole = value == value and abs(value) != float("inf") and value == int(value)
        return int(value) if whole else float(value)
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
    """The digits that the value shows: 0.1 is a tenth. None for what is no finite number."""
    if isinstance(value, bool):
        return None
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def token_f1(gold: str, answer: str) -> float:
    """F1 of the words that both hold, as SQuAD's official script (version 2.0) counts them.

    Rajpurkar et al., EMNLP 2016: in lower case, without ASCII punctuation and a, an, the; P = shared / words of the
    answer, R = shared / words of gold, F1 = 2 P R / (P + R). Where either has no words: 1 if neither has, else 0.
    """
    first, second = _words(gold), _words(answer)
    if not first or not second:
        return float(first == second)
    shared = (Counter(first) & Counter(second)).total()
    return 2 * shared / (len(first) + len(second))


def _words(text: str) -> list[str]:
    return ARTICLES.sub(" ", text.lower().translate(PUNCTUATION)).split()
