"""Runs with a deadline: what batches do not bring by then is asked in realtime, and a late batch is canceled."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest
from commandline import CommandLine
from projects import BASIC, Project, numbered

from batchpipe.commands.call.moments import moment_to_come
from batchpipe.commands.plan.due_work import work_text
from batchpipe.common.errors import UsageError
from batchpipe.decide.deadline import BatchTime, batch_time, is_late, misses

NOW = datetime(2026, 12, 1, 5, 0)  # noqa: DTZ001


def modes(project: Project) -> dict[str, int]:
    return dict(project.sql("SELECT mode, sum(requests) FROM ledger.batches GROUP BY mode"))


def soon(hours: float) -> datetime:
    return datetime.now(UTC).replace(tzinfo=None) + timedelta(hours=hours)


def test_what_batches_do_not_bring_in_time_is_asked_in_realtime(project: Project) -> None:
    """Without five ended batches one is taken to need a day; with them it is their 90th percentile."""
    project.pipeline(BASIC + "\n[chunking]\nmax_requests = 8\n")
    project.rows(numbered(6))
    preview = project.preview(by=soon(5))
    plan = preview.plan
    assert (plan.asked, plan.batches) == (6, 0)
    assert plan.hurry is not None
    assert plan.hurry.times["claude-haiku-4-5"] == BatchTime(seconds=86_400, batches=0)
    assert plan.estimate.cost_usd == 2 * (plan.hurry.batch_usd or 0)
    said = work_text(preview.resolved, plan)
    assert "6 requests in realtime" in said
    assert "assumed: fewer than 5 have ended" in said
    assert project.plan(by=soon(30)).batches == 1
    assert project.run(by=soon(5)).rows["accepted"] == 6
    assert modes(project) == {"realtime": 6}
    project.rows(numbered(48))
    assert project.run(by=soon(30)).rows["accepted"] == 48
    assert modes(project) == {"realtime": 6, "batch": 42}
    # Six batches have ended within a second, so that an hour is enough for a batch now; this one does not end.
    project.rows(numbered(56))
    project.faults({"never_ends": True, "finished_before_cancel": 0.5})
    result = project.run(by=soon(1), wait_seconds=60.0)
    assert (result.status, result.rows["accepted"]) == ("done", 56)
    found = modes(project)
    assert found["batch"] == 50
    assert 6 < found["realtime"] < 14
    assert sum("is canceled, what it has finished is kept" in each for each in project.said) == 1
    assert project.sql("SELECT count(*) FROM ledger.results WHERE outcome = 'answered'") == [(56,)]


def test_a_higher_rung_that_would_be_late_is_planned_in_realtime(project: Project) -> None:
    """A batch needs a day: in 30 hours there is time for one, and not for a second after it."""
    higher = '\n\n[[models]]\nmodel = "claude-sonnet-4-6"\nmax_tokens = 200\n'
    project.pipeline(BASIC + 'accept = "score > 0.5"' + higher)
    project.rows(numbered(6))
    whole, short = project.plan(by=soon(60)), project.plan(by=soon(30))
    assert (whole.hurry, short.batches, short.asked) == (None, 1, 0)
    assert short.hurry is not None
    assert list(short.hurry.times) == ["claude-sonnet-4-6"]
    costs = [{each.rung: each.cost_usd or 0 for each in plan.estimate.rungs} for plan in (whole, short)]
    assert costs[1] == {1: costs[0][1], 2: 2 * costs[0][2]}
    # A first rung in realtime does not make the higher rungs quick.
    project.pipeline(BASIC + 'mode = "realtime"\naccept = "score > 0.5"' + higher)
    preview = project.preview()
    assert "then about 1 h, up to 1 d for 1 rung asked in batches" in work_text(preview.resolved, preview.plan)
    preview = project.preview(by=soon(5))
    assert preview.plan.hurry is not None
    assert "minutes: each request is answered at once" in work_text(preview.resolved, preview.plan)


def test_when_a_batch_is_late() -> None:
    quick = batch_time(600.0, 5)
    assert batch_time(600.0, 4) == batch_time(None, 0).__class__(seconds=86_400.0, batches=4)
    assert not misses(quick, NOW, NOW + timedelta(minutes=12))
    assert misses(quick, NOW, NOW + timedelta(minutes=10))
    assert not is_late(quick, NOW - timedelta(minutes=10), NOW)
    assert is_late(quick, NOW - timedelta(minutes=11), NOW)


def test_times_as_a_person_types_them(monkeypatch: pytest.MonkeyPatch) -> None:
    assert moment_to_come("2026-12-01T07:00+01:00", NOW) == NOW + timedelta(hours=1)
    local = moment_to_come("07:00", NOW)
    assert local is not None
    assert NOW < local <= NOW + timedelta(hours=24)
    assert local.replace(tzinfo=UTC).astimezone().strftime("%H:%M") == "07:00"
    assert moment_to_come(None, NOW) is None
    for wrong in ("7", "25:00", "2026-12-01T07:00", "tomorrow"):
        with pytest.raises(UsageError, match="is no time"):
            moment_to_come(wrong, NOW)
    with pytest.raises(UsageError, match="is over"):
        moment_to_come("2026-12-01T05:00+00:00", NOW)


@pytest.mark.parametrize(
    ("now", "text", "expected"),
    [
        ("2027-03-27T23:30", "07:00", "2027-03-28T05:00"),  # the clocks go forward in between
        ("2027-03-28T06:00", "07:00", "2027-03-29T05:00"),
        ("2027-03-28T00:30", "02:30", "2027-03-28T01:30"),  # the clock never shows it: an hour later
        ("2026-10-24T23:30", "07:00", "2026-10-25T06:00"),  # they go back
        ("2026-10-25T00:10", "02:30", "2026-10-25T00:30"),
        ("2026-10-25T00:40", "02:30", "2026-10-25T01:30"),  # the clock shows it a second time
        ("2026-10-25T01:40", "02:30", "2026-10-26T01:30"),
    ],
)
def test_a_local_time_is_that_of_the_clock_when_it_comes(
    monkeypatch: pytest.MonkeyPatch, now: str, text: str, expected: str
) -> None:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        assert moment_to_come(text, datetime.fromisoformat(now)) == datetime.fromisoformat(expected)
    finally:
        monkeypatch.delenv("TZ")
        time.tzset()


def test_what_is_not_back_by_the_time_ends_with_exit_5_and_the_number(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A row in flight is not asked again: its batch may still end, as after `--wait`."""
    call = CommandLine(monkeypatch=monkeypatch, capsys=capsys)
    call.provide(project)
    project.pipeline()
    project.rows(numbered(4))
    project.faults({"never_ends": True})
    assert call("run", "demo", "--no-wait").code == 5
    project.rows(numbered(6))
    ended = call("run", "demo", "--by", (datetime.now(UTC) + timedelta(seconds=3)).isoformat())
    assert ended.code == 5, ended.talk
    assert "4 rows in flight" in ended.talk + ended.out
    # The new rows were asked in realtime, the others once and no more.
    assert modes(project) == {"batch": 4, "realtime": 2}
    assert call("run", "demo", "--by", "2026-01-01T07:00+01:00").code == 2
    project.faults({})
    assert call("run", "demo").code == 0
    assert project.requests_sent() == 4
