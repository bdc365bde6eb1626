"""A short form of `python -m tests.nights`: what the local model learns, and the alarms of drift."""

from __future__ import annotations

import pytest
from helpers.banking import needs_banking
from nights.costs import alone, cost, local_accuracy, with_local
from nights.drifting import drifts
from nights.questions import Kind


@needs_banking
@pytest.mark.share(2)
def test_after_two_thousand_answers_it_is_cheaper_than_the_first_model() -> None:
    kind: Kind = "that can be learnt"
    rows = 2_000
    found = cost(kind, "with a local rung", with_local(kind, rows), 0.78, 300, 5, seed=3)
    assert found.holds
    assert found.usd_per_1000_right is not None
    assert found.usd_per_1000_right < alone(kind)[0][1]
    assert local_accuracy(kind, rows) > 0.75


def test_the_alarm_of_drift_comes_where_it_should() -> None:
    assert [each.case for each in drifts(200, 2) if not each.holds] == []
