"""Tests of a budget per day, over days of calls every quarter of an hour and batches that cross midnight."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from clocked import Clock
from helpers.costly import LONG, costly, used_usd
from projects import Project, numbered

ALLOWED = Decimal("0.06")
QUARTER, HOUR, DAY = timedelta(minutes=15), timedelta(hours=1), timedelta(days=1)
ROWS = 30  # 12 of them fit a day
BY_DAY = """
    SELECT {day}::DATE AS day, sum(r.cost_usd)
    FROM ledger.results r JOIN ledger.batches b USING (chunk_id) GROUP BY day ORDER BY day
"""


@pytest.fixture
def clock(project: Project) -> Clock:
    """Return the midnight of tomorrow (UTC)."""
    project.pipeline(costly(f"max_usd = 5\nmax_usd_per_day = {ALLOWED}"))
    project.rows(numbered(ROWS))
    clock = Clock(project=project)
    now = clock.now()
    clock.advance(now.replace(hour=0, minute=0, second=0, microsecond=0) + DAY - now)
    return clock


def spent_by_day(project: Project) -> list[tuple[Decimal, ...]]:
    """Return US dollars by the day on which a batch was sent, by that on which it ended, and by that of its
    collection.
    """
    found = []
    for day in ("b.submitted_at", "b.ended_at", "r.recorded_at"):
        found.append(tuple(usd for _, usd in project.sql(BY_DAY.format(day=day))))
    return found


def test_three_days_of_calls_never_pass_the_days_budget(project: Project, clock: Clock, full_sweep: bool) -> None:
    """From noon of the first day to the morning of the third; the short form calls every hour."""
    pause = QUARTER if full_sweep else HOUR
    project.faults({**LONG, "delay_seconds": 5 * 3600})
    days = []
    begun = clock.now()
    clock.advance(12 * HOUR)
    for day in range(3):
        results = []
        while clock.now() < begun + DAY * (day + 1):
            outcome = clock.run(no_wait=True)
            assert outcome.error is None
            results.append(outcome.result)
            clock.advance(pause)
            if outcome.result.status == "done":
                break
        days.append(results)
    calls_a_day = DAY // pause
    assert calls_a_day * 0.45 <= len(days[0]) <= calls_a_day // 2
    assert calls_a_day * 0.9 <= len(days[1]) <= calls_a_day
    for sums in spent_by_day(project):
        assert len(sums) == 3
        assert sum(sums) == used_usd(project)
        assert all(usd <= ALLOWED for usd in sums)
    collected = [sum(each.cost_usd for each in results) for results in days]
    assert all(ALLOWED * Decimal("0.7") < usd <= ALLOWED for usd in collected[:2]), "the budget is used, not held back"
    # What a day left over, the next one does; nothing is sent twice.
    assert [results[-1].rows["due"] > 0 for results in days] == [True, True, False]
    assert all(sum(each.submitted for each in results) > 0 for results in days)
    assert days[-1][-1].status == "done"
    assert days[-1][-1].rows["accepted"] == project.requests_sent() == ROWS
    crossing = "SELECT count(*) FROM ledger.batches WHERE submitted_at::DATE < ended_at::DATE"
    assert project.sql(crossing)[0][0] >= 1, "a batch has to cross midnight for this to show anything"


def test_a_batch_of_yesterday_is_held_against_today(project: Project, clock: Clock) -> None:
    project.faults({**LONG, "delay_seconds": 3600})
    clock.advance(23.5 * HOUR)
    sent = clock.run(no_wait=True).result
    # The next batch would not fit whole: it waits.
    assert (sent.status, sent.submitted) == ("pending", 6)
    ((most,),) = project.sql("SELECT sum(max_usd) FROM ledger.batches WHERE is_open")
    clock.advance(HOUR * 0.75)
    # A new day, and all of yesterday's batch may still be billed today.
    assert ALLOWED - most < most / 6 * 5
    assert clock.run(no_wait=True).result.submitted == 0
    clock.advance(HOUR)
    landed = clock.run(no_wait=True).result
    assert landed.cost_usd == used_usd(project) > 0
    assert 0 < landed.submitted * most / 6 <= ALLOWED - landed.cost_usd
    outcome = clock.run()
    assert (outcome.error, outcome.result.status) == (None, "gate")
    for sums in spent_by_day(project):
        assert all(usd <= ALLOWED for usd in sums)
