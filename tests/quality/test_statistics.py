"""Tests of the evaluation's statistics against statsmodels, and against scipy called in another way."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar
from statsmodels.stats.proportion import proportion_confint

from batchpipe.common.errors import UsageError
from batchpipe.evaluation import statistics
from batchpipe.evaluation.field_comparison import FieldComparison, class_name, is_correct, score, token_f1
from batchpipe.evaluation.promise import breach_chance

CLOSE = 1e-9
TABLES = 200


def close(value: float | list[float]) -> Any:
    return pytest.approx(value, abs=CLOSE, rel=0)


def random_labels(drawn: random.Random) -> tuple[list[str], list[str | None]]:
    classes = [f"class {number}" for number in range(drawn.randint(1, 9))]
    n = drawn.randint(1, 120)
    gold = [drawn.choice(classes) for _ in range(n)]
    others: list[str | None] = [*classes, "only answered", None]
    return gold, [each if drawn.random() < 0.6 else drawn.choice(others) for each in gold]


def test_wilson_interval_agrees_with_statsmodels() -> None:
    drawn = random.Random(1)
    for _ in range(TABLES):
        n = drawn.randint(1, 5000)
        hits = drawn.choice((0, n, drawn.randint(0, n)))
        found = statistics.proportion(hits, n)
        low, high = proportion_confint(hits, n, alpha=0.05, method="wilson")
        assert (found.value, found.low, found.high) == (close(hits / n), close(low), close(high))


def test_interval_of_a_mean_agrees_with_statsmodels_and_with_that_of_a_share() -> None:
    drawn = random.Random(2)
    for _ in range(TABLES):
        scores = [drawn.random() ** drawn.choice((0.1, 1, 9)) for _ in range(drawn.randint(1, 300))]
        found = statistics.mean(scores)
        low, high = proportion_confint(sum(scores), len(scores), alpha=0.05, method="wilson")
        assert (found.value, found.low, found.high) == (close(float(np.mean(scores))), close(low), close(high))
        whole = [float(each > 0.5) for each in scores]
        share = statistics.proportion(int(sum(whole)), len(whole))
        assert statistics.mean(whole).low == close(share.low)
        assert statistics.mean(whole).high == close(share.high)


def test_mcnemar_agrees_with_statsmodels() -> None:
    drawn = random.Random(3)
    for _ in range(TABLES):
        n, better = drawn.randint(1, 400), drawn.random()
        first = [drawn.random() < 0.8 for _ in range(n)]
        second = [each if drawn.random() < 0.7 else drawn.random() < better for each in first]
        table = stats.contingency.crosstab(first, second, levels=([True, False], [True, False])).count
        found = statistics.mcnemar(first, second)
        assert found.p_value == close(statsmodels_mcnemar(table, exact=True).pvalue)
        assert [found.only_first, found.only_second] == [table[0][1], table[1][0]]


def test_mcnemar_of_answers_that_do_not_differ() -> None:
    assert statistics.mcnemar([True, False], [True, False]).p_value == 1


def test_macro_f1_agrees_with_precision_and_recall_of_the_contingency_table() -> None:
    drawn = random.Random(4)
    for _ in range(TABLES):
        gold, answers = random_labels(drawn)
        classes = sorted({*gold, *(each for each in answers if each is not None)})
        spelled = [each if each is not None else "" for each in answers]
        table = stats.contingency.crosstab(gold, spelled, levels=(classes, [*classes, ""])).count
        scores = []
        for place in range(len(classes)):
            precision = table[place, place] / max(table[:, place].sum(), 1)
            recall = table[place, place] / max(table[place].sum(), 1)
            scores.append(stats.hmean([precision, recall]) if precision and recall else 0.0)
        assert statistics.macro_f1(gold, answers) == close(float(np.mean(scores)))


def test_macro_f1_is_the_same_to_the_last_digit_in_whatever_order_its_classes_come() -> None:
    chance = random.Random(4)
    pairs = [(true, chance.choice((true, chance.randrange(30)))) for true in chance.choices(range(30), k=700)]
    found = set()
    for name in range(40):  # other names, and so another order in a set
        gold, answers = zip(*((f"{name} {true}", f"{name} {said}") for true, said in pairs), strict=True)
        found.add(statistics.macro_f1(gold, answers))
    assert len(found) == 1


def test_confusions_are_the_table_off_its_diagonal_worst_first() -> None:
    drawn = random.Random(5)
    for _ in range(TABLES):
        gold, answers = random_labels(drawn)
        found = statistics.confusions(gold, answers)
        spelled = np.array([each if each is not None else "" for each in answers])
        expected = {
            (each.gold, each.answer): np.count_nonzero((np.array(gold) == each.gold) & (spelled == (each.answer or "")))
            for each in found
        }
        assert {(each.gold, each.answer): each.n for each in found} == expected
        assert sum(each.n for each in found) == np.count_nonzero(np.array(gold) != spelled)
        assert [each.n for each in found] == sorted((each.n for each in found), reverse=True)
        assert all(each.gold_n == gold.count(each.gold) for each in found)
        assert statistics.confusions(gold, answers, most=2) == found[:2]


def test_calibration_agrees_with_binned_statistics() -> None:
    drawn = random.Random(6)
    for _ in range(TABLES):
        n, bins = drawn.randint(1, 300), drawn.choice((1, 3, 7, 10, 15, 20))
        confidences = [drawn.choice((drawn.random(), round(drawn.random(), 1), 0.0, 1.0)) for _ in range(n)]
        correct = [drawn.random() < each for each in confidences]
        found = statistics.calibration(confidences, correct, bins)
        assert found is not None
        # scipy's bins hold their lower edge, so the axis is turned round.
        edges = [-place / bins for place in range(bins, -1, -1)]
        turned = [-each for each in confidences]
        counted = stats.binned_statistic(turned, correct, "count", bins=edges).statistic[::-1]
        means = stats.binned_statistic(turned, confidences, "mean", bins=edges).statistic[::-1]
        shares = stats.binned_statistic(turned, np.array(correct, dtype=float), "mean", bins=edges).statistic[::-1]
        full = counted > 0
        assert [each.accuracy.n for each in found.bins] == list(counted[full])
        assert [each.confidence for each in found.bins] == close(list(means[full]))
        assert [each.accuracy.value for each in found.bins] == close(list(shares[full]))
        assert found.error == close(float(np.average(np.abs(shares - means)[full], weights=counted[full])))
        assert all(each.low - CLOSE <= each.confidence <= each.high + CLOSE for each in found.bins)


def test_confidences_that_are_no_probabilities_have_no_calibration() -> None:
    assert statistics.calibration([0.3, 87.0], [True, False]) is None
    assert statistics.calibration([float("nan")], [True]) is None
    assert statistics.calibration([], []) is None


def test_chances_of_the_prediction_limit_agree_with_fishers_exact_test() -> None:
    drawn = random.Random(7)
    for _ in range(TABLES):
        n, other = drawn.randint(1, 300), drawn.randint(1, 300)
        seen, unseen = drawn.randint(0, n), drawn.randint(0, other - 1)
        table = [[seen, n - seen], [unseen + 1, other - unseen - 1]]
        assert breach_chance(n, seen, other, unseen) == close(stats.fisher_exact(table, alternative="less").pvalue)


@pytest.mark.parametrize("call", [lambda: statistics.proportion(0, 0), lambda: statistics.mean([])])
def test_no_rows_have_no_statistics(call: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=r"."):
        call()


def test_without_scipy_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(UsageError) as caught:
        statistics.proportion(1, 2)
    assert caught.value.exit_code == 2
    assert "pip install 'batchpipe[eval]'" in str(caught.value)


@pytest.mark.parametrize(
    ("gold", "answer", "expected"),
    [
        ("The cat sat.", "a CAT sat", 1.0),
        ("the cat sat", "the dog sat", 0.5),
        ("Beyoncé and Bruno Mars", "Beyoncé, Bruno Mars", 6 / 7),
        ("to be or not to be", "to be", 0.5),
        ("in 1066", "1066", 2 / 3),
        ("state-of-the-art", "state of the art", 0.0),
        ("the", "", 1.0),
        ("", "something", 0.0),
    ],
)
def test_token_f1_is_that_of_squad(gold: str, answer: str, expected: float) -> None:
    assert token_f1(gold, answer) == close(expected)
    assert token_f1(answer, gold) == close(expected)
    assert score(FieldComparison(kind="text"), gold, answer) == close(expected)
    assert is_correct(FieldComparison(kind="text", pass_mark=expected), gold, answer)
    assert is_correct(FieldComparison(kind="text"), gold, answer) is (expected == 1)


@pytest.mark.parametrize(
    ("gold", "answer", "expected"),
    [
        ("billing", "billing", True),
        ("billing", "Billing", False),
        (1, 1.0, True),
        (Decimal("1.50"), 1.5, True),
        ("1", 1, True),
        (True, True, True),
        (True, 1, False),
        (False, 0, False),
        ("true", True, True),
        (date(2026, 3, 1), "2026-03-01", True),
        ({"a": 1, "b": [1.0, None]}, {"b": [1, None], "a": 1}, True),
        ([1, 2], [2, 1], False),
        (None, None, True),
        (None, "null", False),
        ("null", None, False),
        (float("nan"), float("nan"), True),
    ],
)
def test_exact_compares_values_and_not_their_types(gold: object, answer: object, expected: bool) -> None:
    assert is_correct(FieldComparison(), gold, answer) is expected
    if gold is not None and answer is not None:
        assert (class_name(gold) == class_name(answer)) is expected


@pytest.mark.parametrize(
    ("gold", "answer", "tolerance", "expected"),
    [
        (0.3, 0.2, "0.1", True),
        (Decimal("0.3"), 0.2, "0.1", True),
        (0.3, 0.2, "0.0999999", False),
        (-2, 2, "4", True),
        ("3.5", 3.5, "0", True),
        (1, True, "5", False),
        (1, "many", "5", False),
        (1, float("nan"), "5", False),
        (1, float("inf"), "5", False),
        (None, None, "0", True),
        (1, None, "5", False),
    ],
)
def test_numeric_has_a_tolerance_in_decimal_digits(gold: Any, answer: Any, tolerance: str, expected: bool) -> None:
    assert is_correct(FieldComparison(kind="numeric", tolerance=Decimal(tolerance)), gold, answer) is expected


@pytest.mark.parametrize(
    ("gold", "answer", "expected"),
    [
        (["a", "b"], ["b", "a", "a"], True),
        (["a", "b"], ["a"], False),
        ([1, 2.0], [2, 1], True),
        ([], None, True),
        (None, ["a"], False),
        ("a", ["a"], True),
        ([{"x": 1}], [{"x": 1.0}], True),
    ],
)
def test_a_set_is_its_members(gold: Any, answer: Any, expected: bool) -> None:
    assert is_correct(FieldComparison(kind="set"), gold, answer) is expected
