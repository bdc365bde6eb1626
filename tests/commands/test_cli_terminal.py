"""Tests of a run at a terminal: the live view, the plan and its question, and Ctrl-C."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal

import pytest
from commandline import at_terminal, in_process_of_its_own, surroundings
from projects import Project, numbered
from rich.console import Console

from batchpipe.commands.run.display import BatchView, RunView, batch_line, event_line, rows_line, view
from batchpipe.common.logs import Event

NOON = datetime(2026, 7, 1, 12)  # noqa: DTZ001 - times are naive UTC


@pytest.fixture
def ten(project: Project) -> Project:
    project.rows(numbered(10))
    project.pipeline()
    return project


def test_the_plan_and_the_end_are_shown(ten: Project) -> None:
    code, shown = at_terminal(ten.root, "run", "demo", environment=surroundings(ten))
    assert code == 0
    assert "10 rows in the input:" in shown
    assert "10 new  not answered yet" in shown
    assert "submitted 10 requests" in shown
    assert "10 pending" in shown
    assert "expires in" in shown
    assert "demo (prompt v1): done" in shown
    assert "[y/N]" not in shown


@pytest.mark.parametrize(("answer", "code", "sent"), [("y\n", 0, 10), ("n\n", 6, 0), ("\n", 6, 0)])
def test_above_a_cost_a_person_is_asked(ten: Project, answer: str, code: int, sent: int) -> None:
    environment = {**surroundings(ten), "BATCHPIPE_CONFIRM_ABOVE_USD": "0"}
    found, shown = at_terminal(ten.root, "run", "demo", answers=[("[y/N]", answer)], environment=environment)
    assert found == code
    assert "Send 10 requests for about $" in shown
    assert ten.requests_sent() == sent
    if code:
        assert "not confirmed: nothing was sent" in shown


def test_yes_is_an_answer(ten: Project) -> None:
    environment = {**surroundings(ten), "BATCHPIPE_CONFIRM_ABOVE_USD": "0"}
    code, shown = at_terminal(ten.root, "run", "demo", "--yes", environment=environment)
    assert (code, "[y/N]" in shown) == (0, False)


def test_control_c(ten: Project) -> None:
    ten.faults({"delay_seconds": 3600})
    environment = {**surroundings(ten), "BATCHPIPE_POLL_INTERVAL": "30"}
    code, shown = at_terminal(
        ten.root, "run", "demo", answers=[("waiting for 1 batch", "\x03")], environment=environment
    )
    assert code == 130
    assert "interrupted: nothing is lost" in shown
    assert "1 batch goes on at the provider" in shown
    assert "Traceback" not in shown
    ten.faults({"delay_seconds": 0})
    assert in_process_of_its_own(ten.root, "run", "demo", environment=surroundings(ten)).code == 0
    assert ten.requests_sent() == 10


def test_json_at_a_terminal_has_no_control_codes(ten: Project) -> None:
    code, shown = at_terminal(ten.root, "run", "demo", "--json", environment=surroundings(ten))
    assert code == 0
    assert "\x1b" not in shown


def test_tables_are_in_colours_at_a_terminal_only(ten: Project) -> None:
    _, shown = at_terminal(ten.root, "plan", "demo", "--rows")
    assert "\x1b[1m" in shown
    assert "\x1b" not in in_process_of_its_own(ten.root, "plan", "demo", "--rows").out


class TestView:
    BATCH = BatchView(
        name="msgbatch_1",
        state="in_flight",
        model="claude-haiku-4-5",
        requests=1200,
        since=NOON - timedelta(minutes=2, seconds=3),
        expires_at=NOON + timedelta(hours=23),
    )

    def test_a_batch(self) -> None:
        assert batch_line(self.BATCH, NOON) == (
            "msgbatch_1  in_flight  1,200 requests  claude-haiku-4-5  2 min 3 s old, expires in 23 h"
        )

    def test_rows(self) -> None:
        rows = {"accepted": 1000, "review": 12, "failed": 3, "pending": 20, "retry": 0}
        assert rows_line(rows) == "1,000 accepted (12 for review), 3 failed, 20 pending"
        assert rows_line({}) == ""

    def test_a_pipeline(self) -> None:
        found = RunView(
            pipeline="demo",
            step="waiting for 9 batches",
            input=1223,
            rows={"accepted": 3, "pending": 20},
            batches=[self.BATCH] * 9,
            cost_usd=Decimal("1.5"),
        )
        console = Console(width=120, record=True, file=None)
        with console.capture() as captured:
            console.print(view([found], NOON))
        lines = captured.get().splitlines()
        assert lines[0] == "demo  waiting for 9 batches, $1.50 spent in this run"
        assert lines[1] == "  3 accepted, 20 pending of 1,223 rows"
        assert len(lines) == 2 + 8 + 1
        assert lines[-1] == "  and 1 more batch"

    def test_an_event_is_one_line(self) -> None:
        notice = Event(kind="notice", detail="a\nb\x1b[31m")
        assert event_line(NOON, "demo", notice) == "12:00:00 demo: a\\nb\\x1b[31m"
        assert event_line(NOON, "", Event(kind="notice", detail="waiting")) == "12:00:00 waiting"
