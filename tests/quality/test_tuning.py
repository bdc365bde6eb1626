"""Tests of ladders on known answers, and of tuned thresholds, whose promise holds on rows that were not used
for tuning.
"""

from __future__ import annotations

import csv
import json
import random
import re
import time
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from functools import cache
from itertools import product
from math import ceil, comb
from xml.etree import ElementTree

import duckdb
import pytest
from checkout import DATA
from helpers.confidences import confidence
from hypothesis import given, settings
from hypothesis import strategies as st

from batchpipe.charts.tuning_curve import tuning_curve
from batchpipe.common.errors import UsageError
from batchpipe.evaluation.field_comparison import FieldComparison, is_correct
from batchpipe.evaluation.ladder_cost import Climb, FinalAnswer, Row, ThresholdLadder, climb, measure, single
from batchpipe.evaluation.promise import allowed_wrong, breach_chance, wrong_limit
from batchpipe.evaluation.search import AnswerArrays, count_right, grid, shortest_between, try_thresholds
from batchpipe.evaluation.tuning import Tuning, accept_condition, halves, tune_by_half

BANKING = DATA / "banking77"
MODELS = ("small", "middle", "large")
ACCURACIES = (0.80, 0.88, 0.95)
USD_PER_ROW = (Decimal("0.00031"), Decimal("0.00117"), Decimal("0.00485"))
TARGET = 0.90
SPLITS = 100
TUNE_CPU_SECONDS = 2

YES = FinalAnswer(valid=True, correct=True, confidence=0.9, cost_usd=Decimal(1))
NO = replace(YES, correct=False)
UNSURE = replace(YES, confidence=0.3)
WRONG_UNSURE = replace(NO, confidence=0.3)
SILENT = replace(YES, confidence=None)
FAILED = FinalAnswer(valid=False, correct=False, confidence=None, cost_usd=Decimal(1))


def made_up(drawn: random.Random, right: Sequence[bool], accuracy: float, cost_usd: Decimal) -> list[FinalAnswer]:
    """Return answers that are right where `right` says, each with a confidence that is the true chance of
    being right.
    """
    answers = []
    for each in right:
        sure = confidence(drawn, each, accuracy)
        answers.append(FinalAnswer(valid=True, correct=each, confidence=sure, cost_usd=cost_usd))
    return answers


@cache
def banking() -> tuple[tuple[Row, ...], tuple[str, ...]]:
    """Return the test questions answered by three made-up models, each right on exactly its share of the rows."""
    if not (BANKING / "test.csv").is_file():
        pytest.skip("the questions of banking77 are not beside this checkout")
    with (BANKING / "test.csv").open(encoding="utf-8", newline="") as file:
        gold = [row["category"] for row in csv.DictReader(file)]
    categories = json.loads((BANKING / "categories.json").read_text(encoding="utf-8"))
    drawn = random.Random(77)
    columns = []
    for accuracy, cost_usd in zip(ACCURACIES, USD_PER_ROW, strict=True):
        wrong = set(drawn.sample(range(len(gold)), len(gold) - round(accuracy * len(gold))))
        labels = [
            drawn.choice([each for each in categories if each != label]) if place in wrong else label
            for place, label in enumerate(gold)
        ]
        right = [is_correct(FieldComparison(), *pair) for pair in zip(gold, labels, strict=True)]
        columns.append(made_up(drawn, right, accuracy, cost_usd))
    return tuple(zip(*columns, strict=True)), tuple(f"question {place}" for place in range(len(gold)))


def noise(seed: int, n: int, accuracies: Sequence[float]) -> list[Row]:
    """Return rows whose confidences do not depend on whether the answer is right."""
    drawn = random.Random(seed)
    return [
        tuple(
            FinalAnswer(
                valid=drawn.random() < 0.98,
                correct=drawn.random() < accuracy / 0.98,
                confidence=round(drawn.random(), 2),
                cost_usd=Decimal(10) ** place,
            )
            for place, accuracy in enumerate(accuracies)
        )
        for _ in range(n)
    ]


