"""What 1,000 right rows cost at a promised accuracy: the models alone, the ladder, the ladder with the local rung."""

from __future__ import annotations

import random
import resource
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from batchpipe.evaluation.ladder_cost import ThresholdLadder
from batchpipe.evaluation.search import UNITS_PER_USD, AnswerArrays, count_right
from batchpipe.evaluation.sequence import choose_ladder
from batchpipe.local_model.model import LocalModel
from batchpipe.local_model.training import train

from .money import LOCAL, USD
from .questions import Kind, Said, ladder_rows, models, questions

RISK = 0.05
SEED = 0


@dataclass(frozen=True)
class Cost:
    """What came of the draws of gold rows: shares of all draws, and the mean price of 1,000 right rows."""

    kind: Kind
    ladder: str
    target: float
    gold: int
    draws: int
    given: float
    broken: float
    usd_per_1000_right: float | None

    @property
    def holds(self) -> bool:
        """Return whether the promise was kept in at least 95% of the draws."""
        return self.broken <= RISK


def cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def train_on(labels: Any, places: Sequence[int], weights: Sequence[float] | None = None) -> LocalModel:
    """Train on the questions at `places`, with these labels for all questions."""
    found = questions()
    return train(
        [found.texts[place] for place in places],
        [{"intent": int(labels[place])} for place in places],
        weights or [1.0] * len(places),
        {"intent": list(range(len(found.intents)))},
        seed=SEED,
        keep_rows=False,
    )


def said_by(local: LocalModel) -> Said:
    """Return what the local model says of every question."""
    answers = local.answer(questions().texts)
    labels = [each.fields["intent"] for each in answers]
    return Said(np.array(labels), np.array([each.confidence for each in answers]))


@cache
def learnt(kind: Kind, rows: int) -> Said:
    """Return what a local model says that was taught by the best model's answers to the first `rows` questions."""
    return said_by(train_on(models(kind)[-1].labels, range(rows)))


def new_rows() -> range:
    return range(questions().answered, len(questions().texts))


def with_local(kind: Kind, rows: int) -> AnswerArrays:
    return ladder_rows([learnt(kind, rows), *models(kind)], new_rows(), (LOCAL, *USD))


def without_local(kind: Kind) -> AnswerArrays:
    return ladder_rows(models(kind), new_rows(), USD)


def cost(kind: Kind, ladder: str, whole: AnswerArrays, target: float, gold: int, draws: int, seed: int) -> Cost:
    """Draw gold rows from the new ones again and again, tune the ladder, and hold it against all of them."""
    drawn, known = random.Random(seed), dict[ThresholdLadder, tuple[float, float]]()
    given, broken, usd = 0, 0, 0.0
    for _ in range(draws):
        found = choose_ladder(whole.subset(drawn.sample(range(whole.n), gold)), target, RISK)
        if not found.passed:
            continue
        if found.ladder not in known:
            hits, units = count_right(whole, found.ladder)
            known[found.ladder] = hits / whole.n, units / UNITS_PER_USD / max(hits, 1) * 1000
        accuracy, price = known[found.ladder]
        given, broken, usd = given + 1, broken + (accuracy < target), usd + price
    mean = usd / given if given else None
    return Cost(kind, ladder, target, gold, draws, given / draws, broken / draws, mean)


def alone(kind: Kind) -> list[tuple[float, float]]:
    """Return for each model its accuracy on the new rows, and what 1,000 right ones cost."""
    truths = questions().truths[new_rows()]
    right = [float((each.labels[new_rows()] == truths).mean()) for each in models(kind)]
    return [(share, float(usd) * 1000 / share) for share, usd in zip(right, USD, strict=True)]


def local_accuracy(kind: Kind, rows: int) -> float:
    return float((learnt(kind, rows).labels[new_rows()] == questions().truths[new_rows()]).mean())
