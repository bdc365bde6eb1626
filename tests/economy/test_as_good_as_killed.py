"""Tests of `eval --tune --as-good-as MODEL` that is killed, or has too small a budget: called again, it goes on."""

from __future__ import annotations

import os
import random
import subprocess
from decimal import Decimal

import pytest
from commandline import COMMAND, surroundings
from helpers.gold import ASKED, CONFIDENT, HAIKU, OPUS, SONNET, answer_by, run_eval, says
from projects import Project, numbered

from batchpipe.common.errors import GateError

ROWS = 30
LABELS = 20
# Words of the messages of a run, and at which of them it is killed: with batches in flight, and between results.
MOMENTS = (("submitted", 1), ("submitted", 3), ("collected", 1), ("collected", 3))
BATCHES = "\n[chunking]\nmax_requests = 10\n"
AGAIN = ASKED | {"labels": LABELS, "target": 0.5}


@pytest.fixture
def asked(project: Project) -> Project:
    rows = [row | {"body": f"question <{row['id']}>"} for row in numbered(ROWS)]
    project.rows(rows)
    project.pipeline(CONFIDENT + BATCHES)
    lines = [
        {"model": model, "match": row["body"], "output": says(model, int(str(row["id"])))}
        for model in (HAIKU, SONNET, OPUS)
        for row in rows
    ]
    answer_by(project, lines)
    return project


def killed_at(project: Project, word: str, times: int) -> None:
    """Call the command in a process of its own, and kill it once it has said `word` so many times."""
    options = ("--tune", "--as-good-as", OPUS, "--target", "0.5", "--labels", str(LABELS))
    process = subprocess.Popen(
        [*COMMAND, "eval", "demo", *options],
        cwd=project.root,
        env={**os.environ, **surroundings(project)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    with process.stderr:
        for line in process.stderr:
            times -= word in line
            if not times:
                break
        process.kill()
    assert process.wait(timeout=60) == -9


def test_killed_at_any_moment_it_goes_on_and_buys_nothing_twice(
    asked: Project, full_sweep: bool, chance: random.Random
) -> None:
    """With `--full-sweep` one project is killed at every moment, one after the other."""
    for word, times in MOMENTS if full_sweep else (chance.choice(MOMENTS),):
        killed_at(asked, word, times)
    found = run_eval(asked, **AGAIN)
    assert found.code == 0, found.talk
    assert found.value["promise"]["given"]
    assert asked.requests_sent() == 3 * LABELS
    twice = asked.sql("SELECT custom_id FROM ledger.requests GROUP BY custom_id HAVING count(*) > 1")
    assert twice == []
    assert run_eval(asked, **AGAIN).value == found.value
    assert asked.requests_sent() == 3 * LABELS


def test_with_too_small_a_budget_nothing_is_promised_and_a_larger_one_goes_on(asked: Project) -> None:
    asked.pipeline(CONFIDENT + "\n[budget]\nmax_usd = 0.0035\n")
    with pytest.raises(GateError) as caught:
        run_eval(asked, **AGAIN)
    assert "[budget] max_usd of $0.0035 is reached" in str(caught.value)
    sent = asked.requests_sent()
    assert 0 < sent < 3 * LABELS
    assert "Raise it" in str(caught.value.hint)
    # What was sent is answered, nothing is in flight, and all of it is within the budget.
    answered, spent = asked.sql("SELECT count(*), sum(cost_usd) FROM ledger.results")[0]
    assert answered == sent
    assert spent <= Decimal("0.0035")
    asked.pipeline(CONFIDENT + BATCHES)
    assert run_eval(asked, **AGAIN).value["promise"]["given"]
    assert asked.requests_sent() == 3 * LABELS