def keys_of(rows: Sequence[Row]) -> list[str]:
    return [str(place) for place in range(len(rows))]


def reaches(tuning: Tuning) -> bool:
    return tuning.measured.accuracy.hits >= ceil(Decimal(str(tuning.target)) * tuning.measured.accuracy.n)


def test_made_up_models_have_the_accuracy_they_are_known_for() -> None:
    rows, _ = banking()
    hits = [measure(rows, single(rung)).accuracy.hits for rung in (1, 2, 3)]
    assert hits == [round(accuracy * len(rows)) for accuracy in ACCURACIES]


def test_in_95_of_100_splits_the_other_half_reaches_the_target_for_less_than_a_single_model() -> None:
    rows, keys = banking()
    found = [tune_by_half(rows, keys, target=TARGET, seed=seed, points=0) for seed in range(SPLITS)]
    kept = [each for each in found if each.reached and reaches(each)]
    assert len(kept) >= 95
    assert len([each for each in found if each.reached and not reaches(each)]) <= 5
    for each in kept:
        assert each.cheapest_single is not None
        paid, alone = each.measured.usd_per_1000_correct, each.cheapest_single.usd_per_1000_correct
        assert paid is not None
        assert alone is not None
        assert paid < alone


def test_a_promise_is_seldom_broken_where_every_model_is_just_good_enough_and_confidence_is_noise() -> None:
    """Test the hardest case: half of all ladders miss the target on the held-out half, and the best of them is
    so by chance.
    """
    broken = given_at_all = 0
    for seed in range(200):
        rows = noise(seed, 240, (0.8, 0.8, 0.8))
        found = tune_by_half(rows, keys_of(rows), target=0.8, seed=seed, points=0)
        given_at_all += found.reached
        broken += found.reached and not reaches(found)
    assert given_at_all > 0
    assert broken <= 10


def test_a_target_that_no_ladder_reaches_is_said_and_the_best_there_is_is_given() -> None:
    rows, keys = banking()
    found = tune_by_half(rows, keys, target=0.995)
    assert not found.reached
    assert found.promised is not None
    assert found.promised < 0.995
    assert found.cheapest_single is None
    assert "None passed for 99.5%" in found.guarantee
    best_single = max(each.accuracy.value for each in found.singles)
    assert found.measured.accuracy.value >= best_single - 0.01
    assert found.measured.accuracy.value >= found.promised


def test_few_rows_promise_little() -> None:
    rows, keys = banking()
    found = tune_by_half(rows[:40], keys[:40], target=TARGET)
    assert not found.reached
    assert found.promised is not None
    assert found.promised < TARGET


def test_the_guarantee_names_rows_method_and_source() -> None:
    rows, keys = banking()
    words = tune_by_half(rows, keys, target=TARGET, points=0).guarantee
    for each in (
        "1,540 of 3,080",
        "513",
        "1,027",
        "90.0%",
        "1 in 20",
        "Learn then Test",
        "Thatcher 1964",
        "both halves",
    ):
        assert each in words
    assert "passed is promised" in words


def test_tuning_is_quick() -> None:
    rows, keys = banking()
    tune_by_half(rows[:100], keys[:100], target=TARGET)
    before = time.process_time()
    tune_by_half(rows, keys, target=TARGET)
    assert time.process_time() - before < TUNE_CPU_SECONDS


def test_the_half_that_was_not_tuned_on_has_no_say() -> None:
    rows, keys = banking()
    _, other = halves(keys, 5)
    spoiled = list(rows)
    for place in other:
        spoiled[place] = tuple(replace(each, correct=False, confidence=0.5) for each in rows[place] if each)
    first, second = (tune_by_half(each, keys, target=TARGET, seed=5) for each in (rows, spoiled))
    assert (first.ladder, first.promised, first.tuned_on) == (second.ladder, second.promised, second.tuned_on)
    assert [each.tuned_on for each in first.curve] == [each.tuned_on for each in second.curve]
    assert second.measured.accuracy.hits == 0


