"""Twenty nights: new rows each night, a ladder above, and a local rung that is trained anew from what went up.

The versions of the model are those of one such month. Against them gold rows are drawn again and again, to count how
often a version that passed its test is less right than was promised.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cache
from math import sqrt
from typing import Any

import numpy as np

from batchpipe.evaluation.claims import critical_hits
from batchpipe.evaluation.sequence import choose_ladder
from batchpipe.local_model.trust import drifted, risk_share, weight

from .costs import RISK, new_rows, said_by, train_on
from .money import LOCAL, USD
from .questions import Kind, Said, ladder_rows, models, questions

NIGHTS = 20
AUDIT = 0.02
GOLD = 600
TARGET = 0.86


@dataclass(frozen=True)
class Night:
    """One night: its rows, the share that the local model answered, the price, and the right rows."""

    number: int
    rows: int
    version: int
    local: float
    usd_per_1000: float
    usd_per_1000_right: float
    usd_per_1000_right_without: float
    right: float


@dataclass(frozen=True)
class Month:
    """All nights, and the alarms of drift. `right`: a row per version, whether the ladder with it is right on each row
    to come.
    """

    kind: Kind
    accept: float
    nights: tuple[Night, ...]
    right: Any
    alarms: int


@dataclass(frozen=True)
class Upper:
    """The ladder above the local rung: its answer to every question, and what that costs."""

    said: Said
    usd: Any


def upper_ladder(kind: Kind) -> Upper:
    """Return the first and the last model, with a threshold between them that was promised `TARGET` once."""
    first, last = models(kind)[0], models(kind)[-1]
    gold = random.Random(1).sample(new_rows(), GOLD)
    found = choose_ladder(ladder_rows([first, last], gold, (USD[0], USD[-1])), TARGET + 0.02, RISK)
    least = found.ladder.accepts[0] if len(found.ladder.rungs) == 2 else 1.1
    stays = first.sure >= (least if least is not None else 0.0)
    labels = np.where(stays, first.labels, last.labels)
    usd = np.where(stays, float(USD[0]), float(USD[0] + USD[-1]))
    return Upper(Said(labels, np.where(stays, first.sure, last.sure)), usd)


def accept_for(local: Said, upper: Upper, version: int) -> float | None:
    """Return the least confidence for which the ladder with the local rung is promised `TARGET`; None for none."""
    gold = random.Random(2).sample(new_rows(), GOLD)
    rows = ladder_rows([local, upper.said], gold, (LOCAL, USD[-1]))
    found = choose_ladder(rows, TARGET, RISK * risk_share(version))
    return found.ladder.accepts[0] if found.passed and len(found.ladder.rungs) == 2 else None


def share_right(labels: Any, places: Any) -> float:
    where = np.array(places)
    return float((labels[where] == questions().truths[where]).mean())


def with_version(local: Said, upper: Upper, accept: float) -> Any:
    return np.where(local.sure >= accept, local.labels, upper.said.labels)


@cache
def month(kind: Kind) -> Month:
    """Live through the nights. A version is trained when a tenth more answers are there than at the last training."""
    upper, truths = upper_ladder(kind), questions().truths
    size = questions().answered // NIGHTS
    went_up: list[int] = []
    weights: list[float] = []
    local: Said | None = None
    accept, expected, trained_on, version, audited, agreed, alarms = 0.0, 0.0, 0, 0, 0, 0, 0
    nights, versions = [], []
    for number in range(1, NIGHTS + 1):
        places = np.arange((number - 1) * size, number * size)
        drawn = np.random.default_rng([number, 5]).random(size) < AUDIT
        sure = local.sure[places] >= accept if local is not None else np.zeros(size, dtype=bool)
        up = ~sure | drawn
        looked = places[sure & drawn]
        if local is not None and len(looked):
            audited += len(looked)
            agreed += int((local.labels[looked] == upper.said.labels[looked]).sum())
            alarms += drifted(audited, agreed, expected)
        own = local.labels[places] if local is not None else upper.said.labels[places]
        said = np.where(up, upper.said.labels[places], own)
        right = float((said == truths[places]).mean())
        paid = float(upper.usd[places[up]].sum()) / size * 1000
        without = float(upper.usd[places].mean()) * 1000 / share_right(upper.said.labels, places)
        nights.append(Night(number, size, version, 1 - float(up.mean()), paid, paid / right, without, right))
        went_up += places[up].tolist()
        weights += [
            weight(1.0 if one else 0.0, 0.5, AUDIT, audited_row=bool(other))
            for one, other in zip(sure[up], drawn[up], strict=True)
        ]
        if len(went_up) >= 1.1 * trained_on:
            model = train_on(upper.said.labels, went_up, weights)
            candidate = said_by(model)
            version, trained_on = version + 1, len(went_up)
            if local is None:
                accept = accept_for(candidate, upper, version) or 0.9
            versions.append(with_version(candidate, upper, accept)[list(new_rows())] == truths[list(new_rows())])
            local, audited, agreed = candidate, 0, 0
            expected = model.out_of_fold.agreement(accept).low
    return Month(kind, accept, tuple(nights), np.array(versions), alarms)


@dataclass(frozen=True)
class Broken:
    """How many of the draws break a promise in one of the nights: with a share of the risk for each version, and
    with the whole risk for each.
    """

    case: str
    target: float
    versions: int
    draws: int
    broken: float
    broken_without: float

    @property
    def holds(self) -> bool:
        return self.broken <= RISK + 2 * sqrt(RISK * (1 - RISK) / self.draws)


def broken_by(case: str, target: float, hits: Any) -> Broken:
    """Return the draws (rows of `hits`) in which a version passes, where no version is as right as the target."""
    draws, versions = hits.shape
    shared = [critical_hits(GOLD, target, RISK * risk_share(number + 1)) for number in range(versions)]
    whole = critical_hits(GOLD, target, RISK)
    passed, passed_without = (hits >= np.array(shared)).any(axis=1), (hits >= whole).any(axis=1)
    return Broken(case, target, versions, draws, float(passed.mean()), float(passed_without.mean()))


def promises_over_nights(lived: Month, draws: int, seed: int) -> list[Broken]:
    """Draw gold rows, test every version of a month on them, and count the draws in which a promise is broken.

    Every promise that is given is broken: the target lies just above what the best version reaches. The hardest case
    are versions that miss it by equally little and err on rows of their own.
    """
    drawn = np.random.default_rng(seed)
    rows = lived.right.shape[1]
    target = float(lived.right.mean(axis=1).max()) + 0.0001
    places = [drawn.choice(rows, GOLD, replace=False) for _ in range(draws)]
    hits = np.array([lived.right[:, each].sum(axis=1) for each in places])
    alike = drawn.binomial(GOLD, TARGET - 0.0001, size=(draws, NIGHTS))
    return [
        broken_by(f"the versions of the month, mistakes {lived.kind}", target, hits),
        broken_by("twenty versions that miss the target by 0.01 points", TARGET, alike),
    ]
