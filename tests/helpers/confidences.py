"""Confidences of models that tests make up, and rows whose answers by several such models are known."""

from __future__ import annotations

import random
from collections.abc import Sequence
from decimal import Decimal
from math import exp, log

from batchpipe.evaluation.ladder_cost import FinalAnswer, Row

USD_PER_ROW = (Decimal("0.00025"), Decimal("0.00074"), Decimal("0.00124"))
POPULATION = 3_080


def confidence(drawn: random.Random, right: bool, accuracy: float, knows: float = 1.0) -> float:
    """Return a confidence that is the chance of being right as far as the model knows it; with `knows` 0 it knows
    nothing of the row.
    """
    looks = knows * drawn.gauss(1 if right else -1, 1)
    return round(1 / (1 + exp(-(log(accuracy / (1 - accuracy)) + 2 * looks))), 3)


def population(seed: int, accuracies: Sequence[float], *, knows: float, n: int = POPULATION) -> list[Row]:
    """Return rows answered by models of these accuracies.

    Each confidence is the chance of being right as far as the model knows it: with `knows` 0 it says nothing. Mistakes
    of the models fall on the same rows more often than by chance.
    """
    drawn = random.Random(seed)
    rows: list[Row] = []
    for _ in range(n):
        ease = drawn.random()
        row: list[FinalAnswer] = []
        for accuracy, usd in zip(accuracies, USD_PER_ROW, strict=True):
            right = (ease if drawn.random() < 0.5 else drawn.random()) < accuracy
            sure = confidence(drawn, right, accuracy, knows)
            row.append(FinalAnswer(valid=True, correct=right, confidence=sure, cost_usd=usd))
        rows.append(row)
    return rows
