"""Tests of the promise about rows to come, which all gold rows test in a fixed order.

`pytest tests/quality/test_promises.py --full-sweep` draws 2,000 samples of gold rows for each case.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from decimal import Decimal
from math import comb, inf, sqrt

import pytest
from helpers.confidences import population

from batchpipe.common.errors import UsageError
from batchpipe.evaluation.claims import critical_hits, labels_needed, lower_bound
from batchpipe.evaluation.ladder_cost import FinalAnswer, Row, ThresholdLadder, measure, single
from batchpipe.evaluation.search import AnswerArrays
from batchpipe.evaluation.sequence import GRID, path_of, tune_by_all
from batchpipe.evaluation.tuning import tune_by_half

RISK = 0.05


def draws(full_sweep: bool) -> int:
    return 2_000 if full_sweep else 60


def accuracy_of(rows: Sequence[Row], ladder: ThresholdLadder, known: dict[ThresholdLadder, float]) -> float:
    if ladder not in known:
        known[ladder] = measure(rows, ladder).accuracy.value
    return known[ladder]


@pytest.mark.parametrize(
    ("gold", "target", "promised", "usd"), [(300, 0.86, 0.85, 0.80), (600, 0.86, 0.97, 0.72), (600, 0.88, 0.80, 0.89)]
)
def test_few_gold_rows_give_a_cheap_promise_that_is_kept(
    full_sweep: bool, gold: int, target: float, promised: float, usd: float
) -> None:
    rows = population(5, (0.784, 0.87, 0.914), knows=0.7)
    number, known = draws(full_sweep), dict[ThresholdLadder, float]()
    drawn, given, broken, paid = random.Random(gold), 0, 0, Decimal(0)
    for _ in range(number):
        found = tune_by_all(drawn.sample(rows, gold), target=target, points=0)
        if found.reached:
            given += 1
            broken += accuracy_of(rows, found.ladder, known) < target
            paid += measure(rows, found.ladder).usd_per_1000
    assert given / number >= promised
    assert paid / given <= Decimal(str(usd))
    assert broken / number <= RISK + 2 * sqrt(RISK * (1 - RISK) / number)


@pytest.mark.parametrize("knows", [0.0, 0.5])
def test_a_promise_is_seldom_broken_where_most_ladders_miss_the_target_by_little(
    full_sweep: bool, knows: float
) -> None:
    """Test the hardest case: the most careful ladder is just good enough, and what is cheaper is not."""
    rows = population(11, (0.80, 0.80, 0.80), knows=knows)
    target = accuracy_of(rows, single(3), {}) + 0.0001
    number, known, drawn, broken = 3 * draws(full_sweep), dict[ThresholdLadder, float](), random.Random(3), 0
    for _ in range(number):
        found = tune_by_all(drawn.sample(rows, 250), target=target, points=0)
        broken += found.reached and accuracy_of(rows, found.ladder, known) < target
    assert broken / number <= RISK + 2 * sqrt(RISK * (1 - RISK) / number)
    if not knows:
        assert broken > 0


def test_the_risk_is_what_was_asked_for() -> None:
    rows = population(2, (0.78, 0.85, 0.92), knows=0.7, n=400)
    careful, bold = (tune_by_all(rows, target=0.88, risk=risk, points=0) for risk in (0.001, 0.3))
    assert (careful.risk, bold.risk) == (0.001, 0.3)
    assert bold.reached
    assert not careful.reached or careful.measured.usd_per_1000 >= bold.measured.usd_per_1000


def test_the_exact_test_passes_from_the_critical_number_on() -> None:
    for n, target, risk in [(20, 0.5, 0.05), (149, 0.98, 0.05), (60, 0.9, 0.01), (30, 0.99, 0.05)]:
        hits = critical_hits(n, target, risk)
        tail = [sum(comb(n, k) * target**k * (1 - target) ** (n - k) for k in range(h, n + 1)) for h in range(n + 2)]
        assert all(each > risk for each in tail[:hits])
        assert hits == n + 1 or tail[hits] <= risk
    assert critical_hits(149, 0.98, 0.05) == 149
    assert critical_hits(148, 0.98, 0.05) == 149
    assert critical_hits(50, 1.0, 0.05) == 51


def test_the_lower_limit_is_where_the_test_would_just_pass() -> None:
    low = lower_bound(270, 300, 0.05)
    assert critical_hits(300, low - 1e-6, 0.05) <= 270 < critical_hits(300, low + 1e-6, 0.05)
    assert lower_bound(0, 10, 0.05) == 0.0


def test_a_path_is_what_each_of_its_ladders_does_with_the_rows() -> None:
    rows = population(3, (0.6, 0.7, 0.9), knows=1.0, n=60)
    rows = [[None if place % 7 == 0 else row[0], *row[1:]] for place, row in enumerate(rows)]
    for rungs in ((1, 3), (1, 2, 3), (2, 3)):
        path = path_of(AnswerArrays(rows), rungs)
        assert path.ladders[0].accepts[0] == GRID[0] == 1.0
        assert path.ladders[-1].accepts == (None,) * len(rungs)
        for place in range(0, len(path.ladders), 9):
            result = measure(rows, path.ladders[place])
            assert (result.accuracy.hits, Decimal(round(path.cost[place])) / 10**12) == (
                path.hits[place],
                result.cost_usd,
            )


def test_confidences_that_are_no_probabilities_get_a_grid_of_their_own() -> None:
    rows = [
        [FinalAnswer(valid=True, correct=place > 40, confidence=place - 500.5, cost_usd=Decimal(1)), right]
        for place, right in enumerate(
            FinalAnswer(valid=True, correct=True, confidence=None, cost_usd=Decimal(9)) for _ in range(300)
        )
    ]
    found = tune_by_all(rows, target=0.95, points=0)
    assert found.reached
    assert found.ladder.rungs == (1, 2)
    threshold = found.ladder.accepts[0]
    assert threshold is None or -501 < threshold < -400
    assert found.measured.accuracy.value >= 0.95


def test_too_few_labels_are_told_with_how_many_would_do() -> None:
    rows = population(4, (0.78, 0.85, 0.914), knows=0.7, n=60)
    found = tune_by_all(rows, target=0.97, points=0)
    assert not found.reached
    assert found.promised is not None
    assert found.promised < 0.97
    needed = labels_needed(0.914, 0.88, 0.05)
    assert needed is not None
    hits = critical_hits(needed, 0.88, 0.05)
    passes = sum(comb(needed, k) * 0.914**k * 0.086 ** (needed - k) for k in range(hits, needed + 1))
    assert 0.76 <= passes <= 0.84
    assert labels_needed(0.85, 0.9, 0.05) is None
    assert labels_needed(1.0, 1.0, 0.05) is None


def test_more_is_promised_than_with_half_of_the_gold_rows() -> None:
    rows = population(5, (0.784, 0.87, 0.914), knows=0.7)
    drawn, counted = random.Random(9), [0, 0]
    for _ in range(30):
        some = drawn.sample(rows, 300)
        counted[0] += tune_by_all(some, target=0.86, points=0).reached
        counted[1] += tune_by_half(some, [str(place) for place in range(300)], target=0.86, points=0).reached
    assert counted[0] > counted[1]


@pytest.mark.parametrize(("target", "risk"), [(0.0, 0.05), (1.1, 0.05), (0.9, 0.0), (0.9, 1.0), (0.9, -inf)])
def test_numbers_out_of_range_are_refused(target: float, risk: float) -> None:
    rows = population(4, (0.78, 0.85, 0.914), knows=0.7, n=30)
    with pytest.raises(UsageError):
        tune_by_all(rows, target=target, risk=risk)


def test_a_pipeline_of_one_rung_is_promised_or_not() -> None:
    rows = [[row[2]] for row in population(4, (0.78, 0.85, 0.914), knows=0.7, n=600)]
    assert tune_by_all(rows, target=0.85, points=4).ladder == single(1)
    assert not tune_by_all(rows, target=0.95, points=4).reached
