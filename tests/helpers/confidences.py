"""Confidences of models that tests make up."""

from __future__ import annotations

import random
from math import exp, log


def confidence(drawn: random.Random, right: bool, accuracy: float, knows: float = 1.0) -> float:
    """Return a confidence that is the chance of being right as far as the model knows it; with `knows` 0 it knows
    nothing of the row.
    """
    looks = knows * drawn.gauss(1 if right else -1, 1)
    return round(1 / (1 + exp(-(log(accuracy / (1 - accuracy)) + 2 * looks))), 3)
