"""Tests of several submits at once: each may succeed, be refused or be lost, and no request is lost or paid twice."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest
from commandline import COMMAND, surroundings
from crash.sweep import answered
from projects import BASIC, Project, numbered

from batchpipe.common.call_pool import side_by_side
from batchpipe.common.errors import ProviderError
from batchpipe.decide.chunking import subtract_ranges
from batchpipe.engine.batches import next_chunks as room

CHUNKS = BASIC + "[chunking]\nmax_requests = 6\nmax_in_flight = 8\n"
ROWS = 18  # chunks of 6, 5, 4 and 3
SIZES = [6, 5, 4, 3]
LATE_SECONDS = 4.0
HANGS_SECONDS = 3_600.0
AT_ONCE_SECONDS = 120.0  # room for a busy machine, far from what hangs


def create(fault: str, **more: Any) -> dict[str, Any]:
    return {"call": "create", "fault": fault, **more}


def prepare(project: Project, *faults: dict[str, Any], text: str = CHUNKS, rows: int = ROWS) -> None:
    project.pipeline(text)
    project.rows(numbered(rows))
    project.faults({"calls": list(faults)})


def assert_each_answered_once(project: Project, rows: int = ROWS) -> None:
    """Check that every row has its answer, that the provider took each request once, and that nothing is left to do."""
    assert project.sql("SELECT count(*), count(DISTINCT id) FROM demo") == [(rows, rows)]
    assert set(answered(project).values()) == {1}
    assert len(answered(project)) == rows
    assert project.sql("SELECT count(*) - count(DISTINCT custom_id) FROM ledger.requests") == [(0,)]
    assert project.run().submitted == 0


def intents(project: Project) -> list[int]:
    """Return the number of chunks in each commit of intents."""
    statement = "SELECT count(*) FROM ledger.events WHERE kind = 'chunk_prepared' GROUP BY seq ORDER BY seq"
    return [count for (count,) in project.sql(statement)]


def taken_at(project: Project) -> list[datetime]:
    return [moment for (moment,) in project.sql("SELECT created_at FROM ledger.batches ORDER BY created_at")]


class TestTogether:
    def test_batches_overlap_at_the_provider(self, project: Project) -> None:
        prepare(project, create("late", seconds=LATE_SECONDS, times=4))
        assert project.run().status == "done"
        moments = taken_at(project)
        assert len(moments) == 4
        # One after the other, each would wait for the answer to the one before.
        assert (moments[-1] - moments[0]).total_seconds() < LATE_SECONDS
        assert intents(project) == [4]
        assert_each_answered_once(project)

    def test_one_commit_holds_the_intents_and_one_the_outcomes(self, project: Project) -> None:
        prepare(project)
        project.run(no_wait=True)
        found = project.sql(
            "SELECT kind, count(*), count(DISTINCT seq) FROM ledger.events WHERE kind LIKE 'chunk%' GROUP BY kind"
        )
        assert sorted(found) == [("chunk_prepared", 4, 1), ("chunk_submitted", 4, 1)]
        assert [n for (n,) in project.sql("SELECT requests FROM ledger.batches ORDER BY chunk_id")] == SIZES
        said = [line for line in project.said if "submitted" in line]
        assert len(said) == 4

    def test_bodies_take_no_more_memory_than_is_set(self, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
        prepare(project)
        (chunk, *_) = project.plan().chunks
        monkeypatch.setattr(room, "UPLOAD_BYTES", 2 * chunk.bytes)
        assert project.run().batches == 4
        assert intents(project) == [2, 2]
        monkeypatch.setattr(room, "UPLOAD_BYTES", 1)
        project.rows([{**each, "body": f"more {each['body']}"} for each in numbered(ROWS)])
        assert project.run().batches == 4
        assert intents(project) == [2, 2, 1, 1, 1, 1]

    def test_no_more_than_so_many_are_in_flight(self, project: Project) -> None:
        prepare(project, text=CHUNKS.replace("max_in_flight = 8", "max_in_flight = 3"))
        assert project.run(no_wait=True).batches == 3
        assert intents(project) == [3]

    def test_no_more_requests_are_queued_than_may_be(self, project: Project) -> None:
        prepare(project, text=CHUNKS + "max_queued = 9\n")
        result = project.run(no_wait=True)
        assert (result.batches, result.submitted) == (2, 9)
        project.settings["poll_interval"] = 0.02
        project.run()
        assert_each_answered_once(project)

    @pytest.mark.parametrize(("requests", "sendable"), [(5, 5), (8, 6), (11, 11)])
    def test_the_budget_holds_within_a_group(self, project: Project, requests: int, sendable: int) -> None:
        """Test a budget for so many requests: a chunk that does not fit whole waits where another one is sent."""
        prepare(project)
        most = project.plan().estimate.max_usd
        assert most is not None
        each = most / ROWS
        budget = (each * requests + each / 2).quantize(Decimal("0.000000001"))
        prepare(project, text=CHUNKS + f"[budget]\nmax_usd = {budget}\n")
        project.run(no_wait=True)
        ((sent, held),) = project.sql("SELECT sum(requests)::INTEGER, sum(max_usd) FROM ledger.batches")
        assert held <= budget
        assert sent == sendable

    def test_a_pipeline_with_several_rungs_does_not_mix_them(self, project: Project) -> None:
        text = BASIC + 'accept = "score >= 0.5"\n[[models]]\nmodel = "claude-sonnet-4-6"\nmax_tokens = 400\n'
        unsure = [{"match": f"number {n}", "output": {"label": "bug", "score": 0.1}, "model": "claude-haiku-4-5"}
                  for n in (3, 7)]  # fmt: skip
        project.pipeline(text + "[chunking]\nmax_requests = 4\n[retry]\nattempts = 2\n")
        project.rows(numbered(11))
        sure = {"output": {"label": "other", "score": 0.9}}
        invalid = {"match": "number 5", "outcome": "wrong_enum", "times": 1}
        project.faults({"requests": [*unsure, invalid, sure]})
        assert project.run().status == "done"
        mixed = "SELECT chunk_id FROM ledger.requests GROUP BY chunk_id HAVING count(DISTINCT model) > 1"
        assert project.sql(mixed) == []
        assert project.run().submitted == 0


ONE_FAILS = {
    "429": create("status:429", retry_after=0.05),
    "413": create("status:413"),
    "reset": create("reset"),
    "500": create("status:500"),
    "time-out": create("accepted_then_status:408"),
    "accepted then reset": create("accepted_then_reset"),
    "accepted then empty": create("accepted_then_empty"),
}


class TestOneOfThemFails:
    @pytest.mark.share(4)
    @pytest.mark.parametrize("place", [0, 2])
    @pytest.mark.parametrize("name", ONE_FAILS)
    def test_the_others_go_through(self, project: Project, name: str, place: int) -> None:
        prepare(project, {**ONE_FAILS[name], "after": place})
        result = project.run()
        assert (result.status, result.rows["accepted"]) == ("done", ROWS)
        assert intents(project)[0] == 4
        assert_each_answered_once(project)

    def test_what_was_refused_for_now_goes_again_as_it_was(self, project: Project) -> None:
        prepare(project, create("status:429", retry_after=0.05, times=3))
        assert project.run().status == "done"
        assert sorted(batch["total"] for batch in project.log()["batches"].values()) == sorted(SIZES)
        assert intents(project) == [4, 3]
        sends = project.sql("SELECT send, count(*) FROM ledger.requests GROUP BY send ORDER BY send")
        assert [send for send, _ in sends] == [1, 2]
        assert_each_answered_once(project)

    def test_the_longest_pause_counts(self, project: Project) -> None:
        prepare(project, create("status:429", retry_after=2.0), create("status:429", retry_after=0.01, after=1))
        assert project.run().status == "done"
        first, again = project.sql(
            "SELECT DISTINCT recorded_at FROM ledger.events WHERE kind = 'chunk_prepared' ORDER BY 1"
        )
        assert (again[0] - first[0]).total_seconds() >= 2.0
        assert_each_answered_once(project)

    def test_a_refusal_that_stops_the_run_loses_none_of_the_others(self, project: Project) -> None:
        prepare(project, create("status:403", after=1))
        (outcome,) = project.outcomes()
        assert isinstance(outcome.error, ProviderError)
        assert outcome.result.submitted == ROWS - next(iter(set(SIZES) - set(known_sizes(project))))
        states = Counter(state for (state,) in project.sql("SELECT state FROM ledger.batches"))
        assert states == {"in_flight": 3, "refused": 1}
        assert project.run().status == "done"
        assert_each_answered_once(project)

    def test_two_unknown_outcomes_are_both_adopted(self, project: Project) -> None:
        prepare(project, create("accepted_then_reset", times=2, after=1))
        assert project.run().status == "done"
        assert intents(project) == [4]
        kinds = dict(project.sql("SELECT kind, count(*) FROM ledger.events WHERE kind LIKE 'chunk%' GROUP BY kind"))
        assert (kinds["chunk_submitted"], kinds["chunk_unknown"], kinds["chunk_adopted"]) == (2, 2, 2)
        assert len(project.log()["batches"]) == 4
        assert_each_answered_once(project)

    def test_all_are_lost(self, project: Project) -> None:
        prepare(project, create("accepted_then_reset", times=2), create("reset", times=2, after=2))
        assert project.run().status == "done"
        assert_each_answered_once(project)


def known_sizes(project: Project) -> list[int]:
    """Return the sizes of the batches whose id is known."""
    return [n for (n,) in project.sql("SELECT requests FROM ledger.batches WHERE batch_id IS NOT NULL")]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_stopped_while_uploads_hang(project: Project, number: int) -> None:
    """Check that the run ends at once, and that its submits are found again and not paid twice."""
    prepare(project, create("accepted_late", seconds=HANGS_SECONDS, times=4))
    process = subprocess.Popen(
        [*COMMAND, "run", "demo"],
        cwd=project.root,
        env={**os.environ, **surroundings(project)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while len(project.log()["batches"]) < 4:
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(number)
    _, talk = process.communicate(timeout=AT_ONCE_SECONDS)
    assert process.returncode == (130 if number == signal.SIGINT else -number)
    assert "Traceback" not in talk
    assert "at the provider" not in talk
    said = "4 batches were being sent: the next run looks up what arrived before it sends anything"
    assert (said in talk) == (number == signal.SIGINT)
    assert project.sql("SELECT state, count(*) FROM ledger.batches GROUP BY state") == [("prepared", 4)]
    result = project.run()
    assert (result.status, result.submitted, result.rows["accepted"]) == ("done", 0, ROWS)
    assert_each_answered_once(project)


class TestPool:
    def test_results_come_in_the_order_of_the_calls(self) -> None:
        def call(number: int) -> Callable[[], int]:
            def slow() -> int:
                time.sleep(0.05 * (4 - number))
                return number

            return slow

        assert side_by_side([call(n) for n in range(5)], 3) == [0, 1, 2, 3, 4]
        assert side_by_side([], 3) == []

    def test_so_many_are_under_way_at_once(self) -> None:
        meet = threading.Barrier(3, timeout=30)
        guard, now, most = threading.Lock(), 0, 0

        def call() -> int:
            nonlocal now, most
            with guard:
                now += 1
                most = max(most, now)
            place = meet.wait()
            with guard:
                now -= 1
            return place

        assert sorted(side_by_side([call] * 6, 3)) == [0, 0, 1, 1, 2, 2]
        assert most == 3

    def test_an_expected_error_stands_in_its_place(self) -> None:
        def bad() -> int:
            raise LookupError("lost")

        first, lost, last = side_by_side([lambda: 1, bad, lambda: 3], 2, (LookupError,))
        assert (first, str(lost), last) == (1, "lost", 3)
        assert isinstance(lost, LookupError)
        (alone,) = side_by_side([bad], 2, (LookupError,))
        assert isinstance(alone, LookupError)

    @pytest.mark.parametrize("calls", [1, 4])
    def test_any_other_error_is_raised_here(self, calls: int) -> None:
        def bad() -> int:
            raise ZeroDivisionError("a bug")

        with pytest.raises(ZeroDivisionError, match="a bug"):
            side_by_side([bad, *[lambda: 1] * (calls - 1)], 2, (LookupError,))

    def test_a_single_call_needs_no_thread(self) -> None:
        assert side_by_side([threading.current_thread], 4) == [threading.current_thread()]
        assert threading.current_thread() not in side_by_side([threading.current_thread] * 2, 4)


@pytest.mark.parametrize(
    ("ranges", "taken", "left"),
    [
        ([], [], []),
        ([(0, 9)], [], [(0, 9)]),
        ([(0, 9)], [(0, 9)], []),
        ([(0, 9)], [(3, 5), (0, 2)], [(2, 3), (5, 9)]),
        ([(0, 4), (6, 9)], [(0, 4), (7, 9)], [(6, 7)]),
    ],
)
def test_ranges_less_what_is_taken(
    ranges: list[tuple[int, int]], taken: list[tuple[int, int]], left: list[tuple[int, int]]
) -> None:
    assert list(subtract_ranges(ranges, taken)) == left
