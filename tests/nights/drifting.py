"""How often the alarm for drift comes with and without drift, and after how many audited rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special

from batchpipe.local_model.trust import FALSE_ALARM, evidence_of_drift

from .costs import train_on
from .questions import Kind, models, questions

OUT_OF_FOLD_ROWS = 4_000
AUDITED_ROWS = 2_000
NEW_INTENTS = 12


@dataclass(frozen=True)
class Drift:
    """In how many of the lives of a version the alarm came, and after how many audited rows at the median."""

    case: str
    lives: int
    audited: int
    alarms: float
    rows_at_median: int | None
    least: float
    most: float

    @property
    def holds(self) -> bool:
        return self.least <= self.alarms <= self.most


def evidences(agreed: Any, expected: Any) -> Any:
    """Return `evidence_of_drift` after each audited row of many lives, in one step."""
    n = np.arange(1, agreed.shape[1] + 1)
    a, b, at = agreed + 1, n - agreed + 1, expected[:, None]
    with np.errstate(divide="ignore"):
        mixed = special.betaln(a, b) + np.log(special.betainc(a, b, at)) - np.log(at)
    return mixed - agreed * np.log(at) - (n - agreed) * np.log(1 - at)


def lives(case: str, usual: float, now: float, count: int, seed: int) -> Drift:
    """Live through lives of a version that agreed with `usual` out of fold, and agrees with `now` on audited rows.

    What is expected is estimated anew in each life, from so many rows as a small ledger has.
    """
    drawn = np.random.default_rng(seed)
    known = drawn.binomial(OUT_OF_FOLD_ROWS, usual, size=count)
    expected = special.betaincinv(known, OUT_OF_FOLD_ROWS - known + 1, FALSE_ALARM / 2)
    agreed = np.cumsum(drawn.random((count, AUDITED_ROWS)) < now, axis=1)
    alarm = evidences(agreed, expected) >= np.log(2 / FALSE_ALARM)
    came, first = alarm.any(axis=1), alarm.argmax(axis=1) + 1
    median = int(np.median(np.where(came, first, 10 * AUDITED_ROWS)))
    least, most = (0.0, FALSE_ALARM) if now >= usual else (0.8, 1.0)
    in_half = median if median <= AUDITED_ROWS else None
    return Drift(case, count, AUDITED_ROWS, float(came.mean()), in_half, least, most)


def drifts(count: int, seed: int) -> list[Drift]:
    assert abs(float(evidences(np.array([[1, 1, 2]]), np.array([0.9]))[0, 2]) - evidence_of_drift(3, 2, 0.9)) < 1e-9
    return [
        lives("no drift, agrees on 92%", 0.92, 0.92, count, seed),
        lives("no drift, agrees on 70%", 0.70, 0.70, count, seed),
        lives("it agrees on 92%, then on 87%", 0.92, 0.87, count, seed),
        lives("it agrees on 92%, then on 82%", 0.92, 0.82, count, seed),
        lives("it agrees on 92%, then on 72%", 0.92, 0.72, count, seed),
    ]


def new_intents(kind: Kind, accept: float, count: int, seed: int) -> Drift:
    """Teach a model without `NEW_INTENTS` of the intents, and let them come in after that."""
    found, upper = questions(), models(kind)[-1].labels
    gone = set(range(0, NEW_INTENTS * 6, 6))
    taught = [place for place in range(found.answered) if int(found.truths[place]) not in gone]
    model = train_on(upper, taught)
    expected = model.out_of_fold.agreement(accept).low
    places = np.arange(found.answered, len(found.texts))
    answers = model.answer([found.texts[place] for place in places])
    sure = np.array([each.confidence >= accept for each in answers])
    agrees = np.array([each.fields["intent"] == upper[place] for each, place in zip(answers, places, strict=True)])[
        sure
    ]
    drawn = np.random.default_rng(seed)
    agreed = np.cumsum(agrees[drawn.integers(len(agrees), size=(count, AUDITED_ROWS))], axis=1)
    alarm = evidences(agreed, np.full(count, expected)) >= np.log(2 / FALSE_ALARM)
    came, first = alarm.any(axis=1), alarm.argmax(axis=1) + 1
    here, usual = f"{agrees.mean():.0%}", f"{expected:.0%}"
    case = f"{NEW_INTENTS} new intents come in: it agrees on {here} of the rows it is sure of, and not on {usual}"
    median = int(np.median(first)) if came.mean() > 0.5 else None
    return Drift(case, count, AUDITED_ROWS, float(came.mean()), median, 0.0, 1.0)
