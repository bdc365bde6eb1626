"""Simulations of every promise: gold rows are drawn from a table whose truth is known, and broken promises are counted.

A promise is broken where it is given and does not hold in the table. The share is taken over all draws.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from math import sqrt
from typing import Any

from helpers.confidences import confidence, population

from batchpipe.commands.eval.person import Person
from batchpipe.evaluation.claims import Claim, PromisedValues
from batchpipe.evaluation.ladder_cost import FinalAnswer, Row, ThresholdLadder
from batchpipe.evaluation.search import UNITS_PER_USD, AnswerArrays, count_right
from batchpipe.evaluation.sequence import choose_ladder
from batchpipe.evaluation.shares import shares_of

from .bounds import least_coverage, most_worth
from .populations import KNOWS, MISLED, SHARES, Labelled, claim, drawn_rows, labelled, share_of, table

RISK = 0.05
MODELS = (0.784, 0.87, 0.914)


@dataclass(frozen=True)
class Outcome:
    """What came of one case: shares of all draws, and the mean cost of 1,000 rows where a promise was given."""

    promise: str
    case: str
    draws: int
    given: float
    broken: float
    usd: float | None

    @property
    def holds(self) -> bool:
        """Return whether at most the risk, and two standard errors, of the promises are broken."""
        return self.broken <= RISK + 2 * sqrt(RISK * (1 - RISK) / self.draws)


@dataclass(frozen=True)
class Coverage:
    """How often the interval of a share holds the true share, and what 200 reviewed rows are worth.

    `least` is how often it must hold, where that is known, and `most` what the rows can be worth.
    """

    case: str
    value: str
    share: float
    draws: int
    held: float
    worth: float
    least: float | None
    most: float

    @property
    def holds(self) -> bool:
        """Return whether the interval is not too narrow."""
        return self.held >= 0.94 - 2 * sqrt(0.06 * 0.94 / self.draws)

    @property
    def careful(self) -> bool:
        """Return whether the interval is wider than it has to be: for shares from 10% up."""
        noise = 2 * sqrt(0.05 * 0.95 / self.draws)
        return self.share >= 0.1 and self.held > max(0.975, self.least or 0.0) + noise


def accuracy_of_rows_to_come(
    case: str, rows: Sequence[Row], gold: int, target: float, draws: int, seed: int
) -> Outcome:
    """Draw `gold` rows again and again, and promise the accuracy of the table that they were drawn from."""
    whole, drawn = AnswerArrays(rows), random.Random(seed)
    known: dict[ThresholdLadder, tuple[float, float]] = {}
    given, broken, paid = 0, 0, 0.0
    for _ in range(draws):
        found = choose_ladder(whole.subset(drawn.sample(range(whole.n), gold)), target, RISK)
        if not found.passed:
            continue
        if found.ladder not in known:
            hits, cost = count_right(whole, found.ladder)
            known[found.ladder] = hits / whole.n, cost / whole.n * 1000 / UNITS_PER_USD
        accuracy, usd = known[found.ladder]
        given, broken, paid = given + 1, broken + (accuracy < target), paid + usd
    usd_per_1000 = paid / given if given else None
    name = f"{case}, {gold} gold rows, target {target:.4g}"
    return Outcome("accuracy", name, draws, given / draws, broken / draws, usd_per_1000)


def values_of_rows_to_come(
    case: str,
    rows: Sequence[Labelled],
    claims: tuple[Claim, ...],
    target: float | None,
    gold: int,
    draws: int,
    seed: int,
) -> Outcome:
    """Draw gold rows again and again, and promise precision or recall of a value, alone or together."""
    whole, drawn = AnswerArrays([row.row(claims) for row in rows]), random.Random(seed)
    every = (*(() if target is None else (Claim(kind="accuracy", target=target),)), *claims)
    known: dict[ThresholdLadder, bool] = {}
    given = broken = 0
    for _ in range(draws):
        places = drawn.sample(range(whole.n), gold)
        truths = tuple([rows[place].truth == 0 for place in places] for _ in claims)
        found = choose_ladder(whole.subset(places), target, RISK, PromisedValues(claims=claims, truths=truths))
        if found.passed:
            if found.ladder not in known:
                known[found.ladder] = any(share_of(rows, found.ladder, each) < each.target for each in every)
            given, broken = given + 1, broken + known[found.ladder]
    return Outcome("values", f"{case}, {gold} gold rows", draws, given / draws, broken / draws, None)


def with_noise(rows: Sequence[Row], share: float, seed: int) -> list[Row]:
    """Return the rows with so many wrong gold labels: an answer that was right counts as wrong there."""
    drawn = random.Random(seed)
    found: list[Row] = []
    for row in rows:
        wrong = drawn.random() < share
        found.append(
            [each and (FinalAnswer(**(_parts(each) | {"correct": each.correct and not wrong}))) for each in row]
        )
    return found


def _parts(answer: FinalAnswer) -> dict[str, Any]:
    return {name: getattr(answer, name) for name in ("valid", "correct", "confidence", "cost_usd", "has")}


def agreeing(seed: int, n: int = 3_080) -> list[Row]:
    """Return rows whose answers are held against those of a top model, the last rung, which agrees with itself."""
    drawn = random.Random(seed)
    rows: list[Row] = []
    for _ in range(n):
        ease, row = drawn.random(), list[FinalAnswer]()
        for agreement, usd in ((0.82, "0.00025"), (0.92, "0.00074")):
            same = (ease if drawn.random() < 0.5 else drawn.random()) < agreement
            sure = confidence(drawn, same, agreement, 0.7)
            row.append(FinalAnswer(valid=True, correct=same, confidence=sure, cost_usd=Decimal(usd)))
        rows.append([*row, FinalAnswer(valid=True, correct=True, confidence=0.9, cost_usd=Decimal("0.00124"))])
    return rows


def with_person(rows: Sequence[Row], accuracy: float) -> list[Row]:
    """Return the rows with a person as the last rung."""
    person = Person(usd=Decimal("0.05"), accuracy=accuracy, source="given", seconds_per_row=None)
    return [[*row, person.answer(str(place), ())] for place, row in enumerate(rows)]


def promises(draws: int, seed: int) -> list[Callable[[], Outcome]]:
    """Return every case of a promise, to be simulated one after another."""
    usual = population(5, MODELS, knows=0.7)
    same, half = population(11, (0.8,) * 3, knows=0.0), population(11, (0.8,) * 3, knows=0.5)
    edge = sum(bool(row[2] and row[2].correct) for row in same) / len(same) + 0.0001
    accuracy: list[tuple[str, Sequence[Row], int, float]] = [
        ("three models", usual, 300, 0.86),
        ("three models", usual, 600, 0.86),
        ("three models", usual, 600, 0.88),
        ("no model is good enough, confidences say nothing", same, 250, edge),
        ("no model is good enough, confidences say a little", half, 250, edge),
        ("8.7% of the gold labels wrong", with_noise(usual, 0.087, 1), 600, 0.79),
        ("agreement with a top model", agreeing(3), 400, 0.95),
        ("a person as the last rung", with_person(usual, 1.0), 400, 0.94),
        ("a person who is right on 97%", with_person(usual, 0.97), 400, 0.94),
    ]
    values: list[tuple[str, Sequence[Labelled], tuple[Claim, ...], float | None, int]] = [
        ("recall 0.88 of 30% of the rows", labelled(7, 0.3, (0.85, 0.95)), (claim("recall", 0.88),), None, 500),
        ("recall 0.9 of 4% of the rows", labelled(7, 0.04, (0.85, 0.95)), (claim("recall", 0.9),), None, 1000),
        (
            "precision 0.8 of 20%, 2% of the answers fail",
            labelled(7, 0.2, (0.85, 0.95), failing=0.02),
            (claim("precision", 0.8),),
            None,
            500,
        ),
        (
            "recall 0.88, precision 0.75 and accuracy 0.87 together",
            labelled(7, 0.3, (0.85, 0.95)),
            (claim("recall", 0.88), claim("precision", 0.75)),
            0.87,
            500,
        ),
    ]
    found: list[Callable[[], Outcome]] = []
    for case, rows, gold, target in accuracy:
        found.append(lambda c=case, r=rows, g=gold, t=target: accuracy_of_rows_to_come(c, r, g, t, draws, seed))  # type: ignore[misc]
    for name, labels, claims, target_of_all, size in values:
        found.append(
            lambda n=name, r=labels, c=claims, t=target_of_all, g=size: values_of_rows_to_come(
                n, r, c, t, g, draws, seed
            )  # type: ignore[misc]
        )
    return found


# The tables from 71 on were drawn after the intervals were settled: nothing was tuned on them.
TABLES: tuple[tuple[int, float, str], ...] = (
    (3, 0.784, "uniform"),
    (3, 0.914, "uniform"),
    (3, 0.97, "uniform"),
    (3, 0.914, "by doubt"),
    (21, 0.784, "by doubt"),
    (22, 0.784, "by doubt"),
    (53, 0.784, "by doubt, which is misled"),
    (54, 0.914, "by doubt, which is misled"),
    (71, 0.784, "uniform"),
    (72, 0.914, "uniform"),
    (73, 0.97, "uniform"),
    (75, 0.914, "by doubt"),
    (76, 0.784, "by doubt, which is misled"),
    (77, 0.914, "by doubt, which is misled"),
    (78, 0.97, "by doubt"),
    (79, 0.784, "by doubt"),
)


def coverages(draws: int, seed: int) -> list[Coverage]:
    """Simulate the interval of each share, with 200 reviewed rows of 2,977."""
    return [each for case in TABLES for each in coverages_of(*case, draws, seed)]


def coverages_of(number: int, accuracy: float, sample: str, draws: int, seed: int) -> list[Coverage]:
    """Simulate the intervals of one table, whose number is the seed that it is drawn with."""
    doubtful_share = MISLED if sample.endswith("misled") else KNOWS
    rows = table(number, SHARES, accuracy, by_doubt=sample != "uniform", doubtful_share=doubtful_share)
    drawn, truth = random.Random(seed), {value: rows.share(value) for value in SHARES}
    held, worth = dict.fromkeys(SHARES, 0), dict.fromkeys(SHARES, 0.0)
    for _ in range(draws):
        for each in shares_of(drawn_rows(rows, drawn), None):
            assert each.value is not None
            assert each.low is not None
            assert each.high is not None
            held[each.value] += each.low <= truth[each.value] <= each.high
            worth[each.value] += each.worth / draws
    case = f"a model right on {accuracy:.1%}, sample {sample}"
    case += f", table {number}" if number != 3 else ""
    return [
        Coverage(
            case=case,
            value=value,
            share=share,
            draws=draws,
            held=held[value] / draws,
            worth=worth[value],
            least=least_coverage(rows, value),
            most=most_worth(rows, value),
        )
        for value, share in SHARES.items()
    ]


def promise_table(found: Sequence[Outcome]) -> str:
    """Return the outcomes as a Markdown table."""
    lines = ["| Promise | Case | Given | Broken | USD per 1,000 rows |", "| --- | --- | ---: | ---: | ---: |"]
    for each in found:
        usd = f"{each.usd:.2f}" if each.usd is not None else ""
        lines.append(f"| {each.promise} | {each.case} | {each.given:.1%} | {each.broken:.1%} | {usd} |")
    return "\n".join(lines)


def coverage_table(found: Sequence[Coverage]) -> str:
    """Return the coverages, and what the reviewed rows are worth, as two Markdown tables."""
    head = f"| Table | {' | '.join(f'{share:.0%}' for share in SHARES.values())} |\n| --- |{' ---: |' * len(SHARES)}"
    held, worth = [], []
    for case in dict.fromkeys(each.case for each in found):
        shares = [each for each in found if each.case == case]
        forced = (f" (at least {each.least:.1%})" if (each.least or 0) > 0.975 else "" for each in shares)
        cells = (f"{each.held:.1%}{more}" for each, more in zip(shares, forced, strict=True))
        held.append(f"| {case} | {' | '.join(cells)} |")
        worth.append(f"| {case} | {' | '.join(f'{each.worth:,.0f} of {each.most:,.0f}' for each in shares)} |")
    words = "What 200 reviewed rows are worth, of what they can be worth at most:"
    return "\n".join([head, *held, "", words, "", head, *worth])
