"""One answer's value held against the gold value."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

Kind = Literal["exact", "numeric", "set", "text"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """How a field is compared.

    `tolerance` is for `numeric`: the greatest difference that still counts as equal, in the field's own unit.
    `pass_mark` is for `text`: the token F1 from which an answer counts as right.
    """

    kind: Kind = "exact"
    tolerance: Decimal = Decimal(0)
    pass_mark: float = 1.0


def score(comparison: Comparison, gold: Any, answer: Any) -> float:
    """How well the answer agrees with gold, from 0 to 1; between them only for `text`, whose score is the token F1."""
    raise NotImplementedError


def is_correct(comparison: Comparison, gold: Any, answer: Any) -> bool:
    """Whether the answer counts as right."""
    raise NotImplementedError


def class_name(value: Any) -> str:
    """A value as the class that macro-F1 and confusions count it under; equal values have equal names."""
    raise NotImplementedError


def token_f1(gold: str, answer: str) -> float:
    """F1 of the words that both hold: Rajpurkar et al., "SQuAD", EMNLP 2016, in the official script's spelling."""
    raise NotImplementedError
