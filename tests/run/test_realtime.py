"""Runs in realtime: the same rows, answers, prices and checks as in batches, each request answered at once."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from projects import BASIC, Project, numbered

from batchpipe.common.errors import DatabaseError, LockedError, PipelineError, ProviderError
from batchpipe.engine.realtime.journal import CallJournal

REALTIME = BASIC + 'mode = "realtime"\n'
LADDER = (
    BASIC.replace("max_tokens = 200\n", 'max_tokens = 200\naccept = "score >= 0.5"\n')
    + """
[[models]]
model = "claude-sonnet-4-6"
max_tokens = 300
mode = "realtime"
"""
)
INVALID_ONCE = {"outcome": "invalid_json", "times": 1}


def calls(project: Project, status: int | None = None) -> int:
    """Return how many realtime calls the emulator took, of those that it answered with `status`."""
    made = [each for each in project.log()["calls"] if (each["method"], each["path"]) == ("POST", "/v1/messages")]
    return sum(status is None or each["status"] == status for each in made)


def told(project: Project, words: str) -> int:
    return sum(words in each for each in project.said)


def booked(project: Project) -> tuple[int, Decimal]:
    (found,) = project.sql(
        "SELECT coalesce(sum((data ->> 'results')::BIGINT), 0), "
        "coalesce(sum((data ->> 'held_usd')::DECIMAL(38, 15)), 0) FROM ledger.events WHERE kind = 'cost_unknown'"
    )
    return found[0], found[1]


def test_a_rung_in_realtime_answers_each_row_at_once_at_the_full_price(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(60))
    in_batches = project.plan().estimate
    project.pipeline(REALTIME)
    plan = project.plan()
    assert in_batches.cost_usd is not None
    assert plan.estimate.cost_usd == 2 * in_batches.cost_usd
    assert plan.estimate.max_usd == 2 * (in_batches.max_usd or 0)
    result = project.run()
    assert (result.status, result.rows["accepted"], result.submitted, result.batches) == ("done", 60, 60, 0)
    assert result.asked == 60
    assert (calls(project), project.requests_sent()) == (60, 0)
    (paid, full, tiers) = project.sql(
        "SELECT sum(cost_usd), sum(realtime_usd), count(DISTINCT service_tier) FROM ledger.results"
    )[0]
    assert paid == full == result.cost_usd > 0
    assert tiers == 1
    assert project.sql("SELECT DISTINCT state, mode, batch_id FROM ledger.batches") == [("collected", "realtime", None)]
    assert project.sql("SELECT count(*), count(label) FROM demo WHERE _current") == [(60, 60)]
    assert not told(project, "not processed at the batch tier")
    # The same rows in batches are answered already: the mode is no part of what is asked.
    project.pipeline()
    assert project.run().submitted == 0
    assert calls(project) == 60
    assert list((project.root / ".batchpipe" / "raw").glob("*.calls.log")) == []


def test_a_ladder_may_mix_both_and_what_the_model_gets_wrong_is_asked_again(project: Project) -> None:
    project.pipeline(LADDER)
    project.rows(numbered(30))
    low, high = ({"outcome": "output", "output": {"label": "bug", "score": score}} for score in (0.1, 0.9))
    small, large = {"model": "claude-haiku-4-5"}, {"model": "claude-sonnet-4-6"}
    project.faults({"requests": [
        {**small, "match": "text number 1", **low},
        {**small, **high},
        {**large, "match": "number 12", **INVALID_ONCE},
        {**large, "match": "number 13", "outcome": "errored_invalid"},
        {**large, **high},
    ]})  # fmt: skip
    result = project.run()
    up = sum(str(n).startswith("1") for n in range(1, 31))
    assert (result.rows["accepted"], result.rows["failed"], project.requests_sent()) == (30, 0, 30)
    assert calls(project) == up + 1
    assert calls(project, 400) == 1
    rungs = dict(project.sql("SELECT rung, count(*) FROM ledger.row_state GROUP BY rung"))
    assert rungs == {1: 30 - up + 1, 2: up - 1}
    assert project.sql("SELECT attempts FROM ledger.row_state WHERE key = '[\"12\"]'") == [(2,)]


def test_the_last_few_are_asked_in_realtime(project: Project) -> None:
    """With stragglers the second wave is asked at once; a first wave, however small, goes in a batch."""
    project.pipeline(BASIC + "\n[retry]\nstragglers = 5\n")
    project.rows(numbered(4))
    assert (project.run().rows["accepted"], calls(project)) == (4, 0)
    project.rows(numbered(40))
    wrong = [{"match": f"text number {n}", **INVALID_ONCE} for n in (31, 32, 33, 34, 35)]
    project.faults({"requests": wrong})
    result = project.run()
    assert (result.rows["accepted"], result.batches, calls(project), project.requests_sent()) == (40, 1, 5, 40)
    assert (result.submitted, result.asked) == (41, 5)
    modes = dict(project.sql("SELECT mode, sum(requests) FROM ledger.batches GROUP BY mode"))
    assert modes == {"batch": 40, "realtime": 5}
    cost = project.sql("SELECT r.cost_usd = r.realtime_usd, count(*) FROM ledger.results r GROUP BY ALL ORDER BY ALL")
    assert cost == [(False, 40), (True, 5)]
    # One more than the limit is a batch again.
    project.rows(numbered(80))
    project.faults({"requests": [{"match": f"text number {n}", **INVALID_ONCE} for n in range(61, 67)]})
    assert (project.run().batches, calls(project)) == (2, 5)


def test_what_only_batches_take_stays_in_batches_also_for_the_last_few_and_for_a_deadline(project: Project) -> None:
    long = BASIC.replace("claude-haiku-4-5", "claude-sonnet-4-6").replace("= 200", "= 200_000")
    project.pipeline(long + "\n[retry]\nstragglers = 5\n")
    project.rows(numbered(12))
    project.faults({"requests": [{"match": "text number 12", **INVALID_ONCE}]})
    soon = datetime.now(UTC).replace(tzinfo=None) + timedelta(hours=1)
    assert project.plan(by=soon).hurry is None
    result = project.run(by=soon)
    assert (result.rows["accepted"], result.batches, result.asked, calls(project)) == (12, 2, 0, 0)
    project.pipeline(long + 'mode = "realtime"\n')
    with pytest.raises(PipelineError, match="writes at most 128,000 tokens in a realtime call"):
        project.plan()


def test_a_model_with_too_much_load_has_answered_nothing_and_is_asked_again(project: Project) -> None:
    """A 503 in a provider's own words costs nothing; that of a proxy may hide an answer, and is booked."""
    models = {"anthropic": "claude-haiku-4-5", "openai": "openai:gpt-6-luna", "gemini": "gemini:gemini-3.8-flash"}
    for before, (name, model) in enumerate(models.items()):
        project.pipeline(REALTIME.replace("claude-haiku-4-5", model), name)
        project.rows(numbered(20))
        busy = {"call": "message", "protocol": name, "fault": "status:503", "times": 15, "retry_after": 0.02}
        project.faults({"calls": [busy]})
        result = project.run(name)
        assert (result.rows["accepted"], result.attempts, booked(project)[0]) == (20, 20, before)
        project.rows(numbered(21))
        project.faults({"calls": [{**busy, "fault": "status_html:503", "times": 1}]})
        assert (project.run(name).rows["accepted"], booked(project)[0]) == (21, before + 1)


