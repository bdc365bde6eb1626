"""How many of the first model's errors a person finds who looks at a fifth of the rows, in three orders."""

from __future__ import annotations

import random
from dataclasses import dataclass

from batchpipe.evaluation.error_model import AnswerFeatures, ReviewedAnswer, by_confidence, doubts_by_model

from .costs import new_rows, train_on
from .questions import Kind, models, questions

REVIEWED = 500
LOOKED_AT = 0.2


@dataclass(frozen=True)
class Found:
    """The mean share of the errors that is found, by the confidence, without and with the local model."""

    kind: Kind
    draws: int
    by_confidence: float
    without_local: float
    with_local: float

    @property
    def holds(self) -> bool:
        return self.with_local >= self.by_confidence - 0.005


def errors_found(kind: Kind, draws: int, seed: int) -> Found:
    """Review a sample of the first model's answers to the new rows, and order the others by what it teaches."""
    known, places = questions(), list(new_rows())
    first, best = models(kind)[0], models(kind)[-1]
    local = train_on(best.labels, range(known.answered))
    chances = local.chances([known.texts[at] for at in places], [{"intent": int(first.labels[at])} for at in places])
    rows = [
        ReviewedAnswer(
            features=AnswerFeatures(
                confidence=float(first.sure[at]), rung=1, values=str(first.labels[at]), agreement=None, chance=chance
            ),
            wrong=bool(first.labels[at] != known.truths[at]),
            sampled=True,
        )
        for at, chance in zip(places, chances, strict=True)
    ]
    drawn, sums = random.Random(seed), [0.0, 0.0, 0.0]
    for _ in range(draws):
        drawn.shuffle(rows)
        reviewed, others = rows[:REVIEWED], [each.features for each in rows[REVIEWED:]]
        plain = [by_confidence(each) for each in others]
        blind = [ReviewedAnswer(features=_without(each.features), wrong=each.wrong, sampled=True) for each in reviewed]
        orders = (
            plain,
            doubts_by_model(blind, [_without(each) for each in others]) or plain,
            doubts_by_model(reviewed, others) or plain,
        )
        for number, doubts in enumerate(orders):
            order = sorted(range(len(others)), key=lambda place, by=doubts: -by[place])  # type: ignore[misc]
            looked = order[: round(len(others) * LOOKED_AT)]
            wrong = [each.wrong for each in rows[REVIEWED:]]
            sums[number] += sum(wrong[place] for place in looked) / sum(wrong) / draws
    return Found(kind, draws, *sums)


def _without(features: AnswerFeatures) -> AnswerFeatures:
    return AnswerFeatures(
        confidence=features.confidence, rung=features.rung, values=features.values, agreement=features.agreement
    )