def test_halves_depend_on_keys_and_seed_alone() -> None:
    keys = [f"key {place}" for place in range(1001)]
    tuning, other = halves(keys, 3)
    assert sorted([*tuning, *other]) == list(range(1001))
    assert (len(tuning), len(other)) == (500, 501)
    turned = halves(keys[::-1], 3)[0]
    assert {keys[place] for place in tuning} == {keys[::-1][place] for place in turned}
    assert set(tuning) != set(halves(keys, 4)[0])


@pytest.mark.parametrize(("n", "target"), [(19, 0.9), (200, 0.0), (200, 1.01), (200, -1)])
def test_what_cannot_be_tuned_is_a_usage_error(n: int, target: float) -> None:
    rows = noise(1, n, (0.5, 0.8))
    with pytest.raises(UsageError):
        tune_by_half(rows, keys_of(rows), target=target)


def test_rows_without_confidence_are_tuned_to_a_single_model() -> None:
    rows = [(replace(SILENT, correct=place % 3 > 0), SILENT) for place in range(400)]
    found = tune_by_half(rows, keys_of(rows), target=TARGET)
    assert (found.reached, found.ladder) == (True, single(2))


def test_a_rung_that_helps_nothing_is_left_out() -> None:
    """Return rows whose middle rung costs more than the first and is no better."""
    rows, keys = banking()
    dear = [(row[0], replace(row[0], cost_usd=Decimal("0.002")), row[2]) for row in rows if row[0]]
    found = tune_by_half(dear, keys, target=TARGET)
    assert found.reached
    assert found.ladder.rungs == (1, 3)


def test_prediction_limits_hold_for_every_number_of_wrong_rows() -> None:
    """Check by counting all splits that the limit is exceeded with at most the risk, whatever the number of
    wrong rows.
    """
    for n, other, risk in product((1, 4, 9), (1, 5, 8), (0.05, 0.2)):
        for wrong in range(n + other + 1):
            ways = {
                seen: comb(n, seen) * comb(other, wrong - seen)
                for seen in range(max(0, wrong - other), min(n, wrong) + 1)
            }
            passed = sum(ways[seen] for seen in ways if wrong - seen > wrong_limit(n, seen, other, risk))
            assert passed / comb(n + other, wrong) <= risk + 1e-12


def test_the_chance_is_the_greatest_there_is() -> None:
    for n, other in product((3, 6), (2, 7)):
        for seen, unseen in product(range(n), range(other)):
            worst = max(
                sum(
                    comb(n, each) * comb(other, wrong - each)
                    for each in range(max(0, wrong - other), min(n, wrong, seen) + 1)
                    if wrong - each > unseen
                )
                / comb(n + other, wrong)
                for wrong in range(n + other + 1)
            )
            assert breach_chance(n, seen, other, unseen) == pytest.approx(worst, abs=1e-12)


@pytest.mark.parametrize(("n", "target", "expected"), [(1540, 0.9, 154), (10, 0.95, 0), (7, 1.0, 0), (3, 0.5, 1)])
def test_rows_that_may_be_wrong_are_counted_to_the_digit(n: int, target: float, expected: int) -> None:
    assert allowed_wrong(n, target) == expected


BOTH = ThresholdLadder(rungs=(1, 2), accepts=(0.5, None))
STRICT = ThresholdLadder(rungs=(1, 2), accepts=(0.5, 0.5))