def test_a_storm_of_429_ends_and_costs_nothing(project: Project) -> None:
    """Calls that are refused for the rate are asked again; the limiter lets fewer begin, and waits as asked."""
    project.pipeline(REALTIME)
    project.rows(numbered(50))
    project.faults({"calls": [
        {"call": "message", "fault": "status:429", "times": 25, "retry_after": 0.05, "after": 5},
        {"call": "message", "fault": "status:529", "times": 10},
    ]})  # fmt: skip
    result = project.run()
    assert (result.rows["accepted"], result.submitted, result.attempts) == (50, 50, 50)
    assert (calls(project), calls(project, 429), calls(project, 529)) == (85, 25, 10)
    assert booked(project)[0] == 0
    assert project.sql("SELECT max(attempt) FROM ledger.requests") == [(1,)]


def test_a_call_without_an_answer_is_booked_at_its_most_and_counts_as_an_attempt(project: Project) -> None:
    project.pipeline(REALTIME)
    project.rows(numbered(12))
    project.faults({"calls": [
        {"call": "message", "fault": "accepted_then_reset", "times": 1},
        {"call": "message", "fault": "accepted_then_status:500", "times": 1},
        {"call": "message", "fault": "html", "times": 1},
    ]})  # fmt: skip
    result = project.run()
    assert (result.rows["accepted"], calls(project)) == (12, 15)
    lost, held = booked(project)
    assert (lost, held > 0) == (3, True)
    attempts = project.sql("SELECT attempts, count(*) FROM ledger.row_state GROUP BY ALL ORDER BY ALL")
    assert attempts == [(1, 9), (2, 3)]
    assert told(project, "3 requests got no answer") == 1
    assert told(project, "the provider asks to wait") == 0


