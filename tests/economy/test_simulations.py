"""A short form of `python -m tests.promises`: every promise is kept, and not given too seldom."""

from __future__ import annotations

from promises.simulation import promises


def test_every_promise_is_kept_in_the_draws_of_a_short_simulation() -> None:
    found = [simulate() for simulate in promises(draws=30, seed=2)]
    assert [each.case for each in found if not each.holds] == []
    assert sum(each.given > 0.7 for each in found) >= len(found) - 4
    careful = [each for each in found if each.case.startswith("three models")]
    assert all(each.usd is not None and each.usd < 0.9 for each in careful)