@pytest.mark.parametrize(
    ("row", "ladder", "rung", "correct", "review", "cost_usd"),
    [
        pytest.param((YES, NO), BOTH, 1, True, False, 1, id="accepted at once"),
        pytest.param((UNSURE, NO), BOTH, 2, False, False, 2, id="below the threshold goes up"),
        pytest.param((SILENT, NO), BOTH, 2, False, False, 2, id="no confidence goes up"),
        pytest.param((FAILED, YES), BOTH, 2, True, False, 2, id="invalid goes up"),
        pytest.param((UNSURE, FAILED), BOTH, 1, True, True, 2, id="above failed: the newest valid one is kept"),
        pytest.param((NO, WRONG_UNSURE), STRICT, 1, False, False, 1, id="an accepted answer is not asked again"),
        pytest.param((UNSURE, WRONG_UNSURE), STRICT, 2, False, True, 2, id="kept on the last rung, for review"),
        pytest.param((FAILED, FAILED), BOTH, None, False, False, 2, id="failed"),
        pytest.param((None, YES), BOTH, 2, True, False, 1, id="a rung that `when` passes by costs nothing"),
        pytest.param((UNSURE, None), BOTH, 1, True, True, 1, id="no rung is left"),
        pytest.param((None, None), BOTH, None, False, False, 0, id="no rung at all"),
        pytest.param((YES, NO), single(2), 2, False, False, 1, id="a rung that is not used costs nothing"),
        pytest.param((replace(YES, confidence=0.5), NO), BOTH, 1, True, False, 1, id="at the threshold is accepted"),
    ],
)
def test_one_rows_way(
    row: Row, ladder: ThresholdLadder, rung: int | None, correct: bool, review: bool, cost_usd: int
) -> None:
    assert climb(row, ladder) == Climb(rung=rung, correct=correct, review=review, cost_usd=Decimal(cost_usd))


ANSWERS = st.none() | st.builds(
    FinalAnswer,
    valid=st.booleans(),
    correct=st.booleans(),
    confidence=st.none() | st.sampled_from([0.1, 0.5, 0.5, 0.9, 1.0, 87.5, -3.0, float("nan"), float("inf")]),
    cost_usd=st.decimals(min_value=0, max_value=2, places=6),
).map(lambda each: replace(each, correct=each.correct and each.valid))
TABLES = st.integers(1, 4).flatmap(lambda rungs: st.lists(st.tuples(*[ANSWERS] * rungs), min_size=1, max_size=12))


@given(TABLES)
@settings(max_examples=60, deadline=None)
def test_all_ladders_at_once_are_each_ladder_row_by_row(rows: list[Row]) -> None:
    answers = AnswerArrays(rows)
    for rungs, thresholds in grid(answers):
        tried = try_thresholds(answers, rungs, thresholds)
        for index in range(len(tried.hits)):
            measured = measure(rows, tried.ladder(index))
            assert tried.hits[index] == measured.accuracy.hits
            assert tried.cost[index] == measured.cost_usd * 10**12
            assert count_right(answers, tried.ladder(index)) == (tried.hits[index], tried.cost[index])


@given(TABLES, st.data())
@settings(max_examples=150, deadline=None)
def test_a_ladder_adds_up(rows: list[Row], data: st.DataObject) -> None:
    rungs = len(rows[0])
    accepts = data.draw(st.tuples(*[st.none() | st.sampled_from([0.0, 0.5, 0.9, 100.0])] * rungs))
    ladder = ThresholdLadder(rungs=tuple(range(1, rungs + 1)), accepts=accepts)
    whole = measure(rows, ladder)
    assert sum(whole.answered) + whole.failed == len(rows)
    assert whole.accuracy.hits + whole.failed <= len(rows)
    assert whole.failed == sum(not any(each and each.valid for each in row) for row in rows)
    parts = [measure([row], ladder) for row in rows]
    assert sum(part.cost_usd for part in parts) == whole.cost_usd
    assert sum(part.accuracy.hits for part in parts) == whole.accuracy.hits
    everything = sum((each.cost_usd for row in rows for each in row if each), Decimal(0))
    assert measure(rows, ThresholdLadder(rungs=(1,), accepts=(None,))).cost_usd <= whole.cost_usd <= everything


