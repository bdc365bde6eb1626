"""Thresholds that reach a target accuracy at the least cost, with a promise that holds for other rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from batchpipe.evaluation.ladder_cost import Ladder, Measured, Row


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One ladder of the curve: cheapest for its accuracy on the tuning half, and what it gives on the other."""

    tuned_on: Measured
    held_out: Measured


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """What tuning found.

    `reached` says whether the promise is given; where it is not, `ladder` is the best there is (the most accurate).
    `tuned_on` and `held_out` are that ladder on the half that chose it and on the other, `promised` the accuracy that
    is promised for the other half's rows (below the target where it is not reached). `guarantee` says it in words.
    `curve` runs from the cheapest to the most accurate, `singles` are the rungs alone on the other half, and
    `cheapest_single` is the cheapest of them per correct row that reaches the target there.
    """

    target: float
    reached: bool
    ladder: Ladder
    tuned_on: Measured
    held_out: Measured
    promised: float
    guarantee: str
    curve: tuple[Point, ...]
    singles: tuple[Measured, ...]
    cheapest_single: Measured | None


def tune(rows: Sequence[Row], keys: Sequence[str], *, target: float, seed: int = 0) -> Tuning:
    """The cheapest ladder that can be promised to reach `target` on the rows that did not choose it.

    `keys` name the rows and with `seed` decide the halves. UsageError for fewer than 20 rows or a target outside
    0 to 1.
    """
    raise NotImplementedError


def accept_condition(threshold: float, confidence: str = "confidence") -> str:
    """The SQL of `accept`: `confidence >= 0.8125`, where `confidence` is a field's name or an SQL expression."""
    raise NotImplementedError
