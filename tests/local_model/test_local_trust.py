"""Tests of when a version of the model may answer: the shares of the risk, and the alarm for drift."""

from __future__ import annotations

import random
from math import log

import pytest

from batchpipe.evaluation.claims import critical_hits
from batchpipe.local_model.trust import drifted, evidence_of_drift, passes, risk_share, weight


def test_the_shares_of_all_versions_sum_up_to_the_risk() -> None:
    assert sum(risk_share(version) for version in range(1, 20_000)) == pytest.approx(1, abs=1e-4)
    assert risk_share(1) > risk_share(2) > risk_share(20) > 0
    with pytest.raises(ValueError, match="count from 1"):
        risk_share(0)


def test_a_later_version_needs_more_right_rows() -> None:
    least = [
        next(right for right in range(301) if passes(right, 300, 0.86, risk=0.05, version=version))
        for version in (1, 2, 20)
    ]
    assert least == sorted(set(least))
    assert least[0] == critical_hits(300, 0.86, 0.05 * risk_share(1))


def alarms(agreement: float, expected: float, lives: int, rows: int, seed: int) -> list[int | None]:
    """Return for each life the number of audited rows at which the alarm came, looked at after every row."""
    drawn, found = random.Random(seed), []
    for _ in range(lives):
        agreed, at = 0, None
        for audited in range(1, rows + 1):
            agreed += drawn.random() < agreement
            if drifted(audited, agreed, expected):
                at = audited
                break
        found.append(at)
    return found


def test_without_drift_the_alarm_is_rare_and_with_drift_it_comes() -> None:
    quiet = alarms(0.9, 0.9, 300, 400, seed=1)
    assert sum(at is not None for at in quiet) <= 5  # 0.5% of 300 lives, and some chance
    loud = alarms(0.75, 0.9, 60, 600, seed=2)
    assert all(at is not None for at in loud)
    assert sorted(at or 0 for at in loud)[30] < 150


@pytest.mark.parametrize(("audited", "agreed", "expected"), [(0, 0, 0.9), (10, 10, 0.9), (5, 5, 1.0), (9, 0, 0.0)])
def test_nothing_seen_or_full_agreement_is_no_drift(audited: int, agreed: int, expected: float) -> None:
    assert evidence_of_drift(audited, agreed, expected) <= 0
    assert not drifted(audited, agreed, expected)


def test_one_miss_is_drift_only_where_none_was_possible() -> None:
    assert drifted(100, 99, 1.0)
    assert evidence_of_drift(100_000, 1, 0.9) > log(1e9)


def test_a_row_weighs_what_its_chance_to_go_up_says() -> None:
    assert weight(0.5, 0.8, 0.02, audited_row=False) == 1
    assert weight(0.9, 0.8, 0.02, audited_row=True) == 50
    assert weight(0.9, 0.8, 0.0001, audited_row=True) == 50
    assert weight(0.9, 0.8, 0.02, audited_row=False) == 1