@given(TABLES, st.sampled_from([(0.5, 0.2), (0.9, 0.5), (100.0, 0.9), (0.1, None)]))
@settings(max_examples=150, deadline=None)
def test_a_lower_threshold_never_costs_more(rows: list[Row], pair: tuple[float, float | None]) -> None:
    rungs = tuple(range(1, len(rows[0]) + 1))
    high, low = (ThresholdLadder(rungs=rungs, accepts=(each, *[None] * (len(rungs) - 1))) for each in pair)
    assert measure(rows, low).cost_usd <= measure(rows, high).cost_usd


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_a_shortest_decimal_lies_between(first: float, second: float) -> None:
    low, high = min(first, second), max(first, second)
    if low < high:
        assert low < shortest_between(low, high) <= high


@pytest.mark.parametrize(("low", "high", "expected"), [(0.79, 0.8137, 0.8), (0.8131, 0.8137, 0.8137), (86.2, 88, 88)])
def test_thresholds_are_short(low: float, high: float, expected: float) -> None:
    assert shortest_between(low, high) == expected


def test_the_condition_in_sql_accepts_the_rows_that_the_ladder_accepts() -> None:
    rows, keys = banking()
    found = tune_by_half(rows, keys, target=TARGET, points=0)
    for rung, threshold in zip(found.ladder.rungs, found.ladder.accepts, strict=True):
        if threshold is None:
            continue
        values = [answer.confidence for row in rows if (answer := row[rung - 1]) and answer.confidence is not None]
        expected = sum(each >= threshold for each in values)
        condition = accept_condition(threshold)
        select = f"SELECT count(*) FILTER ({condition}) FROM (SELECT unnest($1::DOUBLE[]) AS confidence)"
        assert duckdb.execute(select, [values]).fetchall() == [(expected,)]


def test_a_condition_on_an_expression_stands_in_parentheses() -> None:
    assert accept_condition(0.75) == "confidence >= 0.75"
    assert accept_condition(0.75, "output.sure") == "output.sure >= 0.75"
    assert accept_condition(3.0, "a - b") == "(a - b) >= 3.0"


def test_the_curve_is_cheapest_first_and_ever_better_where_it_was_chosen() -> None:
    rows, keys = banking()
    found = tune_by_half(rows, keys, target=TARGET)
    costs = [each.tuned_on.cost_usd for each in found.curve]
    hits = [each.tuned_on.accuracy.hits for each in found.curve]
    assert costs == sorted(costs)
    assert hits == sorted(set(hits))
    assert found.curve[0].measured.ladder == single(1)
    assert 10 <= len(found.curve) <= 24


def test_the_picture_stands_alone_and_shows_all() -> None:
    rows, keys = banking()
    found = tune_by_half(rows, keys, target=TARGET)
    models = ["small <b>", 'mid "&" dle', "large\x1b[31m"]
    picture = tuning_curve(found, models, "Tickets & <script>").file
    tree = ElementTree.fromstring(picture)
    words = [each.text or "" for each in tree.iter("{http://www.w3.org/2000/svg}text")]
    assert "Tickets & <script>" in words
    assert {"small <b> alone", 'mid "&" dle alone', "large [31m alone"} <= set(words)
    assert {"target 90%", "cost per 1,000 rows (USD)", "accuracy"} <= set(words)
    assert any(each.startswith("chosen: ") for each in words)
    circles = list(tree.iter("{http://www.w3.org/2000/svg}circle"))
    assert len(circles) == len(found.curve) + len(models) + 1
    _, _, width, height = (float(each) for each in tree.attrib["viewBox"].split())
    assert all(0 <= float(each.attrib["cx"]) <= width and 0 <= float(each.attrib["cy"]) <= height for each in circles)
    assert "prefers-color-scheme: dark" in picture
    assert re.findall(r"(?:href|src|url)\b", picture) == []


def test_a_picture_of_ladders_that_cost_nothing_and_fall_short() -> None:
    rows = [(replace(NO, cost_usd=Decimal(0)), replace(NO, cost_usd=Decimal(0))) for _ in range(30)]
    found = tune_by_half(rows, keys_of(rows), target=1.0)
    assert found.measured.usd_per_1000_correct is None
    assert "the most accurate" in tuning_curve(found, ["one", "two"], "t").file