def test_calls_that_are_lost_one_after_the_other_stop_the_run(project: Project) -> None:
    project.pipeline(REALTIME)
    project.rows(numbered(60))
    project.faults({"calls": [{"call": "message", "fault": "accepted_then_reset", "times": 1000}]})
    with pytest.raises(ProviderError, match="had no answer"):
        project.run()
    lost = calls(project)
    assert 10 <= lost <= 30
    assert booked(project)[0] == lost
    project.faults({})
    assert project.run().rows["accepted"] == 60
    assert calls(project) == 60 + lost


def test_a_refused_key_stops_the_run_and_what_was_answered_is_kept(project: Project) -> None:
    project.pipeline(REALTIME)
    project.rows(numbered(60))
    project.faults({"calls": [{"call": "message", "fault": "status:401", "after": 30, "times": 1000}]})
    with pytest.raises(ProviderError, match="refuses \\(401\\)"):
        project.run()
    assert project.sql("SELECT count(*) FROM ledger.results WHERE outcome = 'answered'") == [(30,)]
    project.faults({})
    assert project.run().rows["accepted"] == 60
    assert (calls(project, 200), booked(project)[0]) == (60, 0)


def test_a_budget_holds_what_is_asked_and_stops_before_it_is_passed(project: Project) -> None:
    project.pipeline(REALTIME + '\n[budget]\nmax_usd = 0.006\nreserve = "most"\n')
    project.rows(numbered(60))
    result = project.run()
    assert result.status == "gate"
    (spent,) = project.sql("SELECT sum(cost_usd) FROM ledger.results")[0]
    assert 0 < calls(project) < 60
    assert spent <= Decimal("0.006")


