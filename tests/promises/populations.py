"""Tables whose truth is known, from which gold rows and reviewed rows are drawn."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from helpers.confidences import confidence

from batchpipe.evaluation.claims import Claim
from batchpipe.evaluation.ladder_cost import FinalAnswer, Row, ThresholdLadder
from batchpipe.evaluation.shares import Reviewed

USD = (Decimal("0.00025"), Decimal("0.00124"))


@dataclass(frozen=True)
class Labelled:
    """A row with its true value, and what each model says; value 0 is the promised one."""

    truth: int
    said: tuple[int, ...]
    sure: tuple[float, ...]

    def row(self, claims: Sequence[Claim]) -> Row:
        return [
            FinalAnswer(
                valid=said >= 0,
                correct=said == self.truth,
                confidence=sure,
                cost_usd=usd,
                has=(said == 0,) * len(claims),
            )
            for said, sure, usd in zip(self.said, self.sure, USD, strict=True)
        ]


def labelled(
    seed: int, share: float, accuracies: Sequence[float], n: int = 4_000, failing: float = 0.0
) -> list[Labelled]:
    drawn, rows = random.Random(seed), []
    for _ in range(n):
        truth = 0 if drawn.random() < share else drawn.randint(1, 4)
        ease, said, sure = drawn.random(), [], []
        for accuracy in accuracies:
            right = (ease if drawn.random() < 0.5 else drawn.random()) < accuracy
            answer = truth if right else drawn.choice([each for each in range(5) if each != truth])
            said.append(-1 if drawn.random() < failing else answer)
            sure.append(confidence(drawn, right, accuracy, 0.7))
        rows.append(Labelled(truth, tuple(said), tuple(sure)))
    return rows


def kept(row: Labelled, ladder: ThresholdLadder) -> int:
    """Return what the ladder says of a row, worked out apart from the code that tunes; -1 if it fails."""
    newest = -1
    for place, rung in enumerate(ladder.rungs):
        said = row.said[rung - 1]
        if said < 0:
            continue
        newest = said
        thresholds = ladder.for_values if ladder.for_values is not None and said == 0 else ladder.accepts
        threshold = thresholds[place]
        if threshold is None or row.sure[rung - 1] >= threshold:
            break
    return newest


def share_of(rows: Sequence[Labelled], ladder: ThresholdLadder, claim: Claim) -> float:
    pairs = [(row.truth, kept(row, ladder)) for row in rows]
    if claim.kind == "accuracy":
        return sum(truth == said for truth, said in pairs) / len(pairs)
    counted = [pair for pair in pairs if pair[0 if claim.kind == "recall" else 1] == 0]
    return sum(truth == said for truth, said in counted) / len(counted)


def claim(kind: Any, target: float) -> Claim:
    return Claim(kind=kind, field="label", value="complaint", target=target)


ROWS = 2_977
REVIEWED = 200


@dataclass(frozen=True)
class Table:
    truths: Sequence[str]
    answers: Sequence[str]
    probabilities: Sequence[float]

    def share(self, value: str) -> float:
        return self.truths.count(value) / len(self.truths)


# How often a right and a wrong answer are doubtful: a model that knows a part of its mistakes, and one that is misled.
KNOWS, MISLED = (0.3, 0.8), (0.8, 0.3)


def table(
    seed: int,
    shares: dict[str, float],
    accuracy: float,
    *,
    by_doubt: bool = False,
    doubtful_share: tuple[float, float] = KNOWS,
) -> Table:
    """Return a table whose model is right on the share `accuracy` of the rows."""
    drawn = random.Random(seed)
    truths = [value for value, share in shares.items() for _ in range(round(share * ROWS))]
    drawn.shuffle(truths)
    answers, weights = [], []
    for truth in truths:
        right = drawn.random() < accuracy
        answers.append(truth if right else drawn.choice([each for each in shares if each != truth]))
        doubtful = drawn.random() < doubtful_share[0 if right else 1]
        weights.append((1.8 if doubtful else 0.5) if by_doubt else 1.0)
    scale = REVIEWED / sum(weights)
    return Table(truths, answers, [min(each * scale, 1.0) for each in weights])


def drawn_rows(rows: Table, drawn: random.Random) -> Reviewed:
    """Draw the first rows in the order of number / probability, as `review` shows them."""
    ranks = [drawn.random() / each for each in rows.probabilities]
    order = sorted(range(len(ranks)), key=ranks.__getitem__)
    limit = ranks[order[REVIEWED]]
    places = order[:REVIEWED]
    return Reviewed(
        answers=rows.answers,
        places=places,
        truths=[rows.truths[place] for place in places],
        probabilities=[min(rows.probabilities[place] * limit, 1.0) for place in places],
    )


SHARES = {"a": 0.4, "b": 0.25, "c": 0.15, "d": 0.1, "e": 0.06, "f": 0.03, "g": 0.01}