class Killed:
    """A command in a process of its own, killed when `answered` calls have an answer and `hung` are under way."""

    def __init__(self, project: Project, answered: int, hung: int, command: str = "run") -> None:
        late = {"call": "message", "fault": "accepted_late", "after": answered, "times": hung, "seconds": 120}
        project.faults(
            {
                "calls": [
                    late,
                    {"call": "message", "fault": "status:429", "times": 10_000, "after": answered, "retry_after": 4},
                ]
            }
        )
        environment = {**os.environ, "ANTHROPIC_API_KEY": "test-key", "ANTHROPIC_BASE_URL": project.emulator.base_url}
        words = [sys.executable, "-m", "batchpipe", command, "demo"]
        self.process = subprocess.Popen(
            words, cwd=project.root, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.raw = project.root / ".batchpipe" / "raw"
        until = time.monotonic() + 60
        while time.monotonic() < until and not self._stands(answered, hung):
            time.sleep(0.05)

    def _stands(self, answered: int, hung: int) -> bool:
        """Whether so many calls have an answer, so many have neither answer nor end, and others were refused."""
        results = sum(path.read_bytes().count(b"\n") for path in self.raw.glob("*.jsonl"))
        entries = [json.loads(line) for path in self.raw.glob("*.log") for line in path.read_bytes().splitlines()]
        starts, ends = (sum(word in each for each in entries) for word in ("start", "end"))
        return ends > 0 and results == answered and starts - ends - results == hung

    def end(self, how: int) -> str:
        self.process.send_signal(how)
        out, talk = self.process.communicate(timeout=60)
        return out + talk


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_run_pays_twice_at_most_for_what_was_under_way_and_books_it(project: Project, how: int) -> None:
    project.pipeline(REALTIME)
    project.rows(numbered(30))
    said = Killed(project, answered=12, hung=4).end(how)
    assert "Traceback" not in said
    assert project.sql("SELECT state, requests FROM ledger.batches") == [("asking", 30)]
    project.faults({})
    asked_before = calls(project)
    result = project.run()
    assert result.rows["accepted"] == 30
    assert calls(project) - asked_before == 30 - 12
    lost, held = booked(project)
    assert (lost, held > 0) == (4, True)
    assert project.sql("SELECT count(*) FROM ledger.results WHERE outcome = 'answered'") == [(30,)]
    assert project.sql("SELECT attempts, count(*) FROM ledger.row_state GROUP BY ALL ORDER BY ALL") == [(1, 26), (2, 4)]


def test_calls_under_way_are_booked_where_the_journal_is_lost_or_damaged(project: Project) -> None:
    project.pipeline(REALTIME)
    project.rows(numbered(8))
    killed = Killed(project, answered=4, hung=2)
    killed.end(signal.SIGKILL)
    project.faults({})
    (journal,) = killed.raw.glob("*.log")
    whole, kept = journal.read_bytes(), (project.root / "batchpipe.duckdb").rename(project.root / "kept")
    lines = whole.splitlines(keepends=True)
    shutil.copytree(killed.raw, project.root / "raw")
    known = whole + b"".join(each.read_bytes() for each in killed.raw.glob("*.jsonl"))
    hung = next(each for each in lines[1:] if known.count(each.split(b'"')[3]) == 1)
    flipped = [whole.replace(hung, hung.replace(*each)) for each in ((b"start", b"rtart"), (b't": "', b't": "#'))]
    noise, torn = b"".join([*lines[:3], b"noise\n", *lines[4:]]), whole + b'{"start": "torn'
    for damaged in (None, b"", lines[0], noise, *flipped, torn):
        shutil.rmtree(killed.raw)
        shutil.copytree(project.root / "raw", killed.raw)
        shutil.copy(kept, project.root / "batchpipe.duckdb")
        journal.unlink() if damaged is None else journal.write_bytes(damaged)
        asked_before = calls(project)
        assert project.run().rows["accepted"] == 8
        assert calls(project) - asked_before == 8 - 4  # what was answered is not asked again
        # Nobody knows which of the four were under way; where only the last line is torn, the journal says it.
        assert booked(project)[0] == (2 if damaged == torn else 4), damaged


def test_a_run_takes_what_a_killed_evaluation_was_answered_in_realtime(project: Project) -> None:
    project.pipeline(REALTIME + '\n[eval]\ngold = "gold.csv"\nfields = { label = "exact" }\n')
    rows = numbered(30)
    project.rows(rows)
    project.rows([row | {"label": "bug"} for row in rows], "gold.csv")
    said = Killed(project, answered=12, hung=4, command="eval").end(signal.SIGKILL)
    assert "Traceback" not in said
    assert project.sql("SELECT state, requests FROM ledger.batches") == [("asking", 30)]
    project.faults({})
    asked_before = calls(project)
    assert project.run().rows["accepted"] == 30
    assert calls(project) - asked_before == 30 - 12
    assert project.sql("SELECT count(*) FROM ledger.batches WHERE is_open") == [(0,)]


def test_a_run_without_the_lock_file_leaves_what_another_run_still_asks(project: Project) -> None:
    project.pipeline(REALTIME)
    project.rows(numbered(30))
    asking = Killed(project, answered=12, hung=4)
    shutil.rmtree(project.root / ".batchpipe" / "locks")
    asked_before = calls(project, 200)
    with pytest.raises(LockedError, match="another process asks the same rows"):
        project.run()
    assert calls(project, 200) == asked_before
    assert project.sql("SELECT state, requests FROM ledger.batches") == [("asking", 30)]
    assert asking.process.poll() is None
    asking.end(signal.SIGKILL)
    project.faults({})
    assert project.run().rows["accepted"] == 30
    assert booked(project)[0] == 4


def test_no_call_is_started_where_the_journal_was_removed_meanwhile(tmp_path: Path) -> None:
    journal = CallJournal(journal=tmp_path / "chunk.calls.log", results=tmp_path / "chunk.jsonl")
    with journal.held():
        journal.start("a", datetime(2026, 11, 29, tzinfo=UTC))
        journal.journal.unlink()
        for _ in range(2):
            with pytest.raises(DatabaseError, match="No such file"):
                journal.start("b", datetime(2026, 11, 29, tzinfo=UTC))
    assert not journal.journal.exists()


def test_a_lost_database_takes_in_what_was_asked_in_realtime(project: Project) -> None:
    """Answered, lost and not asked: each comes back as it was, and nothing is bought again."""
    project.pipeline(REALTIME)
    project.rows(numbered(50))
    project.faults({"calls": [
        {"call": "message", "fault": "accepted_then_reset", "times": 2},
        {"call": "message", "fault": "status:401", "after": 30, "times": 1000},
    ]})  # fmt: skip
    with pytest.raises(ProviderError):
        project.run()
    before = project.sql("SELECT outcome, count(*), sum(cost_usd) FROM ledger.results GROUP BY ALL ORDER BY ALL")
    assert [each[:2] for each in before] == [("answered", 28), ("gone", 2)]
    answers = project.sql("SELECT custom_id, answer FROM ledger.results WHERE outcome = 'answered' ORDER BY ALL")
    (project.root / "batchpipe.duckdb").unlink()
    project.faults({})
    asked = calls(project)
    assert project.run().rows["accepted"] == 50
    assert calls(project) - asked == 22
    kept = project.sql("SELECT custom_id, answer FROM ledger.results WHERE outcome = 'answered' ORDER BY ALL")
    assert set(answers) <= set(kept)
    assert booked(project)[0] == 2


def test_every_protocol_answers_in_realtime(project: Project) -> None:
    """A ladder over three protocols, each rung at once: refused, lost and turned away by each of them."""
    rungs = "".join(
        f'\n[[models]]\nmodel = "{model}"\nmax_tokens = {room}\nmode = "realtime"\n{accept}'
        for model, room, accept in (
            ("claude-haiku-4-5", 9_000, 'accept = "score >= 0.9"\n'),
            ("openai:gpt-6-luna", 9_000, 'accept = "score >= 0.9"\n'),
            ("gemini:gemini-3.8-flash", 9_000, ""),
        )
    )
    project.pipeline(BASIC[: BASIC.index("[[models]]")] + rungs)
    project.rows(numbered(24))
    low, high = ({"outcome": "output", "output": {"label": "bug", "score": score}} for score in (0.1, 1.0))
    project.faults({
        "requests": [
            {"model": "claude-haiku-4-5", **low},
            {"model": "gpt-6-luna", "match": "number 1", **high},
            {"model": "gpt-6-luna", **low},
            {"model": "gemini-3.8-flash", **high},
        ],
        "calls": [{"call": "message", "protocol": protocol, "fault": "status:429", "times": 3, "retry_after": 0.05}
                  for protocol in ("anthropic", "openai", "gemini")],
    })  # fmt: skip
    result = project.run()
    assert (result.rows["accepted"], project.log()["batches"]) == (24, {})
    answered = dict(project.sql("SELECT rung, count(*) FROM ledger.row_state GROUP BY rung"))
    assert (answered[2], answered[3]) == (11, 13)
    spent = project.sql(
        "SELECT provider, count(*), count(cost_usd), sum(cost_usd) = sum(realtime_usd) FROM ledger.results "
        "GROUP BY ALL ORDER BY ALL"
    )
    assert spent == [("anthropic", 24, 24, True), ("gemini", 13, 13, True), ("openai", 24, 24, True)]
    assert booked(project)[0] == 0
    assert project.run().submitted == 0
